"""R7: what becomes of a job whose attempt went wrong."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import AfterValidator
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, registry

from fairlane import JobContext, PermanentError, Snooze, SubmissionError, TransientError
from fairlane.api import problem_of
from fairlane.domain.events import JobEnded
from fairlane.testing import ManualClock
from tests.acceptance.apps import handlers
from tests.engine.worker_kit import Engine, another, engine


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url, clock=ManualClock()) as fl:
        yield fl


def advance(fl: Engine, seconds: float) -> None:
    clock = fl.database.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


def wait_of(fl: Engine, job: Any) -> float:
    """Seconds that a queued job waits for its next attempt."""
    now = fl.database.read(fl.database.clock.now)
    at = fl.look(job).next_retry_at
    assert at is not None
    return (at - now).total_seconds()


def always(fl: Engine, error: Callable[[], BaseException], **options: Any) -> None:
    """The job type "work", whose handler raises that error."""

    @fl.job_type("work", **options)
    async def work(ctx: JobContext) -> None:
        raise error()


def test_a_transient_error_is_retried_after_a_growing_wait(fl: Engine) -> None:
    always(fl, lambda: TransientError("try later"))
    job = fl.give("work")
    waits = []
    for _ in range(3):
        fl.drain()
        waits.append(wait_of(fl, job))
        advance(fl, waits[-1])
    assert [48 <= waits[0] <= 72, 96 <= waits[1] <= 144, 192 <= waits[2] <= 288] == [True] * 3
    assert fl.look(job).retry_count == 3
    assert fl.look(job).error_message == "try later"


def test_a_job_with_a_retry_ahead_is_not_run_before_its_time(fl: Engine) -> None:
    always(fl, ConnectionError)
    job = fl.give("work")
    fl.drain()
    advance(fl, wait_of(fl, job) - 0.001)
    fl.drain()
    assert fl.look(job).attempt == 1
    advance(fl, 0.001)
    fl.drain()
    assert fl.look(job).attempt == 2


def test_a_job_is_retried_no_sooner_than_the_other_side_asks_for(fl: Engine) -> None:
    always(fl, lambda: TransientError("busy", retry_after=7))
    job = fl.give("work")
    fl.drain()
    assert 7 <= wait_of(fl, job) <= 8.4


def test_a_type_may_name_its_waits(fl: Engine) -> None:
    always(fl, ConnectionError, backoff=[10, timedelta(minutes=10)], max_retries=3)
    job = fl.give("work")
    waits = []
    for _ in range(3):
        fl.drain()
        waits.append(wait_of(fl, job))
        advance(fl, waits[-1])
    assert [8 <= waits[0] <= 12, 480 <= waits[1] <= 720, 480 <= waits[2] <= 720] == [True] * 3


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sa.Engine]:
    """Return the host's own database; it has a table of orders."""
    shop = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with shop.begin() as connection:
        connection.execute(sa.text("CREATE TABLE orders (number INTEGER PRIMARY KEY)"))
    yield shop
    shop.dispose()


def read_orders(fl: Engine, shop: sa.Engine, **options: Any) -> None:
    """Register the job type "work", whose handler reads order 7."""

    @fl.job_type("work", **options)
    def work(ctx: JobContext) -> None:
        with shop.connect() as connection:
            connection.execute(sa.text("SELECT number FROM orders WHERE number = 7")).one()


def test_a_job_that_runs_before_its_submitter_commits_is_retried(fl: Engine, shop: sa.Engine) -> None:
    read_orders(fl, shop)
    with shop.begin() as connection:
        connection.execute(sa.text("INSERT INTO orders VALUES (7)"))
        job = fl.give("work")  # without connection=
        fl.drain()
    assert "the row may not be committed yet; to run after the commit, submit with connection=" in fl.reasons(job)
    advance(fl, wait_of(fl, job))
    fl.drain()
    assert fl.look(job).status == "completed"


def test_a_row_that_never_comes_is_given_up_after_two_retries(fl: Engine, shop: sa.Engine) -> None:
    read_orders(fl, shop, backoff=[0])
    job = fl.give("work")
    fl.drain()
    assert fl.way(job) == ["queued", *["running", "failed", "queued"] * 2, "running", "failed", "dead_letter"]
    assert fl.reasons(job).endswith("permanent error, retried 2 times")


