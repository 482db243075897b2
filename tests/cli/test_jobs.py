"""`fairlane jobs`."""

import io
import json
import logging
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partialmethod
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import Engine, event

from fairlane import (
    PLATFORM,
    Fairlane,
    Job,
    JobContext,
    JobNotFound,
    JobStatus,
    PermanentError,
    PermissionDenied,
    TransientError,
)
from fairlane.cli import output, submitting
from fairlane.cli.lookup import find_id
from fairlane.domain.breaker import Pair, opened
from fairlane.engine.system import bulk_steps, bulk_work
from fairlane.engine.system.bulk import Bulk
from fairlane.jobtypes.verbs import JobTypes
from fairlane.store.statements import breakers
from tests.cli.conftest import Run, running_worker
from tests.engine.worker_kit import running

pytestmark = pytest.mark.usefixtures("fl")


def submitted(run: Run, *arguments: object) -> str:
    job_id: str = run("jobs", "submit", "greet", "-o", "acme", "--json", *arguments).json["id"]
    return job_id


def submitted_of(run: Run, job_type: str, *arguments: str) -> str:
    job_id: str = run("jobs", "submit", job_type, "-o", "acme", "--json", *arguments).json["id"]
    return job_id


def test_a_process_without_the_handler_submits(run: Run, fl: Fairlane) -> None:
    printed = run("jobs", "submit", "greet", "-o", "acme", "-u", "ana", "-p", "name=Bo").stdout

    (job,) = fl.list(organization="acme").items
    assert printed == f"Job {job.id} is queued.\n"
    assert (job.user, job.parameters) == ("ana", {"name": "Bo"})


def test_a_list_and_the_search_for_the_end_of_an_id_do_not_read_parameters(run: Run, fl: Fairlane) -> None:
    job, sent = submitted(run), list[str]()

    def record(*given: Any) -> None:
        sent.append(given[2])

    event.listen(Engine, "before_cursor_execute", record)
    try:
        run("jobs", "list", "-o", "acme")
        assert str(find_id(fl, job[-6:], "acme")) == job
        assert str(find_id(fl, job[-8:], "acme")) == job
    finally:
        event.remove(Engine, "before_cursor_execute", record)

    assert sent
    assert not [one for one in sent if "jobs.parameters" in one]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[" * 100_000 + "]" * 100_000, "It is JSON that nests too deeply; make it flatter."),
        ("[" * 40 + "]" * 40, "is nested more than 32 levels deep: pass a flatter value"),
        ("1" * 5000, "It holds an integer of more than 4,300 digits; give it as text, in quotes."),
        ("1" * 4250, "is an integer of more than 4200 digits: pass it as text"),
    ],
    ids=["very deep", "deep", "very long", "long"],
)
@pytest.mark.parametrize("whole", [False, True], ids=["-p", "--parameters"])
def test_json_that_can_not_be_read_is_refused_in_a_sentence_and_never_becomes_text(
    run: Run, value: str, told: str, whole: bool
) -> None:
    given = ("--parameters", f'{{"who": {value}}}') if whole else ("-p", f"who={value}")
    refused = run("jobs", "submit", "greet", "-o", "acme", *given, code=2 if told.startswith("It ") else 1)
    words = " ".join(refused.stderr.replace("│", " ").split())
    assert told in words
    assert "Traceback" not in words
    assert len(words) < 500
    assert run("jobs", "list", "-o", "acme", "--json").json["items"] == []


def test_a_value_that_is_no_json_is_text(run: Run, fl: Fairlane) -> None:
    job_id = submitted(run, "--parameters", '{"name": "x"}', "-p", 'name="007"')

    assert fl.get(job_id, organization="acme").parameters == {"name": "007"}


def test_json_holds_nothing_that_a_terminal_acts_on(run: Run, fl: Fairlane) -> None:
    """A member's text reached an operator's terminal unchanged: U+009B begins a command there."""
    name = "a\x9b31mb\u202ec\u200d é🙂"
    job_id = submitted(run, "--parameters", json.dumps({"name": name}))
    shown = run("jobs", "show", str(job_id), "-o", "acme", "--json").stdout
    assert all(line.isprintable() for line in shown.splitlines())
    assert json.loads(shown)["job"]["parameters"] == {"name": name}
    assert "é🙂" in shown


@pytest.mark.parametrize("option", ["--parameter", "--label"])
def test_a_name_that_is_given_twice_is_refused(run: Run, fl: Fairlane, option: str) -> None:
    refused = run("jobs", "submit", "greet", "-o", "acme", option, "name=Zoe", option, "name=Yan", code=2)
    assert "'name' is given twice" in " ".join(refused.stderr.replace("│", " ").split())
    assert fl.list(organization="acme").items == ()


def test_every_option_of_submit_arrives(run: Run, fl: Fairlane) -> None:
    parent = submitted(run)
    options = "--priority high --delay 1h30m --queue bulk --label doc=42 --max-retries 2 --timeout 5m"

    job = fl.get(
        submitted(run, *options.split(), "--depends-on", parent, "--on-parent-failure", "cancel", "--dedup-key", "k"),
        organization="acme",
    )

    assert (job.priority, job.queue, job.labels) == ("high", "bulk", {"doc": "42"})
    assert (job.max_retries, job.timeout) == (2, 300)
    assert [str(one) for one in job.depends_on] == [parent]
    assert job.run_at - job.created_at == pytest.approx(timedelta(minutes=90), abs=timedelta(seconds=1))


