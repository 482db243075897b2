"""Errors on their way between a worker and its child processes."""

import asyncio
import json
import signal
from typing import Any, cast

import pytest

from fairlane.domain.classify import classify
from fairlane.domain.error_types import name_of
from fairlane.domain.errors import ConfigurationError, PermanentError, Snooze, StorageUnavailable, TransientError
from fairlane.engine.executors import wire
from fairlane.engine.executors.child import Run
from fairlane.engine.executors.process import _how_it_ended, _next_line
from fairlane.engine.executors.wire import pack_error, unpack_error
from tests.engine.recording import inputs


class NeedsArguments(ConnectionError):
    """An error that can't be made from its message alone."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")


# What a handler raised


def raised(error: BaseException, *, transient: tuple[str, ...] = ()) -> Any:
    """Return a child's report of its handler's error."""
    start = {"run": 1, "start": wire.INPUTS.dump_python(inputs(), mode="json"), "target": ("m", "n"), "limit": 9}
    run = Run(start | {"errors": (transient, ())}, cast("Any", None))
    try:
        raise error
    except BaseException as one:  # noqa: BLE001 - whatever it is
        return json.loads(json.dumps(run.failure(one)))


def test_an_error_is_judged_in_its_own_process() -> None:
    report = raised(TransientError("again", retry_after=7))["raised"]
    assert (report["error_type"], report["message"], report["retry_after"]) == ("TransientError", "again", 7)
    assert "test_wire.py" in report["traceback"]
    assert raised(PermissionError("no"))["raised"]["permanent"]
    assert not raised(PermissionError("no"), transient=(name_of(OSError),))["raised"]["permanent"]


def test_an_error_that_the_worker_sent_and_the_handler_let_pass_is_still_what_it_was() -> None:
    for error in (StorageUnavailable("gone"), PermanentError("never"), FileNotFoundError(2, "no such file")):
        answer = classify(sent(error))
        assert (answer.error_type, answer.message) == (classify(error).error_type, str(error))
        assert (answer.permanent, answer.is_storage) == (classify(error).permanent, classify(error).is_storage)


def test_a_snooze_is_one() -> None:
    assert raised(Snooze(90, "not yet")) == {"snoozed": [90, "not yet"]}
    assert raised(ExceptionGroup("all", [Snooze(5), Snooze(60, "later")])) == {"snoozed": [60, "later"]}
    assert len(raised(Snooze(1, "x" * 20_000_000))["snoozed"][1]) == 10_000  # what fits into a line


def test_a_stop_that_nobody_asked_for_is_an_error() -> None:
    assert raised(SystemExit(404))["raised"]["error_type"] == "HandlerQuit"


# What a report or read came to


def sent(error: BaseException) -> Exception:
    try:
        raise error
    except BaseException as one:  # noqa: BLE001 - whatever it is
        return unpack_error(json.loads(json.dumps(pack_error(one))))


def test_an_answer_is_of_the_class_that_it_was() -> None:
    for error in (StorageUnavailable("gone"), ConfigurationError("no key"), ConnectionResetError(104, "reset")):
        assert type(sent(error)) is type(error)
        assert str(sent(error)) == str(error)
    assert cast("OSError", sent(OSError(30, "read-only"))).errno == 30


def test_what_can_not_be_made_again_is_of_the_nearest_class_that_can() -> None:
    assert type(sent(NeedsArguments("host", 80))) is ConnectionError
    assert type(sent(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"))) is UnicodeError
    assert type(sent(SystemExit(3))) is Exception


def test_nothing_is_imported_for_an_answer() -> None:
    classes = [["antigravity", "Error"], ["os", "system"], ["builtins", "ValueError"]]
    assert type(unpack_error(pack_error(ValueError("x")) | {"classes": classes})) is ValueError


def test_a_mistake_brings_its_traceback_and_a_refusal_its_sentence() -> None:
    assert "test_wire.py" in classify(sent(KeyError("x"))).traceback
    assert not hasattr(sent(StorageUnavailable("gone")), "__notes__")


async def test_a_line_is_read_whole_however_little_is_read_ahead_but_none_that_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "LINE_LIMIT", 100)
    lines = [b"x" * length + b"\n" for length in range(100)]
    reader = asyncio.StreamReader(10)
    reader.feed_data(b"".join(lines) + b"x" * 101)
    assert [await _next_line(reader) for _ in lines] == lines
    with pytest.raises(ValueError, match="more than 100 bytes"):
        await _next_line(reader)


def test_the_error_of_a_crash_says_what_may_have_killed_it() -> None:
    assert _how_it_ended(-signal.SIGKILL, None) == "was killed by SIGKILL; Linux does that when memory runs out"
    assert _how_it_ended(-60, None) == "was killed by signal 60"
    assert _how_it_ended(-9, ValueError("no JSON")) == "sent a message that can't be read, so it was killed: no JSON"
