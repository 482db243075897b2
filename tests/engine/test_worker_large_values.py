"""Large values are processed beside the loop: parameters, results, and failures of jobs with many secrets."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

import pytest
from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag
from sqlalchemy import update
from typing_extensions import TypedDict

from fairlane import Interrupted, InvalidParameters, Job, JobContext, JobStatus
from fairlane.domain.events import Event, HandlerAbandoned, JobStarted, LeaseLost, WorkerStopping, WorkerUnfit
from fairlane.engine import slots
from fairlane.store.row_security import Administered
from fairlane.store.tables import live
from tests.engine.worker_kit import Engine, Gate, engine, running, until
from tests.patience import PATIENCE

MANY = {"password": ["x" * 20] * 100}  # 2,000 characters
LARGE = "x" * 20_000


class Slow(dict[str, int]):
    """A part of a result that is encoded when the test lets it be."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(a=1)
        self._gate = gate

    def items(self) -> Any:
        self._gate.wait()
        threads.append(threading.current_thread().name)
        return super().items()


class SlowError(Exception):
    """An error that says what it is when the test lets it."""

    def __str__(self) -> str:
        self.args[0].wait()
        threads.append(threading.current_thread().name)
        return "it failed"


threads: list[str] = []  # in which these were asked


@pytest.fixture(params=["async", "thread"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def gate() -> Iterator[Gate]:
    threads.clear()
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def fl(database_url: str, kind: str, gate: Gate) -> Iterator[Engine]:
    """Handlers that end at once, with what takes long."""

    def work(fails: bool) -> object:
        if fails:
            raise SlowError(gate)
        return [Slow(gate), 0, 1]

    with engine(database_url, stop_grace=0.0) as fl:
        if kind == "async":

            @fl.job_type("work", dedup_window=0, max_retries=0, timeout=1.0)
            async def work_async(ctx: JobContext, fails: bool, password: list[str]) -> object:
                return work(fails)

        else:

            @fl.job_type("work", dedup_window=0, max_retries=0, timeout=1.0)
            def work_in_thread(ctx: JobContext, fails: bool, password: list[str]) -> object:
                return work(fails)

        @fl.job_type("late", dedup_window=0, max_retries=0, timeout=1.0)
        async def late(ctx: JobContext) -> None:
            await asyncio.sleep(3600)

        @fl.job_type("ping", dedup_window=0)
        async def ping(ctx: JobContext) -> int:
            return 1

        yield fl


def judged(fl: Engine, gate: Gate, *, fails: bool) -> Job:
    """A job whose handler has ended, and whose end takes long to judge."""
    job = fl.give("work", parameters=MANY | {"fails": fails})
    gate.reached()
    return job


@pytest.mark.parametrize("fails", [False, True])
def test_other_jobs_run_while_an_end_is_judged(fl: Engine, kind: str, gate: Gate, *, fails: bool) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        assert fl.look(job).status is JobStatus.RUNNING
        gate.open()
        ended = fl.ended(job)
    if fails:
        assert (ended.status, ended.error_message) == (JobStatus.DEAD_LETTER, "it failed")
    else:
        assert fl.value(job)[:3] == [{"a": 1}, 0, 1]
    assert all(one.startswith("fairlane-values" if kind == "async" else "fairlane-handler") for one in threads)


def test_other_jobs_run_while_an_error_says_what_it_is(fl: Engine, gate: Gate) -> None:
    """The words of an error were asked for, and read for secrets, on the loop: 20 errors held it up for seconds."""
    with running(fl.worker()):
        job = fl.give("work", parameters={"password": [], "fails": True})
        gate.reached()
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        gate.open()
        assert fl.ended(job).error_message == "it failed"


async def test_the_loop_goes_on_while_the_parameters_of_a_claim_are_decoded(database_url: str) -> None:
    """A hundred of these jobs held it up for a second."""
    seen: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, JobStarted):
            if not seen:
                asyncio.get_running_loop().call_soon(seen.append, "turn")
            seen.append("started")

    with engine(database_url) as fl:

        @fl.job_type("work", dedup_window=0)
        async def work(ctx: JobContext, items: list[set[int]]) -> None:
            await asyncio.sleep(0)

        for _ in range(8):
            fl.give("work", parameters={"items": [[]] * 3_300})
        await fl.worker(concurrency=8, subscribers=[look]).drain_async()
    assert seen.count("started") == 8
    assert seen.index("turn") < 7


class Left:
    """Stand for what a handler's frame still has when it raises."""

    def __del__(self) -> None:
        note_thread(self)


def note_thread(_: object) -> str:
    threads.append(threading.current_thread().name)
    return "it failed"


@pytest.mark.parametrize("is_canceled", [False, True])
@pytest.mark.parametrize("base", [Exception, BaseException])
def test_no_code_of_what_a_plain_handler_raised_runs_on_the_loop(
    database_url: str, gate: Gate, base: type[BaseException], *, is_canceled: bool
) -> None:
    """The loop asked the error for its words and its class, and dropped the last of what its frame had."""
    members = {"__str__": note_thread, "__class__": property(lambda one: note_thread(one) and base)}
    error: type[BaseException] = type("Asked", (base,), members)
    with engine(database_url) as fl:

        @fl.job_type("leave", max_retries=0)
        def leave(ctx: JobContext, waits: bool) -> None:
            left = Left()  # noqa: F841 - it is there
            with suppress(Interrupted):
                if waits:
                    gate.open()
                    ctx.sleep(3600)
            raise error

        with running(fl.worker()):
            job = fl.give("leave", parameters={"waits": is_canceled})
            if is_canceled:
                gate.wait()
                fl.cancel(job.id, organization="acme")
            assert fl.ended(job).status is (JobStatus.CANCELED if is_canceled else JobStatus.DEAD_LETTER)
    assert [one for one in threads if not one.startswith("fairlane-handler")] == []
    assert len(threads) > 1


def test_an_error_with_a_number_that_python_writes_in_no_text_ends_its_job(database_url: str) -> None:
    """To count its characters raised, on the loop, and its slot was never free again."""
    with engine(database_url) as fl:

        @fl.job_type("large", max_retries=0)
        async def large(ctx: JobContext) -> None:
            raise ValueError("too large", 10**5_000)

        job = fl.give("large")
        fl.drain()
        assert fl.look(job).error_type == "ValueError"


@pytest.mark.parametrize("fails", [False, True])
def test_a_drain_waits_for_what_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    gate.open()
    job = fl.give("work", parameters=MANY | {"fails": fails})
    fl.drain()
    assert fl.look(job).status == ("dead_letter" if fails else "completed")


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancel_comes_too_late_for_a_result_that_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        fl.cancel(job.id, organization="acme")
        gate.open()
        assert fl.ended(job).status == ("canceled" if fails else "completed")


def test_a_cancel_leaves_behind_no_handler_that_has_returned(fl: Engine, gate: Gate) -> None:
    """After the timeout of the type, the result was thrown away, and counted as a handler that does not stop."""
    with running(fl.worker()):
        job = judged(fl, gate, fails=False)
        fl.cancel(job.id, organization="acme")
        late = fl.ended(fl.give("late"))  # begun later, with the same timeout
        assert late.error_type == "TimedOut"
        assert {one.job_id for one in fl.events.of(HandlerAbandoned)} <= {late.id}
        gate.open()
        assert fl.ended(job).status is JobStatus.COMPLETED


@pytest.mark.slow
def test_what_a_handler_left_does_not_run_into_its_timeout(fl: Engine, gate: Gate) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=False)
        assert fl.ended(fl.give("late")).error_type == "TimedOut"  # begun later, with the same timeout
        gate.open()
        assert fl.ended(job).status is JobStatus.COMPLETED


