"""`fairlane workers`."""

import threading

import pytest

from fairlane import Fairlane
from tests.cli.conftest import Run


@pytest.fixture
def ended(fl: Fairlane) -> threading.Thread:
    """Return the thread of a worker that is alive; it ends with the worker."""
    worker = fl.worker(name="delta-1:4711")
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not fl.workers.list():
        thread.join(0.01)
    return thread


@pytest.mark.slow
def test_a_worker_is_listed_and_drained_by_its_name(run: Run, fl: Fairlane, ended: threading.Thread) -> None:
    fl.users.create("ops", operator=True)
    (told,) = run("workers", "list", "--json").json
    assert (told["name"], told["running"]) == ("delta-1:4711", 0)
    assert told["id"] in run("workers", "list").stdout

    assert "There is no live worker two; `fairlane" in run("workers", "drain", "two", code=1).stderr
    assert "no live worker delta-1; did you mean delta-1:4711? " in run("workers", "drain", "delta-1", code=1).stderr
    said = run("workers", "drain", "delta-1:4711", "-u", "ops").stdout
    assert said == "Worker delta-1:4711 will claim no more within 5 s, then finish what it runs and end.\n"
    ended.join(30)
    assert not ended.is_alive()
    assert "No worker is alive" in run("workers", "list").stdout
