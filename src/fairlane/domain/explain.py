"""Why a job is not running (R20): from facts that were read together to sentences that say what is so and what to do.

Pure: `explain` takes the moment as one of the facts. Maintenance mode comes first. The job's own reasons follow
(parents, time), then what holds back its organization, its type and its queue (pauses, limits, a breaker), then the
workers. A person reads them in this order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.explain_facts import Facts, Holder, LiveWorker, Pause
from fairlane.domain.explain_limits import breaker_reasons, limit_reasons
from fairlane.domain.fairness import Lane
from fairlane.domain.holds import MAINTENANCE, PAUSED, missing_worker
from fairlane.domain.jobs import Job
from fairlane.domain.reasons import Reason, ReasonCode, number_in_lane, time_of
from fairlane.domain.statuses import PASSING, TERMINAL, JobStatus, OrganizationStatus
from fairlane.domain.transitions import REFUSED

# So many parents are named, the others counted.
NAMED_PARENTS: Final = 5
_LONGEST_QUOTE: Final = 300  # characters of an error text


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a job stands and why; `reasons[0]` weighs most, and is the `summary`.

    `place_in_lane` counts from 1 among the ready jobs of its organization and type in its queue; 10,000 stands for
    10,000 or later, None for a job that is not ready.
    """

    status: JobStatus
    summary: str
    reasons: tuple[Reason, ...]
    place_in_lane: int | None = None


def explain(facts: Facts) -> Explanation:
    """Say where the job stands and why."""
    if facts.job.status in TERMINAL:
        reasons = [*_ended(facts)]
    elif facts.job.status is JobStatus.RUNNING:
        reasons = [*_running(facts)]
    else:
        reasons = [*_waiting(facts)] or [_nothing(facts)]
    return Explanation(facts.job.status, reasons[0].sentence, tuple(reasons), facts.place_in_lane)


def still_waiting(job_id: UUID, told: Explanation, seconds: float) -> str:
    """Say what to tell who has waited so many seconds for the end of a job that has not ended."""
    sentence = f"Job {job_id} is still {told.status} after {seconds:g} s."
    return " ".join([sentence, *(one.advice for one in told.reasons)])


def _waiting(facts: Facts) -> Iterator[Reason]:
    maintenance = [*_maintenance(facts)]
    yield from maintenance
    yield from _own_waits(facts)
    held = [*_organization(facts), *_pauses(facts), *limit_reasons(facts), *breaker_reasons(facts)]
    yield from held
    # What is held back starts in no slot, so which are free is beside the point.
    yield from (one for one in _workers(facts) if not ((maintenance or held) and one.code is ReasonCode.SLOTS_TAKEN))


def _own_waits(facts: Facts) -> Iterator[Reason]:
    """Yield parents, `run_at`, the retry time."""
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
    return f"It waits for {what} {', '.join(named)}. Look at a parent to see what that waits for."


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


# What is missing on the way to a worker that may claim the job.
_MISSING: Final = {
    ReasonCode.NO_WORKER: "No worker is alive. Whoever runs Fairlane has to start one.",
    ReasonCode.NO_WORKER_FOR_QUEUE: (
        "No live worker serves queue {lane.queue}. Whoever runs Fairlane has to start one that does."
    ),
    ReasonCode.NO_WORKER_FOR_JOB_TYPE: (
        "No live worker that serves queue {lane.queue} has a handler for {lane.job_type}. "
        "Whoever runs Fairlane has to start one whose application registers it."
    ),
    ReasonCode.WORKERS_STOPPING: (
        "Every worker that could run it is stopping and claims no more. "
        "Whoever runs Fairlane has to start another for queue {lane.queue}."
    ),
    ReasonCode.NO_WORKER_WITH_KEY: (
        "No worker that could run it has the master key to the data of organization {lane.organization}. "
        "Whoever runs Fairlane has to start one with that key in FAIRLANE_ENCRYPTION_KEYS, "
        "and can check there whether it opens the data."
    ),
}
_START: Final = ("fairlane worker",)
_TO_MEND: Final = {
    ReasonCode.NO_WORKER: _START,
    ReasonCode.NO_WORKER_FOR_QUEUE: _START,  # it serves all queues
    ReasonCode.NO_WORKER_WITH_KEY: ("fairlane check",),
}