@pytest.mark.slow
def test_what_a_handler_returns_after_its_timeout_is_not_encoded(fl: Engine, gate: Gate) -> None:
    """Nobody will read it, and its job kept the slot until it was encoded."""

    @fl.job_type("overruns", dedup_window=0, max_retries=0, timeout=0.1)
    def overruns(ctx: JobContext) -> object:
        with suppress(Interrupted):
            ctx.sleep(3600)
        return [Slow(gate)]

    with running(fl.worker()):
        assert fl.ended(fl.give("overruns")).error_type == "TimedOut"
    assert threads == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_that_stops_writes_what_is_judged(fl: Engine, gate: Gate, *, fails: bool) -> None:
    def open_late() -> None:
        fl.events.wait(WorkerStopping)
        gate.open()

    with running(fl.worker()):
        job = judged(fl, gate, fails=fails)
        opener = threading.Thread(target=open_late)
        opener.start()
    opener.join()
    # As ever, an error may come of the stop.
    assert fl.look(job).status == ("queued" if fails else "completed")


def test_nothing_is_written_of_what_is_judged_when_its_lease_is_lost(fl: Engine, gate: Gate) -> None:
    with running(fl.worker()):
        job = judged(fl, gate, fails=False)
        taken = update(live).where(live.c.organization_id == "acme", live.c.id == job.id).values(lease_token=None)
        fl.database.write(lambda connection: connection.execute(taken), of=Administered("acme"))
        fl.events.wait(LeaseLost, job_id=job.id)
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        assert fl.events.of(HandlerAbandoned) == []
        gate.open()
        assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
        assert fl.look(job).status is JobStatus.RUNNING


