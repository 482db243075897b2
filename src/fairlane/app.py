"""The class `Fairlane`, the one object that an application makes: thin verbs, and the wiring of all parts."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar
from uuid import UUID

from fairlane.config import Settings
from fairlane.domain.arguments import INHERIT, Inheriting, Seconds, choice, count, queue_name, seconds, text
from fairlane.domain.backoff import Backoff
from fairlane.domain.errors import ArtifactNotFound, ConfigurationError, IllegalTransition, WaitTimeout
from fairlane.domain.events import Emit, Event, hears
from fairlane.domain.jobs import Artifact, Job, JobOrId, LogEntry, LogLine, Page, Result, job_id_of
from fairlane.domain.limits import DEFAULT_WINDOW
from fairlane.domain.permissions import permission_name
from fairlane.domain.statuses import TERMINAL, ParentPolicy, Priority
from fairlane.domain.texts import is_storable, printable, storable
from fairlane.domain.timing import LOCK_WAIT_OF_UPKEEP, SLOWEST_LOOK
from fairlane.encryption.artifacts import ObjectStorage, default_url, stream_file
from fairlane.encryption.keyring import Keyring, MasterKeys
from fairlane.encryption.pieces import save
from fairlane.encryption.sealing import Unreadable
from fairlane.engine.alerts import Alerts
from fairlane.engine.open_transactions import OWN, OpenTransactions
from fairlane.jobtypes import options as o
from fairlane.jobtypes.catalogue import Catalogue
from fairlane.jobtypes.options import Isolation, OnDuplicate, Options
from fairlane.reads.service import Reads
from fairlane.store import schema
from fairlane.store.clock import Clock
from fairlane.store.dead_letter_alarm import DeadLetterAlarm
from fairlane.store.hints import Hints
from fairlane.store.response_timeout import ResponseTimeout
from fairlane.store.row_security import DatabaseRole
from fairlane.store.transaction import Database
from fairlane.telemetry import EventLog
from fairlane.tenancy.directory import Directory, StoredDirectory, refuse_suspended
from fairlane.tenancy.host_directory import HostDirectory

# Modules that only some processes use are imported where they are used: most commands need one group of verbs.
if TYPE_CHECKING:
    from fairlane.accounts.tickets import Tickets
    from fairlane.accounts.tokens import Tokens
    from fairlane.accounts.users import Users
    from fairlane.aio import AsyncVerbs
    from fairlane.domain.explain import Explanation
    from fairlane.domain.metrics import Metrics
    from fairlane.encryption.keys import Keys
    from fairlane.engine.batch import Submission
    from fairlane.engine.context import JobContext
    from fairlane.engine.dead_letters import DeadLetters
    from fairlane.engine.idempotency import Idempotency
    from fairlane.engine.jobs import JobControl
    from fairlane.engine.middleware import Middleware, OnSubmit
    from fairlane.engine.submission import Submitter
    from fairlane.engine.submission_on_loops import LoopSubmitter
    from fairlane.engine.system.bulk import Bulk
    from fairlane.engine.system.bulk_steps import BulkSteps
    from fairlane.engine.worker import Worker
    from fairlane.engine.workers import Workers
    from fairlane.jobtypes.job_type import JobType
    from fairlane.jobtypes.verbs import JobTypes
    from fairlane.schedules.verbs import Schedules
    from fairlane.store.shared_threads import SharedThreads
    from fairlane.tenancy.audit import Audit
    from fairlane.tenancy.members import Members
    from fairlane.tenancy.organizations import Organizations
    from fairlane.tenancy.pausing import Maintenance, Queues

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound="Middleware")
S = TypeVar("S", bound="OnSubmit")

_MOST_NAMED: Final = 10  # artifacts in an error

FIRST_LOOK = 0.02  # seconds from the first look of `wait` to the second
_log = logging.getLogger("fairlane")


class Fairlane:
    """A job engine on one database.

    Its verbs trust their caller. A `user` that is passed to a verb about jobs is checked: `submit`, `cancel`,
    `run_now`, `reschedule`, `prioritize`, `retry`, `delete`, those of `dead_letters`, and `bulk.start`. All other verbs
    only write their `user` to the audit. None is the system, which may do all.

    Args:
        url: `sqlite:///jobs.db`, `postgresql://…`, or a `Settings`; None = from FAIRLANE_… in the environment.
        directory: the host application's own users and organizations; None = Fairlane keeps them.
        clock: for tests.
        subscribers: called with every event of `fairlane.domain.events`.
        connection_of: called at each submission without `connection=`. It returns the connection or session that your
            transaction is open on, which is used as if you had passed it, or None.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    def __init__(
        self,
        url: str | Settings | None = None,
        *,
        directory: Directory | None = None,
        clock: Clock | None = None,
        subscribers: Iterable[Emit] = (),
        connection_of: Callable[[], object | None] | None = None,
    ) -> None:
        self.settings = settings = url if isinstance(url, Settings) else Settings.load(url)
        self.database = _database(settings, clock)  # first, as its error for a wrong URL is a sentence
        self._transactions = OpenTransactions(settings.url, connection_of)
        self._alerts = Alerts(self.database, settings.dead_letter_alert)
        self.emit = Fanout((EventLog(), self._alerts, *subscribers))
        self.database.alarm = DeadLetterAlarm(settings.dead_letter_alert, self.emit)
        self._hints = Hints(self.database)
        self.database.hint = self._hints.send
        self.artifacts = ObjectStorage(settings.artifacts_url or default_url(settings.url))
        self.directory = StoredDirectory(self.database) if directory is None else HostDirectory(directory)
        self.catalogue = Catalogue(self.database.clock)
        self.keyring = _keyring(settings)
        self._middlewares: list[Middleware] = []
        self._on_submit: list[OnSubmit] = []
        host = self.directory if isinstance(self.directory, HostDirectory) else None
        self.reads = Reads(self.database, host, self.keyring)

    @cached_property
    def _submitter(self) -> "Submitter":
        from fairlane.engine.submission import Submitter

        return Submitter(
            self.database,
            self.catalogue,
            self.directory,
            self.keyring,
            self.settings,
            self.emit,
            on_submit=self._on_submit,
        )

    @cached_property
    def _threads(self) -> "SharedThreads":
        """Return the threads of awaited verbs. One organization may have half of the connections."""
        from fairlane.store.shared_threads import SharedThreads

        return SharedThreads(2 * self.settings.pool_size, "fairlane-aio", each=self.settings.pool_size)

    @cached_property
    def _on_loops(self) -> "LoopSubmitter":
        from fairlane.engine.submission_on_loops import LoopSubmitter

        return LoopSubmitter(self.database, self._submitter, self._threads)

    @cached_property
    def _jobs(self) -> "JobControl":
        from fairlane.engine.jobs import JobControl

        return JobControl(self.database, self.directory, self.catalogue, self.keyring, self.settings.payload_limit)

    @cached_property
    def idempotency(self) -> "Idempotency":
        from fairlane.engine.idempotency import Idempotency

        return Idempotency(self.database, self._submitter, self.keyring)

    @cached_property
    def organizations(self) -> "Organizations":
        from fairlane.tenancy.organizations import Organizations

        return Organizations(self.database, self.directory)

    @cached_property
    def members(self) -> "Members":
        from fairlane.tenancy.members import Members

        return Members(self.database, self.directory)

    @cached_property
    def queues(self) -> "Queues":
        from fairlane.tenancy.pausing import Queues

        return Queues(self.database)

    @cached_property
    def maintenance(self) -> "Maintenance":
        from fairlane.tenancy.pausing import Maintenance

        return Maintenance(self.database)

    @cached_property
    def job_types(self) -> "JobTypes":
        from fairlane.jobtypes.verbs import JobTypes

        return JobTypes(self.database, self.emit, self.directory, self.catalogue)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        from fairlane.engine.dead_letters import DeadLetters

        return DeadLetters(self.database, self._jobs, self.keyring, self.directory)

    @cached_property
    def bulk(self) -> "Bulk":
        from fairlane.engine.system.bulk import Bulk

        return Bulk(self.database, self.reads.matching.resolved, self._bulk_steps(), self.directory)

    @cached_property
    def workers(self) -> "Workers":
        from fairlane.engine.workers import Workers

        return Workers(self.database, self.reads.workers)

    @cached_property
    def schedules(self) -> "Schedules":
        from fairlane.schedules.verbs import Schedules

        return Schedules(self.database, self.catalogue, self._submitter, self.keyring, self.directory)

    @cached_property
    def users(self) -> "Users":
        from fairlane.accounts.users import Users

        return Users(self.database)

    @cached_property
    def tokens(self) -> "Tokens":
        from fairlane.accounts.tokens import Tokens

        return Tokens(self.database, self.directory)

    @cached_property
    def tickets(self) -> "Tickets":
        from fairlane.accounts.tickets import Tickets

        return Tickets(self.database)

    @cached_property
    def keys(self) -> "Keys":
        from fairlane.encryption.keys import Keys

        return Keys(self.database, self.directory, self.keyring, self.artifacts, self.settings.owner_url)

    @cached_property
    def audit(self) -> "Audit":
        from fairlane.tenancy.audit import Audit

        return Audit(self.database, self.directory)

    @cached_property
    def aio(self) -> "AsyncVerbs":
        from fairlane.aio import AsyncVerbs

        return AsyncVerbs(self, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database connections."""
        self._hints.close()
        self._alerts.close()
        if "_on_loops" in vars(self):
            self._on_loops.close()
        if "_threads" in vars(self):
            self._threads.shutdown()
        self.database.close()

    def migrate(self) -> None:
        """Create or upgrade the schema, and register this process's job types.

        Only this creates a SQLite file: all other calls raise `ConfigurationError` if the file is missing.

        Raises:
            ConfigurationError: the schema is newer than this code, or the file can't be created.
            StorageUnavailable: another session holds the rows of some job types; all others are registered.
        """
        schema.migrate(self.database, self.settings.owner_url)
        self.database.renew()
        self._submitter.register_types(anew=True)

    def job_type(
        self,
        name: str,
        *,
        timeout: Seconds | Inheriting | None = INHERIT,
        max_retries: int | None = o.DEFAULT_RETRIES,
        backoff: Backoff | Sequence[Seconds] | None = None,
        priority: Priority | str = Priority.NORMAL,
        queue: str = "default",
        isolation: Isolation | Literal["auto", "async", "thread", "process"] = Isolation.AUTO,
        dedup_window: Seconds = o.DEFAULT_DEDUP_WINDOW,
        rate_limit: int | None = None,
        rate_limit_window: Seconds = 60.0,
        max_running: int | None = None,
        execution_rate: int | None = None,
        execution_rate_window: Seconds = DEFAULT_WINDOW,
        requires_permission: str | None = None,
        transient: Iterable[type[BaseException]] = (),
        permanent: Iterable[type[BaseException]] = (),
        retention: Seconds | None = None,
    ) -> Callable[[Callable[Concatenate["JobContext", P], R]], "JobType[P, R]"]:
        """Make a handler's job type.

        The handler's first parameter is the `JobContext`, the others are the job's parameters, typed by their
        annotations.

        Args:
            name: of the type, for example "report.pdf".
            timeout: seconds or timedelta; default 300, in the queue "bulk" 1800; None = unlimited. A submission over
                REST may shorten it, and never lengthen it.
            max_retries: after the first attempt; None = unlimited, 0 = none.
            backoff: a `Backoff`, or a list of waits; default 60 s · 2^(n-1) ± 20 %.
            isolation: the place where it runs; auto = `async def` on the event loop, `def` in a thread; process = a
                process of its own, which can be killed.
            dedup_window: how long an identical submission is a duplicate, while the earlier job is live; 0 = off.
            rate_limit: submissions per user within `rate_limit_window` (at most a day).
            max_running: of this type at once, of all organizations together.
            execution_rate: starts of this type within any `execution_rate_window` (at most a day), retries too.
            requires_permission: the permission that a member needs to submit it.
            transient, permanent: exceptions to retry, or not to retry, beside those known.
            retention: how long ended jobs are kept if their organization says nothing; None = the setting.

        Raises:
            ConfigurationError: an option or the handler's signature is wrong, or the name is taken.
        """
        from fairlane.engine.context import JobContext
        from fairlane.engine.executors.target import check_importable
        from fairlane.jobtypes.job_type import ErrorClasses, JobType, check_context

        if not isinstance(name, str):
            raise ConfigurationError('A job type needs a name: write @fl.job_type("report.pdf").')
        default = o.BULK_TIMEOUT if queue == o.BULK_QUEUE else o.DEFAULT_TIMEOUT
        try:
            options = Options(
                timeout=default if timeout is INHERIT else o.timeout_seconds(timeout),
                max_retries=count("max_retries", max_retries),
                backoff=o.backoff_of(backoff),
                priority=choice(Priority, "priority", priority),
                queue=queue_name(queue),
                isolation=choice(Isolation, "isolation", isolation),
                dedup_window=seconds("dedup_window", dedup_window),
                rate_limit=count("rate_limit", rate_limit),
                rate_limit_window=o.window_of("rate_limit", rate_limit, rate_limit_window),
                max_running=count("max_running", max_running),
                execution_rate=count("execution_rate", execution_rate),
                execution_rate_window=o.window_of("execution_rate", execution_rate, execution_rate_window),
                requires_permission=permission_name(text("requires_permission", requires_permission))
                if requires_permission is not None
                else None,
                retention=seconds("retention", retention) if retention is not None else None,
            )
            errors = ErrorClasses(o.exceptions("transient", transient), o.exceptions("permanent", permanent))
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from None

        def decorate(handler: Callable[Concatenate[JobContext, P], R]) -> "JobType[P, R]":
            check_context(name, handler, JobContext)
            made = JobType(name, handler, options, errors, self.submit)
            if made.isolation is Isolation.PROCESS:
                check_importable(name, handler)
            self.catalogue.add(made)
            return made

        return decorate

    def middleware(self, function: M) -> M:
        """Run each handler within this function, which takes the `JobContext` and yields once, where the handler runs.

        The first middleware is the outermost. An error of the handler is raised at the `yield`, and stays the
        attempt's, whatever the function does with it. An error that the function raises itself is the attempt's, as
        `MiddlewareFailed`, or as it is if it is one of Fairlane's, such as `Snooze`. An `async def` function is for
        `async def` handlers; a plain one is for all. Around handlers with `isolation="process"` it runs in the
        handler's process, which imports it.

        Raises:
            ConfigurationError: it does not yield. A worker raises it if the function is async and a handler is not, or
                if a handler's process can't import the function.
        """
        from fairlane.engine.middleware import checked_middleware

        self._middlewares.append(checked_middleware(function))
        return function

    def on_submit(self, function: S) -> S:
        """Submit within this function, which takes a list of `Submission` and yields once, where they are submitted.

        It may add texts to the `headers` of each; other changes are impossible. It runs for all submissions of this
        process: those of schedules and of the REST API, too. An error before its `yield` is the caller's, and nothing
        is submitted; a later one is only logged.

        Raises:
            ConfigurationError: it does not yield, or is async.
        """
        from fairlane.engine.middleware import checked_on_submit

        self._on_submit.append(checked_on_submit(function))
        return function

    def submit(
        self,
        job_type: str,
        *,
        organization: str,
        user: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        priority: Priority | str | None = None,
        depends_on: Job | UUID | str | Sequence[Job | UUID | str] = (),
        on_parent_failure: ParentPolicy | str = ParentPolicy.DEAD_LETTER,
        delay: Seconds | None = None,
        run_at: datetime | None = None,
        queue: str | None = None,
        dedup_key: str | None = None,
        on_duplicate: OnDuplicate = "reject",
        dedup_window: Seconds | Inheriting = INHERIT,
        max_retries: int | Inheriting | None = INHERIT,
        timeout: Seconds | Inheriting | None = INHERIT,
        labels: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        connection: object | None = None,
    ) -> Job:
        """Submit a job. Once this returns, or the caller's transaction commits, the job will not be lost.

        Args:
            organization: the id of the organization that the job belongs to; or `fairlane.PLATFORM`, for a job that
                belongs to none, which operators alone see.
            user: the acting user; None = the system, which may submit everything and is not checked for membership, so
                refuse a request without a logged-in user before.
            depends_on: a parent or several in the same organization, as jobs or ids; the job waits until all have
                completed, and its handler gets their results. It is not checked whether `user` may see these.
            on_parent_failure: "dead_letter", "cancel" or "run_anyway", for a parent that did not complete.
            delay, run_at: the earliest start; give one of them, `run_at` with a time zone and in the years 1970 to
                2199. A moment in the past means now.
            dedup_key: makes submissions identical, instead of the parameters; not if `dedup_window` is 0.
            on_duplicate: "reject" raises `DuplicateJob`, "return" returns the earlier job, "replace" cancels it if it
                has not started and takes its place.
            labels: names and values by which the job can be found.
            headers: texts for the code around the handler, `ctx.headers`, such as the id of a request; at most 8,192
                characters together. They are stored in plain text, and no reader of the job sees them.
            connection: a connection or transaction of the caller; see `docs/how-to/submit.md`. None = ask
                `connection_of`.

            Options that are not given are inherited from the job type.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError: nothing was submitted.
            CommitUnanswered: it may have been submitted; the message names the job to look for.
        """
        from fairlane.engine.batch import Submission, alone

        submission = Submission(
            job_type,
            organization=organization,
            user=user,
            parameters=parameters or {},
            priority=priority,
            depends_on=depends_on,
            on_parent_failure=on_parent_failure,
            delay=delay,
            run_at=run_at,
            queue=queue,
            dedup_key=dedup_key,
            on_duplicate=on_duplicate,
            dedup_window=dedup_window,
            max_retries=max_retries,
            timeout=timeout,
            labels=labels or {},
            headers=dict(headers or {}),
        )
        with alone():
            (job,) = self._submitter.submit_many([submission], self._theirs(connection))
        return job

    def submit_many(self, submissions: "Sequence[Submission]", *, connection: object | None = None) -> list[Job]:
        """Submit all or none, in one transaction.

        Raises:
            SubmissionError: its `index` is that of the refused submission.
            StorageUnavailable, ConfigurationError: nothing was submitted.
            CommitUnanswered: all or none were submitted; the message names a job to look for.
        """
        return self._submitter.submit_many(submissions, self._theirs(connection))

    def _theirs(self, connection: object | None) -> object | None:
        """Return the connection that the caller passed or `connection_of` names; None = one of Fairlane's own."""
        return None if connection is OWN else self._transactions.choose(connection)

    def get(self, job: JobOrId, *, organization: str) -> Job:
        """Return a job. Raises `JobNotFound` for foreign and for unknown ids."""
        return self.reads.get(job, organization)

    def list(
        self,
        *,
        organization: str,
        status: str | Iterable[str] | None = None,
        job_type: str | None = None,
        user: str | None = None,
        label: tuple[str, str] | Mapping[str, str] | None = None,
        queue: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        waiting_for: Literal["retry"] | None = None,
        text: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Return jobs, newest first; `Reads.list` says what each filter does.

        Raises:
            OrganizationNotFound, InvalidParameters
        """
        return self.reads.list(
            organization,
            status=status,
            job_type=job_type,
            user=user,
            label=label,
            queue=queue,
            created_after=created_after,
            created_before=created_before,
            waiting_for=waiting_for,
            text=text,
            limit=limit,
            cursor=cursor,
        )

    def history(self, job: JobOrId, *, organization: str) -> tuple[LogEntry, ...]:
        """Return the job's execution log, oldest first: its newest 1,000 entries. Raises `JobNotFound`.

        If the first entry's `sequence` is above 1, older entries are omitted.
        """
        return self.reads.history(job, organization)

    def log_lines(self, job: JobOrId, *, organization: str, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        """Return the lines that the handler wrote with `ctx.log`, oldest first. Raises `JobNotFound`."""
        return self.reads.log_lines(job, organization, after=after, limit=limit)

    def explain(self, job: JobOrId, *, organization: str) -> "Explanation":
        """Return why the job is not running, or how it ended. Raises `JobNotFound`."""
        return self.reads.explain(job, organization)

    def result(self, job: JobOrId, *, organization: str) -> Result:
        """Return the handler's value and the job's artifacts; the value of a job that did not complete is None.

        Raises:
            JobNotFound
            IllegalTransition: it has not ended; `wait` for it.
            OrganizationSuspended: results are locked until it is active again.
        """
        refuse_suspended(self.directory, organization)
        job = self.reads.get(job, organization, with_parameters=False)
        if job.status not in TERMINAL:
            raise IllegalTransition(f"Job {job.id} is {job.status} and has no result yet; wait for its end.")
        return self.reads.result(job, organization)

    def artifact(self, job: JobOrId, name: str, *, organization: str) -> bytes:
        """Return an artifact's bytes, also while the job runs. For a large artifact use `stream_artifact`.

        Raises:
            JobNotFound, ArtifactNotFound
            OrganizationSuspended: results are locked until it is active again.
        """
        return b"".join(self.stream_artifact(job, name, organization=organization))

    def stream_artifact(self, job: JobOrId, name: str, *, organization: str) -> Iterator[bytes]:
        """Return an artifact's bytes in pieces of a megabyte at most, so that a large one need not fit into memory.

        It raises before the first piece. Of `fl.aio` take them by `async for piece in await fl.aio.stream_artifact(…)`.

        Raises:
            JobNotFound, ArtifactNotFound
            OrganizationSuspended: results are locked until it is active again.
        """
        job_id = job_id_of(job, organization)
        found = self.find_artifact(job_id, name, organization=organization)
        with _as_artifact_not_found(job_id, name):
            pieces = stream_file(
                self.artifacts, self.keyring, self.database, organization, found.path, found.size, 0, found.size
            )
        return _read_on(pieces, job_id, name)

    def save_artifact(self, job: JobOrId, name: str, path: Path | str, *, organization: str) -> Path:
        """Write an artifact to a new file, piece by piece, and return the file's path.

        Raises:
            JobNotFound, ArtifactNotFound
            FileExistsError: there is something at the path.
            OrganizationSuspended: results are locked until it is active again.
        """
        pieces = self.stream_artifact(job, name, organization=organization)
        return save(pieces, path)

    def list_artifacts(self, job: JobOrId, *, organization: str) -> Result:
        """Return a job's artifacts, also while it runs; the value is None.

        Raises:
            JobNotFound
            OrganizationSuspended: results are locked until it is active again.
        """
        refuse_suspended(self.directory, organization)
        return Result(None, self.reads.artifacts(job, organization))

    def find_artifact(self, job: JobOrId, name: str, *, organization: str) -> Artifact:
        """Return the description of an artifact, without its bytes.

        Raises:
            JobNotFound, ArtifactNotFound
            OrganizationSuspended: results are locked until it is active again.
        """
        refuse_suspended(self.directory, organization)
        job_id = job_id_of(job, organization)
        found = self.reads.artifacts(job_id, organization, names=[name] if is_storable(name) else [])
        if not found:
            others = [one.name for one in self.reads.artifacts(job_id, organization, limit=_MOST_NAMED + 1)]
            named = [*others[:_MOST_NAMED], *(["others"] if len(others) > _MOST_NAMED else [])]
            raise ArtifactNotFound(f"Job {job_id} has no artifact {name!r}; it has {', '.join(named) or 'none'}.")
        return found[0]

    def cancel(self, job: JobOrId, *, organization: str, user: str | None = None, reason: str = "") -> Job:
        """Cancel a waiting job at once, or ask a running one to stop.

        Raises:
            JobNotFound, PermissionDenied
            IllegalTransition: it has ended.
        """
        return self._jobs.cancel(job, organization, user=user, reason=reason)

    def run_now(self, job: JobOrId, *, organization: str, user: str | None = None) -> Job:
        """Let a job that waits for its time, or for its next attempt, start at once. A job that is ready is unchanged.

        Pauses and limits hold for it as for every job.

        Raises:
            JobNotFound, PermissionDenied
            IllegalTransition: it has started, or it waits for parents.
        """
        return self._jobs.run_now(job, organization, user=user)

    def reschedule(self, job: JobOrId, run_at: datetime, *, organization: str, user: str | None = None) -> Job:
        """Let a job that has not started, or waits for its next attempt, start no earlier than `run_at`.

        Args:
            run_at: with a time zone and in the years 1970 to 2199. A moment in the past means now. A job with parents
                waits for both.

        Raises:
            JobNotFound, PermissionDenied, InvalidParameters
            IllegalTransition: it has started.
        """
        return self._jobs.reschedule(job, run_at, organization, user=user)

    def prioritize(self, job: JobOrId, priority: Priority | str, *, organization: str, user: str | None = None) -> Job:
        """Give a job that has not started, or waits for its next attempt, another priority.

        Raises:
            JobNotFound, PermissionDenied, InvalidParameters
            IllegalTransition: it has started.
        """
        return self._jobs.prioritize(job, priority, organization, user=user)

    def retry(
        self,
        job: JobOrId,
        *,
        organization: str,
        user: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Job:
        """Queue a dead letter again, with other `parameters` if they are given.

        It waits for parents that have not ended. The dead letters that its own end caused are revived, except those
        about which a person has decided: 500 at once, and the others by a worker. Children that were canceled stay
        canceled. Neither deduplication nor the limit of live jobs holds up a retry.

        Raises:
            JobNotFound, PermissionDenied, InvalidParameters
            OrganizationNotFound: there is none, or it was deleted.
            IllegalTransition: it is no dead letter, a parent of it was deleted, or its parent is a dead letter, too.
        """
        return self._jobs.retry(job, organization, user=user, parameters=parameters)

    def delete(self, job: JobOrId, *, organization: str, user: str | None = None) -> None:
        """Delete a job that has ended, with all its data, for example to erase a person's data.

        Its parameters, result, log, labels and dead letter are deleted at once; a worker deletes its files within
        minutes. The audit keeps who deleted it.

        Args:
            user: an admin of the organization, or an operator; None = the system.

        Raises:
            JobNotFound, PermissionDenied
            IllegalTransition: it has not ended, a job that needs it has not, or a table of yours refers to it; the
                message says what to do first.
        """
        self._jobs.delete(job, organization, user=user)

    def wait(self, job: JobOrId, *, organization: str, timeout: Seconds | None = 30) -> Job:
        """Wait until the job has ended.

        Raises:
            JobNotFound
            StorageUnavailable: the database did not answer. The job goes on; call this again.
            WaitTimeout: it has not ended within `timeout` (seconds or timedelta; None = for ever); the message says
                why. The job is unchanged.
        """
        looks = self._looks(job, organization=organization, timeout=timeout)
        while not isinstance(look := next(looks), Job):
            sleep(look)
        return look

    def _looks(self, job: JobOrId, *, organization: str, timeout: Seconds | None) -> Iterator[float | Job]:
        """Yield the seconds to wait before the next look, and last the job when it has ended.

        Raises:
            JobNotFound, WaitTimeout: as `wait` says.
        """
        from fairlane.domain.explain import still_waiting

        longest = seconds("timeout", timeout) if timeout is not None else inf
        deadline = monotonic() + longest
        look = FIRST_LOOK
        while (job := self.get(job, organization=organization)).status not in TERMINAL:
            if monotonic() >= deadline:
                raise WaitTimeout(still_waiting(job.id, self.explain(job, organization=organization), longest))
            yield look
            look = min(look * 1.5, SLOWEST_LOOK)
        yield job

    def metrics(self, *, organization: str | None = None, minutes: int = 60) -> "Metrics":
        """Return counts and ages, and the numbers of the last minutes.

        Args:
            organization: the organization; None = all organizations, for operators.
            minutes: the minutes to look back, 1 to 1440.

        Raises:
            OrganizationNotFound, InvalidParameters
        """
        return self.reads.metrics(organization, minutes=minutes)

    def worker(
        self,
        *,
        queues: Sequence[str] | None = ("default",),
        concurrency: int = 100,
        name: str | None = None,
        subscribers: Iterable[Emit] = (),
    ) -> "Worker":
        """Make a worker for this process's job types.

        Args:
            queues: the queues to serve; None = all.
            concurrency: the number of jobs that it runs at once.
            name: its name in logs and in the dashboard; default host and process id.

        Raises:
            ConfigurationError, InvalidParameters: a text that can't be stored.
        """
        from fairlane.engine.cached_directory import CachedDirectory
        from fairlane.engine.deps import Deps
        from fairlane.engine.worker import Worker
        from fairlane.schedules.scheduler import Scheduler

        if isinstance(queues, str):
            raise ConfigurationError(f"queues must be a list: worker(queues=({queues!r},)).")
        storable(name=name)
        for queue in queues or ():
            storable(queue=queue)
        emit = self.emit.and_also(*subscribers)
        directory: Directory = self.directory
        if isinstance(directory, HostDirectory):
            directory = CachedDirectory(directory, self.settings.directory_max_age, emit)
        deps = Deps(
            self.database,
            self.settings,
            self.catalogue,
            directory,
            self.artifacts,
            emit,
            lambda *worker: Scheduler(self.schedules.ticks, *worker).run_once,
            lambda *workers: self._bulk_steps(*workers).go_on,
            self.keyring,
            tuple(self._middlewares),
        )
        return Worker(deps, queues=tuple(queues) if queues is not None else None, concurrency=concurrency, name=name)

    def _bulk_steps(self, database: Database | None = None, directory: Directory | None = None) -> "BulkSteps":
        """Make the object that does the steps of bulk actions; by default on the application's connections."""
        from fairlane.engine.jobs import JobControl
        from fairlane.engine.system.bulk_steps import BulkSteps
        from fairlane.engine.system.bulk_work import BulkWork

        database, directory = database or self.database, directory or self.directory
        jobs = JobControl(
            database,
            directory,
            self.catalogue,
            self.keyring,
            self.settings.payload_limit,
            lock_seconds=LOCK_WAIT_OF_UPKEEP,
        )
        work = BulkWork(jobs, Reads(database).matching.places)
        return BulkSteps(database, work, directory, self.database)

    def directory_changed(self, *, organization: str, user: str | None = None) -> None:
        """Tell Fairlane that the answers of a host's directory have changed.

        Workers of this process ask it again at their next claim; workers of others within `directory_max_age` seconds.

        Args:
            user: the user in the organization; None = the organization and all its members.
        """
        if isinstance(self.directory, HostDirectory):
            self.directory.changed(organization, user)


@contextmanager
def _as_artifact_not_found(job_id: UUID, name: str) -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise ArtifactNotFound(f"The file of artifact {name!r} of job {job_id} can't be opened: {error}") from None
    except FileNotFoundError as error:
        raise ArtifactNotFound(
            f"The file of artifact {name!r} of job {job_id} is not in this process's artifact storage; "
            "give it the artifacts_url that the worker has (FAIRLANE_ARTIFACTS_URL)."
        ) from error


def _read_on(pieces: Iterator[bytes], job_id: UUID, name: str) -> Iterator[bytes]:
    with _as_artifact_not_found(job_id, name):
        yield from pieces


def _database(settings: Settings, clock: Clock | None) -> Database:
    return Database(
        settings.url,
        clock=clock,
        pool_size=settings.pool_size,
        lock_seconds=settings.lock_timeout,
        synchronous=settings.sqlite_synchronous,
        role=DatabaseRole.APP,
        production=settings.production,
        is_default="url" not in settings.model_fields_set,
        response_timeout=ResponseTimeout(),
    )


def _keyring(settings: Settings) -> Keyring:
    keys = settings.encryption_keys
    return Keyring(MasterKeys.parse(keys.get_secret_value() if keys is not None else None))


class Fanout:
    """Hand every event to every subscriber. The error of a subscriber is logged and does not disturb the others."""

    def __init__(self, subscribers: Sequence[Emit]) -> None:
        self._subscribers = tuple(subscribers)
        self._asks = tuple(map(hears, self._subscribers))

    def __call__(self, event: Event) -> None:
        """Emit."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - whatever a subscriber does wrong stays with it
                _log.exception("A subscriber failed on %s.", printable(type(event).__name__))

    def hears(self, kind: type[Event]) -> bool:
        """Return True if any subscriber wants such events now."""
        for asks in self._asks:  # noqa: SIM110 - asked for each job, and `any` takes three times as long
            if asks(kind):
                return True
        return False

    def and_also(self, *more: Emit) -> "Fanout":
        """Return a copy with more subscribers, which are called first: none of the others holds them up."""
        return Fanout((*more, *self._subscribers))
