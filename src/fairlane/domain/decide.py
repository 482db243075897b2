"""The decision what becomes of a job after an attempt has ended, and after its parents have ended (R9).

The store only applies it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from fairlane.domain import transitions
from fairlane.domain.backoff import JITTER, Backoff
from fairlane.domain.jobs import JobState
from fairlane.domain.outcomes import (
    Completed,
    Deferred,
    ErrorReport,
    Failed,
    Lost,
    Outcome,
    Refused,
    Released,
    Snoozed,
    Stopped,
    TimedOut,
    Try,
)
from fairlane.domain.poison import SUSPECT_AT
from fairlane.domain.statuses import ENDED_BADLY, JobStatus, ParentPolicy
from fairlane.domain.texts import time_of
from fairlane.domain.timing import LEAP_YEAR
from fairlane.domain.transitions import Transition

LONGEST_WAIT = LEAP_YEAR  # a longer wait would not fit a date some day
# An outage is mostly over when the outcome is written, as that takes the database. A longer outage is that of another
# storage, for example of a second Fairlane or of the artifacts: then the job waits longer and longer.
STORAGE_BACKOFF = Backoff(base=1.0, cap=300.0)
# In a row; the waits between them add up to a day. A longer trouble is no outage: it fails the attempt like any error.
MOST_DEFERRALS = 296

UNCOMMITTED = "the row may not be committed yet; to run after the commit, submit with connection="


@dataclass(frozen=True, slots=True)
class AttemptState:
    """The state of a running job that the decision needs, read under the job's lock."""

    attempt: int
    retry_count: int
    rescue_count: int
    max_retries: int | None  # None = unlimited
    deferrals: int = 0  # in a row
    organization_is_gone: bool = False
    cancel_requested_at: datetime | None = None
    cancel_requested_by: str | None = None
    cancel_reason: str = ""


def decide(job: AttemptState, outcome: Outcome, now: datetime, random: Random, backoff: Backoff) -> Transition:
    """Return the transition that `outcome` leads to.

    A cancel request wins over every outcome but a normal return: the user who asked for it must not see another
    attempt. An organization that was deleted gets no other attempt either: the check at its start would refuse it.
    """
    transition = _decide(job, outcome, now, random, backoff)
    if job.organization_is_gone and transition.target is JobStatus.QUEUED:
        return transitions.refuse_another(transition, now)
    return transition


def _decide(job: AttemptState, outcome: Outcome, now: datetime, random: Random, backoff: Backoff) -> Transition:
    match outcome:
        case Completed(result):
            return transitions.complete(now, result, _canceled_too_late(job))
        case _ if job.cancel_requested_by is not None:
            return transitions.cancel(JobStatus.RUNNING, job.cancel_requested_by, _how_it_stopped(job, outcome), now)
        case Refused(reason, detail):
            return transitions.refuse(JobStatus.RUNNING, reason, now, detail)
        case Failed(error):
            return _retry_or_give_up(job, JobStatus.FAILED, error, now, random, backoff)
        case Deferred(error) if job.deferrals >= MOST_DEFERRALS:
            return _retry_or_give_up(job, JobStatus.FAILED, error, now, random, backoff)
        case TimedOut(error):
            return _retry_or_give_up(job, JobStatus.TIMED_OUT, error, now, random, backoff)
        case Lost():
            return _rescue(job, outcome, now)
        case _:
            return _put_back(job, outcome, now, random)


def _put_back(
    job: AttemptState, outcome: Snoozed | Deferred | Released | Stopped, now: datetime, random: Random
) -> Transition:
    match outcome:
        case Snoozed(seconds, reason):
            message = f"snoozed by the handler for {seconds:g} s" + (f": {reason}" if reason else "")
            return transitions.snooze(message, now, _after(now, seconds))
        case Deferred(error):
            number = job.deferrals + 1
            at = _later(now, STORAGE_BACKOFF.seconds(number, random))
            return transitions.defer(error, job.rescue_count, number, at)
        case Released(reason, seconds):
            return transitions.requeue(reason, job.rescue_count, _after(now, seconds))
        case Stopped(how):
            # Stopped without a request: a person's retry removed the request, so the job just goes on.
            return transitions.requeue(f"{how} without a cancel request", job.rescue_count, None)


