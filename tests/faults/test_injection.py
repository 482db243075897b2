"""The faults themselves do what a lost connection does, and a run with them says what it has proved."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import pytest

from fairlane import CommitUnanswered, DuplicateJob, StorageUnavailable
from tests.engine.worker_kit import Engine
from tests.faults.fault import Fault
from tests.faults.injection import Faults, injecting
from tests.faults.spared import EXCLUDED, SPARED

ROOT = Path(__file__).parents[2]


def of_a_commit(fault: Fault) -> bool:
    return fault.is_commit


def of_a_statement(fault: Fault) -> bool:
    return not fault.is_commit


def create_as_a_worker(fl: Engine, faults: Faults) -> BaseException | None:
    """Create the organization `new` on one of a worker's own threads; what that raised."""
    with injecting(faults), ThreadPoolExecutor(1, thread_name_prefix="fairlane-database") as threads:
        return threads.submit(fl.organizations.create, "new").exception()


def has_it(fl: Engine) -> bool:
    return any(one.id == "new" for one in fl.organizations.list())


@pytest.mark.parametrize("seed", range(4))
def test_a_commit_that_fails_was_done_or_was_not(fl: Engine, seed: int) -> None:
    faults = Faults(1.0, seed, "commit", spares=of_a_statement)
    assert isinstance(create_as_a_worker(fl, faults), CommitUnanswered)
    (fault,) = faults.injected
    assert has_it(fl) is fault.has_effect


@pytest.mark.parametrize("seed", range(4))
def test_of_a_transaction_that_lost_its_connection_nothing_is_left(fl: Engine, seed: int) -> None:
    faults = Faults(1.0, seed, "statement", spares=of_a_commit)
    error = create_as_a_worker(fl, faults)
    assert isinstance(error, StorageUnavailable)
    assert not isinstance(error, CommitUnanswered)
    assert not has_it(fl)


def test_an_application_s_call_is_made_again(fl: Engine) -> None:
    faults = Faults(0.5, 1, "call")
    with injecting(faults):
        fl.organizations.create("new")
    assert faults.injected
    assert has_it(fl)


def test_a_refusal_of_a_submission_is_heard(fl: Engine) -> None:
    """It is the one answer that nobody can look for once it is lost."""
    fl.job_type("work")(lambda ctx: None)
    fl.give("work", dedup_key="one")
    injected = 0
    for seed in range(40):
        faults = Faults(0.1, seed, "refusal")
        with injecting(faults), pytest.raises(DuplicateJob):
            fl.give("work", dedup_key="one")
        injected += len(faults.injected)
    assert injected


def test_the_same_seed_injects_the_same_faults(fl: Engine) -> None:
    runs = []
    for _ in range(2):
        faults = Faults(0.3, 2, "look")
        with injecting(faults):
            fl.organizations.get("acme")
        runs.append(faults.injected)
    assert runs[0] == runs[1] != []


def run(faults: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tests with these faults, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", *arguments]
    environment = os.environ | {"FAIRLANE_TEST_FAULTS": faults}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_run_in_which_nothing_was_injected_fails() -> None:
    ended = run("0.02:1", "tests/engine/test_wire.py")
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Nothing was injected" in ended.stdout


def test_a_test_that_fails_says_how_to_replay_it() -> None:
    """A test whose every statement fails can't even make its organization."""
    test = "tests/acceptance/test_engine_results.py::test_results_come_back_as_json[sqlite]"
    ended = run("1.0:3", test)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"FAIRLANE_TEST_FAULTS=1.0:3 .venv/bin/pytest -n 0 '{test}'" in ended.stdout


def test_faults_that_can_not_be_read_are_refused() -> None:
    ended = run("often", "tests/engine/test_wire.py")
    assert ended.returncode != pytest.ExitCode.OK
    assert "FAIRLANE_TEST_FAULTS=0.02:7" in ended.stdout + ended.stderr


@pytest.mark.parametrize("pattern", [*EXCLUDED, *SPARED])
def test_what_is_spared_is_there(pattern: str) -> None:
    """A pattern that matches nothing any more may by and by match something else."""
    path, _, name = pattern.partition("::")
    files = [file for file in sorted((ROOT / "tests").rglob("test_*.py")) if fnmatch(f"{file.relative_to(ROOT)}", path)]
    assert any(name.strip("*") in file.read_text(encoding="utf-8") for file in files)
