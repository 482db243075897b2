"""Every error of the public API. The docstring says when; the message tells the reader what to do next."""

from collections.abc import Mapping
from datetime import timedelta
from math import inf
from typing import Final, TypeVar, cast
from uuid import UUID

from fairlane.domain.numbers import number_of
from fairlane.domain.statuses import JobStatus


class FairlaneError(Exception):
    """The root of all errors that Fairlane raises."""


_E = TypeVar("_E", bound=FairlaneError)


def remedied(error: _E, call: str) -> _E:
    """Add to the error a note with the call that mends it.

    Tracebacks show the note; the error's own sentence is for all faces.
    """
    error.add_note(call)
    return error


def calls_of(error: BaseException) -> tuple[str, ...]:
    """Return the calls that mend an error, as `remedied` noted them."""
    return tuple(getattr(error, "__notes__", ()))


class ConfigurationError(FairlaneError):
    """A setting, a job type or the installation is wrong; nothing will work until it is changed."""


class InstallationError(ConfigurationError):
    """The database, a login or a master key of this process is wrong; the caller can change nothing about it."""


class KeptByHost(ConfigurationError):
    """The application's own directory keeps this; Fairlane can neither list nor change it."""


class StorageUnavailable(FairlaneError):
    """The database or artifact storage did not answer or refused; nothing was changed, and a later retry is safe.

    Only `CommitUnanswered` is different: something may have been changed.
    """


class StatementTooSlow(StorageUnavailable):
    """The statement took too long and was stopped; nothing was changed. Add filters, or shorten the time."""


class CommitUnanswered(StorageUnavailable):
    """The connection broke during a commit: the change was made or it was not; look before you try again."""


class IdentityProviderUnavailable(StorageUnavailable):
    """The identity provider did not answer, so no JWT can be checked; a later retry is safe."""


class JobNotFound(FairlaneError):
    """The organization has no such job: unknown and foreign ids look alike."""


class ArtifactNotFound(FairlaneError, FileNotFoundError):
    """The job left no artifact of this name, or its file is gone from the artifact storage."""


class WorkerNotFound(FairlaneError):
    """No live worker has this id: the worker has ended, or was given up."""


class ScheduleNotFound(FairlaneError):
    """The organization has no schedule of this name."""


class BulkActionNotFound(FairlaneError):
    """The organization has no such bulk action, or it ended more than a day ago."""


class TooManyBulkActions(FairlaneError):
    """The organization has as many bulk actions at work as it may have; nothing was begun."""


class WaitTimeout(FairlaneError, TimeoutError):
    """The job had not ended when the time to wait for it was over; the job is unchanged."""


class IllegalTransition(FairlaneError):
    """The job's status does not allow what was asked; nothing was changed."""


class OrganizationNotFound(FairlaneError):
    """There is no such organization, or it was deleted."""


class OrganizationExists(FairlaneError):
    """An organization with this id is there already; it was not changed."""


class UserExists(ConfigurationError):
    """A user with this id is there already; they were not changed."""


class OrganizationSuspended(FairlaneError):
    """The organization is suspended: it submits nothing and its results are locked until it is active again."""


class JobTypeNotFound(FairlaneError):
    """No application or worker has registered this job type."""


class JobTypeDisabled(FairlaneError):
    """An operator disabled this job type."""


class PermissionDenied(FairlaneError):
    """The acting user may not do this in the organization."""


class IdempotencyConflict(FairlaneError):
    """The idempotency key was used within the last 24 hours, for another request or for jobs that were deleted since;
    take a new key for a new request."""


class InvalidParameters(FairlaneError):
    """The parameters do not fit the handler's signature, or hold a value that can't be stored.

    `names` has those that do not fit, where they are known.
    """

    def __init__(self, message: str, *, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class PayloadTooLarge(FairlaneError):
    """The parameters, as JSON, exceed the limit."""


class SubmissionError(FairlaneError):
    """A submission was refused. In a bulk submission `index` is the position of the refused one, from 0;
    if several are refused, of any of them.

    Errors that other verbs raise as well (`PermissionDenied`, `InvalidParameters` and the like) are a
    `SubmissionError`, too, when a submission raises them.
    """

    index: int | None = None


class ParentNotFound(SubmissionError):
    """A parent is not a job of this organization: unknown and foreign ids look alike."""


class CyclicDependency(SubmissionError):
    """The dependencies of a batch form a cycle."""


class DuplicateJob(SubmissionError):
    """An identical job is still live within the deduplication window, or a job has the submission's own id:
    `existing_id`, `existing_status`. Both are None if the other one is in the same batch: nothing of it was submitted.
    """

    def __init__(
        self, message: str, *, existing_id: UUID | None = None, existing_status: JobStatus | None = None
    ) -> None:
        super().__init__(message)
        self.existing_id = existing_id
        self.existing_status = existing_status


class RateLimited(SubmissionError):
    """The user submitted this job type too often; `retry_after` is the wait in seconds, None = it will never fit."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(SubmissionError):
    """The organization has as many live jobs as it may have, or would have more with this batch. `retry_after` is a
    guess, in seconds; None = it will never fit.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def _of_submissions(kind: type[FairlaneError]) -> type[SubmissionError]:
    """Return the class, under the same name, of the `kind` errors that submissions raise."""

    def reduce(self: FairlaneError) -> tuple[object, ...]:
        return refusal, (kind(*self.args),), self.__dict__

    # The name leads to `kind`, so copies and pickles are made by the function.
    body = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__reduce__": reduce}
    return cast("type[SubmissionError]", type(kind.__name__, (kind, SubmissionError), body))


_OF_SUBMISSIONS: Final[Mapping[type[FairlaneError], type[SubmissionError]]] = {
    kind: _of_submissions(kind)
    for kind in (
        *(OrganizationNotFound, OrganizationSuspended, JobTypeNotFound, JobTypeDisabled),
        *(PermissionDenied, InvalidParameters, PayloadTooLarge),
    )
}
# The errors that refuse a submission. Other verbs raise some of them, too.
REFUSALS: Final[tuple[type[FairlaneError], ...]] = (SubmissionError, *_OF_SUBMISSIONS)


def refusal(error: FairlaneError) -> SubmissionError:
    """Return one of REFUSALS as a `SubmissionError` that is still of its own kind."""
    if isinstance(error, SubmissionError):
        return error
    made = _OF_SUBMISSIONS[type(error)](*error.args).with_traceback(error.__traceback__)
    made.__dict__.update(error.__dict__)  # with its notes
    return made


class TransientError(FairlaneError):
    """Raised by a handler: this attempt failed, another may succeed.

    `retry_after` (seconds or timedelta) overrides the backoff.
    """

    def __init__(self, message: str = "", *, retry_after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after.total_seconds() if isinstance(retry_after, timedelta) else retry_after


class PermanentError(FairlaneError):
    """Raised by a handler: no attempt will ever succeed; the job goes to dead letter at once."""


class Snooze(FairlaneError):
    """Raised by a handler: run the job again in `seconds` (or a timedelta). It is no failure and spends no retry."""

    def __init__(self, seconds: float | timedelta, reason: str | None = None) -> None:
        rule = "A job snoozes for 0 seconds or more, not for"
        seconds = number_of(rule, seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
        if not 0 <= seconds < inf:
            raise ValueError(f"{rule} {seconds}.")
        # Checked here, where the error is the handler's: the worker keeps the reason as text.
        reason = "" if reason is None else str(reason)
        super().__init__(reason or f"again in {seconds:g} s")
        self.seconds = seconds
        self.reason = reason
