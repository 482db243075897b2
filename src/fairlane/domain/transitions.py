"""Transitions of a job: a constructor for each, which checks the transition table.

A `Transition` is a value: the steps for the execution log, and the columns to set. The store applies it by one guarded
UPDATE or move; nothing else writes a status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from fairlane.domain.errors import IllegalTransition
from fairlane.domain.outcomes import ErrorReport, Try
from fairlane.domain.sealing import Field, Seal
from fairlane.domain.statuses import PRIORITY_RANK, TERMINAL, TRANSITIONS, WAITING, JobStatus, Priority
from fairlane.domain.texts import time_of

_S = JobStatus
REFUSED: Final = "Refused"  # the error type of a job that a check refused to run
ORGANIZATION_GONE: Final = "Organization not found"  # R5 names the reason
# A row that is no longer running belongs to no worker.
_UNCLAIMED: Mapping[str, object] = MappingProxyType({"worker_id": None, "lease_token": None})
# A job that goes back to its queue has not started either: if it ends without an attempt, it has no processing time.
# `deferrals` counts deferrals in a row: any other outcome resets it.
_BACK: Mapping[str, object] = MappingProxyType({**_UNCLAIMED, "started_at": None, "deferrals": 0})


# The first entry of a job's log.
SUBMITTED: Final = "submitted"


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the execution log: a legal move and the reason for it.

    Raises:
        IllegalTransition: the transition table has no such edge.
    """

    source: JobStatus | None
    target: JobStatus
    message: str

    def __post_init__(self) -> None:
        if (self.source, self.target) not in TRANSITIONS:
            raise IllegalTransition(f"A job can't go from {self.source} to {self.target}; nothing was changed.")


@dataclass(frozen=True, slots=True)
class DeadLetterCause:
    """The cause of a dead letter. The dead-letter view groups and alerts by it."""

    reason: str
    error_type: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """Steps that are taken together, and the columns that they set. `failed`: the attempt, if it failed."""

    steps: tuple[Step, ...]
    changes: Mapping[str, object] = field(default_factory=dict)
    error: ErrorReport | None = None
    cause: DeadLetterCause | None = None
    result: str | None = None
    failed: Try | None = None

    @property
    def source(self) -> JobStatus | None:
        """Return the status that the row must have."""
        return self.steps[0].source

    @property
    def target(self) -> JobStatus:
        """Return the status that the row will have."""
        return self.steps[-1].target


def sealed(transition: Transition, seal: Seal) -> Transition:
    """Return the transition with each text sealed that may quote the job's data."""
    changes = dict(transition.changes)
    if isinstance(changes.get("error_message"), str):
        changes["error_message"] = seal(Field.ERROR, str(changes["error_message"]))
    error, cause, result = transition.error, transition.cause, transition.result
    return replace(
        transition,
        steps=tuple(replace(step, message=seal(Field.LOG_ENTRY, step.message)) for step in transition.steps),
        changes=changes,
        error=replace(
            error,
            message=seal(Field.ATTEMPT_ERROR, error.message),
            traceback=seal(Field.TRACEBACK, error.traceback),
        )
        if error is not None
        else None,
        cause=replace(cause, reason=seal(Field.REASON, cause.reason)) if cause is not None else None,
        result=seal(Field.RESULT, result) if result is not None else None,
    )


def _ended(now: datetime, **more: object) -> Mapping[str, object]:
    return {**_UNCLAIMED, "ready": False, "next_retry_at": None, "finished_at": now, **more}


def claim(worker: str, attempt: int = 1) -> Transition:
    """Give the job to a worker for an attempt.

    The store claims many jobs at once: it counts on from each row's `attempt`, and adds the lease and the moment.
    """
    changes = {"ready": False, "next_retry_at": None, "attempt": attempt}
    return Transition((Step(_S.QUEUED, _S.RUNNING, f"claimed by {worker}"),), changes)


def complete(now: datetime, result: str | None, note: str = "") -> Transition:
    """Complete the job: the handler returned."""
    step = Step(_S.RUNNING, _S.COMPLETED, "handler returned" + (f"; {note}" if note else ""))
    return Transition((step,), _ended(now, error_type=None, error_message=None), result=result)


