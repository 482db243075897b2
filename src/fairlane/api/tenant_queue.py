"""Whose request is worked on next: places take turns, so that a flood at one waits behind itself and not before others.

A process has one interpreter, which a handful of requests fill. Were all that come handed to its threads, they would
stand in one line there, and whoever sends most would have most of it. So of one place only a few are worked on at once,
and of all together no more than there are threads. The rest wait here, each tenant in a line of its own; what waits
takes no thread and no connection.

At each place one request is worked on at a time: two would take as long as one after the other, and cost the others
twice as much of the interpreter. But one that takes long, as a report or a bulk action, lets the next begin beside it.

At a place users take turns, too. Where one user's requests take long, as they do that wait for a lock, and fill the
tenant, another user who has none at work may have one more: so nobody freezes the place for the others.

A place is an organization: that of the credential, or one that the credential opened before. Whoever has not shown yet
where they belong stands in the line of their user, or of their address.

What checks a password takes a core for as long as ten requests, and comes from anybody. So it has turns of its
own, with a place for each address, and never holds a turn that others need.
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

_LONGEST: Final = 100  # requests of one place that wait
_MOST: Final = 1000  # that wait there with one of each user who has no other
_SHARE: Final = 8  # one place gets an eighth of what is worked on at once, so that others need not wait
_LONG: Final = 0.25  # seconds; a usual request takes some 15 ms, and 50 on a busy machine
_PIECE: Final = 32 * 1024  # bytes of an answer; a server takes the next when the one before it was taken
TENANT: Final = "tenant"  # in a request's state
LOGIN_ATTEMPT: Final = "login attempt"  # in a request's state, whether it may be one at a password


class TenantQueueFull(Exception):
    """Too many of the place wait already."""


class QueueState(Generic[T]):
    """Who is worked on and who waits, place by place. Pure: it says who begins, and others see to it.

    Args:
        at_once: at all places together.
        each: at one place; all but one of them have taken long. One more of a user who has none.
        longest: that may wait at one place. One more of each user who has none that waits, up to a thousand.
    """

    def __init__(self, at_once: int, each: int, longest: int) -> None:
        self._at_once, self._each, self._longest = at_once, each, longest
        self._begun: Counter[str] = Counter()
        self._begun_of: Counter[tuple[str, str]] = Counter()  # by place and user
        self._quick: set[str] = set()  # places where one is worked on that has not taken long yet
        self._answered = 0  # of those that have begun: nothing is left of them but that their answer is taken
        # By tenant, then by user; whose turn was longest ago comes first.
        self._waiting: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    @property
    def begun(self) -> Counter[str]:
        """Count what is worked on or answered, by place."""
        return self._begun

    @property
    def waiting(self) -> Counter[str]:
        """Count who wait, by place."""
        return Counter({tenant: sum(map(len, lines.values())) for tenant, lines in self._waiting.items()})

    def add(self, tenant: str, user: str, one: T) -> bool:
        """Add one of a user at a place; return True if it begins at once, else it waits until `end` names it.

        Raises:
            TenantQueueFull: it may not even wait.
        """
        # Whoever waits could not begin, or would have: so nobody is passed by.
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
        """End one that was worked on at a place.

        Args:
            is_quick: it has neither lingered nor been answered.
            is_answered: its answer was made before, and is taken now.

        Returns:
            Who begins in its stead: of the place where fewest are worked on, and of such of whose turn was longest ago.
        """
        self._begun -= Counter([tenant])  # which keeps no zeros
        self._begun_of -= Counter([(tenant, user)])
        if is_quick:
            self._quick.remove(tenant)
        self._answered -= is_answered
        return self._next()

    def answer(self, tenant: str, *, is_quick: bool) -> T | None:
        """Note that an answer is made and has yet to be taken.

        It counts at its place and for its user, as it takes memory, and no more among what is worked on at all places.

        Returns:
            Who begins beside it.
        """
        if is_quick:
            self._quick.remove(tenant)
        self._answered += 1
        return self._next()

    def linger(self, tenant: str) -> T | None:
        """Note that the quick one at a place has taken long by now; return who begins beside it."""
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
        """Return the user whose turn it is at a place; None: nobody there may begin."""
        return next((user for user in self._waiting[tenant] if self._is_open(tenant, user)), None)

    def _clear(self, tenant: str, user: str) -> None:
        if not self._waiting[tenant][user]:
            del self._waiting[tenant][user]
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def remove(self, tenant: str, user: str, one: T) -> None:
        """Remove one that waits at a place and does not want to any more."""
        self._waiting[tenant][user].remove(one)
        self._clear(tenant, user)


class TenantQueue:
    """The line of one process; requests of its one event loop wait in it.

    Args:
        at_once: requests that are worked on at once.
        each: of one place; None = an eighth of them, or one.
        longest: that may wait at one place.
    """

    def __init__(self, at_once: int, each: int | None = None, longest: int = _LONGEST) -> None:
        self._state = QueueState[Event](at_once, each or max(1, at_once // _SHARE), longest)

    @asynccontextmanager
    async def at(self, tenant: str, user: str = "") -> AsyncIterator[None]:
        """Hold a turn of the tenant, for as long as the block runs.

        Raises:
            Problem: too many wait there.
        """
        turn = await self.begin(tenant, user)
        try:
            yield
        finally:
            turn.end()

    async def begin(self, tenant: str, user: str = "") -> "Turn":
        """Wait for a turn of a user at the place.

        Raises:
            Problem: too many wait there.
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
            if begun.is_set():  # in the moment in which it was given up
                Turn(self._state, tenant, user).end()
            else:
                self._state.remove(tenant, user, begun)
            raise
        return Turn(self._state, tenant, user)


class Turn:
    """A turn that somebody has, until it ends."""

    def __init__(self, state: QueueState[Event], tenant: str, user: str) -> None:
        self._state, self._tenant, self._user = state, tenant, user
        self._is_quick, self._is_answered, self._is_over = True, False, False
        self._timer = get_running_loop().call_later(_LONG, self._linger)

    def end(self) -> None:
        """End it; to say so again does nothing."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            is_quick, is_answered = self._is_quick, self._is_answered
            _let_begin(self._state.end(self._tenant, self._user, is_quick=is_quick, is_answered=is_answered))

    def answer(self) -> None:
        """Note that the answer is made, and has yet to be taken."""
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
    """ASGI middleware: a request that is whole waits for its turn, which lasts until its answer was taken.

    A request that checks a password waits for one of `passwords` instead.

    So few of the answers that somebody reads slowly are in memory. An answer of one small piece ends its turn at once,
    and so do a stream with its first piece and an answer to a stranger: they hold up nobody.
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
                    turn.end()  # strangers share a place with all whose credentials are not proved yet
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
