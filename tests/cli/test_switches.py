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
    assert queue["oldest_seconds"] > 0
    assert run("queues", "list").stdout.splitlines()[1].split() == ["default", "0", "0", "1", "0", "0", "0", "yes"]
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


def test_a_breaker_of_a_type_that_is_not_there_is_a_slip(run: Run, fl: Fairlane) -> None:
    assert "greeet is not registered" in run("types", "close-breaker", "greeet", "-o", "acme", code=1).stderr


def test_maintenance(run: Run, fl: Fairlane) -> None:
    fl.users.create("ops", operator=True)
    assert run("maintenance", "show").stdout == "Maintenance mode is off.\n"
    assert run("maintenance", "show", "--json").json == {"is_on": False, "since": None, "by": None, "reason": None}
    job = fl.submit("greet", organization="acme")

    said = run("maintenance", "on", "-u", "ops", "--reason", "a new\nrelease").stdout
    assert said == "Maintenance mode is on. No job runs.\n"
    state = run("maintenance", "show", "--json").json
    assert (state["is_on"], state["by"], state["reason"]) == (True, "ops", "a new\nrelease")
    run("maintenance", "on")
    assert run("maintenance", "show", "--json").json == state
    on = "Maintenance mode is on: ops turned it on at "
    assert run("maintenance", "show").stdout.startswith(on)
    assert run("maintenance", "show").stdout.endswith("UTC (a new release). No job runs.\n")
    assert run("top", "--once").stdout.splitlines()[1].startswith(on)
    assert run("top", "--json").json["maintenance"]["by"] == "ops"
    (found,) = [one for one in run("check", "--json", code=1).json["findings"] if one["subject"] == "maintenance"]
    assert (found["grade"], found["sentence"].startswith(on)) == ("note", True)
    assert (
        "No job starts until an operator turns it off: `fairlane maintenance off`."
        in run("jobs", "explain", job.id, "-o", "acme").stdout
    )
    assert run("maintenance", "off").stdout == "Maintenance mode is off; jobs start again.\n"
    assert run("maintenance", "off").stdout == "Maintenance mode was not on.\n"
    assert "Maintenance" not in run("top", "--once").stdout


def test_pausing_a_queue_that_nothing_goes_to_says_so(run: Run, fl: Fairlane) -> None:
    """It may be wanted, for what is to come; as often it is a slip, and nobody would know that nothing is paused."""
    assert "look if its name is right" in run("queues", "pause", "defualt").stdout
    assert fl.queues.names() == {"defualt"}


def test_a_type_is_deleted_once_no_job_is_of_it(run: Run, fl: Fairlane) -> None:
    assert run("types", "delete", "nothing", code=1).stderr.startswith("Error: Job type nothing is not registered")
    run("types", "delete", "greet", answer="n\n", code=1)
    assert run("types", "delete", "greet", "--yes").stdout == "Job type greet is deleted.\n"
    assert [one["name"] for one in run("types", "list", "--json").json] == ["fail"]

    fl.submit("fail", organization="acme")
    assert "retention has removed them" in run("types", "delete", "fail", "--yes", code=1).stderr


@pytest.mark.usefixtures("fl")
def test_limits_of_types(run: Run) -> None:
    said = run("types", "limit", "greet", "--max-running", "5").stdout
    assert said == "Job type greet, of all organizations together: 5 running, unlimited started.\n"
    rate = ("--execution-rate", "100", "--execution-rate-window", "1h")
    said = run("types", "limit", "greet", "-o", "acme", *rate).stdout
    assert said == "Job type greet, of acme: unlimited running, 100 in 3600s started.\n"
    assert run("types", "limit", "greet", "--execution-rate", "9", "--json").json["max_running"] == 5

    assert run("types", "list").stdout.splitlines()[2].split()[-4:] == ["5", "5", "9", "in", "60s"][-4:]
    every, acme = run("types", "show", "greet", "--json").json["limits"]
    assert (every["changed"], acme["organization"]) == (["execution_rate", "max_running"], "acme")
    assert "5 running, 9 in 60s started" in run("types", "show", "greet").stdout
    for command in (("types", "show", "greet"), ("orgs", "show", "acme")):
        assert "unlimited running, 100 in 3600s started" in run(*command).stdout
    assert run("orgs", "show", "acme", "--json").json["limits"] == [acme]

    said = run("types", "limit", "greet", "--reset", "--max-running", "unlimited").stdout
    assert "unlimited running, unlimited started" in said