def retry(outcome: JobStatus, error: ErrorReport, failed: Try, at: datetime, why: str = "") -> Transition:
    """Return to the queue after an attempt that failed or timed out; another follows at `at`."""
    steps = (
        Step(_S.RUNNING, outcome, f"{error.error_type}: {error.message}"),
        Step(outcome, _S.QUEUED, f"retry {failed.number} at {time_of(at)}" + (f": {why}" if why else "")),
    )
    changes = {
        **_BACK,
        "ready": False,
        "next_retry_at": at,
        "retry_count": failed.number,
        "rescue_count": 0,  # the attempt ended by itself, so it did not take its worker down
        "error_type": error.error_type,
        "error_message": error.message,
    }
    return Transition(steps, changes, error=error, failed=failed)


def give_up(outcome: JobStatus, error: ErrorReport, failed: Try, reason: str, now: datetime) -> Transition:
    """Send the job to dead letter: the attempt failed or timed out, and no other attempt follows."""
    steps = (
        Step(_S.RUNNING, outcome, f"{error.error_type}: {error.message}"),
        Step(outcome, _S.DEAD_LETTER, reason),
    )
    changes = _ended(now, error_type=error.error_type, error_message=error.message)
    return Transition(
        steps,
        changes,
        error=error,
        failed=failed,
        cause=DeadLetterCause(f"{error.error_type}: {error.message}", error.error_type, error.fingerprint),
    )


def refuse(source: JobStatus, reason: str, now: datetime, detail: str = "") -> Transition:
    """Send the job to dead letter: a check refused to run it.

    `detail` is shown, but dead letters are grouped by `reason` alone.
    """
    told = f"{reason}: {detail}" if detail else reason
    return _dead_letter(source, DeadLetterCause(told, REFUSED, f"{REFUSED} {reason}"), now)


def refuse_another(transition: Transition, now: datetime) -> Transition:
    """Send a job to dead letter instead of back to its queue, since its organization was deleted."""
    *steps, last = transition.steps
    assert last.source is not None
    refused = refuse(last.source, ORGANIZATION_GONE, now)
    return replace(refused, steps=(*steps, *refused.steps), error=transition.error, failed=transition.failed)


def take_down(parent_type: str, reason: str, now: datetime) -> Transition:
    """Send the job to dead letter: a parent ended without completing, and the job must not run without that parent."""
    return _dead_letter(_S.PENDING, DeadLetterCause(reason, "ParentEnded", f"ParentEnded {parent_type}"), now)


def _dead_letter(source: JobStatus, cause: DeadLetterCause, now: datetime) -> Transition:
    changes = _ended(now, error_type=cause.error_type, error_message=cause.reason)
    return Transition((Step(source, _S.DEAD_LETTER, cause.reason),), changes, cause=cause)


def dead_letter_poison(reason: str, now: datetime) -> Transition:
    """Send the job to dead letter: it took its worker down too often."""
    error = ErrorReport("WorkerLost", reason, permanent=True, fingerprint="WorkerLost")
    return replace(_dead_letter(_S.RUNNING, DeadLetterCause(reason, "WorkerLost", "WorkerLost"), now), error=error)


def cancel(source: JobStatus, actor: str, reason: str, now: datetime) -> Transition:
    """Cancel the job before its start, or once its cancel took effect."""
    changes = _ended(now, canceled_at=now, canceled_by=actor)
    return Transition((Step(source, _S.CANCELED, reason),), changes)


def requeue(reason: str, rescue_count: int, ready_at: datetime | None, error: ErrorReport | None = None) -> Transition:
    """Give a running job back unfinished, to be claimed at once or from `ready_at`; no retry is spent."""
    changes = {**_BACK, "ready": ready_at is None, "next_retry_at": ready_at, "rescue_count": rescue_count}
    return Transition((Step(_S.RUNNING, _S.QUEUED, reason),), changes, error=error)


def snooze(reason: str, now: datetime, ready_at: datetime | None) -> Transition:
    """Put back a job whose handler asked for it, behind those that are due: else it would always go before them."""
    requeued = requeue(reason, 0, ready_at)
    return replace(requeued, changes={**requeued.changes, "run_at": now})


def defer(error: ErrorReport, rescue_count: int, deferrals: int, ready_at: datetime) -> Transition:
    """Release a job whose handler Fairlane's own storage did not serve; it runs again from `ready_at`."""
    why = f"{error.error_type}: {error.message}"
    message = f"released without spending a retry, since Fairlane's storage did not serve it: {why}"
    requeued = requeue(message, rescue_count, ready_at)
    return replace(requeued, changes={**requeued.changes, "deferrals": deferrals})