def test_a_type_may_give_up_a_missing_row_at_once(fl: Engine, shop: sa.Engine) -> None:
    read_orders(fl, shop, permanent=[sa.exc.NoResultFound])
    job = fl.give("work")
    fl.drain()
    assert fl.reasons(job).endswith("permanent error, not retried")


def test_of_a_job_without_retries_none_is_said_to_be_spent(fl: Engine) -> None:
    always(fl, lambda: ConnectionError("gone"), max_retries=0)
    job = fl.give("work")
    fl.drain()
    assert fl.reasons(job).endswith("it has no retries")


def test_a_job_ends_in_dead_letter_when_its_retries_are_spent(fl: Engine) -> None:
    always(fl, lambda: ConnectionError("gone"), max_retries=2, backoff=[0])
    job = fl.give("work")
    fl.drain()
    assert fl.way(job) == ["queued", *["running", "failed", "queued"] * 2, "running", "failed", "dead_letter"]
    assert fl.look(job).attempt == 3
    assert fl.look(job).error_type == "ConnectionError"
    assert fl.reasons(job).endswith("2 of 2 retries spent")
    (letter,) = fl.dead_letters.list(organization="acme").items
    assert letter.error_type == "ConnectionError"


def test_a_permanent_error_is_not_retried(fl: Engine) -> None:
    always(fl, lambda: PermanentError("never"))
    job = fl.give("work")
    fl.drain()
    assert fl.way(job) == ["queued", "running", "failed", "dead_letter"]
    assert fl.look(job).error_message == "never"


def test_a_type_may_say_which_errors_are_permanent_and_which_are_not(fl: Engine) -> None:
    class Odd(Exception): ...

    always(fl, Odd, permanent=[Odd])
    job = fl.give("work")
    fl.drain()
    assert fl.look(job).status == "dead_letter"

    @fl.job_type("other", transient=[PermissionError])
    async def other(ctx: JobContext) -> None:
        raise PermissionError

    later = fl.give("other")
    fl.drain()
    assert fl.look(later).status == "queued"


def test_a_snooze_spends_no_retry_and_is_no_error(fl: Engine) -> None:
    always(fl, lambda: Snooze(90, "the source is locked"), max_retries=0)
    job = fl.give("work")
    for attempt in (1, 2):
        fl.drain()
        assert wait_of(fl, job) == pytest.approx(90)
        assert (fl.look(job).attempt, fl.look(job).retry_count) == (attempt, 0)
        advance(fl, 90)
    assert fl.look(job).error_type is None
    assert "snoozed by the handler for 90 s: the source is locked" in fl.reasons(job)


def test_a_snooze_may_quote_what_can_not_be_stored(fl: Engine) -> None:
    """Such as the name of a file that is no UTF-8."""
    always(fl, lambda: Snooze(60, "waits for " + os.fsdecode(b"caf\xe9.txt") + "\0" + "x" * 20_000))
    job = fl.give("work")
    fl.drain()
    assert fl.look(job).status == "queued"
    assert "waits for caf?.txt\N{REPLACEMENT CHARACTER}xxx" in fl.reasons(job)
    assert len(fl.reasons(job)) < 11_000


def test_a_group_of_snoozes_is_a_snooze(fl: Engine) -> None:
    """A TaskGroup makes a group of what its tasks raise."""
    always(fl, lambda: ExceptionGroup("tasks", [Snooze(5), Snooze(90, "the source is locked")]), max_retries=0)
    job = fl.give("work")
    fl.drain()
    assert fl.look(job).status == "queued"
    assert wait_of(fl, job) == pytest.approx(90)


def test_what_can_not_be_decoded_backs_off_and_ends_in_dead_letter(fl: Engine) -> None:
    with another(fl) as older:

        @older.job_type("work", max_retries=1)
        async def before(ctx: JobContext, count: str) -> None: ...

        job = older.give("work", parameters={"count": "many"})

    @fl.job_type("work", max_retries=1)
    async def work(ctx: JobContext, count: int) -> None: ...

    fl.drain()
    assert fl.way(job) == ["queued", "running", "failed", "queued"]
    assert wait_of(fl, job) >= 48
    advance(fl, wait_of(fl, job))
    fl.drain()
    assert fl.look(job).status == "dead_letter"
    assert fl.look(job).error_type == "InvalidParameters"
    assert "parameter 'count'" in str(fl.look(job).error_message)


