"""The tenant queue: tenants take turns with their requests, so that a flood of one tenant delays only its own requests.

A process has one interpreter, which a handful of requests keep busy. In one queue for all, the tenant that sends most
would get most of it. So only a few requests of a tenant run at once, and of all tenants together as many as there are
threads. The others wait here in a queue for each tenant, without a thread and without a connection.

A tenant has one request running at a time: two at once would take as long as one after the other, and take twice as
much of the interpreter from others. If a request takes long, a report for example, the tenant's next one starts.

The users of a tenant take turns, too. If slow requests of one user, which wait for a lock for example, use up the
tenant's share, a user without a running request may have one more. So no user blocks the others.

A tenant is an organization: that of the credential, or one that the credential has opened before. Until then it is
the user or the address (`request_tenants`).

Checking a password keeps a core busy for as long as ten requests, and needs no credential. So logins have a queue of
their own, in which each address is a tenant.
"""

from asyncio import Event, get_running_loop
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api.problems import Problem
from fairlane.domain.timing import RETRY_SOON

T = TypeVar("T", bound=Hashable)

_LONGEST: Final = 100  # waiting requests of one tenant
_MOST: Final = 1000  # waiting requests of one tenant, with one of each user who has no other
_SHARE: Final = 8  # a tenant may have an eighth of all running requests, so that others need not wait
_LONG: Final = 0.25  # seconds; a usual request takes about 15 ms, and 50 on a busy machine
_PIECE: Final = 32 * 1024  # bytes of an answer; the server takes a piece once it has sent the one before
TENANT: Final = "tenant"  # in a request's state
LOGIN_ATTEMPT: Final = "login attempt"  # in a request's state: True if it checks a password


class TenantQueueFull(Exception):
    """The error that too many requests of a tenant wait already."""


class QueueState(Generic[T]):
    """The running and the waiting requests of each tenant. It only decides which request starts; the caller starts it.

    Args:
        at_once: running requests of all tenants together.
        each: running requests of one tenant, all but one of them slow; and one more for a user who has none.
        longest: waiting requests of one tenant; and one more for each user who has none, up to a thousand.
    """

    def __init__(self, at_once: int, each: int, longest: int) -> None:
        self._at_once, self._each, self._longest = at_once, each, longest
        self._begun: Counter[str] = Counter()
        self._begun_of: Counter[tuple[str, str]] = Counter()  # by place and user
        self._quick: set[str] = set()  # tenants with a running request that has not taken long yet
        self._answered = 0  # running requests whose answer is ready, and only has to be sent
        # By tenant, then by user; the one whose turn was longest ago is first.
        self._waiting: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    @property
    def begun(self) -> Counter[str]:
        """Return the number of running requests by tenant, with those whose answer is being sent."""
        return self._begun

    @property
    def waiting(self) -> Counter[str]:
        """Count the waiting requests by tenant."""
        return Counter({tenant: sum(map(len, lines.values())) for tenant, lines in self._waiting.items()})

    def add(self, tenant: str, user: str, one: T) -> bool:
        """Add a request of a tenant's user; return True if it starts at once, else it waits until `end` returns it.

        Raises:
            TenantQueueFull: too many wait.
        """
        # Waiting requests could not start now, so this one overtakes none.
        if self._has_room and self._is_open(tenant, user):
            self._begin(tenant, user)
            return True
        lines = self._waiting.get(tenant, OrderedDict())
        number = sum(map(len, lines.values()))
        if number >= self._longest and (user in lines or number >= _MOST):
            raise TenantQueueFull
        self._waiting.setdefault(tenant, OrderedDict()).setdefault(user, deque()).append(one)
        return False

    def end(self, tenant: str, user: str, *, is_quick: bool = True, is_answered: bool = False) -> T | None:
        """End a running request of a tenant.

        Args:
            is_quick: neither `linger` nor `answer` was called for it.
            is_answered: `answer` was called for it.

        Returns:
            The request that starts next: of the tenant with the fewest running requests, and among such tenants of the
            one whose turn was longest ago.
        """
        self._begun -= Counter([tenant])  # which keeps no zeros
        self._begun_of -= Counter([(tenant, user)])
        if is_quick:
            self._quick.remove(tenant)
        self._answered -= is_answered
        return self._next()

    def answer(self, tenant: str, *, is_quick: bool) -> T | None:
        """Note that a request's answer is ready and has yet to be sent.

        The request still counts for its tenant and its user, as it takes memory, but not for all tenants together.

        Returns:
            The request that starts beside it.
        """
        if is_quick:
            self._quick.remove(tenant)
        self._answered += 1
        return self._next()

    def linger(self, tenant: str) -> T | None:
        """Note that the tenant's request has taken long; return the request that starts beside it."""
        self._quick.remove(tenant)
        return self._next()

    @property
    def _has_room(self) -> bool:
        return self._begun.total() - self._answered < self._at_once

    def _is_open(self, tenant: str, user: str) -> bool:
        most = self._each + (not self._begun_of[tenant, user])
        return tenant not in self._quick and self._begun[tenant] < most

    def _begin(self, tenant: str, user: str) -> None:
        self._begun[tenant] += 1
        self._begun_of[tenant, user] += 1
        self._quick.add(tenant)

    def _next(self) -> T | None:
        if not self._has_room:
            return None
        able = {tenant: user for tenant in self._waiting if (user := self._first(tenant)) is not None}
        if not able:
            return None
        tenant = min(able, key=self._begun.__getitem__)  # the first of equals
        user = able[tenant]
        one = self._waiting[tenant][user].popleft()
        self._waiting.move_to_end(tenant)
        self._waiting[tenant].move_to_end(user)
        self._clear(tenant, user)
        self._begin(tenant, user)
        return one

    def _first(self, tenant: str) -> str | None:
        """Return the tenant's user whose turn it is; None: no user may start a request."""
        return next((user for user in self._waiting[tenant] if self._is_open(tenant, user)), None)

    def _clear(self, tenant: str, user: str) -> None:
        if not self._waiting[tenant][user]:
            del self._waiting[tenant][user]
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def remove(self, tenant: str, user: str, one: T) -> None:
        """Remove a waiting request, whose client is gone."""
        self._waiting[tenant][user].remove(one)
        self._clear(tenant, user)