def worker_reason(missing: ReasonCode, lane: Lane) -> Reason:
    """Say what the lane's jobs lack on the way to a worker; `missing` is what `missing_worker` returned."""
    return Reason(missing, _MISSING[missing].format(lane=lane), _TO_MEND.get(missing, ()))


def _workers(facts: Facts) -> Iterator[Reason]:
    """Say that no worker may claim it; else, of a job that is ready, that none has a slot for it."""
    job = facts.job
    missing = missing_worker(facts.workers, job.queue, job.job_type)
    if missing is not None:
        yield worker_reason(missing, Lane(job.queue, job.organization, job.job_type))
    elif facts.place_in_lane is not None:
        able = [one for one in facts.workers if missing_worker([one], job.queue, job.job_type) is None]
        yield from _slots(facts, facts.place_in_lane, able)


def _slots(facts: Facts, place: int, able: Iterable[LiveWorker]) -> Iterator[Reason]:
    """Say if none of the workers that could run it has a slot for it."""
    if not any(worker.has_room for worker in able):
        yield Reason(
            ReasonCode.SLOTS_TAKEN,
            f"All slots of the workers that could run it are taken; it is {number_in_lane(facts.job, place)} "
            "and starts when its turn comes and one is free.",
        )


def _nothing(facts: Facts) -> Reason:
    place = facts.place_in_lane
    if place is None:
        sentence = "All that it waited for has come or ended; a worker goes on with it within about a second."
        return Reason(ReasonCode.BEING_MADE_READY, sentence)
    number = number_in_lane(facts.job, place)
    sentence = f"Nothing blocks it; it is {number} and starts when its turn comes and a worker is free."
    return Reason(ReasonCode.NOTHING_BLOCKS, sentence)


def _running(facts: Facts) -> Iterator[Reason]:
    job, holder = facts.job, facts.holder
    if holder is not None and holder.is_lost:
        yield Reason(ReasonCode.WORKER_LOST, _lost(holder))
        if not facts.workers:
            sentence = "No worker is alive, so nobody can take it back. Whoever runs Fairlane has to start one."
            yield Reason(ReasonCode.NO_WORKER, sentence, _START)
    if job.cancel_requested_at is not None:
        who = facts.cancel_requested_by or "somebody"
        why = f" ({_quote(facts.cancel_reason)})" if facts.cancel_reason else ""
        sentence = (
            f"{who} asked at {time_of(job.cancel_requested_at)} to cancel it{why}; its worker stops it, "
            "but a handler in a thread can't be killed: one that does not listen may go on."
        )
        yield Reason(ReasonCode.CANCEL_REQUESTED, sentence)
    # The claim logs the worker as its actor, so its name is known even when its row is gone.
    name = holder.name if holder is not None else facts.last_entry.actor
    since = job.started_at or facts.last_entry.at
    sentence = f"Worker {name} has run it since {time_of(since)} (attempt {job.attempt}); {_progress(job)}."
    yield Reason(ReasonCode.IS_RUNNING, sentence + (_silent(facts, holder) if holder is not None else ""))


def _silent(facts: Facts, holder: Holder) -> str:
    """Say more, where it has missed a heartbeat (there are three in a lease) and is not lost yet."""
    if holder.lease_left is None or not 0 <= holder.lease_left < holder.silent:
        return ""
    then = "a worker takes the job back"
    if len(facts.workers) < 2:  # itself
        then = "another one can take the job back, but no other is alive"
    return (
        f" It was last heard of {holder.silent:.0f} s ago; if it stays silent for another {holder.lease_left:.0f} s, "
        f"{then}."
    )


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
    # Nobody can delete the parent of one that is undecided.
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
        return f"Retry its parent {parent.id}: its children follow"
    if parent is not None and parent.status is JobStatus.CANCELED:
        return "That parent stays canceled: retry it to run without, submit both anew"
    return "Mend the cause and retry it"


def _error(job: Job) -> str:
    return _quote(": ".join(part for part in (job.error_type, job.error_message) if part) or "an unknown error")


def _quote(text: str) -> str:
    """Return the first line of a text that somebody else wrote, cut to length, to stand within a sentence."""
    line = text.strip().partition("\n")[0].rstrip(" .\r")
    return line if len(line) <= _LONGEST_QUOTE else f"{line[: _LONGEST_QUOTE - 1]}…"
