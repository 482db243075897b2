"""What Fairlane has to do, as a pure model: a dataclass per job, and a plain function for each thing that happens.

It is written from the requirements and knows no rows, locks or statements. Where they leave something open (the jitter
of a backoff, which of two parents is named) the model has all that is allowed, and keeps to what the engine chose.

Verbs of people have a function `why_not_…`, which names the error that must be raised; then nothing changes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from fairlane import (
    DuplicateJob,
    FairlaneError,
    IllegalTransition,
    JobNotFound,
    JobStatus,
    OrganizationSuspended,
    ParentNotFound,
)
from fairlane.control.batch import OnDuplicate
from fairlane.domain.blame import Verdict
from fairlane.domain.outcomes import Completed, Failed, Lost, Outcome, Released, Snoozed, TimedOut
from fairlane.domain.statuses import (
    ENDED_BADLY,
    LIVE,
    TERMINAL,
    TRANSITIONS,
    WAITING,
    EdgeState,
    ParentPolicy,
    Resolution,
)

WINDOW: Final = 300.0  # seconds of deduplication (R3)
POISON: Final = 3  # the rescue that sends a job to dead letter (R5)
_BACKOFF: Final = 60.0  # seconds, doubled for each further retry, ± 20 % (R7)

Refusal = type[FairlaneError] | None
Hold = tuple[str, str]  # "suspension", "organization", "queue" or "job_type", and its name


class Span(NamedTuple):
    """A moment, as far as it is known."""

    earliest: datetime
    latest: datetime


class End(NamedTuple):
    """How an attempt ended, proved by its lease."""

    job_id: UUID
    lease: UUID
    outcome: Outcome


class Step(NamedTuple):
    """An entry of the execution log."""

    source: JobStatus | None
    target: JobStatus
    attempt: int


@dataclass
class DeadLetter:
    """What people see of a job that ended there. `culprits`: the parents of which one is named for it."""

    culprits: frozenset[UUID] = frozenset()
    resolution: Resolution = Resolution.PENDING


@dataclass
class Asked:
    """A submission. `key` None: not deduplicated."""

    id: UUID
    organization: str
    parents: tuple[UUID, ...] = ()
    policy: ParentPolicy = ParentPolicy.DEAD_LETTER
    delay: float = 0.0  # seconds
    queue: str = "default"
    max_retries: int = 1
    key: str | None = None
    on_duplicate: OnDuplicate = "reject"


@dataclass
class Job:
    """One job. `due` is when it may be claimed again, while it is queued and not `ready`."""

    asked: Asked
    run_at: datetime
    status: JobStatus
    parents: dict[UUID, EdgeState]
    ready: bool = False
    due: Span | None = None
    attempt: int = 0
    retry_count: int = 0
    rescue_count: int = 0
    lease: UUID | None = None
    worker: UUID | None = None
    cancel_requested: bool = False
    ended_at: datetime | None = None
    dead_letter: DeadLetter | None = None
    log: list[Step] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)  # the attempts of which an error was recorded

    @property
    def unmet(self) -> int:
        """How many parents it waits for."""
        return sum(state is not EdgeState.SETTLED for state in self.parents.values())


class Key(NamedTuple):
    """Which job has a deduplication key, and until when."""

    job_id: UUID
    expires_at: datetime


@dataclass
class World:
    """All there is. `workers`: when the lease of each runs out; `held`: what is suspended or paused."""

    now: datetime
    jobs: dict[UUID, Job] = field(default_factory=dict)
    keys: dict[tuple[str, str], Key] = field(default_factory=dict)
    workers: dict[UUID, datetime] = field(default_factory=dict)
    held: set[Hold] = field(default_factory=set)


def find(world: World, job_id: UUID, organization: str) -> Job | None:
    """The job, to somebody of the organization: a foreign one looks like an unknown one."""
    job = world.jobs.get(job_id)
    return job if job is not None and job.asked.organization == organization else None


WhyNot = Callable[[World, Job], Refusal]


# How jobs are submitted: R1, R3, R9.


def why_not_submit(world: World, batch: Sequence[Asked]) -> Refusal:
    """The first reason against it: all or nothing."""
    if any(is_suspended(world, asked.organization) for asked in batch):
        return OrganizationSuspended
    for asked in batch:
        holder = holder_of(world, asked)
        if holder is not None and (
            asked.on_duplicate == "reject" or (asked.on_duplicate == "replace" and holder.status not in WAITING)
        ):
            return DuplicateJob
    members = {asked.id for asked in batch}
    known = all(
        parent in members or find(world, parent, asked.organization) for asked in batch for parent in asked.parents
    )
    return None if known else ParentNotFound


def holder_of(world: World, asked: Asked) -> Job | None:
    """The live job that holds the key: an expired key, or that of a job that has ended, is free."""
    key = world.keys.get((asked.organization, asked.key)) if asked.key is not None else None
    holder = world.jobs.get(key.job_id) if key is not None and key.expires_at > world.now else None
    return holder if holder is not None and holder.status in LIVE else None


def submit(world: World, batch: Sequence[Asked]) -> list[UUID]:
    """The ids that the submitter gets."""
    members = {asked.id for asked in batch}
    ids = []
    for asked in batch:
        holder = holder_of(world, asked)
        if holder is not None and asked.on_duplicate == "return":
            ids.append(holder.asked.id)
            continue
        if holder is not None:
            _move(world, holder, JobStatus.CANCELED)
        if asked.key is not None:
            world.keys[asked.organization, asked.key] = Key(asked.id, world.now + timedelta(seconds=WINDOW))
        _insert(world, asked, members)
        if holder is not None:
            _take_place(world, holder, asked)
        ids.append(asked.id)
    # A parent that ended badly before its child came speaks at once.
    parents = [world.jobs[parent] for asked in batch for parent in asked.parents]
    settle(world, [parent for parent in parents if parent.status in ENDED_BADLY])
    return ids


def _insert(world: World, asked: Asked, batch: set[UUID]) -> None:
    run_at = world.now + timedelta(seconds=asked.delay)
    parents = {parent: _edge(world, asked, parent, batch) for parent in asked.parents}
    job = Job(asked, run_at, JobStatus.PENDING, parents)
    if not job.unmet and run_at <= world.now:
        job.status, job.ready = JobStatus.QUEUED, True
    job.log = [Step(None, job.status, 0)]
    world.jobs[asked.id] = job


def _edge(world: World, asked: Asked, parent: UUID, batch: set[UUID]) -> EdgeState:
    if parent in batch:
        return EdgeState.WATCHED
    status = world.jobs[parent].status
    anyway = asked.policy is ParentPolicy.RUN_ANYWAY and status in TERMINAL
    return EdgeState.SETTLED if status is JobStatus.COMPLETED or anyway else EdgeState.NEW


def _take_place(world: World, earlier: Job, asked: Asked) -> None:
    """Children of a replaced job wait for the one in its place, unless that might wait for them in turn."""
    if asked.parents:
        settle(world, [earlier])
        return
    for child in children_of(world, earlier.asked.id):
        if child.parents[earlier.asked.id] is not EdgeState.SETTLED:
            del child.parents[earlier.asked.id]
            child.parents[asked.id] = EdgeState.NEW


# How they run: R5, R7.


def claimable(world: World) -> set[UUID]:
    """What a worker may start: what is ready and not held."""
    return {job.asked.id for job in world.jobs.values() if job.ready and not world.held & _holds(job)}


def _holds(job: Job) -> set[Hold]:
    organization = job.asked.organization
    return {
        *(("suspension", organization), ("organization", organization)),
        *(("queue", job.asked.queue), ("job_type", "report")),
    }


def is_suspended(world: World, organization: str) -> bool:
    """Then nothing can be submitted in it either."""
    return ("suspension", organization) in world.held


def claim(world: World, job_id: UUID, worker: UUID, lease: UUID) -> None:
    """The next attempt, under a lease of its own."""
    job = world.jobs[job_id]
    job.attempt += 1
    _move(world, job, JobStatus.RUNNING)
    job.lease, job.worker = lease, worker


def finish(world: World, *ends: End) -> None:
    """The ends of attempts; nothing, where a lease is no longer the job's."""
    jobs = []
    for job_id, lease, outcome in ends:
        job = world.jobs.get(job_id)
        if job is not None and job.lease == lease:
            _finish(world, job, outcome)
            jobs.append(job)
    settle(world, [job for job in jobs if job.status in TERMINAL])


