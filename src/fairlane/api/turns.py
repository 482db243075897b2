"""Whose request is worked on next: places take turns, so that a flood at one waits behind itself and not before others.

A process has one interpreter, which a handful of requests fill. Were all that come handed to its threads, they would
stand in one line there, and whoever sends most would have most of it. So of one place only a few are worked on at once,
and of all together no more than there are threads. The rest wait here, each place in a line of its own; what waits
takes no thread and no connection.

A place is an organization: that of the credential, or one that the credential opened before. Whoever has not shown yet
where they belong stands in the line of their user, or of their address.
"""

from asyncio import Event
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api.problems import Problem

T = TypeVar("T", bound=Hashable)

_LONGEST: Final = 100  # requests of one place that wait
_SHARE: Final = 8  # one place gets an eighth of what is worked on at once, so that others need not wait
_SOON: Final = 1  # seconds
PLACE: Final = "place"  # in a request's state


class LineFull(Exception):
    """Too many of the place wait already."""


class Line(Generic[T]):
    """Who is worked on and who waits, place by place. Pure: it says who begins, and others see to it.

    Args:
        at_once: at all places together.
        each: at one place.
        longest: that may wait at one place.
    """

    def __init__(self, at_once: int, each: int, longest: int) -> None:
        self._at_once, self._each, self._longest = at_once, each, longest
        self._begun: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # whose turn was longest ago comes first

    @property
    def begun(self) -> Counter[str]:
        """How many are worked on, by place."""
        return self._begun

    @property
    def waiting(self) -> Counter[str]:
        """How many wait, by place."""
        return Counter({place: len(line) for place, line in self._waiting.items()})

    def come(self, place: str, one: T) -> bool:
        """One comes to a place; whether it begins at once, or waits until `go` names it.

        Raises:
            LineFull: it may not even wait.
        """
        # Whoever waits could not begin, or would have: so nobody is passed by.
        if self._begun.total() < self._at_once and self._begun[place] < self._each:
            self._begun[place] += 1
            return True
        line = self._waiting.get(place, ())
        if len(line) >= self._longest:
            raise LineFull
        self._waiting.setdefault(place, deque()).append(one)
        return False

    def go(self, place: str) -> T | None:
        """One that was worked on at a place is done.

        Returns:
            Who begins in its stead: of the place where fewest are worked on, and of such of whose turn was longest ago.
        """
        self._begun[place] -= 1
        if not self._begun[place]:
            del self._begun[place]
        able = [one for one in self._waiting if self._begun[one] < self._each]
        if not able:
            return None
        chosen = min(able, key=self._begun.__getitem__)  # the first of equals
        line = self._waiting[chosen]
        one = line.popleft()
        self._waiting.move_to_end(chosen)
        if not line:
            del self._waiting[chosen]
        self._begun[chosen] += 1
        return one

    def leave(self, place: str, one: T) -> None:
        """One that waits at a place does not want to any more."""
        line = self._waiting[place]
        line.remove(one)
        if not line:
            del self._waiting[place]


class Turns:
    """The line of one process; requests of its one event loop wait in it.

    Args:
        at_once: requests that are worked on at once.
    """

    def __init__(self, at_once: int) -> None:
        self._line = Line[Event](at_once, max(1, at_once // _SHARE), _LONGEST)

    @asynccontextmanager
    async def at(self, place: str) -> AsyncIterator[None]:
        """A turn of the place, for as long as the block runs.

        Raises:
            Problem: too many wait there.
        """
        await self.begin(place)
        try:
            yield
        finally:
            self.end(place)

    async def begin(self, place: str) -> None:
        """Wait for a turn of the place.

        Raises:
            Problem: too many wait there.
        """
        begun = Event()
        try:
            if self._line.come(place, begun):
                return
        except LineFull:
            raise _too_many() from None
        try:
            await begun.wait()
        except BaseException:
            if begun.is_set():  # in the moment in which it was given up
                self.end(place)
            else:
                self._line.leave(place, begun)
            raise

    def end(self, place: str) -> None:
        """A turn of the place is over."""
        following = self._line.go(place)
        if following is not None:
            following.set()


class Turn:
    """ASGI middleware: a request that is whole waits for its turn, which lasts until its answer begins.

    So a stream, and a client who reads slowly, hold up nobody.
    """

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self._app = app
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when its turn has come, or answer with a problem."""
        place = scope.get("state", {}).get(PLACE)
        if place is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._turns.begin(place)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._turns.end(place)

        async def ending(message: Message) -> None:
            end()
            await send(message)

        try:
            await self._app(scope, receive, ending)
        finally:
            end()


def _too_many() -> Problem:
    return Problem(
        429,
        "too-many-waiting",
        f"{_LONGEST} requests of the organization wait for their turn already; wait {_SOON} s, and send fewer at once.",
        headers={"Retry-After": str(_SOON)},
        retry_after=float(_SOON),
    )