submitted = threading.Event()  # validators let all pass before, as those of an older release may


def checked(text: str) -> str:
    if submitted.is_set():
        threads.append(threading.current_thread().name)
    if submitted.is_set() and text.endswith("!"):
        raise ValueError("no shouting")
    return text


def refused(text: str) -> str:
    if submitted.is_set() and text.endswith("?"):
        raise InvalidParameters("no questions")
    return text


@pytest.fixture(autouse=True)
def nothing_is_submitted() -> None:
    submitted.clear()


def said(error: str | None) -> str:
    return (error or "").partition(" (got ")[0]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "!", "?"])
@pytest.mark.parametrize("isolation", ["async", "thread"])
def test_parameters_with_code_of_their_own_are_decoded_beside_the_loop_and_fail_alike(
    database_url: str, isolation: str, end: str
) -> None:
    threads.clear()
    Text = Annotated[str, AfterValidator(checked), AfterValidator(refused)]  # noqa: N806 - a type
    with engine(database_url) as fl:
        options: dict[str, Any] = {"dedup_window": 0, "max_retries": 0}

        async def on_the_loop(ctx: JobContext, text: Text) -> int:
            return len(text)

        def in_thread(ctx: JobContext, text: Text) -> int:
            return len(text)

        handler: Callable[..., Any] = on_the_loop if isolation == "async" else in_thread
        fl.job_type("read", **options)(handler)
        jobs = [fl.give("read", parameters={"text": text}) for text in (end, LARGE + end)]
        submitted.set()
        with running(fl.worker()):
            ends = [fl.ended(job) for job in jobs]
    assert {one.status for one in ends} == {"dead_letter" if end else "completed"}
    assert len({(one.error_type, said(one.error_message)) for one in ends}) == 1
    assert all(one.startswith("fairlane-values") for one in threads)
    assert threads


def make(gate: Gate) -> str:
    if submitted.is_set():
        gate.wait()
    return "made"