def _finish(world: World, job: Job, outcome: Outcome) -> None:
    match outcome:
        case Completed():
            _move(world, job, JobStatus.COMPLETED)
        case _ if job.cancel_requested:
            _move(world, job, JobStatus.CANCELED)
        case Failed(error) | TimedOut(error):
            failed = JobStatus.FAILED if isinstance(outcome, Failed) else JobStatus.TIMED_OUT
            _fail(world, job, failed, permanent=error.permanent)
        case Lost(_, verdict):
            _rescue(world, job, verdict)
        case Snoozed(seconds):
            job.rescue_count = 0  # its worker was well when it ended
            _queue(world, job, seconds)
        case Released(_, seconds):
            _queue(world, job, seconds)
        case _:
            _queue(world, job)


def _fail(world: World, job: Job, failed: JobStatus, *, permanent: bool) -> None:
    job.errors.append(job.attempt)
    if permanent or job.retry_count >= job.asked.max_retries:
        _move(world, job, failed, JobStatus.DEAD_LETTER)
        job.dead_letter = DeadLetter()
        return
    wait = _BACKOFF * 2**job.retry_count
    job.retry_count, job.rescue_count = job.retry_count + 1, 0
    _move(world, job, failed, JobStatus.QUEUED)
    job.due = Span(world.now + timedelta(seconds=0.8 * wait), world.now + timedelta(seconds=1.2 * wait))


