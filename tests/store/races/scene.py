"""The scene of a race: an application, its people, workers that do only what the test says, a clock at rest."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Self, TypeAlias, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection

from fairlane import Backoff, Fairlane, Job, JobContext, Settings
from fairlane.domain.events import Event
from fairlane.domain.fairness import Lane, Quota
from fairlane.domain.outcomes import Completed, ErrorReport, Failed, Outcome
from fairlane.domain.statuses import OrganizationStatus, Role
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.engine import start_checks
from fairlane.engine.claiming import Claims
from fairlane.engine.cleanup import Cleanup
from fairlane.engine.lane_cache import LaneCache
from fairlane.engine.stage import Stage
from fairlane.store.clock import Clock
from fairlane.store.engine import engine_of
from fairlane.store.statements import claim, finish, lanes, organizations, workers
from fairlane.store.statements.attempts import AttemptKey
from fairlane.store.statements.workers import WorkerCard, rescue_worker
from fairlane.testing import ManualClock
from tests.store.races.agreement import assert_all_logs_agree

# The names by which races know what workers claim and write.
Claimed: TypeAlias = claim.Claimed
Finished: TypeAlias = finish.Finished
Ready: TypeAlias = start_checks.Checked

T = TypeVar("T")
Work = Callable[[Connection], T]
Rescued = tuple[UUID, list[Finished]]

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
LEASE = 15.0  # seconds
DAY = 86_400.0
PEOPLE = (
    ("acme", "ana", Role.MEMBER),
    ("acme", "bea", Role.MEMBER),
    ("acme", "olga", Role.ADMIN),
    ("acme", "vic", Role.VIEWER),
    ("rival", "rita", Role.MEMBER),
)
BROKEN = Failed(ErrorReport("PrinterError", "no paper", permanent=True))
JAMMED = Failed(ErrorReport("PrinterError", "paper jam"))


class Scene:
    """Organization acme has ana and bea (members), olga (admin), vic (viewer); organization rival has rita.

    Its one job type is `report`, whose handler never runs: tests claim jobs and end attempts themselves.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = ManualClock(START)
        self.events: list[Event] = []
        self.fl = Fairlane(
            Settings(url=url, artifacts_url="memory:///", **settings),
            clock=self.clock,
            subscribers=[self.events.append],
        )
        self.add_type("report", dedup_window=0)
        self.write(_settle_people)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            if error is None:
                assert_all_logs_agree(self.fl)
        finally:
            self.fl.close()

    @property
    def now(self) -> datetime:
        """The moment at which the clock stands."""
        return self.clock._now

    def add_type(self, name: str, **options: Any) -> None:
        """A job type with one parameter, `n`."""

        @self.fl.job_type(name, **options)
        def handler(ctx: JobContext, n: int = 0) -> None:
            raise AssertionError("unreachable: nobody runs it")

    def submit(
        self, job_type: str = "report", organization: str = "acme", user: str | None = "ana", **more: Any
    ) -> Job:
        return self.fl.submit(job_type, organization=organization, user=user, **more)

    def total(self, organization: str = "acme") -> int:
        """Return how many jobs the organization has."""
        return self.fl.list(organization=organization, limit=1).total

    def get(self, job: Job | UUID, organization: str = "acme") -> Job:
        return self.fl.get(job.id if isinstance(job, Job) else job, organization=organization)

    def write(self, work: Work[T]) -> T:
        return self.fl.database.write(work)

    def worker(self, name: str = "w1", *, job_types: Sequence[str] = ("report",), slots: int = 10) -> "Hand":
        """A worker with a fresh lease."""
        return Hand(self, WorkerCard(uuid4(), name, None, tuple(job_types), slots))

    def ending(
        self, *claimed: Claimed, outcome: Outcome | None = None, has_checkpoint: bool = True
    ) -> Work[list[Finished]]:
        """Return the work that ends attempts together.

        Without an outcome they complete: the short way, if there is no checkpoint.
        """
        return lambda connection: write_ends(
            connection, self.clock.now(connection), *claimed, outcome=outcome, has_checkpoint=has_checkpoint
        )

    def end(self, *claimed: Claimed, outcome: Outcome | None = None, has_checkpoint: bool = True) -> list[Finished]:
        return self.write(self.ending(*claimed, outcome=outcome, has_checkpoint=has_checkpoint))

    def dead_letter(self, **more: Any) -> Job:
        """A job that failed for good."""
        job = self.submit(**more)
        (claimed,) = self.worker().claim()
        assert claimed.id == job.id
        self.end(claimed, outcome=BROKEN)
        return self.get(job, job.organization)

    def stage(self) -> int:
        """Run one round of the stage service."""
        return Stage(self.fl.database, self.fl.database.hint).run_once()

    def rescuing(self, batch: int = 500) -> Work[Rescued | None]:
        """Return the work that takes back the jobs of one lost worker."""
        return lambda connection: rescue_one(connection, self.clock, batch)

    def rescue(self, batch: int = 500) -> Rescued | None:
        return self.write(self.rescuing(batch))

    def cleaner(self, retention: float = DAY) -> Cleanup:
        """A clean-up service that keeps ended jobs for `retention` seconds."""
        return Cleanup(self.fl.database, ObjectStorage("memory:///"), retention)


