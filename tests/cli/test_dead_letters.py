"""`fairlane dead-letters`."""

import shlex
from typing import Any

import pytest

from fairlane import Fairlane, Job, JobNotFound, JobStatus
from fairlane.domain.jobs import DeadLetterGroup
from fairlane.engine.dead_letters import DeadLetters
from tests.cli.conftest import Run


def test_list(run: Run, dead: Job) -> None:
    lines = run("dead-letters", "list", "-o", "acme").stdout.splitlines()
    assert lines[0].split() == ["ID", "TYPE", "REASON", "AGE"]
    assert "the file has no rows" in lines[1]
    (letter,) = run("dead-letters", "list", "-o", "acme", "--json").json["items"]
    assert letter["job_id"] == str(dead.id)


def test_what_was_decided_is_listed_and_explained(run: Run, dead: Job) -> None:
    run("dead-letters", "ignore", str(dead.id), "-o", "acme", "--note", "the bank was down")
    head, line = run("dead-letters", "list", "-o", "acme", "--all").stdout.splitlines()
    assert head.split() == ["ID", "TYPE", "REASON", "DECIDED", "AGE"]
    assert "ignored by" in line
    assert "the bank was down" in line
    explained = run("jobs", "explain", str(dead.id), "-o", "acme").stdout
    assert "It was ignored by system: the bank was down." in explained
    assert "Mend the cause" not in explained


def test_groups_and_their_retry(run: Run, fl: Fairlane, dead: Job) -> None:
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json
    assert (group["count"], group["job_type"]) == (1, "fail")
    shown = run("dead-letters", "groups", "-o", "acme").stdout.splitlines()[1].split()[0]
    assert group["fingerprint"].endswith(shown)

    printed = run("dead-letters", "retry-group", shown, "-o", "acme", "--yes").stdout

    assert printed == "1 job queued again.\n"
    assert fl.get(dead.id, organization="acme").status is JobStatus.QUEUED
    again = run("dead-letters", "retry-group", group["fingerprint"], "-o", "acme", "--yes", "--json")
    assert again.json == {"retried": 0, "refused": 0, "left": 0}


def test_a_retry_of_a_group_says_how_many_there_are_and_asks(run: Run, fl: Fairlane, dead: Job) -> None:
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json
    retry = ("dead-letters", "retry-group", group["fingerprint"], "-o", "acme")

    refused = run(*retry, answer="n\n", code=1).stderr
    assert "Retry 1 dead letter of acme with this error?" in refused
    assert "Nobody is there to answer; use --yes." in run(*retry, code=1).stderr
    assert fl.get(dead.id, organization="acme").status is JobStatus.DEAD_LETTER
    run(*retry, answer="y\n")
    assert fl.get(dead.id, organization="acme").status is JobStatus.QUEUED


def test_a_retry_of_a_group_names_the_breaker_that_holds_it_back(run: Run, dead: Job, resting: str) -> None:
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json
    retry = ("dead-letters", "retry-group", group["fingerprint"], "-o", "acme", "--yes")

    assert run(*retry, "--type", "greet").stderr == ""  # it has none
    assert run(*retry).stderr == resting


def test_of_a_group_of_several_the_newest_alone_is_explained_and_it_says_so(
    run: Run, fl: Fairlane, dead: Job, request: pytest.FixtureRequest
) -> None:
    newest = fl.submit("fail", organization="acme", user="ana")
    fl.worker().drain()
    resting = request.getfixturevalue("resting")
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json

    told = run("dead-letters", "retry-group", group["fingerprint"], "-o", "acme", "--yes").stderr

    assert told == f"What holds the newest of them, job {newest.id}:\n{resting}"