def _rescue(world: World, job: Job, verdict: Verdict) -> None:
    job.errors.append(job.attempt)
    if verdict.buries:
        _move(world, job, JobStatus.DEAD_LETTER)
        job.dead_letter = DeadLetter()
        return
    job.rescue_count += verdict.counts
    _queue(world, job, verdict.wait)


def _queue(world: World, job: Job, seconds: float = 0.0) -> None:
    _move(world, job, JobStatus.QUEUED)
    at = world.now + timedelta(seconds=seconds)
    job.ready, job.due = not seconds, Span(at, at) if seconds else None


def held_by(world: World, worker: UUID) -> list[Job]:
    """The jobs that run under this worker's lease."""
    return [job for job in world.jobs.values() if job.status is JobStatus.RUNNING and job.worker == worker]


def release_all(world: World, worker: UUID) -> None:
    """The worker leaves, and gives its jobs back."""
    finish(world, *(_end(job, Released("")) for job in held_by(world, worker)))
    del world.workers[worker]


def rescue(world: World, worker: UUID, engine_says: Mapping[UUID, Verdict]) -> None:
    """The worker is lost: its jobs run again, but for the one whose third rescue it is.

    Where several are at their third or later, the engine tells them apart by what it knows of their starts.
    """
    held = held_by(world, worker)
    suspects = {job.asked.id for job in held if job.rescue_count + 1 >= POISON}
    verdicts = engine_says if len(suspects) > 1 else dict.fromkeys(suspects, Verdict(buries=True))
    lost = {job.asked.id: Lost("", verdicts[job.asked.id] if job.asked.id in suspects else Verdict()) for job in held}
    finish(world, *(_end(job, lost[job.asked.id]) for job in held))
    del world.workers[worker]


def _end(job: Job, outcome: Outcome) -> End:
    assert job.lease is not None
    return End(job.asked.id, job.lease, outcome)


# How children learn of their parents' ends: R9.


def children_of(world: World, parent: UUID) -> Iterator[Job]:
    """Those that were submitted to wait for it."""
    return (job for job in world.jobs.values() if parent in job.parents)


def settle(world: World, ended: Iterable[Job]) -> None:
    """Tell the children, and theirs in turn where one ends by it."""
    wave = list(ended)
    while wave:
        told: dict[UUID, list[Job]] = {}
        for parent in wave:
            for child in children_of(world, parent.asked.id):
                if child.parents[parent.asked.id] is not EdgeState.SETTLED:
                    child.parents[parent.asked.id] = EdgeState.SETTLED
                    told.setdefault(child.asked.id, []).append(parent)
        heard = [(world.jobs[child], parents) for child, parents in told.items()]
        wave = [child for child, parents in heard if child.status is JobStatus.PENDING and _ends(world, child, parents)]


def _ends(world: World, child: Job, parents: Sequence[Job]) -> bool:
    """Whether what a pending job hears of its parents ends it."""
    culprits = frozenset(parent.asked.id for parent in parents if parent.status in ENDED_BADLY)
    if culprits and child.asked.policy is ParentPolicy.CANCEL:
        _move(world, child, JobStatus.CANCELED)
    elif culprits and child.asked.policy is ParentPolicy.DEAD_LETTER:
        _move(world, child, JobStatus.DEAD_LETTER)
        child.dead_letter = DeadLetter(culprits)
    elif not child.unmet and child.run_at <= world.now:
        _queue(world, child)
    return child.status in TERMINAL


def stage(world: World) -> None:
    """What is due becomes ready; edges of which nobody knows yet whether the parent has ended are looked at."""
    for job in world.jobs.values():
        if job.status is JobStatus.PENDING and not job.unmet and job.run_at <= world.now:
            _queue(world, job)
        if job.due is not None and job.due.latest <= world.now:
            job.ready, job.due = True, None
    new = {parent for job in world.jobs.values() for parent, state in job.parents.items() if state is EdgeState.NEW}
    settle(world, [world.jobs[parent] for parent in new if world.jobs[parent].status in TERMINAL])
    for job in world.jobs.values():
        job.parents = {
            parent: EdgeState.WATCHED if state is EdgeState.NEW else state for parent, state in job.parents.items()
        }


# What people do: R8, R10, R14.