def claim_from(
    connection: Connection, now: datetime, lanes: Sequence[Lane], card: WorkerCard, slots: int = 1
) -> list[Claimed]:
    """Claim up to `slots` jobs of each organization from these lanes."""
    wanted = claim.Wanted(lanes, {}, {lane.organization: Quota(slots, 0) for lane in lanes})
    return engine_of(connection).claim(connection, now, wanted, worker_id=card.id, worker=card.name)


def write_ends(
    connection: Connection,
    now: datetime,
    *claimed: Claimed,
    outcome: Outcome | None = None,
    has_checkpoint: bool = True,
) -> list[Finished]:
    """End attempts together; without an outcome they complete."""
    ends = [
        finish.Finish(
            one.organization,
            one.id,
            one.job_type,
            one.lease_token,
            outcome or Completed(),
            Backoff(base=60.0),
            has_checkpoint=has_checkpoint,
        )
        for one in claimed
    ]
    return finish.finish(connection, now, ends, Random(1))


def rescue_one(connection: Connection, clock: Clock, batch: int = 500) -> Rescued | None:
    """Take back up to a batch of jobs of a lost worker, if there is one, as the rescue service does."""
    lost = workers.lock_lost(connection, clock)
    if lost is None:
        return None
    held = workers.running_jobs(connection, lost.id, batch)
    return lost.id, rescue_worker(connection, clock, Random(1), lost, held)


def _settle_people(connection: Connection) -> None:
    """Create all people in one transaction, since every test begins with it."""
    for name in ("acme", "rival"):
        organizations.create(
            connection, {"id": name, "name": name, "status": OrganizationStatus.ACTIVE, "created_at": START}
        )
    for organization, user, role in PEOPLE:
        organizations.set_member(connection, START, organization, user, role, ())


class Hand:
    """A worker that beats, claims and runs nothing by itself."""

    def __init__(self, scene: Scene, card: WorkerCard) -> None:
        self._scene = scene
        self.card = card
        scene.write(lambda connection: workers.register(connection, scene.clock, card, LEASE))

    @property
    def id(self) -> UUID:
        return self.card.id

    def beat(self) -> bool:
        clock = self._scene.clock
        return self._scene.write(lambda connection: workers.beat(connection, clock, self.id, LEASE, stopping=False))

    def claiming(self, slots: int = 1) -> Work[list[Claimed]]:
        """Return the work that claims up to `slots` jobs of each organization, like a worker's claim transaction."""

        def work(connection: Connection) -> list[Claimed]:
            began = lanes.begin_claim(connection, self._scene.clock, self.id, lease=LEASE, suspended=False)
            if began is None:
                return []
            ready = [lane for lane in lanes.active_lanes(connection) if lane.job_type in self.card.job_types]
            return claim_from(connection, began.now, ready, self.card, slots)

        return work

    def claim(self, slots: int = 1) -> list[Claimed]:
        return self._scene.write(self.claiming(slots))

    def round(self, slots: int = 10) -> list[Claimed]:
        """A whole round of a real worker, with its look at pauses and standings."""
        return [ready.claimed for ready in self.ready(slots)]

    def ready(self, slots: int = 10) -> list[Ready]:
        """The same, with what the checks at start say of each."""
        return self.claims().claim_in_thread(slots, frozenset())

    def claim_round(self, slots: int = 10) -> list[UUID]:
        """The same; the ids of what it claimed."""
        return [claimed.id for claimed in self.round(slots)]

    def give_back(self) -> int:
        """Give back all that was claimed, as a worker does after a round that went wrong."""
        return self.claims().give_back(frozenset())

    def leave(self) -> None:
        """Sign off."""
        self.claims().leave()

    def claims(self) -> Claims:
        """Return its claims, as a worker makes them once."""
        fl = self._scene.fl
        cache = LaneCache(fl.database, fl.directory, self.card, kept=0.0)
        return Claims(fl.database, fl.directory, self.card, LEASE, cache, fl.keyring, fl.emit, None)


def key_of(claimed: Claimed) -> AttemptKey:
    """Return the lease that proves a write of the attempt."""
    return AttemptKey(claimed.organization, claimed.id, claimed.lease_token)
