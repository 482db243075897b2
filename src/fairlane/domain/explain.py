"""The explanation of why a job is not running (R20): sentences with the reasons and the remedies, from facts.

The facts are read together; the moment is one of them, so `explain` is pure. Maintenance mode comes first. The job's
own reasons follow (parents, time), then the reasons that hold back its organization, its type and its queue (pauses,
limits, a breaker), then the workers. A person reads them in this order.
"""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final
from uuid import UUID

from fairlane.domain.breaker import Breaker
from fairlane.domain.errors import InvalidParameters
from fairlane.domain.fairness import Lane
from fairlane.domain.jobs import Job, JobState, LogEntry
from fairlane.domain.limits import Limit, Subject
from fairlane.domain.reasons import (
    MAINTENANCE,
    PAUSED,
    LiveWorker,
    Reason,
    ReasonCode,
    execution_rate_code,
    max_running_code,
    missing_worker,
)
from fairlane.domain.statuses import PASSING, TERMINAL, JobStatus, OrganizationStatus, Resolution
from fairlane.domain.texts import time_of
from fairlane.domain.transitions import REFUSED

# Places in a lane are counted up to this number, which stands for "here or later".
LAST_PLACE: Final = 10_000
# The number of parents that are named; the others are counted.
NAMED_PARENTS: Final = 5
_LONGEST_QUOTE: Final = 300  # characters of an error text


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a person that closes a dead letter; then its parents may be deleted."""

    resolution: Resolution
    by: str
    note: str
    parent_deleted: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that holds back the job: of everything, its organization, job type or queue, as the store names them."""

    subject: str
    name: str
    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class LimitOn:
    """A limit on the job, and its use.

    `next_start` is when its execution rate lets another job start; None: at once, or never if the rate is 0.
    `is_held`: an open transaction holds its row, and workers skip all jobs under it meanwhile.
    """

    subject: Subject
    limit: Limit
    running: int
    next_start: datetime | None = None
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that runs the job.

    `silent` is the seconds since its last heartbeat, `lease_left` those until its lease runs out, negative afterwards;
    None if its machine has restarted, which ends a lease too.
    """

    name: str
    silent: float
    lease_left: float | None

    @property
    def is_lost(self) -> bool:
        """Return True if the lease has run out."""
        return self.lease_left is None or self.lease_left < 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that an explanation needs, read at the moment `now`.

    `parents` are the first of `unmet_parents` parents that have not ended. `organization_status` None: it is unknown;
    `directory_is_away`: because the host's directory gave no answer. `is_hosted`: the host keeps the organizations.
    `may_submit`: False if the job's user is not a member any more, or has lost the right; it is not known of a host's
    users. `breaker`: the breaker, if it is open. `culprit`: the parent that took a dead letter down, as it is now.
    `to_retry`: the first ancestor among the dead letters that no dead letter took down, or None if it is too far up.
    `decision`: the decision about a dead letter, if there is one.
    """

    job: Job
    now: datetime
    last_entry: LogEntry
    parents: tuple[JobState, ...] = ()
    unmet_parents: int = 0
    place_in_lane: int | None = None
    organization_status: OrganizationStatus | None = None
    directory_is_away: bool = False
    is_hosted: bool = False
    may_submit: bool = True
    pauses: tuple[Pause, ...] = ()
    limits: tuple[LimitOn, ...] = ()
    breaker: Breaker | None = None
    workers: tuple[LiveWorker, ...] = ()
    holder: Holder | None = None
    cancel_requested_by: str | None = None
    cancel_reason: str = ""
    culprit: JobState | None = None
    to_retry: JobState | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a job's state; `reasons[0]` weighs most, and is the `summary`.

    `place_in_lane` counts from 1 among the ready jobs of its organization and type in its queue; 10,000 stands for
    10,000 or later, None for a job that is not ready.
    """

    status: JobStatus
    summary: str
    reasons: tuple[Reason, ...]
    place_in_lane: int | None = None


def explain(facts: Facts) -> Explanation:
    """Return the explanation of the job's state."""
    if facts.job.status in TERMINAL:
        reasons = [*_ended(facts)]
    elif facts.job.status is JobStatus.RUNNING:
        reasons = [*_running(facts)]
    else:
        reasons = [*_waiting(facts)] or [_nothing(facts)]
    return Explanation(facts.job.status, reasons[0].sentence, tuple(reasons), facts.place_in_lane)