@pytest.mark.parametrize("isolation", ["async", "thread"])
@pytest.mark.parametrize("where", ["validator", "factory", "hidden factory", "init", "discriminator"])
def test_other_jobs_run_while_code_of_small_parameters_waits(sqlite_url: str, isolation: str, where: str) -> None:
    """A validator that looks something up held up all jobs of its worker, unless its parameters were large."""
    gate = Gate()

    class Validated(BaseModel):
        text: Annotated[str, AfterValidator(lambda text: text + make(gate))] = "a"

    class Filled(BaseModel):
        text: str = Field(default_factory=lambda: make(gate))

    class Made(BaseModel):
        def __init__(self, **values: Any) -> None:
            make(gate)
            super().__init__(**values)

    @dataclass
    class Hidden:
        text: str = field(init=False, default_factory=lambda: make(gate))

    class Told(TypedDict):
        text: NotRequired[str]

    members = Annotated[Told, Tag("a")] | Annotated[int, Tag("b")]
    kinds: dict[str, Any] = {
        "validator": Validated,
        "factory": Filled,
        "hidden factory": Hidden,
        "init": Made,
        "discriminator": Annotated[members, Discriminator(lambda _: make(gate) and "a")],
    }
    kind = kinds[where]
    with engine(sqlite_url) as fl:

        async def on_the_loop(ctx: JobContext, value: kind) -> None: ...  # type: ignore[valid-type]  # made here

        def in_thread(ctx: JobContext, value: kind) -> None: ...  # type: ignore[valid-type]  # made here

        fl.job_type("work")(on_the_loop if isolation == "async" else in_thread)

        @fl.job_type("ping")
        async def ping(ctx: JobContext) -> None: ...

        job = fl.give("work", parameters={"value": {"text": "b"} if where == "validator" else {}})
        submitted.set()
        with running(fl.worker()):
            gate.reached()
            assert fl.ended(fl.give("ping")).status is JobStatus.COMPLETED
            gate.open()
            assert fl.ended(job).status is JobStatus.COMPLETED


def test_a_job_that_is_decoded_is_canceled(database_url: str) -> None:
    gate = Gate()

    def held(text: str) -> str:
        if submitted.is_set():
            gate.wait()
        return text

    with engine(database_url) as fl:

        @fl.job_type("read")
        async def read(ctx: JobContext, text: Annotated[str, AfterValidator(held)]) -> None:
            raise AssertionError

        job = fl.give("read", parameters={"text": LARGE})
        submitted.set()
        with running(fl.worker()):
            gate.reached()
            fl.cancel(job.id, organization="acme")
            assert fl.ended(job).status is JobStatus.CANCELED
            gate.open()


class Endless:
    """Job types whose parameters, or whose results, keep a thread until the test ends."""

    def __init__(self, fl: Engine, gate: Gate, isolation: str, timeout: float | None = 1.0) -> None:
        self._fl, self._gate, self._begun = fl, gate, threading.Semaphore(0)
        Text = Annotated[str, AfterValidator(self._hang)]  # noqa: N806 - a type
        options: dict[str, Any] = {"dedup_window": 0, "max_retries": 1, "backoff": [3600], "timeout": timeout}

        async def on_the_loop(ctx: JobContext, text: Text) -> int:
            return len(text)

        def in_thread(ctx: JobContext, text: Text) -> int:
            return len(text)

        handler: Callable[..., Any] = on_the_loop if isolation == "async" else in_thread
        fl.job_type("read", **options)(handler)

        @fl.job_type("write", **options)
        async def write(ctx: JobContext) -> object:
            return [Slow(gate), *range(5_000)]

        @fl.job_type("keep", dedup_window=0)
        def keep(ctx: JobContext) -> None:
            ctx.checkpoint({"kept": True})

    def _hang(self, text: str) -> str:
        is_worker = threading.current_thread() is not threading.main_thread()  # which submits
        if is_worker and text.endswith("!"):
            self._begun.release()
            self._gate.wait(2 * PATIENCE)  # longer than a test waits for what it holds up
        return text

    def give(self, organization: str = "acme", end: str = "!") -> Job:
        return self._fl.give("read", organization=organization, parameters={"text": LARGE + end})

    def take_all_threads(self) -> list[Job]:
        self._fl.organizations.create("beta")
        jobs = [self.give(one) for one in ("acme", "acme", "acme", "beta")]
        for _ in jobs:
            assert self._begun.acquire(timeout=PATIENCE)
        return jobs


