"""Printed text fits the terminal, and holds nothing that moves its cursor."""

import io
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from uuid import UUID, uuid4

import pytest
import typer
from rich.console import Console

from fairlane import Fairlane, JobContext, JobStatus, PermanentError
from fairlane.cli import options as o
from fairlane.cli.output import brief, plain
from fairlane.cli.worker_display import DisplayHandler, WorkerDisplay, stderr_shown
from fairlane.domain import events as e
from fairlane.domain.outcomes import Try
from fairlane.telemetry import EventLog
from tests.cli.conftest import Run

JOB = UUID("01928f3a-1b2c-7d4e-8f90-a1b2c3d4e5f6")


LISTS = ("jobs list", "dead-letters list", "dead-letters groups", "members list", "orgs list", "types list")


@pytest.mark.parametrize("columns", [80, 50])
def test_tables_fit_the_terminal(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FAIRLANE_ORGANIZATION", "acme")
    fl.submit("fail", organization="acme", user="ana")
    fl.worker().drain()

    for command in LISTS:
        lines = run(*command.split()).stdout.splitlines()
        assert len(lines) > 1
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [None, "80"])
def test_lines_in_a_pipe_end_without_blanks(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FAIRLANE_ORGANIZATION", "acme")

    @fl.job_type("long")
    def long(ctx: JobContext) -> None:
        raise PermanentError(" ".join(["the file has no rows"] * 100))

    job = fl.submit("long", organization="acme", user="ana")
    fl.worker().drain()

    for command in (f"jobs show {job.id}", f"jobs explain {job.id}", *LISTS):
        lines = run(*command.split()).stdout.splitlines()
        assert [line for line in lines if line.endswith(" ")] == []
        assert any(lines)


def test_ids_are_whole_at_80_columns(run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    job = fl.submit("greet", organization="acme", user="ana")

    assert str(job.id) in run("jobs", "list", "-o", "acme").stdout


def test_what_tenants_write_moves_no_cursor(run: Run, fl: Fairlane) -> None:
    fl.submit("greet", organization="acme", parameters={"name": "\x1b[2J\u202e"})
    fl.worker().drain()
    (job,) = fl.list(organization="acme").items

    for verb in ("show", "log"):
        assert not set("\x1b\u202e") & set(run("jobs", verb, job.id, "-o", "acme").stdout)


def test_plain() -> None:
    assert plain("a\nb\tc\x1b[31m\x07") == "a b c�[31m�"


def test_durations() -> None:
    assert [brief(seconds) for seconds in (0, 59.9, 60, 3600, 86_400 * 3)] == ["0s", "59s", "1m", "1h", "3d"]
    assert o.duration("--delay", "1h30m") == timedelta(minutes=90)
    assert o.duration("--delay", "0.5") == timedelta(seconds=0.5)
    for text in ("", "1x", "h", "-1"):
        with pytest.raises(typer.BadParameter):
            o.duration("--delay", text)


def screen(width: int) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=width, height=20, color_system=None), file


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_worker_shows_what_runs_and_what_has_ended(width: int) -> None:
    console, file = screen(width)
    display = WorkerDisplay(console)
    with display:
        display(e.WorkerStarted("host:1", 100, None))
        display(e.JobStarted("acme", JOB, "report.pdf", 1))
        display(e.JobProgressed("acme", JOB, "report.pdf", 45, "page 5 of \x1b11"))
        with console.capture() as running:
            console.print(display.render())
        display(e.JobEnded("acme", JOB, "report.pdf", JobStatus.COMPLETED, None, 1.5))

    lines = running.get().splitlines()
    assert max(map(len, lines)) <= width
    for part in ("acme", "report.pdf", "c3d4e5f6", "45%", "page 5"):
        assert part in lines[0]
    assert "host:1 serves all queues with 100 slots" in lines[1]
    assert "completed  acme  report.pdf  c3d4e5f6  1.50 s" in file.getvalue()
    assert file.getvalue().endswith("0 running, 1 completed\n")


def test_a_worker_shows_nothing_that_was_taken_from_it_for_ever() -> None:
    """No end of such an attempt is told."""
    console, _ = screen(80)
    display = WorkerDisplay(console)
    display(e.WorkerStarted("host:1", 2, None))
    display(e.JobStarted("acme", JOB, "report.pdf", 1))
    display(e.LeaseLost("acme", JOB, "report.pdf"))
    assert display._running == {}
    for _ in range(10):
        display(e.JobStarted("acme", uuid4(), "report.pdf", 1))
    assert len(display._running) == 4


def test_a_failed_attempt_names_the_command_that_shows_its_error() -> None:
    console, file = screen(80)
    with WorkerDisplay(console) as display:
        display(e.JobEnded("two words", JOB, "report.pdf", JobStatus.FAILED, "ValueError", 1.5, Try(2, 6)))

    assert (
        "1.50 s  attempt 2 of 6\n           ValueError  fairlane jobs show c3d4e5f6 -o 'two words'\n" in file.getvalue()
    )


def test_a_snoozed_attempt_is_told_as_snoozed_and_for_how_long() -> None:
    console, file = screen(80)
    with WorkerDisplay(console) as display:
        display(e.JobEnded("acme", JOB, "report.pdf", JobStatus.QUEUED, None, 1.5, snoozed=60.0))

    assert "snoozed    acme  report.pdf  c3d4e5f6  1.50 s  again in 60 s\n" in file.getvalue()
    assert file.getvalue().endswith("0 running, 1 snoozed\n")


def test_the_first_service_that_reaches_the_database_again_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Others come after their longer waits; the log said nothing until the last of them had."""
    log = EventLog()
    with caplog.at_level(logging.INFO, "fairlane"):
        for event in (
            *(
                e.StorageLost("claim", "It is away; nothing was changed, try again.", 0.2),
                e.StorageLost("rescue", "It is away.", 20.0),
            ),
            *(e.StorageBack("claim"), e.StorageBack("rescue"), e.StorageLost("rescue", "It is away.", 0.2)),
        ):
            log(event)
    assert caplog.messages == [
        "Worker loop claim tries again by itself in 0.2 s. It met: It is away; nothing was changed, try again.",
        "Worker loop claim: the database is back.",
        "Worker loop rescue tries again by itself in 0.2 s. It met: It is away.",
    ]


def test_a_dead_letter_is_shown_once_and_by_its_short_id() -> None:
    """Its warning in the log has the whole id: for a file, which people search."""
    console, file = screen(80)
    with WorkerDisplay(console) as display:
        event = e.JobEnded("acme", JOB, "report.pdf", JobStatus.DEAD_LETTER, "ValueError", 1.5, Try(6, 6))
        handler, log = DisplayHandler(display), logging.getLogger("fairlane")
        log.addHandler(handler)
        try:
            EventLog()(event)
        finally:
            log.removeHandler(handler)
        display(event)

    assert file.getvalue().count("report.pdf") == 1
    assert "dead_letter  acme  report.pdf  c3d4e5f6  1.50 s  attempt 6 of 6\n" in file.getvalue()
    assert "ValueError  fairlane jobs show c3d4e5f6 -o acme\n" in file.getvalue()
    assert str(JOB) not in file.getvalue()


def test_log_lines_scroll_by_above() -> None:
    console, file = screen(80)
    display = WorkerDisplay(console)
    with display:
        DisplayHandler(display).handle(logging.makeLogRecord({"msg": "the database is away", "levelno": 30}))

    assert "the database is away" in file.getvalue()


def test_a_thousand_ends_a_second_are_counted() -> None:
    console, file = screen(80)
    display = WorkerDisplay(console)
    for _ in range(1000):
        display(e.JobEnded("acme", JOB, "report.pdf", JobStatus.COMPLETED, None, 1.5))
    with display:
        pass

    assert "… and 975 more lines" in file.getvalue()
    assert file.getvalue().endswith("0 running, 1,000 completed\n")


def test_at_80_columns_no_column_is_lost_and_none_is_cut_that_can_be_copied(
    run: Run, fl: Fairlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, may_end = Event(), Event()

    @fl.job_type("accounting.invoice.send_reminder")
    def remind(ctx: JobContext) -> None:
        ctx.progress(12, "page 5 of 11 of the statements of account for the first quarter")
        runs.set()
        assert may_end.wait(30)

    monkeypatch.setenv("COLUMNS", "80")
    fl.organizations.create(organization := "northwind-traders-and-sons")
    fl.members.add(organization, user := "ana.petrovic@northwind.example")
    job = fl.submit("accounting.invoice.send_reminder", organization=organization, user=user)
    with ThreadPoolExecutor() as threads:
        drained = threads.submit(fl.worker().drain)
        assert runs.wait(30)
        top = run("top").stdout
        may_end.set()
        drained.result()
    jobs = run("jobs", "list", "-o", organization).stdout

    assert max(len(line.rstrip()) for line in [*top.splitlines(), *jobs.splitlines()]) <= 80
    assert ["ORGANIZATION", "TYPE", "JOB", "%", "PROGRESS", "FOR"] in [line.split() for line in top.splitlines()]
    assert str(job.id)[-8:] in top
    assert jobs.split()[:5] == ["ID", "STATUS", "TYPE", "AGE", str(job.id)]
    assert "accounting.invoice.sen" in jobs
    assert organization in run("orgs", "list").stdout


def test_what_a_handler_s_process_prints_scrolls_by_above_instead_of_into_the_last_line() -> None:
    console, file = screen(80)
    display = WorkerDisplay(console)
    with os.fdopen(os.dup(2), "w") as terminal, display:
        with stderr_shown(display, terminal):
            subprocess.run([sys.executable, "-c", "print('\\x1b[2Jpage 1\\npage 2', end='')"], stdout=2, check=True)
        assert os.path.sameopenfile(2, terminal.fileno())

    assert "�[2Jpage 1\n" in file.getvalue()
    assert "page 2\n" in file.getvalue()