def why_not_cancel(world: World, job: Job) -> Refusal:
    """Of a job that has ended."""
    return IllegalTransition if job.status in TERMINAL else None


def cancel(world: World, job: Job) -> None:
    """At once, or a request where it runs."""
    if job.status is JobStatus.RUNNING:
        job.cancel_requested = True
        return
    _move(world, job, JobStatus.CANCELED)
    settle(world, [job])


def why_not_retry(world: World, job: Job) -> Refusal:
    """Of what is no dead letter; of what a dead letter took down, since that one's retry brings it back."""
    if job.status is not JobStatus.DEAD_LETTER or job.dead_letter is None:
        return IllegalTransition
    culprits = [world.jobs[one] for one in job.dead_letter.culprits if one in world.jobs]
    return IllegalTransition if any(one.status is JobStatus.DEAD_LETTER for one in culprits) else None


def retry(world: World, job: Job) -> None:
    """It waits for parents that are live, and for no other: the person decided so. What it took down is revived."""
    assert job.dead_letter is not None
    job.dead_letter.resolution = Resolution.RETRIED
    job.parents = {
        parent: EdgeState.NEW if world.jobs[parent].status in LIVE else EdgeState.SETTLED for parent in job.parents
    }
    _revive(world, job)
    wave = {job.asked.id}
    while wave:
        wave = {child.asked.id for child in world.jobs.values() if _follows(child, wave)}
        for child in (world.jobs[one] for one in wave):
            child.dead_letter = None
            child.parents = {
                parent: EdgeState.SETTLED if world.jobs[parent].status is JobStatus.COMPLETED else EdgeState.NEW
                for parent in child.parents
            }
            _revive(world, child)


def _follows(child: Job, retried: set[UUID]) -> bool:
    letter = child.dead_letter
    return letter is not None and letter.resolution is Resolution.PENDING and bool(letter.culprits & retried)


def _revive(world: World, job: Job) -> None:
    job.retry_count, job.rescue_count, job.cancel_requested, job.ended_at = 0, 0, False, None
    if job.unmet:
        _move(world, job, JobStatus.PENDING)
    else:
        _queue(world, job)


def why_not_decide(world: World, job: Job) -> Refusal:
    """A resolution is for dead letters."""
    return None if job.status is JobStatus.DEAD_LETTER else JobNotFound


def decide(world: World, job: Job, resolution: Resolution) -> None:
    """What a person wrote down."""
    assert job.dead_letter is not None
    job.dead_letter.resolution = resolution


def why_not_discard(world: World, job: Job) -> Refusal:
    """Of what never was a dead letter; while it lives, or somebody needs it."""
    if job.dead_letter is None:
        return JobNotFound
    return IllegalTransition if job.status not in TERMINAL or is_needed(world, job) else None


def discard(world: World, job: Job) -> None:
    """Delete it."""
    delete(world, [job.asked.id])


def is_needed(world: World, job: Job) -> bool:
    """By a child that lives, or may be retried."""
    return any(child.status in LIVE or is_unresolved(child) for child in children_of(world, job.asked.id))


def is_unresolved(job: Job) -> bool:
    """A dead letter about which nobody has decided."""
    return job.dead_letter is not None and job.dead_letter.resolution is Resolution.PENDING


def delete(world: World, job_ids: Iterable[UUID]) -> None:
    """With all that is kept of them."""
    gone = set(job_ids)
    world.jobs = {job_id: job for job_id, job in world.jobs.items() if job_id not in gone}
    world.keys = {name: key for name, key in world.keys.items() if key.job_id not in gone}
    for job in world.jobs.values():
        job.parents = {parent: state for parent, state in job.parents.items() if parent not in gone}


def expired(world: World, retention: float) -> list[UUID]:
    """What clean-up deletes (R14)."""
    moment = world.now - timedelta(seconds=retention)
    return [
        job.asked.id
        for job in world.jobs.values()
        if job.ended_at is not None and job.ended_at < moment and not is_unresolved(job) and not is_needed(world, job)
    ]


def _move(world: World, job: Job, *targets: JobStatus) -> None:
    """The only way from one status to the next."""
    for target in targets:
        assert (job.status, target) in TRANSITIONS, "a mistake in the model"
        job.log.append(Step(job.status, target, job.attempt))
        job.status = target
    job.ready, job.due, job.lease, job.worker = False, None, None, None
    job.ended_at = world.now if job.status in TERMINAL else None


def keep_to(job: Job, due: Span | None, culprits: frozenset[UUID]) -> None:
    """What the engine chose, where it was free to choose."""
    if job.due is not None and due is not None and job.due.earliest <= due.earliest <= job.due.latest:
        job.due = due
    letter = job.dead_letter
    if letter is not None and culprits and culprits <= letter.culprits:
        letter.culprits = culprits
