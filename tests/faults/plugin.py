"""A pytest plugin: every test is run with faults, where FAIRLANE_TEST_FAULTS says so, as `0.02:7` (rate and seed).

A test that fails shows what was injected and the command that replays it. A run in which nothing was injected fails:
it proves nothing.
"""

import os
import shlex
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any, Final
from unittest.mock import patch

import pytest

from fairlane.domain.errors import StorageUnavailable
from fairlane.engine.worker import WorkerLoop
from tests.faults.injection import Faults, injecting
from tests.faults.spared import excluded, spares_for

VARIABLE: Final = "FAIRLANE_TEST_FAULTS"
_PLACE: Final = "fault"  # the name of the user properties that carry counts to the controlling process
_FAULTS: Final = pytest.StashKey[Faults]()
_injected: Counter[str] = Counter()


def asked_for() -> tuple[float, int] | None:
    """Rate and seed that the environment asks for.

    Raises:
        pytest.UsageError: it is not of the form `0.02:7`.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    rate, _, seed = text.partition(":")
    try:
        found = float(rate), int(seed)
    except ValueError:
        found = -1.0, 0
    if not 0 < found[0] <= 1:
        raise pytest.UsageError(f"{VARIABLE} is rate and seed, as in {VARIABLE}=0.02:7; it is {text!r}.")
    return found


def pytest_report_header() -> str:
    return f"faults: {VARIABLE}={os.environ[VARIABLE]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = excluded(item.nodeid)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"no faults here: {reason}"))


@pytest.fixture(autouse=True)
def _faults(request: pytest.FixtureRequest) -> Iterator[None]:
    asked = asked_for()
    assert asked is not None
    rate, seed = asked
    faults = Faults(rate, seed, request.node.nodeid, spares_for(request.node.nodeid))
    request.node.stash[_FAULTS] = faults
    # Not by the fixture `monkeypatch`: set up here, it would be undone after this, and bring back what a test replaced.
    with patch.object(WorkerLoop, "_drain", _persistent(WorkerLoop._drain, faults)), injecting(faults):
        yield


def _persistent(drain: Any, faults: Faults) -> Any:
    """A drain gives up when the database is away, for its caller to decide. Here the caller's decision is to go on."""

    async def persistent(self: WorkerLoop) -> None:
        while True:
            before = len(faults.injected)
            try:
                await drain(self)
                return
            except StorageUnavailable:
                if len(faults.injected) == before:
                    raise

    return persistent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    faults = item.stash.get(_FAULTS, None)
    if faults is None or report.when == "teardown":
        return report
    places = [f"{one.place}, {'commit' if one.is_commit else 'statement'}" for one in list(faults.injected)]
    if report.when == "call":
        report.user_properties += [(_PLACE, place) for place in places]
    if report.failed:
        command = f"{VARIABLE}={os.environ[VARIABLE]} .venv/bin/pytest -n 0 {shlex.quote(item.nodeid)}"
        lines = [str(one) for one in list(faults.injected)] or ["none"]
        report.sections.append(("Faults that were injected", "\n".join([*lines, "", "To replay it:", command])))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _injected.update(str(place) for name, place in report.user_properties if name == _PLACE and report.when == "call")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and not _injected and not session.config.option.collectonly and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section(f"faults, {VARIABLE}={os.environ[VARIABLE]}")
    if not _injected:
        terminalreporter.line("Nothing was injected, so nothing is proved: choose tests that run workers.")
        return
    for place, number in sorted(_injected.items()):
        terminalreporter.line(f"{number:6} {place}")
    terminalreporter.line(f"{_injected.total():6} in all")