def still_waiting(job_id: UUID, told: Explanation, seconds: float) -> str:
    """Return the message for a caller who has waited so many seconds for a job that has not ended."""
    sentence = f"Job {job_id} is still {told.status} after {seconds:g} s."
    return " ".join([sentence, *(one.advice for one in told.reasons)])


def _waiting(facts: Facts) -> Iterator[Reason]:
    maintenance = [*_maintenance(facts)]
    yield from maintenance
    yield from _own_waits(facts)
    held = [*_organization(facts), *_pauses(facts), *_limits(facts), *breaker_on(facts.job, facts.breaker, facts.now)]
    yield from held
    # A job that is held back starts in no slot, so free slots do not matter.
    yield from (one for one in _workers(facts) if not ((maintenance or held) and one.code is ReasonCode.SLOTS_TAKEN))


def _own_waits(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons of the job itself: parents, `run_at`, the retry time."""
    job = facts.job
    if job.status is JobStatus.PENDING and facts.unmet_parents:
        yield Reason(ReasonCode.WAITS_FOR_PARENTS, _parents(facts))
    if job.status is JobStatus.PENDING and job.run_at > facts.now:
        yield Reason(ReasonCode.SCHEDULED, f"It starts no earlier than {time_of(job.run_at)}.")
    if job.status is JobStatus.QUEUED and job.next_retry_at is not None and job.next_retry_at > facts.now:
        yield Reason(ReasonCode.WAITS_FOR_RETRY, _retry(facts, job.next_retry_at))


def _parents(facts: Facts) -> str:
    named = [
        f"{parent.job_type} {parent.id} ({parent.status.replace('_', ' ')})" for parent in facts.parents[:NAMED_PARENTS]
    ]
    others = facts.unmet_parents - len(named)
    if others > 0:
        named.append(f"and {others:,} more")
    what = "its parent" if facts.unmet_parents == 1 else f"{facts.unmet_parents:,} parents that have not ended:"
    return f"It waits for {what} {', '.join(named)}. Look at a parent to see what the parent waits for."


def _retry(facts: Facts, at: datetime) -> str:
    job, last = facts.job, facts.last_entry
    why = f"the last one ended with {_error(job)}" if last.from_status in PASSING else _quote(last.message)
    sentence = f"It waits until {time_of(at)} for its next attempt; {why}."
    if job.error_type == InvalidParameters.__name__:
        sentence += (
            " Start a worker whose handler takes its parameters, or cancel it and submit it anew with others. "
            "If no attempt succeeds it becomes a dead letter, which can be retried with other parameters."
        )
    return sentence


def _organization(facts: Facts) -> Iterator[Reason]:
    name = facts.job.organization
    if facts.directory_is_away:
        sentence = "The application's directory of organizations gave no answer; jobs wait until it does."
        yield Reason(ReasonCode.DIRECTORY_AWAY, sentence)
    if facts.organization_status is OrganizationStatus.SUSPENDED:
        who = "the application" if facts.is_hosted else "an operator"
        yield Reason(
            ReasonCode.ORGANIZATION_SUSPENDED,
            f"Organization {name} is suspended; its jobs wait until {who} activates it again.",
        )
    if facts.organization_status is OrganizationStatus.DELETED:
        yield Reason(
            ReasonCode.ORGANIZATION_DELETED,
            f"Organization {name} was deleted; the job goes to dead letter when a worker comes to it.",
        )
    elif not facts.may_submit:
        yield Reason(
            ReasonCode.PERMISSION_LOST,
            f"{facts.job.user} may no longer submit {facts.job.job_type} jobs in {name}; the job goes to dead letter "
            "when a worker comes to it. Make them a member with that right again, or submit it as another user.",
        )


_PAUSED: Final = {"organization": "Organization", "job_type": "Job type", "queue": "Queue"}


def _maintenance(facts: Facts) -> Iterator[Reason]:
    for pause in facts.pauses:
        if (pause.subject, pause.name) == MAINTENANCE:
            sentence = (
                f"Maintenance mode is on: {pause.by} turned it on at {time_of(pause.since)}{_why(pause)}. "
                "No job starts until an operator turns it off."
            )
            yield Reason(ReasonCode.MAINTENANCE, sentence, ("fairlane maintenance off",))


def _pauses(facts: Facts) -> Iterator[Reason]:
    pauses = {pause.subject: pause for pause in facts.pauses}
    if facts.organization_status is OrganizationStatus.DELETED:
        pauses.pop("organization", None)  # its jobs are refused, pause or no pause
    for subject, what in _PAUSED.items():
        pause = pauses.get(subject)
        if pause is None:
            continue
        sentence = (
            f"{what} {pause.name} is paused: {pause.by} paused it at {time_of(pause.since)}{_why(pause)}. "
            "Nothing of it starts until somebody resumes it."
        )
        yield Reason(PAUSED[subject], sentence)


def _why(pause: Pause) -> str:
    return f" ({_quote(pause.reason)})" if pause.reason else ""


def _limits(facts: Facts) -> Iterator[Reason]:
    """Yield the limits that allow no job and, if the job is ready, the limits that are reached.

    The reader sees one organization. So the sentence about a limit over all organizations says that it is reached, and
    nothing about others' jobs.
    """
    is_ready = facts.place_in_lane is not None
    for one in facts.limits:
        most, rate = one.limit.max_running, one.limit.execution_rate
        if most == 0 or (most is not None and is_ready and one.running >= most):
            yield _max_running(facts, one, most)
        if rate == 0 or (rate is not None and is_ready and one.next_start is not None):
            yield _execution_rate(facts, one)
        if is_ready and one.is_held:
            yield _limit_held(one.subject)


def _who(organization: str | None) -> str:
    return f"Organization {organization}" if organization is not None else "All organizations together"


def _limit_held(subject: Subject) -> Reason:
    what = f"{subject.job_type} jobs" if subject.job_type is not None else "jobs"
    whose = f"organization {subject.organization}" if subject.organization is not None else "all organizations"
    sentence = (
        f"Another transaction holds the limit on {what} of {whose}, so no worker can start it before that one ends. "
        "A claim holds it for a moment; if this goes on, an administrator of PostgreSQL has to end that session."
    )
    return Reason(ReasonCode.LIMIT_HELD, sentence)


def _max_running(facts: Facts, one: LimitOn, most: int) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job" if job_type is not None else "job"
    code, who = max_running_code(one.subject), _who(organization)
    remedy, commands = _remedy(facts, one.subject, "--max-running")
    if most == 0 or facts.place_in_lane is None:
        return Reason(code, f"{who} may run no {what}: none allowed. {remedy}", commands)
    number = "that many" if organization is None else f"{one.running:,} of {most:,}"
    place = _number_in_lane(facts.job, facts.place_in_lane)
    sentence = (
        f"{who} may run {_count(most, what)} at once, and {number} run; it is {place}, "
        f"and the next starts when fewer do. {remedy}"
    )
    return Reason(code, sentence, commands)


def _number_in_lane(job: Job, place: int) -> str:
    """Return a job's place in its lane for a sentence, without the word "lane", which readers do not know."""
    number = f"number {place:,}{' or later' if place >= LAST_PLACE else ''}"
    return f"{number} of {job.organization}'s {job.job_type} jobs in queue {job.queue}"


def _execution_rate(facts: Facts, one: LimitOn) -> Reason:
    organization, job_type = one.subject
    what = f"{job_type} job"
    code, who = execution_rate_code(one.subject), _who(organization)
    remedy, commands = _remedy(facts, one.subject, "--execution-rate")
    if one.next_start is None or facts.place_in_lane is None:
        return Reason(code, f"{who} may start no {what}: none allowed. {remedy}", commands)
    allowed = _count(one.limit.execution_rate or 0, what)
    place = _number_in_lane(facts.job, facts.place_in_lane)
    sentence = (
        f"{who} may start {allowed} in {one.limit.execution_rate_window:g} s, and did; it is {place}, "
        f"and the next may start at {time_of(one.next_start)}. {remedy}"
    )
    return Reason(code, sentence, commands)


def _remedy(facts: Facts, subject: Subject, option: str) -> tuple[str, tuple[str, ...]]:
    """Return the sentence that says who can raise the limit, and the commands that do."""
    whose = shlex.quote(subject.organization or "")
    if subject.job_type is None:
        if facts.is_hosted:
            return "The application's own directory sets this limit.", ()
        return "An operator can raise this limit.", (f"fairlane orgs update {whose} {option} N",)
    of, name = f" -o {whose}" if subject.organization else "", shlex.quote(subject.job_type)
    see, change = f"fairlane types limits {name}", f"fairlane types limit {name}{of} {option} N"
    return "An operator can see what uses this limit, and raise it.", (see, change)


def breaker_on(job: Job, breaker: Breaker | None, now: datetime) -> Iterator[Reason]:
    """Yield the reason of an open breaker, for a job that is ready, or whose retry is due before the next trial."""
    retry_at = job.next_retry_at
    is_due = retry_at is None or retry_at <= now or (breaker is not None and retry_at < breaker.until)
    if breaker is not None and job.status is JobStatus.QUEUED and is_due:
        yield _breaker_reason(breaker, now)


def _breaker_reason(breaker: Breaker, now: datetime) -> Reason:
    """Return the reason of a breaker that is open at `now`, for ready jobs."""
    why = f"Too much of {breaker.job_type} failed in organization {breaker.organization}"
    close, commands = "An operator can let all start now.", (breaker.pair.close_command,)
    if breaker.trial is not None:
        sentence = (
            f"{why}; job {breaker.trial.job_id} runs on trial, and the others start once one has completed. {close}"
        )
        return Reason(ReasonCode.BREAKER_TRIAL, sentence, commands)
    if breaker.lets_try(now):
        sentence = f"{why}; the next one to start is on trial, and the others start once one has completed. {close}"
        return Reason(ReasonCode.BREAKER_TRIAL, sentence, commands)
    sentence = (
        f"{why}, so nothing of it starts until {time_of(breaker.until)}; then one job is on trial, "
        f"and the others start once one has completed. {close}"
    )
    return Reason(ReasonCode.BREAKER_OPEN, sentence, commands)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# The sentences for each thing that is missing for a worker to claim the job.
_MISSING: Final = {
    ReasonCode.NO_WORKER: "No worker is alive. The team that runs Fairlane has to start one.",
    ReasonCode.NO_WORKER_FOR_QUEUE: (
        "No live worker serves queue {lane.queue}. The team that runs Fairlane has to start one that does."
    ),
    ReasonCode.NO_WORKER_FOR_JOB_TYPE: (
        "No live worker that serves queue {lane.queue} has a handler for {lane.job_type}. "
        "The team that runs Fairlane has to start one whose application registers it."
    ),
    ReasonCode.WORKERS_STOPPING: (
        "Every worker that could run it is stopping and claims no more. "
        "The team that runs Fairlane has to start another for queue {lane.queue}."
    ),
    ReasonCode.NO_WORKER_WITH_KEY: (
        "No worker that could run it has the master key to the data of organization {lane.organization}. "
        "The team that runs Fairlane has to start one with that key in FAIRLANE_ENCRYPTION_KEYS, "
        "and can check there whether it opens the data."
    ),
}
_START: Final = ("fairlane worker",)
_MAY_GO_ON: Final = "but a handler in a thread can't be killed: a handler that does not check for it may go on."
_TO_MEND: Final = {
    ReasonCode.NO_WORKER: _START,
    ReasonCode.NO_WORKER_FOR_QUEUE: _START,  # such a worker serves all queues
    ReasonCode.NO_WORKER_WITH_KEY: ("fairlane check",),
}


def worker_reason(missing: ReasonCode, lane: Lane) -> Reason:
    """Return the reason of the lane's jobs that no worker can claim; `missing` is the answer of `missing_worker`."""
    return Reason(missing, _MISSING[missing].format(lane=lane), _TO_MEND.get(missing, ()))


def _workers(facts: Facts) -> Iterator[Reason]:
    """Yield the reason that no worker may claim the job; else, if it is ready, that no worker has a slot for it."""
    job = facts.job
    missing = missing_worker(facts.workers, job.queue, job.job_type)
    if missing is not None:
        yield worker_reason(missing, Lane(job.queue, job.organization, job.job_type))
    elif facts.place_in_lane is not None:
        able = [one for one in facts.workers if missing_worker([one], job.queue, job.job_type) is None]
        yield from _slots(facts, facts.place_in_lane, able)


def _slots(facts: Facts, place: int, able: Iterable[LiveWorker]) -> Iterator[Reason]:
    """Yield the reason that none of the able workers has a slot for the job."""
    if not any(worker.has_room for worker in able):
        yield Reason(
            ReasonCode.SLOTS_TAKEN,
            f"All slots of the workers that could run it are taken; it is {_number_in_lane(facts.job, place)} "
            "and starts when its turn comes and one is free.",
        )


def _nothing(facts: Facts) -> Reason:
    place = facts.place_in_lane
    if place is None:
        sentence = "The job no longer waits for anything; a worker makes it ready within about a second."
        return Reason(ReasonCode.BEING_MADE_READY, sentence)
    number = _number_in_lane(facts.job, place)
    sentence = f"Nothing blocks it; it is {number} and starts when its turn comes and a worker is free."
    return Reason(ReasonCode.NOTHING_BLOCKS, sentence)


def _running(facts: Facts) -> Iterator[Reason]:
    job, holder = facts.job, facts.holder
    is_lost = holder is not None and holder.is_lost
    if holder is not None and is_lost:
        yield Reason(ReasonCode.WORKER_LOST, _lost(holder))
        if not facts.workers:
            sentence = "No worker is alive, so nobody can take it back. The team that runs Fairlane has to start one."
            yield Reason(ReasonCode.NO_WORKER, sentence, _START)
    if job.cancel_requested_at is not None:
        who = facts.cancel_requested_by or "somebody"
        why = f" ({_quote(facts.cancel_reason)})" if facts.cancel_reason else ""
        sentence = (
            f"{who} asked at {time_of(job.cancel_requested_at)} to cancel it{why}; its worker stops it, {_MAY_GO_ON}"
        )
        yield Reason(ReasonCode.CANCEL_REQUESTED, sentence)
    # The claim logs the worker as its actor, so its name is known even when its row is gone.
    name = holder.name if holder is not None else facts.last_entry.actor
    since = job.started_at or facts.last_entry.at
    sentence = f"Worker {name} has run it since {time_of(since)} (attempt {job.attempt}); {_progress(job)}."
    if job.timeout is not None and (facts.now - since).total_seconds() > job.timeout and not is_lost:
        sentence += f" Its timeout of {job.timeout:g} s is over; its worker stops it, {_MAY_GO_ON}"
    yield Reason(ReasonCode.IS_RUNNING, sentence + (_silent(facts, holder) if holder is not None else ""))


def _silent(facts: Facts, holder: Holder) -> str:
    """Return a sentence if the worker has missed a heartbeat (there are three in a lease) and is not lost yet."""
    if holder.lease_left is None or not 0 <= holder.lease_left < holder.silent:
        return ""
    then = "a worker takes the job back"
    if len(facts.workers) < 2:  # itself
        then = "another one can take the job back, but no other is alive"
    left = max(ceil(holder.lease_left), 1)
    return f" It was last heard of {holder.silent:.0f} s ago; if it stays silent for another {left} s, {then}."


def _lost(holder: Holder) -> str:
    if holder.lease_left is None:
        return (
            f"Its worker {holder.name} ended when the machine restarted; "
            "a worker takes the job back as soon as it has been alive for a lease itself."
        )
    lease = max(holder.silent + holder.lease_left, 0.0)
    return (
        f"Its worker {holder.name} was last heard of {holder.silent:.0f} s ago and its lease has run out; "
        f"a worker takes the job back as soon as it has been alive for a lease itself ({lease:.0f} s)."
    )


def _progress(job: Job) -> str:
    percent = f"{job.progress:.0f} %" if job.progress is not None else ""
    told = ": ".join(part for part in (percent, _quote(job.progress_message or "")) if part)
    return f"progress {told}" if told else "it has reported no progress"


def _ended(facts: Facts) -> Iterator[Reason]:
    yield _end(facts)
    # Nobody can delete the parent of a dead letter that is undecided.
    if facts.job.status is JobStatus.DEAD_LETTER and facts.decision is not None and facts.decision.parent_deleted:
        yield Reason(ReasonCode.PARENT_DELETED, "A parent of it was deleted, so it can't be retried: submit it anew.")


def _end(facts: Facts) -> Reason:
    job, last = facts.job, facts.last_entry
    at, message = time_of(job.finished_at or last.at), _quote(last.message)
    if job.status is JobStatus.COMPLETED:
        sentence = f"It completed at {at} on attempt {job.attempt}: {message}."
    elif job.status is JobStatus.CANCELED:
        sentence = f"It was canceled at {at} by {job.canceled_by or last.actor}: {message}."
    else:
        error = f" The last error was {_error(job)}." if last.from_status in PASSING else ""
        ran = job.attempt and job.error_type != REFUSED  # a claim that was refused counts as an attempt, too
        attempts = f" after {job.attempt} {'attempt' if job.attempt == 1 else 'attempts'}" if ran else ""
        sentence = f"It went to dead letter at {at}{attempts}: {message}.{error} {_what_now(facts)}."
    return Reason(ReasonCode.HAS_ENDED, sentence)


def _what_now(facts: Facts) -> str:
    if (decision := facts.decision) is None:
        if facts.organization_status is OrganizationStatus.DELETED:
            return f"Organization {facts.job.organization} was deleted, so it can't be retried"
        return f"{_way_back(facts)}, or resolve it"
    note = f": {_quote(decision.note)}" if decision.note else ""
    return f"It was {decision.resolution} by {decision.by}{note}"


def _way_back(facts: Facts) -> str:
    parent = facts.culprit
    if parent is not None and parent.status is JobStatus.DEAD_LETTER:
        if (root := facts.to_retry) is None:
            return f"Retry the first dead letter above its parent {parent.id}: its children follow"
        return f"Retry its {'parent' if root.id == parent.id else 'ancestor'} {root.id}: its children follow"
    if parent is not None and parent.status is JobStatus.CANCELED:
        return "That parent stays canceled: retry this job to run it without the parent, submit both anew"
    if facts.job.error_type == InvalidParameters.__name__:
        return "Retry it with other parameters (`-p NAME=VALUE`), or as it is once a handler takes them"
    return "Mend the cause and retry it"


def _error(job: Job) -> str:
    return _quote(": ".join(part for part in (job.error_type, job.error_message) if part) or "an unknown error")


def _quote(text: str) -> str:
    """Return the first line of a foreign text, cut to length, for a sentence."""
    line = text.strip().partition("\n")[0].rstrip(" .\r")
    return line if len(line) <= _LONGEST_QUOTE else f"{line[: _LONGEST_QUOTE - 1]}…"