class TenantQueue:
    """The queue in which the requests of one event loop wait.

    Args:
        at_once: largest number of running requests.
        each: of one tenant; None = an eighth of `at_once`, or one.
        longest: largest number of waiting requests of one tenant.
    """

    def __init__(self, at_once: int, each: int | None = None, longest: int = _LONGEST) -> None:
        self._state = QueueState[Event](at_once, each or max(1, at_once // _SHARE), longest)

    @asynccontextmanager
    async def at(self, tenant: str, user: str = "") -> AsyncIterator[None]:
        """Hold a turn of the tenant while the block runs.

        Raises:
            Problem: too many requests of the tenant wait.
        """
        turn = await self.begin(tenant, user)
        try:
            yield
        finally:
            turn.end()

    async def begin(self, tenant: str, user: str = "") -> "Turn":
        """Wait for a turn of the tenant's user.

        Raises:
            Problem: too many requests of the tenant wait.
        """
        begun = Event()
        try:
            if self._state.add(tenant, user, begun):
                return Turn(self._state, tenant, user)
        except TenantQueueFull:
            raise _too_many() from None
        try:
            await begun.wait()
        except BaseException:
            if begun.is_set():  # its turn came in the same moment
                Turn(self._state, tenant, user).end()
            else:
                self._state.remove(tenant, user, begun)
            raise
        return Turn(self._state, tenant, user)


class Turn:
    """A turn that a running request holds until it ends."""

    def __init__(self, state: QueueState[Event], tenant: str, user: str) -> None:
        self._state, self._tenant, self._user = state, tenant, user
        self._is_quick, self._is_answered, self._is_over = True, False, False
        self._timer = get_running_loop().call_later(_LONG, self._linger)

    def end(self) -> None:
        """End the turn; a second call does nothing."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            is_quick, is_answered = self._is_quick, self._is_answered
            _let_begin(self._state.end(self._tenant, self._user, is_quick=is_quick, is_answered=is_answered))

    def answer(self) -> None:
        """Note that the answer is ready, and has yet to be sent."""
        self._timer.cancel()
        is_quick, self._is_quick, self._is_answered = self._is_quick, False, True
        _let_begin(self._state.answer(self._tenant, is_quick=is_quick))

    def _linger(self) -> None:
        self._is_quick = False
        _let_begin(self._state.linger(self._tenant))


def _let_begin(following: Event | None) -> None:
    if following is not None:
        following.set()


class QueuedRequests:
    """ASGI middleware: a complete request waits for its turn, which lasts until its answer was sent.

    Logins wait in the queue `passwords` instead.

    So few answers to slow readers are in memory at once. A small answer, the first piece of a stream and an answer to
    a client without a credential end the turn at once: they delay nobody.
    """

    def __init__(self, app: ASGIApp, queue: TenantQueue, passwords: TenantQueue) -> None:
        self._app = app
        self._queue = queue
        self._passwords = passwords

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when its turn has come, or answer with a problem."""
        state = scope.get("state", {})
        tenant, principal = state.get(TENANT), state.get("principal")
        if tenant is None:
            await self._app(scope, receive, send)
            return
        try:
            queue = self._passwords if state[LOGIN_ATTEMPT] else self._queue
            turn = await queue.begin(tenant, principal.user if principal is not None else "")
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) > _PIECE and not message.get("more_body"):
                if principal is not None:
                    turn.answer()
                else:
                    turn.end()  # the address is the tenant of everybody there whose credential is not proved yet
                last = len(body) - _PIECE
                for at in range(0, last, _PIECE):
                    await send({**message, "body": body[at : min(at + _PIECE, last)], "more_body": True})
                message["body"] = body[last:]
            elif message["type"] == "http.response.body":
                turn.end()
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            turn.end()


def _too_many() -> Problem:
    return Problem(
        429,
        "too-many-waiting",
        f"{_LONGEST} requests of the organization, or logins from the network, wait for their turn already; wait "
        f"{RETRY_SOON} s, and send fewer at once.",
        headers={"Retry-After": str(RETRY_SOON)},
        retry_after=float(RETRY_SOON),
    )
