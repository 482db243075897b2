"""A claim round: what it takes, and that nothing which it took is ever forgotten."""

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, insert, select, update

from fairlane import CommitUnanswered, JobContext, StorageUnavailable
from fairlane.domain.outcomes import Failed
from fairlane.runtime import shift
from fairlane.runtime.heartbeat import Heartbeat
from fairlane.runtime.outlook import Outlooks
from fairlane.runtime.watch import _PATIENCE, Watch
from fairlane.store.statements import attempts, lanes, workers
from fairlane.store.tables import jobs as job_table
from fairlane.store.tables import results
from tests.runtime.worker_kit import Engine, Gate, engine, running, started, until
from tests.runtime.worker_store import Member, Monotonic, member, nothing, organizations, registered
from tests.store.commits import breaking

pytestmark = pytest.mark.both_databases


@pytest.fixture
def fl(database_url: str) -> Iterator[Engine]:
    with engine(database_url) as fl:
        nothing(fl)
        yield fl


@pytest.fixture
def worker(fl: Engine) -> Member:
    return member(fl)


def test_a_round_takes_no_more_than_there_are_slots(fl: Engine, worker: Member) -> None:
    for _ in range(5):
        fl.give("work")
    assert [len(worker.claim(3)), len(worker.claim(3)), len(worker.claim(3))] == [3, 2, 0]


def test_no_organization_is_left_out_of_a_round(fl: Engine, worker: Member) -> None:
    for name in ("rival", "third"):
        fl.organizations.create(name)
        fl.give("work", organization=name)
    for _ in range(10):
        fl.give("work")
    assert {one.claimed.organization for one in worker.claim(3)} == {"acme", "rival", "third"}


def test_the_most_urgent_jobs_of_an_organization_come_first(fl: Engine, worker: Member) -> None:
    given = {priority: fl.give("work", priority=priority) for priority in ("low", "critical", "normal", "high")}
    claimed = [worker.claim(1)[0].claimed.id for _ in range(4)]
    assert claimed == [given[priority].id for priority in ("critical", "high", "normal", "low")]


@pytest.mark.parametrize("what", ["queue", "job type", "organization"])
def test_what_is_paused_is_not_claimed_until_it_is_resumed(fl: Engine, worker: Member, what: str) -> None:
    pauses: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "queue": (lambda: fl.queues.pause("default"), lambda: fl.queues.resume("default")),
        "job type": (lambda: fl.job_types.pause("work"), lambda: fl.job_types.resume("work")),
        "organization": (lambda: fl.organizations.pause("acme"), lambda: fl.organizations.resume("acme")),
    }
    pause, resume = pauses[what]
    fl.give("work")
    pause()
    assert worker.claim() == []
    resume()
    assert len(worker.claim()) == 1


def test_a_suspension_holds_from_the_next_round_on(fl: Engine, worker: Member) -> None:
    """Although what the worker knows of organizations is up to a tenth of a second old."""
    worker.claims.outlooks.kept = 3600.0
    fl.give("work")
    fl.give("work")
    assert len(worker.claim(1)) == 1
    fl.organizations.suspend("acme")
    assert worker.claim() == []
    fl.organizations.activate("acme")
    assert len(worker.claim()) == 1


def test_who_is_new_is_seen_soon_after_a_hint(fl: Engine, worker: Member) -> None:
    """And does not wait until what the worker knows of lanes is old."""
    worker.claims.outlooks.kept = 3600.0
    fl.organizations.create("rival")
    for _ in range(2):
        fl.give("work")
    assert organizations(worker.claim(1)) == {"acme": 1}
    fl.give("work", organization="rival")
    worker.claims.outlooks.hinted()
    until(lambda: organizations(worker.claim(1)) == {"rival": 1})


def test_a_look_at_many_lanes_is_kept_for_longer_until_there_is_a_hint(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("_DEAR", 0.0), ("_REST", 1e9), ("_LONGEST", 1e9)):
        monkeypatch.setattr(f"fairlane.runtime.outlook.{name}", seconds)
    worker.claims.outlooks.kept = 0.001
    fl.organizations.create("rival")
    for _ in range(2):
        fl.give("work")
    assert organizations(worker.claim(1)) == {"acme": 1}
    fl.give("work", organization="rival")
    assert organizations(worker.claim(1)) == {"acme": 1}
    worker.claims.outlooks.hinted()
    until(lambda: organizations(worker.claim(1)) == {"rival": 1})


