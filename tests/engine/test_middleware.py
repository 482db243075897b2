"""Functions of the application around handlers and submissions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from fairlane import (
    ConfigurationError,
    DuplicateJob,
    Fairlane,
    InvalidParameters,
    Job,
    JobContext,
    JobStatus,
    Submission,
    SubmissionError,
)
from fairlane.domain.events import ServiceFailed
from fairlane.engine.idempotency import Key
from fairlane.engine.middleware import around
from tests.engine import watched_handlers as handlers
from tests.engine.worker_kit import Engine, engine, running

pytestmark = pytest.mark.both_databases


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        yield fl


@pytest.fixture(params=handlers.WORK)
def isolation(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def work(fl: Engine, isolation: Any, *, fails: bool = False, labels: Any = None) -> Job:
    """Run a job within the middlewares that are there."""
    fl.job_type("work", isolation=isolation, max_retries=0)(handlers.WORK[isolation])
    job = fl.give("work", parameters={"fails": fails}, labels=labels or {})
    fl.drain()
    return fl.look(job)


def said(fl: Engine, job: Job) -> list[str]:
    return [line.message for line in fl.log_lines(job, organization="acme")]


def test_the_first_middleware_is_the_outermost_where_the_handler_runs(fl: Engine, isolation: str) -> None:
    fl.middleware(handlers.outer)
    fl.middleware(handlers.inner)
    job = work(fl, isolation)
    assert said(fl, job) == ["outer begins", "inner begins of work", "works", "inner ends", "outer ends"]
    assert fl.value(job) == "set by inner"


def test_a_middleware_sees_an_error_and_can_not_hide_it(fl: Engine, isolation: str) -> None:
    fl.middleware(handlers.outer)
    fl.middleware(handlers.hiding)
    job = work(fl, isolation, fails=True)
    assert (job.status, job.error_type, job.error_message) == (JobStatus.DEAD_LETTER, "ValueError", "no paper")
    assert said(fl, job) == ["outer begins", "works", "hiding saw ValueError"]


@pytest.mark.parametrize("falls", ["before", "after", "instead"])
def test_an_error_of_a_middleware_is_the_attempts_and_names_it(fl: Engine, isolation: str, falls: str) -> None:
    fl.middleware(handlers.falling)
    job = work(fl, isolation, fails=falls == "instead", labels={"falls": falls})
    assert (job.status, job.error_type) == (JobStatus.DEAD_LETTER, "MiddlewareFailed")
    assert job.error_message == f"the middleware falling raised KeyError: '{falls}'"
    (failed,) = [one for one in fl.history(job, organization="acme") if one.to_status == "failed"]
    assert failed.traceback is not None
    assert "in falling" in failed.traceback


@pytest.mark.parametrize("broken", [handlers.twice, handlers.never])
def test_a_middleware_that_does_not_yield_once_fails_the_attempt(fl: Engine, isolation: str, broken: Any) -> None:
    fl.middleware(broken)
    job = work(fl, isolation)
    assert job.error_type == "MiddlewareFailed"
    assert str(job.error_message).startswith(f"the middleware {broken.__name__} raised RuntimeError: generator didn't")


def test_a_middleware_may_snooze_its_job(fl: Engine, isolation: str) -> None:
    fl.middleware(handlers.snoozing)
    job = work(fl, isolation)
    assert (job.status, job.attempt) == (JobStatus.COMPLETED, 2)


@pytest.mark.parametrize("isolation", ["async", "process"])
@pytest.mark.parametrize("fails", [False, True])
def test_an_async_middleware_is_around_async_handlers(fl: Engine, isolation: Any, fails: bool) -> None:
    fl.middleware(handlers.waiting)
    fl.middleware(handlers.inner)
    fl.job_type("work", isolation=isolation, max_retries=0)(handlers.work_on_loop)
    job = fl.give("work", parameters={"fails": fails})
    fl.drain()
    ends = [] if fails else ["inner ends"]
    assert said(fl, job) == ["waiting begins", "inner begins of work", "works", *ends, "waiting ends"]
    assert fl.look(job).error_type == ("ValueError" if fails else None)


async def test_a_job_that_is_stopped_stays_stopped_whatever_its_middleware_hides(fl: Engine) -> None:
    seen: list[str] = []

    @fl.middleware
    def hide(ctx: JobContext) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            seen.append(str(ctx.interrupt.reason))

    @fl.job_type("sleep", max_retries=0)
    async def sleep(ctx: JobContext) -> None:
        await asyncio.Event().wait()

    late, canceled = fl.give("sleep", timeout=0.05), fl.give("sleep", timeout=None, dedup_window=0)
    with running(fl.worker()):
        assert fl.ended(late).error_type == "TimedOut"
        fl.cancel(canceled, organization="acme")
        assert fl.ended(canceled).status is JobStatus.CANCELED
    assert seen == ["timeout", "cancel"]


def test_a_handler_without_middlewares_is_called_itself() -> None:
    assert around(handlers.work, ()) is handlers.work


async def late(ctx: JobContext) -> AsyncIterator[None]:
    yield


def plain(ctx: JobContext) -> None:
    """Yield nothing."""


def test_what_can_not_be_a_middleware_is_refused_with_what_to_do(fl: Engine) -> None:
    for verb in (fl.middleware, fl.on_submit):
        with pytest.raises(ConfigurationError, match=r"plain must yield once, where .* write `def plain"):
            verb(plain)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="late must yield once"):
        fl.on_submit(late)  # type: ignore[type-var]
    fl.middleware(late)
    fl.job_type("work")(handlers.work)
    with pytest.raises(ConfigurationError, match="late is `async def`, and the handler of work is not"):
        fl.drain()


def test_a_middleware_that_no_other_process_finds_is_refused_at_the_start(fl: Engine) -> None:
    @fl.middleware
    def local(ctx: JobContext) -> Iterator[None]:
        yield

    fl.job_type("work", isolation="process")(handlers.work)
    with pytest.raises(ConfigurationError, match=r"local can't run in a process of its own.*move it to the top level"):
        fl.drain()


# --- Around submissions ---


def on_schedule(fl: Engine) -> None:
    fl.schedules.put("nightly", "headers", organization="acme", every=3600)
    fl.schedules.submit("nightly", organization="acme")


def by_idempotency_key(fl: Engine) -> None:
    fl.idempotency.submit(Key("acme", "ana", "once"), "00" * 32, [Submission("headers", organization="acme")])


def in_a_transaction(fl: Engine) -> None:
    with fl.database.engine.begin() as connection:
        fl.give("headers", connection=connection)


def on_a_loop(fl: Engine) -> None:
    async def submit() -> None:
        for _ in range(3):  # a loop that submits more than once has a connection of its own
            await fl.aio.submit("headers", organization="acme", dedup_window=0)
        await fl.aio.submit_many([Submission("headers", organization="acme", dedup_window=0)])

    asyncio.run(submit())


WAYS: dict[str, Callable[[Engine], object]] = {
    "submit": lambda fl: fl.give("headers"),
    "submit_many": lambda fl: fl.submit_many([Submission("headers", organization="acme")]),
    "with labels": lambda fl: fl.give("headers", labels={"a": "b"}),
    "transaction": in_a_transaction,
    "loop": on_a_loop,
    "schedule": on_schedule,
    "idempotency": by_idempotency_key,
}


@pytest.mark.parametrize("way", WAYS)
def test_headers_that_a_function_adds_reach_the_handler_on_every_way(fl: Engine, way: str) -> None:
    around_each: list[list[str]] = []

    @fl.on_submit
    def carry(submissions: Sequence[Submission]) -> Iterator[None]:
        around_each.append([one.job_type for one in submissions])
        for one in submissions:
            one.headers["request-id"] = "é\n1"
        yield

    fl.job_type("headers")(handlers.headers)
    WAYS[way](fl)
    fl.drain()
    jobs = fl.list(organization="acme").items
    assert jobs
    assert [fl.value(job) for job in jobs] == [[{"request-id": "é\n1"}, []]] * len(jobs)
    assert around_each == [["headers"]] * len(jobs)
    assert [dict(job.labels) for job in jobs if "request-id" in str(job)] == []


def test_headers_reach_each_attempt_in_every_executor_and_the_children(fl: Engine) -> None:
    for isolation in ("thread", "process"):
        fl.job_type(f"in {isolation}", isolation=isolation)(handlers.headers)
        one = Submission(f"in {isolation}", organization="acme", headers={"trace": isolation})
        child = Submission(f"in {isolation}", organization="acme", depends_on=one, dedup_window=0)
        jobs = fl.submit_many([one, child, Submission(f"in {isolation}", organization="acme", dedup_window=0)])
        fl.drain()
        assert [fl.value(job) for job in jobs] == [
            [{"trace": isolation}, []], [{}, [{"trace": isolation}]], [{}, []]
        ]  # fmt: skip


BAD_HEADERS: dict[str, Any] = {
    "no mapping": ["a"],
    "a name that is no text": {1: "a"},
    "a value that is no text": {"a": 1},
    "nul": {"a": "\0"},
    "half of a pair": {"a": "\ud800"},
    "too long": {"a": "x" * 8_192},
}


def submission_of(headers: Any) -> Submission:
    return Submission("headers", organization="acme", dedup_window=0, headers=headers)


def test_headers_that_can_not_be_kept_are_refused(fl: Engine) -> None:
    fl.job_type("headers")(handlers.headers)
    for bad in BAD_HEADERS.values():
        with pytest.raises(InvalidParameters, match=r"[Hh]eader.*; put|headers must be a mapping") as refused:
            fl.submit_many([Submission("headers", organization="acme"), submission_of(bad)])
        assert isinstance(refused.value, SubmissionError)
        assert refused.value.index == 1
    assert fl.list(organization="acme").items == ()
    fl.give("headers", headers={"a": "x" * (8_192 - len('{"a": ""}'))})


def test_an_error_before_the_yield_is_the_callers_and_nothing_is_submitted(fl: Engine) -> None:
    @fl.on_submit
    def refuse(submissions: Sequence[Submission]) -> Iterator[None]:
        if submissions[0].user is None:
            raise LookupError("who?")
        yield

    fl.job_type("headers")(handlers.headers)
    with pytest.raises(LookupError, match="who"):
        fl.give("headers")
    assert fl.list(organization="acme").items == ()
    assert fl.give("headers", user="ana").user == "ana"


def test_an_error_after_the_yield_does_not_say_that_nothing_was_submitted(fl: Engine) -> None:
    @fl.on_submit
    def fall(submissions: Sequence[Submission]) -> Iterator[None]:
        yield
        raise LookupError("too late")

    fl.job_type("headers")(handlers.headers)
    assert fl.look(fl.give("headers")).status is JobStatus.QUEUED
    (failed,) = fl.events.of(ServiceFailed)
    assert (failed.service, str(failed.error)) == ("on_submit fall", "too late")


def test_a_refusal_is_seen_and_not_hidden(fl: Engine) -> None:
    seen: list[type[BaseException]] = []

    @fl.on_submit
    def hide(submissions: Sequence[Submission]) -> Iterator[None]:
        try:
            yield
        except SubmissionError as error:
            seen.append(type(error))

    fl.job_type("headers")(handlers.headers)
    fl.give("headers")
    with pytest.raises(DuplicateJob):
        fl.give("headers")
    assert seen == [DuplicateJob]
    assert fl.events.of(ServiceFailed) == []


def test_a_submission_of_the_caller_stays_as_it_is(fl: Engine) -> None:
    @fl.on_submit
    def carry(submissions: Sequence[Submission]) -> Iterator[None]:
        submissions[0].headers["n"] = "1"
        yield

    fl.job_type("headers")(handlers.headers)
    mine = {"own": "x"}
    one = Submission("headers", organization="acme", headers=mine)
    (job,) = fl.submit_many([one])
    assert (mine, one.headers) == ({"own": "x"}, {"own": "x"})
    fl.drain()
    assert fl.value(job) == [{"own": "x", "n": "1"}, []]


def test_two_engines_in_a_process_have_middlewares_of_their_own(fl: Engine) -> None:
    with Fairlane("sqlite://") as other:
        other.middleware(handlers.outer)
        job = work(fl, "thread")
    assert said(fl, job) == ["works"]
