"""`fairlane queues` and `fairlane types`."""

import pytest

from fairlane import Fairlane
from tests.cli.conftest import Run


def test_queues(run: Run, fl: Fairlane) -> None:
    assert run("queues", "list").stdout == "No queue has live jobs.\n"
    fl.submit("greet", organization="acme")

    assert run("queues", "pause", "default", "--reason", "full").stdout == "Queue default is paused.\n"
    (queue,) = run("queues", "list", "--json").json
    assert (queue["queue"], queue["ready"], queue["paused"]) == ("default", 1, True)
    assert run("queues", "list").stdout.splitlines()[1].split() == ["default", "1", "0", "0", "0", "yes"]
    assert run("queues", "resume", "default").stdout == "Queue default goes on.\n"
    assert run("queues", "resume", "default").stdout == "Queue default was not paused.\n"


@pytest.mark.usefixtures("fl")
def test_types(run: Run) -> None:
    assert [one["name"] for one in run("types", "list", "--json").json] == ["fail", "greet"]

    assert run("types", "disable", "greet").stdout == "Job type greet is disabled.\n"
    assert run("types", "pause", "greet").stdout == "Job type greet is paused.\n"
    assert "disabled, paused" in run("types", "list").stdout
    assert "is disabled" in run("jobs", "submit", "greet", "-o", "acme", code=1).stderr
    assert run("types", "enable", "greet").stdout == "Job type greet is enabled.\n"
    assert run("types", "resume", "greet").stdout == "Job type greet goes on.\n"


def test_unknown_types_are_refused(run: Run) -> None:
    assert "No job types are registered" in run("types", "list").stdout
    for verb in ("enable", "disable", "pause"):
        assert run("types", verb, "nope", code=1).stderr == "Error: Job type nope is not registered.\n"
