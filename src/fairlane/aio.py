"""The async side of `Fairlane`, `fl.aio`. Each verb is written once, sync, and wrapped here.

A verb runs in a thread, for which organizations take turns. Given an AsyncConnection or AsyncSession, it runs on that
connection's own loop and transaction. A plain job is submitted to PostgreSQL on the caller's loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from fairlane.accounts.tokens import Tokens
from fairlane.accounts.users import Users
from fairlane.app import FIRST_LOOK, Fairlane
from fairlane.domain.arguments import Seconds
from fairlane.domain.jobs import Job, JobChange, JobOrId
from fairlane.domain.statuses import TERMINAL
from fairlane.domain.timing import SLOWEST_LOOK
from fairlane.encryption.keys import Keys
from fairlane.encryption.pieces import PIECE, in_pieces
from fairlane.engine.batch import Submission, alone
from fairlane.engine.dead_letters import DeadLetters
from fairlane.engine.system.bulk import Bulk
from fairlane.engine.workers import Workers
from fairlane.jobtypes.verbs import JobTypes
from fairlane.schedules.verbs import Schedules
from fairlane.store.borrow import ASYNC, is_a
from fairlane.store.shared_threads import SharedThreads
from fairlane.tenancy.audit import Audit
from fairlane.tenancy.members import Members
from fairlane.tenancy.organizations import Organizations
from fairlane.tenancy.pausing import Maintenance, Queues

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Verbs(Generic[S_co]):
    """The async side of an object with sync verbs."""

    def __init__(self, sync: S_co, threads: SharedThreads) -> None:
        self._sync = sync
        self._threads = threads


def asynchronous(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[Verbs[S], P], Awaitable[R]]:
    """Make the verb awaitable, with the same arguments."""
    names = [*signature(verb).parameters][1:]
    place = names.index("organization") if "organization" in names else None

    @wraps(verb)
    async def call(self: Verbs[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        connection: Any = kwargs.get("connection")
        if is_a(connection, ASYNC, "async_scoped_session"):
            connection = connection()
        if is_a(connection, ASYNC, "AsyncConnection", "AsyncSession"):
            sync_kwargs: dict[str, Any] = dict(kwargs)
            done: R = await connection.run_sync(
                lambda sync: verb(self._sync, *args, **(sync_kwargs | {"connection": sync}))
            )
            return done
        given: Any = kwargs.get("organization")
        if place is not None and place < len(args):
            given = args[place]
        whose = given if isinstance(given, str) else ""  # else it is an operator's verb, or it will be refused
        return await self._threads.run([whose], partial(verb, self._sync, *args, **kwargs))

    return call


def submitting(
    verb: Callable[Concatenate[S, P], R], here: Callable[..., Awaitable[R]]
) -> Callable[Concatenate[Verbs[S], P], Awaitable[R]]:
    """Make the async form of a verb that submits: it asks for the connection here, in the caller's task.

    Args:
        here: does the verb's work on the caller's loop, if there is no connection.
    """
    awaited, names = asynchronous(verb), signature(verb).parameters.keys()

    @wraps(verb)
    async def call(self: Verbs[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        sync: Any = self._sync
        if unknown := kwargs.keys() - names:  # else the TypeError of `here` would name another function
            raise TypeError(f"{verb.__name__}() got an unexpected keyword argument {min(unknown)!r}")
        more: Any = dict(kwargs)
        connection = sync._theirs(more.pop("connection", None))  # noqa: SLF001 - the other half of the same object
        if connection is None:
            return await here(sync, *args, **more)
        return await awaited(self, *args, **(more | {"connection": connection}))

    return call


class AsyncOrganizations(Verbs[Organizations]):
    """`fl.aio.organizations`."""

    create = asynchronous(Organizations.create)
    get = asynchronous(Organizations.get)
    list = asynchronous(Organizations.list)
    update = asynchronous(Organizations.update)
    suspend = asynchronous(Organizations.suspend)
    activate = asynchronous(Organizations.activate)
    pause = asynchronous(Organizations.pause)
    resume = asynchronous(Organizations.resume)
    delete = asynchronous(Organizations.delete)


class AsyncMembers(Verbs[Members]):
    """`fl.aio.members`."""

    add = asynchronous(Members.add)
    update = asynchronous(Members.update)
    list = asynchronous(Members.list)
    of = asynchronous(Members.of)
    remove = asynchronous(Members.remove)


class AsyncQueues(Verbs[Queues]):
    """`fl.aio.queues`."""

    pause = asynchronous(Queues.pause)
    resume = asynchronous(Queues.resume)
    names = asynchronous(Queues.names)


class AsyncMaintenance(Verbs[Maintenance]):
    """`fl.aio.maintenance`."""

    on = asynchronous(Maintenance.on)
    off = asynchronous(Maintenance.off)
    get = asynchronous(Maintenance.get)


class AsyncJobTypes(Verbs[JobTypes]):
    """`fl.aio.job_types`."""

    pause = asynchronous(JobTypes.pause)
    resume = asynchronous(JobTypes.resume)
    names = asynchronous(JobTypes.names)
    list = asynchronous(JobTypes.list)
    breakers = asynchronous(JobTypes.breakers)
    close_breaker = asynchronous(JobTypes.close_breaker)
    enable = asynchronous(JobTypes.enable)
    disable = asynchronous(JobTypes.disable)
    delete = asynchronous(JobTypes.delete)
    limit = asynchronous(JobTypes.limit)
    reset_limit = asynchronous(JobTypes.reset_limit)
    limits = asynchronous(JobTypes.limits)


class AsyncDeadLetters(Verbs[DeadLetters]):
    """`fl.aio.dead_letters`."""

    list = asynchronous(DeadLetters.list)
    groups = asynchronous(DeadLetters.groups)
    groups_of_all = asynchronous(DeadLetters.groups_of_all)
    retry = asynchronous(DeadLetters.retry)
    retry_group = asynchronous(DeadLetters.retry_group)
    resolve = asynchronous(DeadLetters.resolve)
    ignore = asynchronous(DeadLetters.ignore)
    delete = asynchronous(DeadLetters.delete)


class AsyncSchedules(Verbs[Schedules]):
    """`fl.aio.schedules`."""

    put = asynchronous(Schedules.put)
    get = asynchronous(Schedules.get)
    list = asynchronous(Schedules.list)
    pause = asynchronous(Schedules.pause)
    resume = asynchronous(Schedules.resume)
    submit = asynchronous(Schedules.submit)
    delete = asynchronous(Schedules.delete)


class AsyncUsers(Verbs[Users]):
    """`fl.aio.users`."""

    create = asynchronous(Users.create)
    list = asynchronous(Users.list)
    get = asynchronous(Users.get)
    update = asynchronous(Users.update)
    delete = asynchronous(Users.delete)
    log_in = asynchronous(Users.log_in)
    change_password = asynchronous(Users.change_password)
    link = asynchronous(Users.link)
    redeem = asynchronous(Users.redeem)
    log_out = asynchronous(Users.log_out)
    principal = asynchronous(Users.principal)
    identified = asynchronous(Users.identified)


class AsyncTokens(Verbs[Tokens]):
    """`fl.aio.tokens`."""

    create = asynchronous(Tokens.create)
    list = asynchronous(Tokens.list)
    get = asynchronous(Tokens.get)
    revoke = asynchronous(Tokens.revoke)
    principal = asynchronous(Tokens.principal)
    is_empty = asynchronous(Tokens.is_empty)


class AsyncKeys(Verbs[Keys]):
    """`fl.aio.keys`."""

    enable = asynchronous(Keys.enable)
    rotate = asynchronous(Keys.rotate)
    list = asynchronous(Keys.list)
    missing = asynchronous(Keys.missing)
    destroy = asynchronous(Keys.destroy)
    reencrypt = asynchronous(Keys.reencrypt)


class AsyncAudit(Verbs[Audit]):
    """`fl.aio.audit`."""

    list = asynchronous(Audit.list)


class AsyncBulk(Verbs[Bulk]):
    """`fl.aio.bulk`."""

    start = asynchronous(Bulk.start)
    get = asynchronous(Bulk.get)
    list = asynchronous(Bulk.list)
    stop = asynchronous(Bulk.stop)


class AsyncWorkers(Verbs[Workers]):
    """`fl.aio.workers`."""

    list = asynchronous(Workers.list)
    drain = asynchronous(Workers.drain)


async def _submit(
    sync: Fairlane,
    job_type: str,
    *,
    organization: str,
    parameters: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Job:
    submission = Submission(
        job_type,
        organization=organization,
        parameters=parameters or {},
        labels=labels or {},
        headers=dict(headers or {}),
        **more,
    )
    with alone():
        return await sync._on_loops.submit(submission)  # noqa: SLF001 - the other half of the same object


async def _submit_many(sync: Fairlane, submissions: Sequence[Submission]) -> list[Job]:
    return await sync._on_loops.submit_many(submissions)  # noqa: SLF001 - as above


class AsyncVerbs(Verbs[Fairlane]):
    """The verbs of `Fairlane` with the same arguments, to be awaited: `fl.aio`."""

    def __init__(self, sync: Fairlane, threads: SharedThreads) -> None:
        super().__init__(sync, threads)
        self.organizations = AsyncOrganizations(sync.organizations, threads)
        self.members = AsyncMembers(sync.members, threads)
        self.queues = AsyncQueues(sync.queues, threads)
        self.maintenance = AsyncMaintenance(sync.maintenance, threads)
        self.job_types = AsyncJobTypes(sync.job_types, threads)
        self.dead_letters = AsyncDeadLetters(sync.dead_letters, threads)
        self.schedules = AsyncSchedules(sync.schedules, threads)
        self.users = AsyncUsers(sync.users, threads)
        self.tokens = AsyncTokens(sync.tokens, threads)
        self.keys = AsyncKeys(sync.keys, threads)
        self.audit = AsyncAudit(sync.audit, threads)
        self.bulk = AsyncBulk(sync.bulk, threads)
        self.workers = AsyncWorkers(sync.workers, threads)

    migrate = asynchronous(Fairlane.migrate)
    submit = submitting(Fairlane.submit, _submit)
    submit_many = submitting(Fairlane.submit_many, _submit_many)
    get = asynchronous(Fairlane.get)
    list = asynchronous(Fairlane.list)
    history = asynchronous(Fairlane.history)
    log_lines = asynchronous(Fairlane.log_lines)
    explain = asynchronous(Fairlane.explain)
    result = asynchronous(Fairlane.result)
    artifact = asynchronous(Fairlane.artifact)
    save_artifact = asynchronous(Fairlane.save_artifact)
    list_artifacts = asynchronous(Fairlane.list_artifacts)
    find_artifact = asynchronous(Fairlane.find_artifact)
    cancel = asynchronous(Fairlane.cancel)
    run_now = asynchronous(Fairlane.run_now)
    reschedule = asynchronous(Fairlane.reschedule)
    prioritize = asynchronous(Fairlane.prioritize)
    retry = asynchronous(Fairlane.retry)
    delete = asynchronous(Fairlane.delete)
    directory_changed = asynchronous(Fairlane.directory_changed)
    metrics = asynchronous(Fairlane.metrics)

    async def stream_artifact(self, job: JobOrId, name: str, *, organization: str) -> AsyncGenerator[bytes, None]:
        """Return an artifact's bytes in pieces of a megabyte at most, so that a large one need not fit into memory.

        It raises before the first piece. Of `fl.aio` take them by `async for piece in await fl.aio.stream_artifact(…)`.

        Raises:
            JobNotFound, ArtifactNotFound
            OrganizationSuspended: results are locked until it is active again.
        """

        def opened() -> Iterator[bytes]:
            # The switch to a thread and back takes longer than a small piece.
            return in_pieces(self._sync.stream_artifact(job, name, organization=organization), PIECE)

        return self._pieces(await self._threads.run([organization], opened), organization)

    async def wait(self, job: JobOrId, *, organization: str, timeout: Seconds | None = 30) -> Job:
        """Wait until the job has ended.

        Raises:
            JobNotFound
            StorageUnavailable: the database did not answer. The job goes on; call this again.
            WaitTimeout: it has not ended within `timeout` (seconds or timedelta; None = for ever); the message says
                why. The job is unchanged.
        """
        looks = self._sync._looks(job, organization=organization, timeout=timeout)  # noqa: SLF001 - as above
        while True:
            look = await self._threads.run([organization], partial(next, looks))
            if isinstance(look, Job):
                return look
            await asyncio.sleep(look)

    async def watch(self, job: JobOrId, *, organization: str) -> AsyncGenerator[JobChange, None]:
        """Yield the job as it is now, then each of its transitions and each change of its progress, until it has ended.

        It looks at the database up to twice a second while nothing happens, and more often just after a change. To
        show thousands of jobs to many people at once, take the live events.

        Raises:
            JobNotFound: there is no such job, or it was deleted meanwhile.
        """
        before: Job | None = None
        told, look = 0, FIRST_LOOK
        while True:
            now = await self.get(job, organization=organization)
            entries = await self.history(job, organization=organization) if now != before else ()
            # The log has gone on since then, or is not the job's: both are read again after the pause.
            if entries and entries[-1].to_status == now.status:
                new = () if before is None else tuple(one for one in entries if one.sequence > told)
                for entry in new or (None,):
                    yield JobChange(now, entry)
                if now.status in TERMINAL:
                    return
                before, told, look = now, entries[-1].sequence, FIRST_LOOK
            await asyncio.sleep(look)
            look = min(look * 1.5, SLOWEST_LOOK)

    async def _pieces(self, pieces: Iterator[bytes], organization: str) -> AsyncGenerator[bytes, None]:
        """Yield the pieces, each read in a thread."""
        while (piece := await self._threads.run([organization], partial(next, pieces, None))) is not None:
            yield piece