def test_a_process_handler_that_can_not_decode_backs_off_too(fl: Engine) -> None:
    with another(fl) as older:

        @older.job_type("work")
        async def before(ctx: JobContext, at: str) -> None: ...

        job = older.give("work", parameters={"at": "tomorrow"})
    fl.job_type("work", isolation="process")(handlers.where)
    fl.drain()
    assert fl.way(job) == ["queued", "running", "failed", "queued"]


def test_the_traceback_is_kept_without_secrets(fl: Engine) -> None:
    always(fl, lambda: ConnectionError("https://ana:hunter2@example.org refused, password=hunter2"))
    job = fl.give("work")
    fl.drain()
    failed = next(one for one in fl.history(job.id, organization="acme") if one.to_status == "failed")
    assert "test_engine_errors.py" in str(failed.traceback)
    assert "ConnectionError" in str(failed.traceback)
    assert "hunter2" not in json.dumps([failed.traceback, failed.message, fl.look(job).error_message])


@pytest.mark.slow
def test_a_traceback_begins_with_the_handler(fl: Engine) -> None:
    """A handler's author can mend nothing in Fairlane's own frames."""

    @fl.job_type("thread", max_retries=0)
    def plain(ctx: JobContext) -> None:
        raise KeyError("x")

    @fl.job_type("async", max_retries=0)
    async def asynchronous(ctx: JobContext) -> None:
        raise KeyError("x")

    fl.job_type("process", isolation="process", max_retries=0)(handlers.raise_key_error)
    jobs = [fl.give(name) for name in ("thread", "async", "process")]
    fl.drain()
    for job in jobs:
        lines = traceback_of(fl, job).splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert [Path(line.split('"')[1]).name for line in lines if line.startswith("  File ")] in (
            ["test_engine_errors.py"],
            ["handlers.py"],
        )
        assert lines[-1] == "KeyError: 'x'"


def test_of_a_result_that_can_not_be_stored_the_sentence_is_enough(fl: Engine) -> None:
    @fl.job_type("work")
    async def work(ctx: JobContext) -> object:
        return object()

    job = fl.give("work")
    fl.drain()
    assert traceback_of(fl, job).splitlines() == [
        f"fairlane.domain.errors.PermanentError: {fl.look(job).error_message}"
    ]


def traceback_of(fl: Engine, job: Any) -> str:
    return next(str(one.traceback) for one in fl.history(job.id, organization="acme") if one.to_status == "failed")


def test_every_attempt_is_in_the_log_with_its_error(fl: Engine, caplog: pytest.LogCaptureFixture) -> None:
    @fl.job_type("work", backoff=[0], max_retries=1)
    async def work(ctx: JobContext) -> None:
        raise ConnectionError(f"attempt {ctx.attempt}")

    job = fl.give("work")
    with caplog.at_level(logging.WARNING, "fairlane"):
        fl.drain()
    failed = [one for one in fl.history(job.id, organization="acme") if one.to_status == "failed"]
    assert [(one.attempt, one.error_type, one.message) for one in failed] == [
        (1, "ConnectionError", "ConnectionError: attempt 1"),
        (2, "ConnectionError", "ConnectionError: attempt 2"),
    ]
    assert [event.status for event in fl.events.of(JobEnded)] == ["failed", "dead_letter"]
    told = [line for line in caplog.messages if str(job.id) in line]
    assert [f", attempt {number} of 2. To see why:" in line for number, line in enumerate(told, 1)] == [True, True]


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Endless(Exception): ...


Endless.__name__ = Endless.__qualname__ = "E" * 300

ODD_ERRORS: dict[str, Callable[[], BaseException]] = {
    "NUL": lambda: ConnectionError("a\0b"),
    "lone surrogate": lambda: ConnectionError("a\ud800b"),
    "no text": Speechless,
    "a name without end": Endless,
    "a text without end": lambda: ConnectionError("x" * 1_000_000),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": StopIteration,
    "an exception group": lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
}


