"""A worker's parts on a database, one by one: without loops, threads and time.

Only `Member` knows how jobs are claimed and how their ends are written.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID, uuid4

from fairlane import Backoff, Fairlane, JobContext
from fairlane.domain.outcomes import Completed, Outcome
from fairlane.engine.claiming import Claims
from fairlane.engine.heartbeat import Heartbeat
from fairlane.engine.lane_cache import LaneCache
from fairlane.engine.rescue import Rescue
from fairlane.store.statements import workers
from fairlane.store.statements.claim import Claimed
from fairlane.store.statements.finish import Finish, finish
from fairlane.store.statements.workers import WorkerCard
from fairlane.testing import ManualClock
from tests.engine.worker_kit import Engine

LEASE = 15.0  # seconds
_BEATS = 3  # in a lease


class Monotonic:
    """A worker's own clock, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Member:
    """A worker's registration, claims, heartbeat and rescue; its clocks are the test's.

    `left_behind` and `locked`: what its heartbeat tells; `asked`: how often an operator asked it to drain.
    """

    fl: Engine
    card: WorkerCard
    monotonic: Monotonic
    heartbeat: Heartbeat = field(init=False)
    rescue: Rescue = field(init=False)
    claims: Claims = field(init=False)
    lease: float
    known: set[UUID] = field(default_factory=set)
    left_behind: int = 0
    locked: frozenset[str] = frozenset()
    asked: int = 0

    def __post_init__(self) -> None:
        fl, card = self.fl, self.card
        self.heartbeat = Heartbeat(
            fl.database,
            card,
            self.lease,
            fl.emit,
            self.monotonic,
            left_behind=lambda: self.left_behind,
            locked=lambda: self.locked,
            on_drain=self._drain,
        )
        self.rescue = Rescue(fl.database, self.heartbeat, fl.emit, fl.database.hint, are_ours=True)
        lanes = LaneCache(fl.database, fl.directory, card, kept=0.0)
        self.claims = Claims(fl.database, fl.directory, card, self.lease, lanes, fl.keyring, fl.emit, None)

    def _drain(self) -> None:
        self.asked += 1

    def claim(self, slots: int = 10) -> list[Claimed]:
        """Run one claim round of a worker that knows the jobs that it has claimed and not ended."""
        ready = self.claims.claim_in_thread(slots, frozenset(self.known))
        taken = [each.claimed for each in ready]
        self.known |= {one.lease_token for one in taken}
        return taken

    def end(self, *taken: Claimed, outcome: Outcome | None = None) -> None:
        """End what it claimed, also what another claim, which read it as ready, has locked for a moment.

        Args:
            outcome: None = it has completed.
        """
        self.known -= {one.lease_token for one in taken}
        ends = [
            Finish(one.organization, one.id, one.job_type, one.lease_token, outcome or Completed(), Backoff())
            for one in taken
        ]
        while ends:
            ends = self._finish(ends)

    def _finish(self, ends: list[Finish]) -> list[Finish]:
        """Finish these, and return those that were locked."""
        database = self.fl.database
        done = database.write(lambda connection: finish(connection, database.clock.now(connection), ends, Random(1)))
        return [one.finish for one in done if one.is_locked]

    def is_steady(self) -> None:
        """Let its heartbeat succeed for a full lease, by its own clock."""
        for _ in range(_BEATS + 1):
            self.heartbeat.run_once()
            self.monotonic.now += LEASE / _BEATS
        self.heartbeat.run_once()


def member(
    fl: Engine, name: str = "worker", *, slots: int = 10, queues: tuple[str, ...] | None = None, lease: float = LEASE
) -> Member:
    """A registered worker; `lease` is in seconds."""
    card = WorkerCard(uuid4(), name, queues, tuple(sorted(fl.catalogue.mine)), slots)
    made = Member(fl, card, Monotonic(), lease)
    made.heartbeat.run_once()
    return made


def registered(fl: Fairlane) -> set[UUID]:
    """The ids of the workers with a valid lease."""
    return {row.id for row in fl.database.read(lambda c: workers.all_workers(c, fl.database.clock))}


def nothing(fl: Engine) -> None:
    """The job type "work", which does nothing."""

    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...


def job_type(fl: Engine, name: str, **options: Any) -> None:
    """A job type that nobody runs: members claim its jobs and end them."""

    @fl.job_type(name, dedup_window=0, **options)
    async def handler(ctx: JobContext) -> None: ...


def give(fl: Engine, number: int, name: str = "pdf", organization: str = "acme", **options: Any) -> None:
    """Submit so many jobs."""
    for _ in range(number):
        fl.give(name, organization=organization, **options)


def organizations(taken: Iterable[Claimed]) -> Counter[str]:
    """Count the claimed jobs by organization."""
    return Counter(one.organization for one in taken)


def later(clock: ManualClock, seconds: float, *members: Member) -> None:
    """Time passes, on the members' own clocks, too, and their leases are kept."""
    while seconds > 0:
        step = min(seconds, LEASE / _BEATS)
        clock.advance(step)
        for one in members:
            one.monotonic.now += step
            one.heartbeat.run_once()
        seconds -= step