def test_a_retry_of_a_group_goes_through_all_dead_letters_once(
    run: Run, dead: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json
    looks, groups = [], DeadLetters.groups

    def look(self: DeadLetters, **filters: Any) -> tuple[DeadLetterGroup, ...]:
        looks.append(filters)
        return groups(self, **filters)

    monkeypatch.setattr(DeadLetters, "groups", look)
    retry = ("dead-letters", "retry-group", group["fingerprint"], "-o", "acme", "--yes")

    run(*retry, "--json")
    run(*retry, "--type", "fail")
    assert looks == [{"organization": "acme", "resolution": None}] * 2  # to find whose fingerprint it is


def test_of_an_error_only_one_type_is_listed_and_retried(run: Run, dead: Job) -> None:
    (group,) = run("dead-letters", "groups", "-o", "acme", "--json").json
    error = group["fingerprint"]

    listed = run("dead-letters", "list", "-o", "acme", "--fingerprint", error, "--type", "greet").stdout
    assert listed == "No dead letters.\n"
    printed = run("dead-letters", "retry-group", error, "-o", "acme", "--type", "greet").stdout
    assert printed == "0 jobs queued again.\n"
    assert (
        run("dead-letters", "retry-group", error, "-o", "acme", "--type", "fail", "-y").stdout
        == "1 job queued again.\n"
    )


def test_a_fingerprint_without_a_code_is_shown_as_it_can_be_typed(run: Run, fl: Fairlane, dead: Job) -> None:
    fl.submit("greet", organization="acme", depends_on=dead)

    lines = run("dead-letters", "groups", "-o", "acme").stdout.splitlines()
    (shown,) = [line.partition("  ")[0] for line in lines if "ParentEnded" in line]
    said = run("dead-letters", "retry-group", *shlex.split(shown), "-o", "acme", "--yes", code=1).stdout
    assert said.startswith(
        "0 jobs queued again.\n1 dead letter of the group left: a job that went down with its parent"
    )
    assert "has failed again" in said


def test_a_fingerprint_that_no_dead_letter_has_is_refused(run: Run, dead: Job) -> None:
    for command in ("retry-group 5f2c9a01", "list --fingerprint 5f2c9a01", "list --all --fingerprint 7"):
        complaint = run("dead-letters", *command.split(), "-o", "acme", code=1).stderr
        assert complaint == (
            f"Error: Organization acme has no dead letters with fingerprint {command.split()[-1]}; "
            "see: fairlane dead-letters groups -o acme\n"
        )
    complaint = run("dead-letters", "retry-group", "5f2c9a01", "-o", "acmee", code=1).stderr
    assert "There is no organization 'acmee'" in complaint


def test_retry(run: Run, dead: Job) -> None:
    assert run("dead-letters", "retry", dead.id, "-o", "acme", "--json").json["status"] == "queued"


@pytest.mark.parametrize(("verb", "resolution"), [("resolve", "resolved"), ("ignore", "ignored")])
def test_a_decision_takes_it_off_the_list(run: Run, dead: Job, verb: str, resolution: str) -> None:
    printed = run("dead-letters", verb, str(dead.id)[-8:], "-o", "acme", "--note", "sent by hand").stdout

    assert printed == f"Dead letter {dead.id} is {resolution}.\n"
    assert run("dead-letters", "list", "-o", "acme").stdout == "No dead letters.\n"
    assert run("dead-letters", "groups", "-o", "acme").stdout == "No dead letters.\n"
    for arguments in (["--all"], ["--resolution", resolution]):
        (letter,) = run("dead-letters", "list", "-o", "acme", "--json", *arguments).json["items"]
        assert (letter["note"], letter["resolution"]) == ("sent by hand", resolution)


def test_delete_asks(run: Run, fl: Fairlane, dead: Job) -> None:
    run("dead-letters", "delete", dead.id, "-o", "acme", answer="n\n", code=1)
    assert fl.get(dead.id, organization="acme").status is JobStatus.DEAD_LETTER

    assert run("dead-letters", "delete", dead.id, "-o", "acme", "--yes").stdout == f"Job {dead.id} is deleted.\n"
    with pytest.raises(JobNotFound):
        fl.get(dead.id, organization="acme")


def test_a_slip_in_the_organization_is_no_empty_list(run: Run, dead: Job) -> None:
    for verb in ("list", "groups"):
        assert run("dead-letters", verb, "-o", "acmee", code=1).stderr.startswith("Error: There is no organization")
