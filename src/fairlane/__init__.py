"""Fairlane: background jobs for multi-tenant applications. The public names, and nothing else.

A name is imported when it is first asked for. So a command, or the process of an isolated handler, imports only what it
uses: most of them start without SQLAlchemy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fairlane.app import Fairlane as Fairlane
    from fairlane.config import Settings as Settings
    from fairlane.config import WebSettings as WebSettings
    from fairlane.domain.accounts import AuditEntry as AuditEntry
    from fairlane.domain.accounts import Member as Member
    from fairlane.domain.accounts import Mine as Mine
    from fairlane.domain.accounts import Organization as Organization
    from fairlane.domain.accounts import OrganizationKey as OrganizationKey
    from fairlane.domain.accounts import Token as Token
    from fairlane.domain.accounts import User as User
    from fairlane.domain.arguments import INHERIT as INHERIT
    from fairlane.domain.arguments import Seconds as Seconds
    from fairlane.domain.backoff import Backoff as Backoff
    from fairlane.domain.breaker import Breaker as Breaker
    from fairlane.domain.breaker import Pair as Pair
    from fairlane.domain.breaker import Trial as Trial
    from fairlane.domain.bulk import BulkAction as BulkAction
    from fairlane.domain.bulk import BulkState as BulkState
    from fairlane.domain.bulk import BulkVerb as BulkVerb
    from fairlane.domain.bulk import Refusal as Refusal
    from fairlane.domain.errors import ArtifactNotFound as ArtifactNotFound
    from fairlane.domain.errors import BulkActionNotFound as BulkActionNotFound
    from fairlane.domain.errors import CommitUnanswered as CommitUnanswered
    from fairlane.domain.errors import ConfigurationError as ConfigurationError
    from fairlane.domain.errors import CyclicDependency as CyclicDependency
    from fairlane.domain.errors import DuplicateJob as DuplicateJob
    from fairlane.domain.errors import FairlaneError as FairlaneError
    from fairlane.domain.errors import IdempotencyConflict as IdempotencyConflict
    from fairlane.domain.errors import IdentityProviderUnavailable as IdentityProviderUnavailable
    from fairlane.domain.errors import IllegalTransition as IllegalTransition
    from fairlane.domain.errors import InstallationError as InstallationError
    from fairlane.domain.errors import InvalidParameters as InvalidParameters
    from fairlane.domain.errors import JobNotFound as JobNotFound
    from fairlane.domain.errors import JobTypeDisabled as JobTypeDisabled
    from fairlane.domain.errors import JobTypeNotFound as JobTypeNotFound
    from fairlane.domain.errors import KeptByHost as KeptByHost
    from fairlane.domain.errors import OrganizationExists as OrganizationExists
    from fairlane.domain.errors import OrganizationNotFound as OrganizationNotFound
    from fairlane.domain.errors import OrganizationSuspended as OrganizationSuspended
    from fairlane.domain.errors import ParentNotFound as ParentNotFound
    from fairlane.domain.errors import PayloadTooLarge as PayloadTooLarge
    from fairlane.domain.errors import PermanentError as PermanentError
    from fairlane.domain.errors import PermissionDenied as PermissionDenied
    from fairlane.domain.errors import QueueFull as QueueFull
    from fairlane.domain.errors import RateLimited as RateLimited
    from fairlane.domain.errors import ScheduleNotFound as ScheduleNotFound
    from fairlane.domain.errors import Snooze as Snooze
    from fairlane.domain.errors import StatementTooSlow as StatementTooSlow
    from fairlane.domain.errors import StorageUnavailable as StorageUnavailable
    from fairlane.domain.errors import SubmissionError as SubmissionError
    from fairlane.domain.errors import TooManyBulkActions as TooManyBulkActions
    from fairlane.domain.errors import TransientError as TransientError
    from fairlane.domain.errors import UserExists as UserExists
    from fairlane.domain.errors import WaitTimeout as WaitTimeout
    from fairlane.domain.errors import WorkerNotFound as WorkerNotFound
    from fairlane.domain.events import AlertKind as AlertKind
    from fairlane.domain.events import BreakerClosed as BreakerClosed
    from fairlane.domain.events import BreakerOpened as BreakerOpened
    from fairlane.domain.events import DeadLetterAlert as DeadLetterAlert
    from fairlane.domain.events import DirectoryBack as DirectoryBack
    from fairlane.domain.events import DirectoryLost as DirectoryLost
    from fairlane.domain.events import Emit as Emit
    from fairlane.domain.events import Event as Event
    from fairlane.domain.events import HandlerAbandoned as HandlerAbandoned
    from fairlane.domain.events import JobEnded as JobEnded
    from fairlane.domain.events import JobProgressed as JobProgressed
    from fairlane.domain.events import JobsRescued as JobsRescued
    from fairlane.domain.events import JobStarted as JobStarted
    from fairlane.domain.events import KeyMissed as KeyMissed
    from fairlane.domain.events import LeaseLost as LeaseLost
    from fairlane.domain.events import LoopBlocked as LoopBlocked
    from fairlane.domain.events import QueueLimitWarning as QueueLimitWarning
    from fairlane.domain.events import QueuesNotServed as QueuesNotServed
    from fairlane.domain.events import ServiceFailed as ServiceFailed
    from fairlane.domain.events import StorageBack as StorageBack
    from fairlane.domain.events import StorageLost as StorageLost
    from fairlane.domain.events import TickRefused as TickRefused
    from fairlane.domain.events import WorkerStarted as WorkerStarted
    from fairlane.domain.events import WorkerStopped as WorkerStopped
    from fairlane.domain.events import WorkerStopping as WorkerStopping
    from fairlane.domain.events import WorkerStuck as WorkerStuck
    from fairlane.domain.events import WorkerUnfit as WorkerUnfit
    from fairlane.domain.explain import Explanation as Explanation
    from fairlane.domain.jobs import Artifact as Artifact
    from fairlane.domain.jobs import DeadLetter as DeadLetter
    from fairlane.domain.jobs import DeadLetterGroup as DeadLetterGroup
    from fairlane.domain.jobs import Job as Job
    from fairlane.domain.jobs import JobChange as JobChange
    from fairlane.domain.jobs import LogEntry as LogEntry
    from fairlane.domain.jobs import LogLine as LogLine
    from fairlane.domain.jobs import Page as Page
    from fairlane.domain.jobs import Result as Result
    from fairlane.domain.jobs import RetriedGroup as RetriedGroup
    from fairlane.domain.limits import Limit as Limit
    from fairlane.domain.metrics import Metrics as Metrics
    from fairlane.domain.metrics import PauseView as PauseView
    from fairlane.domain.metrics import SlowJob as SlowJob
    from fairlane.domain.metrics import Spread as Spread
    from fairlane.domain.metrics import WorkerView as WorkerView
    from fairlane.domain.outcomes import ErrorReport as ErrorReport
    from fairlane.domain.outcomes import Try as Try
    from fairlane.domain.permissions import Credential as Credential
    from fairlane.domain.permissions import CredentialKind as CredentialKind
    from fairlane.domain.permissions import Principal as Principal
    from fairlane.domain.permissions import Right as Right
    from fairlane.domain.reasons import Reason as Reason
    from fairlane.domain.reasons import ReasonCode as ReasonCode
    from fairlane.domain.schedules import Missed as Missed
    from fairlane.domain.schedules import Schedule as Schedule
    from fairlane.domain.schedules import Timetable as Timetable
    from fairlane.domain.statuses import JobStatus as JobStatus
    from fairlane.domain.statuses import KeyState as KeyState
    from fairlane.domain.statuses import OrganizationStatus as OrganizationStatus
    from fairlane.domain.statuses import ParentPolicy as ParentPolicy
    from fairlane.domain.statuses import Priority as Priority
    from fairlane.domain.statuses import Resolution as Resolution
    from fairlane.domain.statuses import Role as Role
    from fairlane.domain.texts import PLATFORM as PLATFORM
    from fairlane.engine.batch import Submission as Submission
    from fairlane.engine.batch import new_id as new_id
    from fairlane.engine.context import CurrentJob as CurrentJob
    from fairlane.engine.context import Interrupted as Interrupted
    from fairlane.engine.context import JobContext as JobContext
    from fairlane.engine.context import JobLog as JobLog
    from fairlane.engine.context import Level as Level
    from fairlane.engine.context import Parent as Parent
    from fairlane.engine.context import Receipt as Receipt
    from fairlane.engine.context import Track as Track
    from fairlane.engine.context import current_job as current_job
    from fairlane.engine.job_logs import JobLogFilter as JobLogFilter
    from fairlane.engine.job_logs import JsonFormatter as JsonFormatter
    from fairlane.engine.middleware import MiddlewareFailed as MiddlewareFailed
    from fairlane.engine.open_transactions import TransactionNotUsed as TransactionNotUsed
    from fairlane.engine.worker import Drained as Drained
    from fairlane.engine.worker import Unready as Unready
    from fairlane.engine.worker import Worker as Worker
    from fairlane.jobtypes.job_type import JobType as JobType
    from fairlane.jobtypes.options import Isolation as Isolation
    from fairlane.jobtypes.options import OnDuplicate as OnDuplicate
    from fairlane.jobtypes.options import Options as Options
    from fairlane.jobtypes.verbs import JobTypeLimit as JobTypeLimit
    from fairlane.jobtypes.verbs import JobTypeView as JobTypeView
    from fairlane.store.clock import Clock as Clock
    from fairlane.tenancy.directory import Directory as Directory
    from fairlane.tenancy.directory import Membership as Membership
    from fairlane.tenancy.directory import Standing as Standing

# Which module has which names.
_NAMES: Final = {
    "app": "Fairlane",
    "config": "Settings WebSettings",
    "engine.batch": "Submission new_id",
    "jobtypes.verbs": "JobTypeLimit JobTypeView",
    "engine.open_transactions": "TransactionNotUsed",
    "domain.accounts": "AuditEntry Member Mine Organization OrganizationKey Token User",
    "domain.arguments": "INHERIT Seconds",
    "domain.backoff": "Backoff",
    "domain.breaker": "Breaker Pair Trial",
    "domain.bulk": "BulkAction BulkState BulkVerb Refusal",
    "domain.errors": (
        "ArtifactNotFound BulkActionNotFound CommitUnanswered ConfigurationError CyclicDependency "
        "DuplicateJob FairlaneError IdempotencyConflict IdentityProviderUnavailable IllegalTransition "
        "InstallationError InvalidParameters JobNotFound JobTypeDisabled JobTypeNotFound KeptByHost "
        "OrganizationExists OrganizationNotFound OrganizationSuspended ParentNotFound PayloadTooLarge "
        "PermanentError PermissionDenied QueueFull RateLimited ScheduleNotFound Snooze StatementTooSlow "
        "StorageUnavailable SubmissionError TooManyBulkActions TransientError UserExists WaitTimeout "
        "WorkerNotFound"
    ),
    "domain.events": (
        "AlertKind BreakerClosed BreakerOpened DeadLetterAlert DirectoryBack DirectoryLost Emit Event "
        "HandlerAbandoned JobEnded JobProgressed JobStarted JobsRescued KeyMissed LeaseLost LoopBlocked "
        "QueueLimitWarning QueuesNotServed ServiceFailed StorageBack StorageLost TickRefused "
        "WorkerStarted WorkerStopped WorkerStopping WorkerStuck WorkerUnfit"
    ),
    "domain.explain": "Explanation",
    "domain.jobs": "Artifact DeadLetter DeadLetterGroup Job JobChange LogEntry LogLine Page Result RetriedGroup",
    "domain.limits": "Limit",
    "domain.metrics": "Metrics PauseView SlowJob Spread WorkerView",
    "domain.outcomes": "ErrorReport Try",
    "domain.permissions": "Credential CredentialKind Principal Right",
    "domain.reasons": "Reason ReasonCode",
    "domain.schedules": "Missed Schedule Timetable",
    "domain.statuses": "JobStatus KeyState OrganizationStatus ParentPolicy Priority Resolution Role",
    "domain.texts": "PLATFORM",
    "tenancy.directory": "Directory Membership Standing",
    "jobtypes.job_type": "JobType",
    "jobtypes.options": "Isolation OnDuplicate Options",
    "engine.context": "CurrentJob Interrupted JobContext JobLog Level Parent Receipt Track current_job",
    "engine.job_logs": "JobLogFilter JsonFormatter",
    "engine.middleware": "MiddlewareFailed",
    "engine.worker": "Drained Unready Worker",
    "store.clock": "Clock",
}
_HOMES: Final = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_HOMES)


if not TYPE_CHECKING:  # it would have type checkers believe that there is any name

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__():
        return sorted({*globals(), *__all__})