isolations = pytest.mark.parametrize("isolation", ["async", "thread"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "VALUE_LIMIT", 1.2)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("of", "isolation", "why"),
    [
        ("read", "async", "its parameters were still being decoded after 1.2 s: see the validators of read"),
        ("read", "thread", "its parameters were still being decoded after 1.2 s: see the validators of read"),
        ("write", "async", "its result was still being encoded after 1.2 s: see what write returns"),
    ],
)
def test_what_never_returns_fails_its_attempt_and_the_worker_is_replaced(
    database_url: str, gate: Gate, of: str, isolation: str, why: str
) -> None:
    """The job stayed running, whatever its timeout, and the worker went on without its threads."""
    with engine(database_url) as fl:
        fl.organizations.create("beta")
        endless = Endless(fl, gate, isolation)
        worker = fl.worker(concurrency=1)
        with running(worker):
            job = endless.give() if of == "read" else fl.give("write")
            until(lambda: worker.must_be_replaced)
        assert [one.reason for one in fl.events.of(WorkerUnfit)] == [
            "handlers, validators or results that do not end: 1"
        ]
        assert (fl.way(job)[-2:], fl.look(job).retry_count) == (["failed", "queued"], 1)
        assert why in fl.reasons(job)
        other = endless.give("beta", end="")
        fl.drain()
        assert fl.look(other).status is JobStatus.COMPLETED


@pytest.mark.parametrize("timeout", [3600.0, None])
def test_a_validator_may_take_as_long_as_a_handler_of_its_type(
    database_url: str, gate: Gate, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    """Its attempt failed after a minute, its worker was replaced, and a submitter says how much there is to check."""
    monkeypatch.setattr(slots, "VALUE_LIMIT", 0.06)
    with engine(database_url) as fl:
        endless = Endless(fl, gate, "async", timeout)
        worker = fl.worker(concurrency=1)
        with running(worker):
            job = endless.give()
            gate.reached()
            time.sleep(0.6)  # ten times the limit, and sixty looks
            gate.open()
            assert fl.ended(job).status is JobStatus.COMPLETED
        assert (fl.look(job).retry_count, worker.must_be_replaced) == (0, False)


@isolations
def test_reports_are_written_while_validators_hang(database_url: str, gate: Gate, isolation: str) -> None:
    """They waited behind them."""
    with engine(database_url) as fl:
        endless = Endless(fl, gate, isolation)
        with running(fl.worker()):
            endless.take_all_threads()
            assert fl.ended(fl.give("keep")).status is JobStatus.COMPLETED


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@isolations
def test_others_wait_for_validators_that_hang_no_longer_than_the_bound(
    database_url: str, gate: Gate, isolation: str
) -> None:
    with engine(database_url) as fl:
        endless = Endless(fl, gate, isolation)
        worker = fl.worker()
        with running(worker):
            jobs = endless.take_all_threads()
            assert fl.ended(endless.give(end="")).status is JobStatus.COMPLETED
            until(lambda: [fl.look(one).retry_count for one in jobs] == [1, 1, 1, 1])
            assert not worker.must_be_replaced  # it may leave ten behind
            until(lambda: [one.left_behind for one in fl.reads.workers()] == [4])


@pytest.mark.usefixtures("impatient")
def test_others_get_the_turn_of_validators_that_may_take_longer(database_url: str, gate: Gate) -> None:
    with engine(database_url) as fl:
        endless = Endless(fl, gate, "async", timeout=3600.0)
        with running(fl.worker()):
            jobs = endless.take_all_threads()
            assert fl.ended(endless.give(end="")).status is JobStatus.COMPLETED
            assert {fl.look(one).status for one in jobs} == {JobStatus.RUNNING}
            gate.open()
            assert {fl.ended(one).status for one in jobs} == {JobStatus.COMPLETED}


@pytest.mark.usefixtures("impatient")
def test_what_never_returns_is_left_behind_though_its_job_was_canceled(database_url: str, gate: Gate) -> None:
    with engine(database_url) as fl:
        endless = Endless(fl, gate, "async")
        worker = fl.worker(concurrency=1)
        with running(worker):
            job = endless.give()
            gate.reached()
            fl.cancel(job.id, organization="acme")
            assert fl.ended(job).status is JobStatus.CANCELED
            until(lambda: worker.must_be_replaced)
