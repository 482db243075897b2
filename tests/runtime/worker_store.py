"""A worker's parts on a database, one by one: without loops, threads and time."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from fairlane import Fairlane, JobContext
from fairlane.runtime.claims import Claims, Ready
from fairlane.runtime.dead_letter_alarm import DeadLetterAlarm
from fairlane.runtime.heartbeat import Heartbeat
from fairlane.runtime.outlook import Outlooks
from fairlane.runtime.rescue import Rescue
from fairlane.store.statements import workers
from fairlane.store.statements.workers import WorkerCard
from tests.runtime.worker_kit import Engine

LEASE = 15.0  # seconds


class Monotonic:
    """A worker's own clock, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Member:
    """A worker's registration, claims, heartbeat and rescue; its clocks are the test's."""

    fl: Engine
    card: WorkerCard
    monotonic: Monotonic
    heartbeat: Heartbeat
    rescue: Rescue
    claims: Claims

    def claim(self, slots: int = 10, known: frozenset[UUID] = frozenset()) -> list[Ready]:
        """One claim round."""
        return self.claims.claim_round(slots, known)

    def is_steady(self) -> None:
        """Let its heartbeat succeed for a full lease, by its own clock."""
        beats = 3
        for _ in range(beats + 1):
            self.heartbeat.run_once()
            self.monotonic.now += LEASE / beats
        self.heartbeat.run_once()


def member(fl: Engine, name: str = "worker") -> Member:
    """A registered worker."""
    card = WorkerCard(uuid4(), name, None, tuple(sorted(fl.catalogue.mine)), 10)
    monotonic = Monotonic()
    heartbeat = Heartbeat(fl.database, card, LEASE, fl.emit, monotonic)
    alarm = DeadLetterAlarm(fl.database, fl.settings.dead_letter_alert, fl.emit)
    made = Member(
        fl,
        card,
        monotonic,
        heartbeat,
        Rescue(fl.database, heartbeat, alarm, fl.emit, interval=1.0),
        Claims(fl.database, fl.directory, card, Outlooks(fl.database, fl.directory, card, {}, kept=0.0)),
    )
    heartbeat.run_once()
    return made


def registered(fl: Fairlane) -> set[UUID]:
    """The ids of the workers with a valid lease."""
    return {row.id for row in fl.database.read(lambda c: workers.all_workers(c, fl.database.clock))}


def nothing(fl: Engine) -> None:
    """The job type "work", which does nothing."""

    @fl.job_type("work", dedup_window=0)
    async def work(ctx: JobContext) -> None: ...