def test_run_at_without_a_zone_is_meant_here(run: Run, fl: Fairlane) -> None:
    local = datetime(2040, 1, 1, 8)  # noqa: DTZ001 - what a person types

    job = fl.get(submitted(run, "--run-at", local.isoformat()), organization="acme")

    assert job.run_at == local.astimezone(UTC)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "name"],
        ["--parameters", "[1]"],
        ["--parameters", "{"],
        ["--delay", "soon"],
        ["--run-at", "tomorrow"],
        ["--priority", "urgent"],
        ["--max-retries", "-1"],
    ],
)
def test_a_wrong_option_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    run("jobs", "submit", "greet", "-o", "acme", *arguments, code=2)


@pytest.mark.parametrize("command", [("list",), ("cancel",), ("delete",), ("retry",)])
def test_a_status_that_there_is_not_is_a_usage_error(run: Run, command: tuple[str]) -> None:
    refused = run("jobs", *command, "-o", "acme", "--status", "bogus", code=2).stderr
    assert "'bogus' is not one of" in " ".join(refused.replace("│", " ").split())


def test_what_the_engine_refuses_is_one_sentence(run: Run) -> None:
    for arguments in (["nothing"], ["greet", "-p", "unknown=1"], ["greet", "-u", "eve"]):
        complaint = run("jobs", "submit", *arguments, "-o", "acme", code=1).stderr
        assert complaint.startswith("Error: ")
        assert complaint.count("\n") == 1


def test_list_shows_and_filters(run: Run, fl: Fairlane) -> None:
    queued = submitted(run, "-l", "doc=42", "-u", "ana")
    canceled = submitted(run)
    fl.cancel(canceled, organization="acme")

    table = run("jobs", "list", "-o", "acme").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["ID", canceled, queued]
    for arguments in (["-s", "queued"], ["-l", "doc=42"], ["--text", queued], ["-u", "ana"]):
        page = run("jobs", "list", "-o", "acme", "--json", *arguments).json
        assert [job["id"] for job in page["items"]] == [queued]
    assert run("jobs", "list", "-o", "acme", "--type", "fail").stdout == "No jobs.\n"
    meant = "No jobs. Job type fial is not registered; did you mean fail?\n"
    assert run("jobs", "list", "-o", "acme", "--type", "fial").stdout == meant
    assert run("jobs", "list", "-o", "acme", "--after", "2040-01-01").stdout == "No jobs.\n"


def test_an_empty_list_of_all_types_does_not_ask_for_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobTypes, "list", lambda _: pytest.fail("asked for job types"))
    assert run("jobs", "list", "-o", "acme", "--after", "2040-01-01").stdout == "No jobs.\n"


def test_a_list_by_a_status_that_no_job_stays_in_says_where_to_look(run: Run, dead: Job) -> None:
    assert run("jobs", "list", "-o", "acme", "-s", "failed").stdout == (
        "No jobs. None stays failed: after such an attempt a job is queued for its retry or a dead letter; "
        "look at --status dead_letter and --status queued.\n"
    )
    both = run("jobs", "list", "-o", "acme", "-s", "timed_out", "-s", "failed").stdout
    assert "None stays failed or timed_out:" in both
    assert run("jobs", "list", "-o", "acme", "-s", "running").stdout == "No jobs.\n"
    assert run("jobs", "list", "-o", "acme", "-s", "failed", "--json").json["items"] == []
    assert str(dead.id) in run("jobs", "list", "-o", "acme", "-s", "dead_letter").stdout


def test_a_list_and_a_job_tell_of_the_breaker_that_holds_it(run: Run, fl: Fairlane, resting: str) -> None:
    held, other = (fl.submit("fail", organization="acme") for _ in range(2))
    fl.submit("fail", organization="acme", delay=60)
    breaker, sent = resting.splitlines()[0], list[str]()

    def record(*given: Any) -> None:
        sent.append(given[2])

    event.listen(Engine, "before_cursor_execute", record)
    try:
        later, *lines, told = run("jobs", "list", "-o", "acme").stdout.splitlines()[1:]
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    assert "pending" in later
    assert "held back" not in later
    assert [line.split()[0] for line in lines if "  queued, held back  " in line] == [str(other.id), str(held.id)]
    assert told == breaker
    assert len([one for one in sent if "fairlane_breakers" in one]) == 1
    assert f"held back     {breaker}\n" in run("jobs", "show", held.id, "-o", "acme").stdout


def test_large_parameters_leave_the_history_in_sight(run: Run, fl: Fairlane) -> None:
    job = fl.submit("greet", organization="acme", parameters={"name": "x" * 5000})

    shown = run("jobs", "show", job.id, "-o", "acme").stdout
    assert "xxx… (5,012 characters; --json shows all)\n" in shown
    assert shown.count("x") < 1000
    assert run("jobs", "show", job.id, "-o", "acme", "--json").json["job"]["parameters"] == job.parameters


def test_list_has_pages(run: Run) -> None:
    older, newer = submitted(run), submitted(run)

    first = run("jobs", "list", "-o", "acme", "-n", "1").stdout.splitlines()
    assert newer in first[1]
    assert first[2] == "1 of 2 jobs; the next page:"
    option, cursor = first[3].split()
    assert option == "--cursor"
    assert older in run("jobs", "list", "-o", "acme", "-n", "1", "--cursor", cursor).stdout


def test_a_slip_in_the_organization_is_no_empty_list(run: Run) -> None:
    for command in (["list"], ["submit", "greet"], ["show", "c3d4e5f6"]):
        complaint = run("jobs", *command, "-o", "acmee", code=1).stderr
        assert complaint == "Error: There is no organization 'acmee'; create it: fairlane orgs create acmee\n"


def test_an_organization_of_another_case_is_named(run: Run) -> None:
    for command in (["jobs", "list"], ["members", "list"], ["jobs", "submit", "greet"]):
        complaint = run(*command, "-o", "Acme", code=1).stderr
        assert complaint == "Error: There is no organization 'Acme'; names are case-sensitive, and there is 'acme'.\n"