def _after(now: datetime, seconds: float) -> datetime | None:
    return _later(now, seconds) if seconds > 0 else None


def _later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=min(seconds, LONGEST_WAIT))


def _retry_or_give_up(
    job: AttemptState, status: JobStatus, error: ErrorReport, now: datetime, random: Random, backoff: Backoff
) -> Transition:
    failed = Try(job.retry_count + 1, None if job.max_retries is None else job.max_retries + 1)
    if error.permanent and job.retry_count >= error.retries:
        after = f"retried {error.retries} times" if error.retries else "not retried"
        return transitions.give_up(status, error, failed, f"permanent error, {after}", now)
    if job.max_retries is not None and job.retry_count >= job.max_retries:
        spent = f"{job.max_retries} of {job.max_retries} retries spent" if job.max_retries else "it has no retries"
        return transitions.give_up(status, error, failed, spent, now)
    wait = backoff.seconds(failed.number, random)
    if error.retry_after is not None:
        # Later than asked, so that jobs that were refused together do not run again together.
        wait = error.retry_after * random.uniform(1, 1 + JITTER)
    why = UNCOMMITTED if error.retries else ""
    return transitions.retry(status, error, failed, _later(now, wait), why)


def _rescue(job: AttemptState, lost: Lost, now: datetime) -> Transition:
    """Return the transition of a job whose worker was lost, by the decision of `domain.poison`.

    The first two rescues always queue the job again.
    """
    rescues = job.rescue_count + 1
    decision = lost.decision
    if decision.is_poison:
        why = "a crash, memory exhaustion or a release that dies as it starts"
        reason = f"its worker was lost {rescues} times while it had the job; look for {why}"
        return transitions.dead_letter_poison(reason, now)
    reason = f"worker {lost.worker} was lost"
    if not decision.counts:
        rescues = job.rescue_count
        reason += "; not counted, since a job that started later is suspected"
    elif rescues >= SUSPECT_AT:
        reason += f", rescue {rescues}; it runs apart from others that are suspected of taking workers down"
    else:
        reason += f", rescue {rescues}"
    error = ErrorReport("WorkerLost", reason, fingerprint="WorkerLost")
    return transitions.requeue(reason, rescues, _after(now, decision.wait), error)


def _canceled_too_late(job: AttemptState) -> str:
    """Return the log's text for a cancel request that changed nothing. The handler may have seen it or not."""
    if job.cancel_requested_at is None:
        return ""
    at = time_of(job.cancel_requested_at)
    return f"it completed, though {job.cancel_requested_by} asked at {at} to cancel it{_why(job)}"


def _how_it_stopped(job: AttemptState, outcome: Outcome) -> str:
    match outcome:
        case Stopped(how):
            end = f": {how}"
        case Failed(error):
            end = f": the handler raised {error.error_type}"
        case TimedOut(error):
            end = f": {error.message}"
        case Lost(worker):
            end = f": worker {worker} was lost"
        case _:
            end = ""
    return f"cancel took effect{end}{_why(job)}"


def _why(job: AttemptState) -> str:
    return f" ({job.cancel_reason})" if job.cancel_reason else ""


class Fate(NamedTuple):
    """The decision about a child; `culprit`: the parent that ended without completing."""

    transition: Transition
    culprit: JobState | None


def fate(
    policy: ParentPolicy, ended: Sequence[JobState], *, unmet: int, run_at: datetime, now: datetime
) -> Fate | None:
    """Return the decision about a pending child; None: it goes on waiting, for other parents or for its time.

    Args:
        ended: the parents that have just ended.
        unmet: the number of parents that had not ended before, these included.
    """
    culprit = next((parent for parent in ended if parent.status in ENDED_BADLY), None)
    if culprit is not None and policy is not ParentPolicy.RUN_ANYWAY:
        return Fate(_taken_down(policy, culprit, now), culprit)
    if unmet <= len(ended) and run_at <= now:
        return Fate(transitions.make_ready(), culprit)
    return None


def _taken_down(policy: ParentPolicy, culprit: JobState, now: datetime) -> Transition:
    reason = f"parent {culprit.id} ({culprit.job_type}) ended as {culprit.status.replace('_', ' ')}"
    if policy is ParentPolicy.CANCEL:
        return transitions.cancel(JobStatus.PENDING, "system", reason, now)
    return transitions.take_down(culprit.job_type, reason, now)