@pytest.mark.usefixtures("fl")
def test_limits_are_listed_with_what_they_limit_now_and_who_set_them(run: Run) -> None:
    run("types", "limit", "greet", "--max-running", "5")
    run("types", "limit", "greet", "-o", "acme", "--execution-rate", "100", "--execution-rate-window", "1h")

    assert [line.split() for line in run("types", "limits").stdout.splitlines()[1:]] == [
        ["fail", "all", "together", "unlimited", "0", "handler"],
        ["greet", "all", "together", "5", "running", "0", "operator"],
        ["greet", "acme", "100", "started", "in", "3600s", "0", "operator"],
    ]
    every, acme = run("types", "limits", "greet", "--json").json
    assert (every["organization"], every["max_running"], every["running"]) == (None, 5, 0)
    assert (acme["organization"], acme["execution_rate"], acme["started"]) == ("acme", 100, 0)


@pytest.mark.usefixtures("fl")
def test_taking_back_a_limit_says_which_organizations_keep_their_own(run: Run) -> None:
    run("types", "limit", "greet", "-o", "acme", "--max-running", "1")

    said = run("types", "limit", "greet", "--reset").stderr
    assert "Limits of single organizations stay: of acme." in said
    assert "fairlane types limit greet -o acme --reset" in said
    assert run("types", "limit", "greet", "-o", "acme", "--reset").stderr == ""
    assert run("types", "limit", "greet", "--reset").stderr == ""


@pytest.mark.usefixtures("fl")
def test_columns_of_limits_are_headed_as_limits(run: Run) -> None:
    assert "MAX RUNNING  MAX STARTED" in run("types", "list").stdout
    assert "MAX RUNNING   MAX LIVE" in run("orgs", "list").stdout


def test_a_limit_is_for_all_organizations_whatever_the_environment_says(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLANE_ORGANIZATION", "acme")
    run("types", "limit", "greet", "--max-running", "5")
    (limit,) = fl.job_types.limits(name="greet")
    assert (limit.organization, limit.max_running) == (None, 5)


def test_a_limit_that_could_not_be_meant_is_refused(run: Run, fl: Fairlane) -> None:
    assert "'many' is neither a number nor 'unlimited'" in run(
        "types", "limit", "greet", "--max-running", "many", code=2
    ).stderr.replace("\n", " ")
    assert (
        "execution_rate_window must be"
        in run("types", "limit", "greet", "--execution-rate-window", "2d", code=1).stderr
    )
    assert "no organization 'nope'" in run("types", "limit", "greet", "-o", "nope", "--max-running", 1, code=1).stderr
    assert fl.job_types.limits(name="greet")[0].changed == ()


def test_breakers(run: Run, fl: Fairlane) -> None:
    assert run("types", "breakers").stdout == "No breaker is open.\n"
    for _ in range(10):
        fl.submit("fail", organization="acme")
    fl.worker().drain()

    (breaker,) = run("types", "breakers", "--json").json
    assert (breaker["organization"], breaker["job_type"], breaker["trial"]) == ("acme", "fail", None)
    assert run("types", "breakers").stdout.splitlines()[1].split()[:2] == ["fail", "acme"]
    assert "fail of acme" in run("top", "--once").stdout
    assert run("top", "--json").json["breakers"] == [breaker]

    closing = ("types", "close-breaker", "fail", "-o", "acme")
    assert run(*closing).stdout == "Job type fail starts again in organization acme.\n"
    assert run(*closing).stdout == "Job type fail was not held back by a breaker in organization acme.\n"
    assert "BREAKER" not in run("top", "--once").stdout


def test_unknown_types_are_refused(run: Run) -> None:
    assert "No job types are registered" in run("types", "list").stdout
    for verb in ("enable", "disable", "pause", "resume", "limit", "limits", "show", "delete"):
        assert run("types", verb, "nope", code=1).stderr == (
            "Error: Job type nope is not registered; correct its name, or start a worker that has it.\n"
        )