def test_a_missing_organization_is_a_usage_error_or_comes_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("jobs", "list", code=2)
    monkeypatch.setenv("FAIRLANE_ORGANIZATION", "acme")
    assert run("jobs", "list").stdout == "No jobs.\n"


def test_show_has_history_result_and_artifacts(run: Run, fl: Fairlane) -> None:
    job_id = submitted(run, "-p", "name=Bo")
    fl.worker().drain()

    shown = run("jobs", "show", job_id, "-o", "acme").stdout
    for part in (job_id, "completed", '{"name": "Bo"}', "Hello, Bo!", "greeting.txt"):
        assert part in shown
    document = run("jobs", "show", job_id, "-o", "acme", "--json").json
    assert document["job"]["status"] == JobStatus.COMPLETED
    assert [entry["to_status"] for entry in document["history"]] == ["queued", "running", "completed"]
    assert document["result"]["artifacts"][0]["name"] == "greeting.txt"


@pytest.mark.usefixtures("zone")
def test_times_are_in_utc_wherever_the_reader_is(run: Run, fl: Fairlane) -> None:
    job = fl.submit("greet", organization="acme", delay=86_400)

    shown = run("jobs", "show", job.id, "-o", "acme").stdout
    assert f"submitted     {job.created_at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert f"\n{job.created_at:%Y-%m-%d %H:%M:%S} UTC  " in shown
    assert f"{job.run_at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert f"{job.run_at:%Y-%m-%d %H:%M:%S} UTC" in run("jobs", "explain", job.id, "-o", "acme").stdout