@pytest.mark.slow
def test_what_a_handlers_objects_raise_when_they_are_read_ends_its_attempt(fl: Engine) -> None:
    kinds, quits, is_submitted = handlers.UNREADABLE, list(handlers.QUITS.values()), threading.Event()

    def quit_in_the_worker(number: int) -> int:
        if is_submitted.is_set():
            raise quits[number]("unreadable")
        return number

    @fl.job_type("on the loop", max_retries=0)
    async def on_the_loop(ctx: JobContext, kind: str, by: str) -> Any:
        return kinds[kind](by)

    @fl.job_type("in a thread", max_retries=0)
    def in_a_thread(ctx: JobContext, kind: str, by: str) -> Any:
        return kinds[kind](by)

    @fl.job_type("validated", max_retries=0)
    async def validated(ctx: JobContext, number: Annotated[int, AfterValidator(quit_in_the_worker)]) -> None: ...

    fl.job_type("in a process", max_retries=0, isolation="process")(handlers.give_unreadable)

    @fl.job_type("fine")
    async def fine(ctx: JobContext) -> None: ...

    jobs = {
        (where, kind, by): fl.give(where, parameters={"kind": kind, "by": by})
        for where in ("on the loop", "in a thread", "in a process")
        for kind in kinds
        for by in handlers.QUITS
    }
    jobs |= {("validated", "parameter", by): fl.give("validated", parameters={"number": n})
             for n, by in enumerate(handlers.QUITS)}  # fmt: skip
    last = fl.give("fine", priority="low")
    is_submitted.set()
    fl.drain(concurrency=4)
    assert {case: fl.look(job).status for case, job in jobs.items() if fl.look(job).status != "dead_letter"} == {}
    assert fl.look(last).status == "completed"
    said = fl.look(jobs["on the loop", "result", "SystemExit"])
    assert said.error_message == "the handler raised SystemExit though nobody asked it to stop: unreadable"


def test_whatever_a_handler_raises_fails_its_attempt_and_nothing_else(fl: Engine) -> None:
    @fl.job_type("odd", max_retries=0)
    async def odd(ctx: JobContext, name: str) -> None:
        error = ODD_ERRORS[name]()
        raise error

    @fl.job_type("plain odd", max_retries=0)
    def plain_odd(ctx: JobContext, name: str) -> None:
        error = ODD_ERRORS[name]()
        raise error

    @fl.job_type("fine")
    async def fine(ctx: JobContext) -> None: ...

    jobs = [(name, fl.give(kind, parameters={"name": name})) for name in ODD_ERRORS for kind in ("odd", "plain odd")]
    last = fl.give("fine", priority="low")
    fl.drain(concurrency=3)
    for name, job in jobs:
        now = fl.look(job)
        assert now.status == "dead_letter", name
        assert now.error_type not in {None, "UnstorableOutcome"}, name
    assert fl.look(last).status == "completed"


def test_a_submission_in_a_transaction_that_failed_is_the_handlers_own_failure(fl: Engine) -> None:
    page = type("Page", (), {})
    table = sa.Table("pages", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))
    registry().map_imperatively(page, table)
    theirs = sa.create_engine(fl.database.engine.url)
    table.metadata.create_all(theirs)
    raised = []

    @fl.job_type("work", max_retries=1)
    def work(ctx: JobContext) -> None:
        with Session(theirs) as session:
            session.execute(table.insert().values(number=1))
            twin = page()
            twin.number = 1
            session.add(twin)
            with pytest.raises(IntegrityError):
                session.flush()
            try:
                fl.submit("work", organization="acme", connection=session)
            except SubmissionError as error:
                raised.append(error)
                raise

    job = fl.give("work")
    fl.drain()
    assert fl.look(job).retry_count == 1
    advance(fl, 600)
    fl.drain()
    theirs.dispose()
    ended = fl.look(job)
    assert (ended.status, ended.error_type) == ("dead_letter", "SubmissionError")
    assert ended.error_message is not None
    assert "has failed already" in ended.error_message
    problem = problem_of(raised[0])
    assert (problem.status, "Retry-After" in problem.headers) == (500, False)
