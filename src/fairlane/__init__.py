"""Fairlane: background jobs for multi-tenant applications. The public names, and nothing else."""

from fairlane.app import Fairlane
from fairlane.config import Settings
from fairlane.control.batch import Submission
from fairlane.domain.backoff import Backoff
from fairlane.domain.errors import (
    ArtifactNotFound,
    CommitUnanswered,
    ConfigurationError,
    CyclicDependency,
    DuplicateJob,
    FairlaneError,
    IllegalTransition,
    InvalidParameters,
    JobNotFound,
    JobTypeDisabled,
    JobTypeNotFound,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationSuspended,
    ParentNotFound,
    PayloadTooLarge,
    PermanentError,
    PermissionDenied,
    QueueFull,
    RateLimited,
    Snooze,
    StorageUnavailable,
    SubmissionError,
    TransientError,
    WaitTimeout,
)
from fairlane.domain.jobs import Artifact, Job, LogEntry
from fairlane.domain.statuses import JobStatus, OrganizationStatus, ParentPolicy, Priority, Resolution, Role
from fairlane.registry.directory import Directory, Membership, Standing
from fairlane.runtime.context import JobContext
from fairlane.runtime.interrupt import Interrupted

__all__ = [
    "Artifact",
    "ArtifactNotFound",
    "Backoff",
    "CommitUnanswered",
    "ConfigurationError",
    "CyclicDependency",
    "Directory",
    "DuplicateJob",
    "Fairlane",
    "FairlaneError",
    "IllegalTransition",
    "Interrupted",
    "InvalidParameters",
    "Job",
    "JobContext",
    "JobNotFound",
    "JobStatus",
    "JobTypeDisabled",
    "JobTypeNotFound",
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
    "Settings",
    "Snooze",
    "Standing",
    "StorageUnavailable",
    "Submission",
    "SubmissionError",
    "TransientError",
    "WaitTimeout",
]