@pytest.fixture
def zone() -> Iterator[None]:
    """Far from UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_a_parent_that_replaced_another_is_shown_with_the_one_that_it_stands_for(run: Run, fl: Fairlane) -> None:
    options: dict[str, Any] = {
        "organization": "acme",
        "dedup_key": "once",
        "on_duplicate": "replace",
        "dedup_window": 300,
    }
    parent = fl.submit("greet", **options)
    child = fl.submit("greet", organization="acme", depends_on=[parent])
    new = fl.submit("greet", **options)

    shown = run("jobs", "show", child.id, "-o", "acme").stdout
    assert f"depends on    {new.id} (queued, submitted in place of {parent.id})" in shown
    assert f"submitted in place of {parent.id}" in run("jobs", "show", new.id, "-o", "acme").stdout


def test_parents_are_shown_with_their_status(run: Run, fl: Fairlane, dead: Job) -> None:
    child = fl.submit("greet", organization="acme", depends_on=[dead])

    assert f"depends on    {dead.id} (dead_letter)" in run("jobs", "show", child.id, "-o", "acme").stdout


def test_progress_is_shown_in_whole_per_cents(run: Run, fl: Fairlane) -> None:
    @fl.job_type("third")
    def third(ctx: JobContext) -> None:
        ctx.progress(100 / 3, "page 1")
        raise PermanentError("no more")

    job = fl.submit("third", organization="acme")
    fl.worker().drain()

    assert "progress      33 % page 1\n" in run("jobs", "show", job.id, "-o", "acme").stdout


def test_a_job_that_has_completed_is_not_shown_as_half_done(run: Run, fl: Fairlane) -> None:
    @fl.job_type("half")
    def half(ctx: JobContext) -> None:
        ctx.progress(50, "halfway")

    job = fl.submit("half", organization="acme")
    fl.worker().drain()

    for command in (["show", job.id], ["list"]):
        printed = run("jobs", *command, "-o", "acme").stdout
        assert "completed" in printed
        assert "50%" not in printed
        assert "halfway" not in printed


def test_artifact_writes_a_file_and_overwrites_none_unasked(
    run: Run, fl: Fairlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job_id = submitted(run, "-p", "name=Bo")
    fl.worker().drain()
    command = ("jobs", "artifact", job_id[-8:], "greeting.txt", "-o", "acme")

    assert run(*command).stdout == "2 bytes in greeting.txt.\n"
    assert (tmp_path / "greeting.txt").read_text() == "Bo"
    assert "is there already" in run(*command, code=2).stderr
    assert run(*command, "--to", "other.txt").stdout == "2 bytes in other.txt.\n"
    run(*command, "--to", "other.txt")
    assert run(*command, "--to", "-").stdout == "Bo"
    assert "can't be written" in run(*command, "--to", "no/folder.txt", code=2).stderr
    unknown = run("jobs", "artifact", job_id, "none.txt", "-o", "acme", code=1).stderr
    assert unknown == f"Error: Job {job_id} has no artifact 'none.txt'; it has greeting.txt.\n"


def test_results_of_a_suspended_organization_are_locked_and_it_says_so(run: Run, fl: Fairlane) -> None:
    job_id = submitted(run, "-p", "name=Bo")
    fl.worker().drain()
    fl.organizations.suspend("acme")
    sentence = "Organization acme is suspended; its results are locked until it is active.\n"

    shown = run("jobs", "show", job_id, "-o", "acme")
    assert shown.stderr == sentence
    assert "completed" in shown.stdout
    assert "Hello" not in shown.stdout
    document = run("jobs", "show", job_id, "-o", "acme", "--json")
    assert (document.json["result"], document.stderr) == (None, sentence)
    assert run("jobs", "artifact", job_id, "greeting.txt", "-o", "acme", code=1).stderr == f"Error: {sentence}"


def test_wait_says_how_a_job_ended_that_did_not_complete(run: Run, fl: Fairlane) -> None:
    worker = fl.worker()
    thread = Thread(target=worker.run)
    thread.start()
    try:
        complaint = run("jobs", "submit", "fail", "-o", "acme", "--wait", code=1).stderr
    finally:
        worker.stop()
        thread.join()

    assert re.fullmatch(
        r"Job \S+ is dead_letter\. It went to dead letter at .* after 1 attempt: permanent error, not retried\. "
        r"The last error was PermanentError: the file has no rows\. Mend the cause and retry it, or resolve it\.\n",
        complaint,
    )


def test_wait_says_anew_what_a_job_waits_for_once_that_is_something_else(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def next_act(sentence: str, **_: object) -> None:
        said.append(sentence)
        (job,) = fl.list(organization="acme").items
        if len(said) == 1:
            fl.job_types.pause("greet")
        elif len(said) == 2:
            fl.job_types.resume("greet")
            breaker = opened(Pair("acme", "greet"), datetime.now(UTC))
            fl.database.write(lambda connection: breakers.open_one(connection, breaker))
        elif len(said) == 3:
            fl.cancel(job.id, organization="acme")

    monkeypatch.setattr(submitting, "remark", next_act)
    monkeypatch.setattr(submitting, "_LONG_WAIT", 0)
    monkeypatch.setattr(submitting, "_EXPLAINED_EVERY", 0.01)
    run("jobs", "submit", "greet", "-o", "acme", "--wait", code=1)

    beginnings = ("No worker is alive", "Job type greet is paused", "Too much of greet failed", "Job ")
    assert [one.startswith(begin) for one, begin in zip(said, beginnings, strict=True)] == [True] * 4


def test_why_a_job_waits_is_said_above_the_progress_bar_and_breaks_no_word(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=40)

    def remark_and_cancel(sentence: str, **more: Any) -> None:
        output.remark(sentence, **more)
        fl.cancel(fl.list(organization="acme").items[0].id, organization="acme")
        monkeypatch.setattr(submitting, "remark", output.remark)

    monkeypatch.setattr(submitting, "console", lambda *, stderr: screen)
    monkeypatch.setattr(submitting, "remark", remark_and_cancel)
    monkeypatch.setattr(submitting, "_LONG_WAIT", 0)
    run("jobs", "submit", "greet", "-o", "acme", "--wait", code=1)

    assert isinstance(screen.file, io.StringIO)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())
    lines = [line.rpartition("\r")[2].rstrip() for line in shown.splitlines()]
    assert lines[lines.index("No worker is alive. The team that runs") + 2] == "worker`."


def test_the_end_of_a_wait_says_that_the_job_goes_on(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    def press_ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submitting, "time", SimpleNamespace(sleep=press_ctrl_c, monotonic=time.monotonic))
    left = run("jobs", "submit", "greet", "-o", "acme", "--wait", code=130)

    (job,) = fl.list(organization="acme").items
    assert left.stdout == f"Job {job.id} is queued.\n"
    assert left.stderr == (
        f"Job {job.id} goes on without this command; to follow it:\n  fairlane jobs log {job.id} -o acme --follow\n"
    )


def test_the_log_line_of_a_failed_attempt_names_the_command_that_shows_the_traceback(
    run: Run, fl: Fairlane, caplog: pytest.LogCaptureFixture
) -> None:
    fl.organizations.create("two words")
    fl.submit("greet", organization="two words")
    fl.submit("fail", organization="two words")
    with caplog.at_level(logging.INFO, logger="fairlane"):
        fl.worker().drain()

    (command,) = [line.partition(" To see why: fairlane ")[2] for line in caplog.messages if "To see why" in line]
    shown = run(*shlex.split(command)).stdout
    assert "Traceback" in shown
    assert "the file has no rows" in shown
    assert "no rows" not in caplog.text


def test_a_traceback_is_shown_line_by_line_whatever_is_in_it(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    @fl.job_type("fail.oddly")
    def fail_oddly(ctx: JobContext) -> None:
        raise PermanentError("first \x1b[31mline\nsecond line")

    monkeypatch.setenv("COLUMNS", "40")
    job = fl.submit("fail.oddly", organization="acme")
    fl.worker().drain()

    lines = run("jobs", "show", job.id, "-o", "acme").stdout.splitlines()
    traceback = lines[lines.index("  Traceback (most recent call last):") :]
    assert any(line.startswith('    File "') and line.endswith(", in fail_oddly") for line in traceback)
    assert traceback[-2:] == ["  fairlane.domain.errors.PermanentError: first �[31mline", "  second line"]


def test_the_beginning_and_the_end_of_an_id_are_enough(run: Run) -> None:
    job_id = submitted(run)

    for part in (job_id[:13], job_id[:8], job_id[-8:], job_id.upper()):
        assert run("jobs", "show", part, "-o", "acme", "--json").json["job"]["id"] == job_id


def test_fewer_than_four_characters_of_an_id_are_refused_and_it_says_so(run: Run, fl: Fairlane) -> None:
    job_id = str(fl.submit("greet", organization="acme").id)

    for part in (job_id[-1:], job_id[-3:], f"-{job_id[-3:]}"):
        assert run("jobs", "explain", "-o", "acme", "--", part, code=1).stderr == (
            f"Error: {part} is too short for an id; give at least 4 characters of its beginning or end.\n"
        )
    assert job_id in run("jobs", "explain", job_id[-4:], "-o", "acme").stdout


def test_a_part_that_two_ids_have_in_common_is_refused(run: Run) -> None:
    first, second = submitted(run), submitted(run)
    common = next(first[:size] for size in range(36, 0, -1) if first[:size] == second[:size])

    complaint = run("jobs", "show", common[:8], "-o", "acme", code=1).stderr
    assert complaint == f"Error: Several jobs of acme have {common[:8]} in their id; give the whole id.\n"


def test_a_foreign_id_is_unknown(run: Run, fl: Fairlane) -> None:
    fl.organizations.create("other")
    job_id = submitted(run)

    for part in (job_id, job_id[-8:], "zz"):
        complaint = run("jobs", "show", part, "-o", "other", code=1).stderr
        assert complaint == (
            f"Error: Organization other has no job {part}; "
            "one submitted by connection= or connection_of is found after its commit.\n"
        )


def test_cancel(run: Run) -> None:
    job_id = submitted(run)

    assert run("jobs", "cancel", job_id, "-o", "acme", "--reason", "no").stdout == f"Job {job_id} is canceled.\n"
    assert run("jobs", "cancel", job_id, "-o", "acme", code=1).stderr.startswith("Error: ")
    assert run("jobs", "cancel", submitted(run), "-o", "acme", "--json").json["status"] == "canceled"


def test_a_waiting_job_is_rescheduled_given_a_priority_and_run_now(run: Run) -> None:
    job = submitted(run, "--delay", "1h", "-u", "ana")

    moved = run("jobs", "reschedule", job[-8:], "2199-12-31T01:00+01:00", "-o", "acme")
    assert moved.stdout == f"Job {job} is pending and starts no earlier than 2199-12-31 00:00:00 UTC.\n"
    assert run("jobs", "set-priority", job, "high", "-o", "acme").stdout == f"Job {job} is pending, of priority high.\n"
    assert run("jobs", "run-now", job, "-o", "acme", "-u", "ana").stdout == f"Job {job} is queued.\n"
    told = run("jobs", "run-now", job, "-o", "acme", "--json").json
    assert (told["status"], told["priority"]) == ("queued", "high")
    run("jobs", "cancel", job, "-o", "acme")
    for command in (("run-now",), ("reschedule", "2199-12-31"), ("set-priority", "low")):
        refused = run("jobs", command[0], job, *command[1:], "-o", "acme", code=1).stderr
        assert refused == f"Error: Job {job} is canceled and does not wait to start any more; submit it anew.\n"


def test_a_job_is_rescheduled_to_a_time_from_now(run: Run, fl: Fairlane) -> None:
    job = submitted(run, "--delay", "3d")
    run("jobs", "reschedule", job, "2h", "-o", "acme")
    assert timedelta(minutes=110) < fl.get(job, organization="acme").run_at - datetime.now(UTC) <= timedelta(hours=2)


def test_a_job_that_is_run_now_says_why_it_waits_none_the_less(run: Run) -> None:
    told = run("jobs", "run-now", submitted(run, "--delay", "1h"), "-o", "acme").stderr
    assert told == "No worker is alive. The team that runs Fairlane has to start one: `fairlane worker`.\n"


@pytest.mark.parametrize(
    "command", [("reschedule", "tomorrow"), ("reschedule", "9999999d"), ("set-priority", "urgent")]
)
def test_what_is_no_time_or_no_priority_is_refused(run: Run, command: tuple[str, str]) -> None:
    refused = run("jobs", command[0], submitted(run, "--delay", "1h"), command[1], "-o", "acme", code=2).stderr
    assert f"'{command[1]}' is" in " ".join(refused.replace("│", " ").split())


def test_cancel_of_many_says_how_many_fit_asks_and_leaves_the_others(run: Run, fl: Fairlane) -> None:
    meant = [submitted(run, "-l", "doc=42") for _ in range(3)]
    other = submitted(run)
    command = ("jobs", "cancel", "-o", "acme", "--label", "doc=42")

    refused = run(*command, answer="n\n", code=1).stderr
    assert refused.startswith("3 jobs of acme can be canceled.\nCancel all of them? [y/N]:")
    assert fl.get(meant[0], organization="acme").status is JobStatus.QUEUED
    assert run(*command, "--yes").stdout == "3 jobs canceled or asked to stop.\n"

    assert {fl.get(one, organization="acme").status for one in meant} == {JobStatus.CANCELED}
    assert fl.get(other, organization="acme").status is JobStatus.QUEUED
    assert run(*command, "--yes").stdout == "No jobs match that can be canceled.\n"
    done = run("jobs", "cancel", "-o", "acme", "--all", "-y", "--json").json
    assert (done["matching"], done["action"]["changed"], done["action"]["stopped_by"]) == (1, 1, None)


def test_cancel_of_many_says_how_many_had_ended_before_their_turn(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = submitted(run), submitted(run)
    start = Bulk.start

    def late(bulk: Bulk, *given: Any, **more: Any) -> Any:
        fl.cancel(first, organization="acme")
        return start(bulk, *given, **more)

    monkeypatch.setattr(Bulk, "start", late)
    said = run("jobs", "cancel", "-o", "acme", "--all", "--yes").stdout
    assert said == "1 job canceled or asked to stop, 1 had ended before their turn.\n"


def test_a_worker_carries_out_what_the_command_does_not_wait_for(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)  # a step is a job
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    jobs = [submitted(run, "--delay", "1h") for _ in range(3)]

    printed = run("jobs", "cancel", "-o", "acme", "--type", "greet", "--yes", "--no-wait").stdout

    (action,) = fl.bulk.list(organization="acme")
    assert printed == f"1 job canceled or asked to stop so far; workers go on with bulk action {action.id}.\n"
    fl.worker().drain()
    assert {fl.get(one, organization="acme").status for one in jobs} == {JobStatus.CANCELED}


def test_the_command_waits_until_a_worker_is_done(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_steps, "BULK_STEP", 0.0)
    monkeypatch.setattr(bulk_work, "_PAGE", 1)
    monkeypatch.setattr(Bulk, "start", partialmethod(Bulk.start, seconds=0.0))  # what is left is the worker's
    for _ in range(3):
        submitted(run, "--delay", "1h")
    with running(fl.worker()):
        assert run("jobs", "cancel", "-o", "acme", "--all", "--yes").stdout == "3 jobs canceled or asked to stop.\n"


def test_delete_of_many_takes_dead_letters_alone(run: Run, fl: Fairlane, dead: Job) -> None:
    queued = submitted(run)
    refusal = run("jobs", "delete", "-o", "acme", "--status", "queued", code=1).stderr
    assert refusal == (
        "Error: A bulk delete takes jobs that are dead_letter, and none that are queued; change the status.\n"
    )
    printed = run("jobs", "delete", "-o", "acme", "--all", "--yes")
    assert printed.stderr == "1 dead letter of acme can be deleted.\n"
    assert printed.stdout == "1 job deleted.\n"
    with pytest.raises(JobNotFound):
        fl.get(dead.id, organization="acme")
    assert fl.get(queued, organization="acme").status is JobStatus.QUEUED


@pytest.mark.parametrize("group", ["jobs", "dead-letters"])
def test_retry_of_many_queues_the_dead_letters_that_fit(run: Run, fl: Fairlane, dead: Job, group: str) -> None:
    command = (group, "retry", "-o", "acme", "--status", "dead_letter")
    edited = run(*command, "-p", "number=1", "--yes", code=2).stderr
    assert "Many jobs keep the parameters that they have" in edited
    refused = run(*command, answer="n\n", code=1).stderr
    assert refused.startswith("1 dead letter of acme can be queued again.\nRetry all of them? [y/N]:")
    assert run(*command, "--type", "greet", "--yes").stdout == "No jobs match that can be queued again.\n"
    assert run(*command, "--yes").stdout == "1 job queued again.\n"
    assert fl.get(dead.id, organization="acme").status is JobStatus.QUEUED


def test_of_many_jobs_those_are_refused_that_are_not_the_members_own(run: Run, fl: Fairlane) -> None:
    fl.members.add("acme", "bo")
    own, other = submitted(run, "-u", "bo"), submitted(run, "-u", "ana")

    told = run("jobs", "cancel", "-o", "acme", "--all", "-u", "bo", "--yes", code=1)

    assert told.stdout == "1 job canceled or asked to stop, 1 refused.\n"
    assert f"Job {other}: " in told.stderr
    assert fl.get(own, organization="acme").status is JobStatus.CANCELED
    assert run("jobs", "cancel", "-o", "acme", "--submitted-by", "ana", "--yes").stdout.startswith("1 job canceled")


@pytest.mark.parametrize("verb", ["cancel", "retry", "delete"])
def test_which_jobs_are_meant_is_said_in_exactly_one_way(run: Run, verb: str) -> None:
    job = submitted(run)
    for given in ([], [job, "--all"], [job, "-s", "queued"], ["--all", "-s", "queued"]):
        refused = run("jobs", verb, "-o", "acme", *given, "--yes", code=2).stderr
        assert "Say which jobs in one way" in refused
    assert "A filter is empty" in run("jobs", verb, "-o", "acme", "--text", "", "--yes", code=2).stderr
    assert "There is no organization" in run("jobs", verb, "-o", "acmee", "--all", "--yes", code=1).stderr


@pytest.mark.slow
def test_a_process_deletes_an_ended_job_once_it_is_sure(fl: Fairlane, url: str) -> None:
    def delete(*arguments: str, answer: str = "") -> tuple[int, str, str]:
        command = [sys.executable, "-m", "fairlane", "--url", url, "jobs", "delete", *arguments, "-o", "acme"]
        done = subprocess.run(command, input=answer, capture_output=True, text=True, check=False)
        # The library that asks writes a space behind its question to standard output.
        return done.returncode, done.stdout.removeprefix(" "), done.stderr

    job = str(fl.submit("greet", organization="acme").id)
    refusal = f"Error: Job {job} is queued; cancel it before you delete it.\n"
    assert delete(job, "--yes") == delete(job) == (1, "", refusal)
    fl.worker().drain()
    question = f"Delete job {job} of acme with all its data? [y/N]:"
    assert delete(job, answer="n\n") == (1, "", question)
    assert delete(job) == (1, "", f"{question}\nError: Nobody is there to answer; use --yes.\n")
    assert fl.get(job, organization="acme").status is JobStatus.COMPLETED

    assert delete(job, answer="y\n") == (0, f"Job {job} is deleted.\n", question)

    code, out, err = delete(job, "--yes")
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: Organization acme has no job {job}")
    other = str(fl.submit("fail", organization="acme").id)
    fl.worker().drain()
    assert delete(other[-6:], "--yes") == (0, f"Job {other} is deleted.\n", "")
    assert fl.list(organization="acme").total == 0


def test_a_stranger_who_acts_is_told_so_by_the_command_line_alone(run: Run, fl: Fairlane, dead: Job) -> None:
    sentence = "eve is not a member of organization acme; add them: fairlane members add eve -o acme"

    for command in (
        "jobs cancel",
        "jobs run-now",
        "jobs retry",
        "jobs delete --yes",
        "dead-letters retry",
        "dead-letters delete --yes",
    ):
        assert run(*command.split(), dead.id, "-o", "acme", "-u", "eve", code=1).stderr == f"Error: {sentence}\n"
    assert run("jobs", "submit", "greet", "-o", "acme", "-u", "eve", code=1).stderr == f"Error: {sentence}\n"
    with pytest.raises(JobNotFound):
        fl.cancel(dead.id, organization="acme", user="eve")
    with pytest.raises(PermissionDenied, match=r"add them\.\nfl\.members\.add\('acme', 'eve'\)"):
        fl.submit("greet", organization="acme", user="eve")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (
            "items=[1,2",
            "what -p gave for items is no JSON (Expecting ',' delimiter: line 1 column 5 (char 4)), so it was",
        ),
        ("count=ten", ""),
        ("code=null", """for text that looks like JSON, quote it: -p 'code="null"'"""),
        ("day=November", "day is a date such as 2026-11-01"),
        ('items=[1,"b"]', ""),
    ],
)
def test_a_value_that_was_taken_otherwise_than_meant_is_hinted_at(
    run: Run, fl: Fairlane, given: str, hint: str
) -> None:
    @fl.job_type("typed")
    def typed(
        ctx: JobContext, items: Sequence[int] = (), count: int = 0, code: str = "", day: date | None = None
    ) -> None: ...

    fl.migrate()
    complaint = run("jobs", "submit", "typed", "-o", "acme", "-p", given, code=1).stderr
    assert hint in complaint
    assert ("; " in complaint) is bool(hint)


@pytest.mark.parametrize("has_handler", [True, False])
def test_digits_are_text_where_the_type_takes_text(run: Run, fl: Fairlane, has_handler: bool) -> None:
    with Fairlane(fl.settings) as other:

        @(fl if has_handler else other).job_type("bank")
        def bank(
            ctx: JobContext,
            account: str,
            pin: SecretStr,
            note: str | None = None,
            digit: Literal["1", "2"] = "1",
            either: int | str = 0,
            number: int = 0,
        ) -> None: ...

        (fl if has_handler else other).migrate()
    pairs = ("account=007", "pin=81549300", "note=true", "digit=2", "either=5", "number=6")
    job_id = submitted_of(run, "bank", *(word for one in pairs for word in ("-p", one)))
    told = {"account": "007", "pin": "[redacted]", "note": "true", "digit": "2", "either": 5, "number": 6}
    assert fl.get(job_id, organization="acme").parameters == told


def test_all_digits_of_a_decimal_arrive(run: Run, fl: Fairlane) -> None:
    @fl.job_type("pay")
    def pay(ctx: JobContext, amount: Decimal) -> None: ...

    fl.migrate()
    for given in (("-p", "amount=12345678901234567.89"), ("--parameters", '{"amount": 12345678901234567.890}')):
        job_id = submitted_of(run, "pay", *given)
        told = fl.get(job_id, organization="acme").parameters
        assert Decimal(told["amount"]) == Decimal("12345678901234567.89")
        run("jobs", "cancel", job_id, "-o", "acme")


def test_a_secret_that_was_refused_is_not_repeated_in_a_hint(run: Run, fl: Fairlane) -> None:
    @fl.job_type("bank")
    def bank(ctx: JobContext, pins: SecretStr | list[SecretStr], pin: SecretStr) -> None: ...

    fl.migrate()
    for given in ("pin=[81549300]", 'pin={"a": 81549300}', "pins=81549300", "pins=[81549300]"):
        told = run("jobs", "submit", "bank", "-o", "acme", "-p", given, code=1).stderr
        assert "[redacted]" in told
        assert "81549300" not in told


def test_an_error_says_what_to_do_on_the_command_line(run: Run, fl: Fairlane) -> None:
    @fl.job_type("once")
    def once(ctx: JobContext) -> None: ...

    fl.submit("once", organization="acme")
    again = run("jobs", "submit", "once", "-o", "acme", code=1).stderr
    assert again.endswith("Wait for it, or submit with --on-duplicate return.\n")
    unknown = run("jobs", "submit", "unknown", "-o", "acme", code=1).stderr
    assert "start a worker that has it, or name its application by --app." in unknown


def test_retry(run: Run, dead: Job) -> None:
    printed = run("jobs", "retry", dead.id, "-o", "acme").stdout

    assert printed == f"Job {dead.id} is queued again.\n"
    assert run("jobs", "retry", dead.id, "-o", "acme", code=1).stderr.startswith("Error: ")
    run("jobs", "retry", dead.id, "-o", "acme", "--parameters", "nonsense", code=2)


@pytest.mark.parametrize("group", ["jobs", "dead-letters"])
def test_a_retry_names_the_breaker_that_holds_it_back(run: Run, dead: Job, resting: str, group: str) -> None:
    retried = run(group, "retry", dead.id, "-o", "acme")

    assert (retried.stdout, retried.stderr) == (f"Job {dead.id} is queued again.\n", resting)


def test_a_submission_names_the_breaker_that_holds_it_back(run: Run, resting: str) -> None:
    assert run("jobs", "submit", "fail", "-o", "acme").stderr == resting
    assert run("jobs", "submit", "fail", "-o", "acme", "--json").stderr == ""
    assert run("jobs", "submit", "fail", "-o", "acme", "--delay", "1h").stderr == ""


@pytest.mark.parametrize("verb", ["jobs submit", "jobs retry", "jobs run-now", "schedules submit"])
def test_a_verb_that_makes_a_job_ready_names_all_that_keeps_it_from_starting(
    run: Run, fl: Fairlane, dead: Job, verb: str
) -> None:
    fl.queues.pause("default", reason="the printer is away", user="ops")
    fl.schedules.put("nightly", "fail", organization="acme", every=86_400)
    what = {"jobs submit": "fail", "jobs retry": dead.id, "schedules submit": "nightly"}.get(verb)
    with Fairlane(fl.settings) as other, running_worker(other):
        told = run(*verb.split(), what or submitted(run, "--delay", "1h"), "-o", "acme")

    pause, missing = told.stderr.splitlines()
    assert pause.startswith("Queue default is paused: ops paused it at ")
    assert "(the printer is away). Nothing of it starts until somebody resumes it." in pause
    assert missing.startswith("No live worker that serves queue default has a handler for ")


def test_a_submission_that_starts_soon_says_no_more(run: Run, fl: Fairlane) -> None:
    with running_worker(fl):
        assert run("jobs", "submit", "greet", "-o", "acme").stderr == ""


def test_a_database_that_goes_away_before_a_job_is_explained_fails_nobody_who_has_submitted(dead: Job) -> None:
    with Fairlane("postgresql://127.0.0.1:1/none") as away:
        submitting.remark_on_holds(away, dead.id, "acme")


def test_a_job_that_completed_behind_the_last_look_is_no_failure(
    fl: Fairlane, capsys: pytest.CaptureFixture[str]
) -> None:
    job = fl.submit("greet", organization="acme")
    fl.worker().drain()

    ended = submitting._wait_or_leave(fl, job, timedelta(0), quiet=False)

    assert ended.status is JobStatus.COMPLETED
    assert capsys.readouterr() == (f"Job {job.id} is completed.\n", "")


def test_a_wait_has_a_bound_and_says_then_why_the_job_stands_still(run: Run, fl: Fairlane, resting: str) -> None:
    left = run("jobs", "submit", "fail", "-o", "acme", "--wait-timeout", "0.1s", code=1)

    (job,) = fl.list(organization="acme").items
    assert left.stdout == f"Job {job.id} is queued.\n"
    assert left.stderr.startswith(f"Job {job.id} is still queued after 0.1 s. {' '.join(resting.splitlines())}")
    assert left.stderr.endswith(f"to follow it:\n  fairlane jobs log {job.id} -o acme --follow\n")
    document = run("jobs", "submit", "fail", "-o", "acme", "--wait", "--wait-timeout", "0", "--json", code=1).json
    assert document["status"] == "queued"
    run("jobs", "submit", "fail", "-o", "acme", "--wait-timeout", "soon", code=2)


@pytest.mark.parametrize("group", ["jobs", "dead-letters"])
def test_a_retry_may_change_one_parameter_and_leaves_the_others(run: Run, fl: Fairlane, group: str) -> None:
    @fl.job_type("count")
    def count(ctx: JobContext, number: int, who: str) -> None:
        raise PermanentError("too many")

    job = fl.submit("count", organization="acme", parameters={"number": 7, "who": "bo"})
    fl.worker().drain()

    refused = run(group, "retry", job.id, "-o", "acme", "-p", "number=ten", code=1).stderr
    assert refused.endswith("parameter 'number' must be an int (got 'ten')\n")
    run(group, "retry", job.id, "-o", "acme", "-p", "number=1")
    assert fl.get(job.id, organization="acme").parameters == {"number": 1, "who": "bo"}


def test_explain(run: Run) -> None:
    job_id = submitted(run)

    assert "No worker is alive." in run("jobs", "explain", job_id, "-o", "acme").stdout
    document = run("jobs", "explain", job_id, "-o", "acme", "--json").json
    assert (document["job_id"], document["reasons"][0]["code"]) == (job_id, "no_worker")


def test_log(run: Run, fl: Fairlane) -> None:
    job_id = submitted(run, "-p", "name=Bo")
    fl.worker().drain()

    assert "info     greeting Bo" in run("jobs", "log", job_id, "-o", "acme").stdout
    assert "greeting Bo" in run("jobs", "log", job_id, "-o", "acme", "--follow").stdout
    (line,) = run("jobs", "log", job_id, "-o", "acme", "--json").json
    assert line["message"] == "greeting Bo"
    run("jobs", "log", job_id, "-o", "acme", "--json", "--follow", code=2)


def test_what_waits_for_a_retry_is_listed_with_the_time_to_it(run: Run, fl: Fairlane) -> None:
    @fl.job_type("flaky", dedup_window=0, backoff=[3600])
    async def flaky(ctx: JobContext) -> None:
        raise TransientError("later")

    job = fl.submit("flaky", organization="acme")
    fl.worker().drain()
    ready = fl.submit("greet", organization="acme")

    listed = run("jobs", "list", "-o", "acme", "--waiting-for", "retry").stdout
    assert re.search(rf"^{job.id} +queued, again in (\d+m|1h) +flaky ", listed, re.MULTILINE)
    assert str(ready.id) not in listed
    assert re.search(rf"^{ready.id} +queued +greet ", run("jobs", "list", "-o", "acme").stdout, re.MULTILINE)
    assert re.search(
        r"^status +queued, again in (\d+m|1h) *$", run("jobs", "show", job.id, "-o", "acme").stdout, re.MULTILINE
    )
    assert [
        one["id"] for one in run("jobs", "list", "-o", "acme", "--waiting-for", "retry", "--json").json["items"]
    ] == [str(job.id)]
    refusal = run("jobs", "list", "-o", "acme", "--waiting-for", "retry", "--status", "running", code=1).stderr
    assert "never running; omit the status, or omit --waiting-for" in refusal
    assert (
        "'parents' is not one of 'retry'"
        in run("jobs", "list", "-o", "acme", "--waiting-for", "parents", code=2).stderr
    )


def test_jobs_of_the_platform_are_named_like_those_of_an_organization(run: Run, fl: Fairlane) -> None:
    fl.users.create("olga", operator=True)
    made = run("jobs", "submit", "greet", "-o", ",platform", "-u", "olga", "--json").json
    assert (made["organization"], made["user"]) == (PLATFORM, "olga")
    assert made["id"] in run("jobs", "list", "-o", ",platform", "--json").stdout
    assert "No jobs" in run("jobs", "list", "-o", "acme").stdout
    assert ",platform" in run("jobs", "show", made["id"], "-o", ",platform").stdout
    refused = run("jobs", "cancel", made["id"], "-o", ",platform", "-u", "ana", code=1).stderr
    assert "ana is no operator" in refused or "no user" in refused
    run("jobs", "cancel", made["id"], "-o", ",platform", "-u", "olga")
    assert fl.get(made["id"], organization=PLATFORM).status == "canceled"
    assert "The platform is no organization" in run("members", "add", "ana", "-o", ",platform", code=1).stderr
    assert "no organization's id" in run("orgs", "pause", ",platform", code=1).stderr
