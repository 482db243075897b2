"""How sync verbs become async ones, `await fl.aio.submit(…)`: each is written once and wrapped here.

A verb runs in a thread, for which organizations take turns. Given an AsyncConnection or AsyncSession, it runs on that
connection's own loop and transaction.
A plain job is submitted to PostgreSQL on the caller's loop.
"""

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from fairlane.accounts.tokens import Tokens
from fairlane.accounts.users import Users
from fairlane.control.bulk import Bulk
from fairlane.control.dead_letters import DeadLetters
from fairlane.control.schedules import Schedules
from fairlane.control.workers import Workers
from fairlane.encryption.keys import Keys
from fairlane.jobtypes.verbs import JobTypes
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
        whose = given if isinstance(given, str) else ""  # else it is the operators' work, or refused
        return await self._threads.run([whose], partial(verb, self._sync, *args, **kwargs))

    return call


def submitting(
    verb: Callable[Concatenate[S, P], R], here: Callable[..., Awaitable[R]]
) -> Callable[Concatenate[Verbs[S], P], Awaitable[R]]:
    """Make the async twin of a verb that submits: it asks for the connection here, in the caller's task.

    Args:
        here: does what the verb does on the caller's loop, given no connection.
    """
    awaited, names = asynchronous(verb), signature(verb).parameters.keys()

    @wraps(verb)
    async def call(self: Verbs[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        sync: Any = self._sync
        if unknown := kwargs.keys() - names:  # which `here` would name another function by
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