def make_ready(reason: str = "all parents ended and its time has come") -> Transition:
    """Let a pending job be claimed."""
    return Transition((Step(_S.PENDING, _S.QUEUED, reason),), {"ready": True})


def revive(reason: str, now: datetime, ready_at: datetime | None = None) -> Transition:
    """Queue a dead letter that a person retried, at once or from `ready_at`; its retries start afresh."""
    changes = {**_AFRESH, "ready": ready_at is None, "next_retry_at": ready_at, "run_at": now}
    return Transition((Step(_S.DEAD_LETTER, _S.QUEUED, reason),), changes)


def revive_pending(reason: str, unmet_parents: int) -> Transition:
    """Let a dead letter wait for parents again: the parent that took it down was retried, or others have not ended."""
    changes = {**_AFRESH, "ready": False, "unmet_parents": unmet_parents}
    return Transition((Step(_S.DEAD_LETTER, _S.PENDING, reason),), changes)


_AFRESH: Mapping[str, object] = MappingProxyType(
    {
        "retry_count": 0,
        "rescue_count": 0,
        "deferrals": 0,
        "next_retry_at": None,
        "started_at": None,
        "finished_at": None,
        "error_type": None,
        "error_message": None,
    }
)


# The advice for a job that does not wait any more.
_INSTEAD: Mapping[JobStatus, str] = MappingProxyType(
    {JobStatus.RUNNING: "let it end, or cancel it", JobStatus.DEAD_LETTER: "retry it"}
)


class Start(NamedTuple):
    """The start of a job, which people may change while the job waits. `is_ready`: a worker may claim it."""

    job_id: UUID
    status: JobStatus
    is_ready: bool
    unmet_parents: int
    run_at: datetime
    priority: Priority


def run_now(start: Start, now: datetime) -> Transition | None:
    """Let a job start at once, instead of at its time or at its next retry; None: it may start already.

    Raises:
        IllegalTransition: it has started, or it waits for parents.
    """
    _refuse_unless_waiting(start)
    if start.unmet_parents:
        few = start.unmet_parents == 1
        parents = "a parent that has" if few else f"{start.unmet_parents:,} parents that have"
        raise IllegalTransition(
            f"Job {start.job_id} waits for {parents} not ended, so it can't run now; "
            f"let the {'parent' if few else 'parents'} run first."
        )
    changes = {"ready": True, "run_at": now, "next_retry_at": None}
    return None if start.is_ready else Transition((Step(start.status, _S.QUEUED, "run now"),), changes)


def reschedule(start: Start, at: datetime, now: datetime) -> Transition | None:
    """Let a job start no earlier than `at`, instead of at its time or at its next retry; None: it does so already.

    A moment in the past means now.

    Raises:
        IllegalTransition: it has started.
    """
    _refuse_unless_waiting(start)
    if start.status is _S.PENDING and start.run_at == at:
        return None
    if at <= now and not start.unmet_parents:
        return run_now(start, now)
    at = max(at, now)
    changes = {"ready": False, "run_at": at, "next_retry_at": None}
    return Transition((Step(start.status, _S.PENDING, f"rescheduled to {time_of(at)}"),), changes)


def prioritize(start: Start, priority: Priority) -> Transition | None:
    """Give a job a priority; None: it has this one.

    Raises:
        IllegalTransition: it has started.
    """
    _refuse_unless_waiting(start)
    step = Step(start.status, start.status, f"priority changed from {start.priority} to {priority}")
    return None if priority is start.priority else Transition((step,), {"priority": PRIORITY_RANK[priority]})


def _refuse_unless_waiting(start: Start) -> None:
    if start.status not in WAITING:
        status, instead = start.status.replace("_", " "), _INSTEAD.get(start.status, "submit it anew")
        raise IllegalTransition(f"Job {start.job_id} is {status} and does not wait to start any more; {instead}.")


def refuse_to_delete_live(job_id: UUID, status: str) -> None:
    """Raise IllegalTransition if the job has not ended."""
    if status not in TERMINAL:
        raise IllegalTransition(f"Job {job_id} is {status}; cancel it before you delete it.")