def test_a_process_that_was_stopped_while_it_looked_sees_who_is_new_soon(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monotonic, look = Monotonic(), lanes.active_lanes
    monkeypatch.setattr("fairlane.runtime.outlook.time", SimpleNamespace(monotonic=monotonic))

    def stopped(connection: Connection) -> Any:
        monotonic.now += 60.0
        return look(connection)

    worker.claims.outlooks.kept = 0.1
    fl.organizations.create("rival")
    for _ in range(2):
        fl.give("work")
    with monkeypatch.context() as once:
        once.setattr(lanes, "active_lanes", stopped)
        (ran,) = worker.claim(1)
    fl.give("work", organization="rival")
    monotonic.now += 2.1
    assert organizations(worker.claim(1, frozenset({ran.claimed.lease_token}))) == {"rival": 1}


def test_who_leaves_gives_back_all_it_has(fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlane.runtime.claims._BATCH", 2)
    given = [fl.give("work") for _ in range(5)]
    assert len(worker.claim()) == 5
    worker.claims.leave()
    assert {fl.look(job).status for job in given} == {"queued"}
    assert registered(fl) == set()


def test_while_jobs_come_in_rounds_are_short(fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody new waits behind a long one."""
    monkeypatch.setattr("fairlane.runtime.claims._SHORT_ROUND", 2)
    monkeypatch.setattr("fairlane.runtime.outlook._LATELY", inf)
    for _ in range(7):
        fl.give("work")
    worker.claims.outlooks.hinted()
    assert len(worker.claim()) == 2
    monkeypatch.setattr("fairlane.runtime.outlook._LATELY", 0.0)
    assert len(worker.claim()) == 5


def test_a_host_may_read_json_as_it_likes(postgres_url: str) -> None:
    """How psycopg reads JSON is set for a whole process."""
    set_json_loads(lambda text: {"wrapped": json.loads(text)})
    try:
        with engine(postgres_url) as fl:
            nothing(fl)
            job = fl.give("work")
            fl.job_types.limit("work", max_running=1)
            fl.drain()
            assert fl.look(job).status == "completed"
    finally:
        set_json_loads(json.loads)


def test_a_pause_of_one_thing_holds_up_no_other(fl: Engine, worker: Member) -> None:
    @fl.job_type("other")
    async def other(ctx: Any) -> None: ...

    busy = member(fl, "with both types")
    fl.give("work")
    fl.give("other")
    fl.job_types.pause("work")
    fl.organizations.pause("somebody else")
    assert [one.claimed.job_type for one in busy.claim()] == ["other"]


def test_jobs_whose_claim_was_committed_but_not_heard_of_are_given_back(fl: Engine, worker: Member) -> None:
    """The connection breaks while the answer to the commit is on its way."""
    jobs = [fl.give("work") for _ in range(2)]
    with breaking(fl.database, arrives=True), pytest.raises(CommitUnanswered):
        worker.claim()
    assert {str(fl.look(job).status) for job in jobs} == {"running"}
    again = worker.claim()
    assert {one.claimed.id for one in again} == {job.id for job in jobs}
    assert fl.way(jobs[0]) == ["queued", "running", "queued", "running"]
    assert fl.look(jobs[0]).retry_count == 0
    assert "its claim was cut off" in fl.reasons(jobs[0])


def away(*_: object) -> None:
    raise StorageUnavailable("The database did not answer.")


def test_claimed_jobs_that_can_not_be_made_ready_are_given_back(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the claim and the look at the parents."""
    parent = fl.give("work")
    job = fl.give("work", depends_on=[parent], on_parent_failure="run_anyway")
    fl.cancel(parent.id, organization="acme")
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "parents_of", away)
        with pytest.raises(StorageUnavailable):
            worker.claim()
    (again,) = worker.claim()
    assert again.claimed.id == job.id
    assert [one.status for one in again.facts.parents] == ["canceled"]


def test_jobs_whose_lease_ran_out_before_they_began_are_not_begun_but_given_back(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was stopped, or the answer to the claim came late: others may have them by now."""
    begun: list[int] = []

    @fl.job_type("effect")
    async def effect(ctx: JobContext) -> None:
        begun.append(ctx.attempt)

    job = fl.give("effect")
    kept = [False]
    monkeypatch.setattr(Heartbeat, "has_kept_lease", lambda *_: kept.pop() if kept else True)
    fl.drain()
    assert begun == [2]
    assert fl.way(job) == ["queued", "running", "queued", "running", "completed"]
    assert fl.look(job).retry_count == 0


@pytest.mark.parametrize("what", ["labels of its own", "labels of a parent", "result of a parent"])
def test_a_job_that_can_t_be_read_any_more_fails_and_holds_up_no_other(fl: Engine, worker: Member, what: str) -> None:
    parent = fl.give("work")
    (first,) = worker.claim()
    worker.end(first)
    broken, other = fl.give("work", depends_on=[parent]), fl.give("work")

    def spoil(connection: Connection) -> None:
        if what == "result of a parent":
            key = {"organization_id": "acme", "job_id": parent.id}
            values = {"value": "{", "at": parent.created_at}
            connection.execute(insert(results).values(**key, **values))
        else:
            spoiled = broken if what == "labels of its own" else parent
            mine = (job_table.c.organization_id == "acme") & (job_table.c.id == spoiled.id)
            connection.execute(update(job_table).where(mine).values(labels="{"))

    fl.database.write(spoil, of="acme")
    verdicts = {one.claimed.id: one.verdict for one in worker.claim()}
    assert verdicts[other.id] is None
    failed = verdicts[broken.id]
    assert isinstance(failed, Failed)
    assert failed.error.message.endswith("no JSON")


def test_what_the_worker_knows_of_is_not_given_back(fl: Engine, worker: Member) -> None:
    fl.give("work")
    fl.give("work")
    first, second = worker.claim()
    assert worker.claims.give_back(frozenset({first.claimed.lease_token})) == 1
    assert fl.get(first.claimed.id, organization="acme").status == "running"
    assert fl.get(second.claimed.id, organization="acme").status == "queued"


def test_only_a_round_that_went_wrong_looks_for_what_was_left(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    fl.give("work")
    worker.claim()
    monkeypatch.setattr(workers, "running_jobs", None)  # would fail if it were asked
    assert worker.claim() == []


class Crewless:
    """A crew that knows of nothing."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def leases(self) -> frozenset[UUID]:
        return frozenset()

    known_leases = leases


def watch(fl: Engine, worker: Member, crew: Any) -> Watch:
    return Watch(fl.database, worker.claims, crew, asyncio.get_running_loop(), interval=1.0)


async def test_a_job_that_the_worker_forgot_is_given_back_however_that_came_about(fl: Engine, worker: Member) -> None:
    """The heartbeat keeps whatever is claimed under the worker's name: nobody would ever run it."""
    job = fl.give("work")
    worker.claim()
    watching = watch(fl, worker, Crewless())
    assert worker.claim() == []
    for _ in range(_PATIENCE + 1):
        watching.run_once()
    (again,) = worker.claim(known=frozenset())
    assert again.claimed.id == job.id
    assert fl.way(job) == ["queued", "running", "queued", "running"]


def test_a_forgotten_job_whose_row_somebody_holds_is_given_back_once_it_is_free(postgres_url: str) -> None:
    with engine(postgres_url) as fl:
        nothing(fl)
        worker = member(fl)
        job = fl.give("work")
        with breaking(fl.database, arrives=True), pytest.raises(CommitUnanswered):
            worker.claim()
        with fl.database.engine.begin() as host:
            mine = (job_table.c.organization_id == "acme") & (job_table.c.id == job.id)
            host.execute(select(job_table.c.id).where(mine).with_for_update())
            assert worker.claim() == []
            fl.give("work")
            (other,) = worker.claim()
        known = frozenset({other.claimed.lease_token})
        (again,) = worker.claim(known=known)
        assert again.claimed.id == job.id


def test_a_full_worker_gives_back_what_it_does_not_know_without_waiting_for_a_slot(fl: Engine) -> None:
    gate = Gate()

    @fl.job_type("long")
    def long(ctx: JobContext) -> None:
        gate.wait()

    busy = fl.worker(concurrency=1)
    with running(busy):
        started(fl, fl.give("long"))
        fl.queues.pause("default")
        stray = fl.give("work")
        lease = {"worker_id": busy.id, "lease_token": uuid4(), "started_at": stray.created_at}
        mine = (job_table.c.organization_id == "acme") & (job_table.c.id == stray.id)
        begun = update(job_table).where(mine).values(status="running", ready=False, attempt=1, **lease)
        fl.database.write(lambda connection: connection.execute(begun))
        until(lambda: fl.look(stray).status == "queued")
        assert "its claim was cut off" in fl.reasons(stray)
        gate.open()


async def test_what_the_worker_learns_of_a_moment_later_is_not_doubted(
    fl: Engine, worker: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look between a claim's commit and the begin of its attempts."""
    fl.give("work")
    (ready,) = worker.claim()
    crew = Crewless()
    watching = watch(fl, worker, crew)
    for _ in range(_PATIENCE):
        watching.run_once()
    known = frozenset({ready.claimed.lease_token})
    monkeypatch.setattr(crew, "known_leases", lambda: known)
    watching.run_once()
    monkeypatch.setattr(workers, "running_jobs", None)  # would fail if it were asked
    assert worker.claim(known=known) == []


def test_a_released_child_starts_at_once_beside_a_job_that_a_limit_holds_back(
    fl: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is new to a worker that still knows another lane, and looks at all of them now and then only."""
    monkeypatch.setattr(shift, "Outlooks", partial(Outlooks, kept=3600.0))

    @fl.job_type("held", max_running=0)
    async def held(ctx: JobContext) -> None:
        """Never runs."""

    fl.give("held")
    with running(fl.worker(concurrency=2)):
        job = fl.give("work")
        for _ in range(5):
            job = fl.give("work", depends_on=[job.id])
        fl.ended(job)
