"""Fairlane: background jobs for multi-tenant applications. The public names, and nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fairlane.domain.backoff import Backoff
from fairlane.domain.errors import (
    ArtifactNotFound,
    BulkActionNotFound,
    CommitUnanswered,
    ConfigurationError,
    CyclicDependency,
    DuplicateJob,
    FairlaneError,
    IdempotencyConflict,
    IdentityProviderUnavailable,
    IllegalTransition,
    InvalidParameters,
    JobNotFound,
    JobTypeDisabled,
    JobTypeNotFound,
    KeptByHost,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationSuspended,
    ParentNotFound,
    PayloadTooLarge,
    PermanentError,
    PermissionDenied,
    QueueFull,
    RateLimited,
    ScheduleNotFound,
    Snooze,
    StatementTooSlow,
    StorageUnavailable,
    SubmissionError,
    TooManyBulkActions,
    TransientError,
    WaitTimeout,
    WorkerNotFound,
)
from fairlane.domain.jobs import Artifact, Job, LogEntry
from fairlane.domain.statuses import JobStatus, OrganizationStatus, ParentPolicy, Priority, Resolution, Role
from fairlane.runtime.context import JobContext
from fairlane.runtime.interrupt import Interrupted

if TYPE_CHECKING:
    from fairlane.app import Fairlane
    from fairlane.config import Settings, WebSettings
    from fairlane.control.batch import Submission
    from fairlane.registry.directory import Directory, Membership, Standing

__all__ = [
    "Artifact",
    "ArtifactNotFound",
    "Backoff",
    "BulkActionNotFound",
    "CommitUnanswered",
    "ConfigurationError",
    "CyclicDependency",
    "Directory",
    "DuplicateJob",
    "Fairlane",
    "FairlaneError",
    "IdempotencyConflict",
    "IdentityProviderUnavailable",
    "IllegalTransition",
    "Interrupted",
    "InvalidParameters",
    "Job",
    "JobContext",
    "JobNotFound",
    "JobStatus",
    "JobTypeDisabled",
    "JobTypeNotFound",
    "KeptByHost",
    "LogEntry",
    "Membership",
    "OrganizationExists",
    "OrganizationNotFound",
    "OrganizationStatus",
    "OrganizationSuspended",
    "ParentNotFound",
    "ParentPolicy",
    "PayloadTooLarge",
    "PermanentError",
    "PermissionDenied",
    "Priority",
    "QueueFull",
    "RateLimited",
    "Resolution",
    "Role",
    "ScheduleNotFound",
    "Settings",
    "Snooze",
    "Standing",
    "StatementTooSlow",
    "StorageUnavailable",
    "Submission",
    "SubmissionError",
    "TooManyBulkActions",
    "TransientError",
    "WaitTimeout",
    "WebSettings",
    "WorkerNotFound",
]

# Loaded when they are first asked for. Where handlers have a module of their own, apart from the application's, the
# process of one that is isolated starts in a third of the time, without SQLAlchemy.
_LATE: Final = {
    "Directory": "fairlane.registry.directory",
    "Fairlane": "fairlane.app",
    "Membership": "fairlane.registry.directory",
    "Settings": "fairlane.config",
    "Standing": "fairlane.registry.directory",
    "Submission": "fairlane.control.batch",
    "WebSettings": "fairlane.config",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_LATE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
