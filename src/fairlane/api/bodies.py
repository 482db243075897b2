"""Reads the bodies of requests: how large they may be, how many are in memory, and how long they may take to come."""

from asyncio import Timeout, get_running_loop, timeout
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api.json_text import CUT, JsonText
from fairlane.api.places import is_organization
from fairlane.api.problems import Problem
from fairlane.api.turns import PLACE

SMALL: Final = 16 * 1024  # bytes; of whoever has proved nothing no more is read: a login needs no more
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})  # what is sent with them nobody reads
# How many times the limit is in memory at once, till they are answered, and what is said of more: of one user in a
# place, so that nobody closes their organization to the others; of a place; of all.
_BOUNDS: Final = (
    (2, 429, "too-much-at-once", "So many bodies of yours are worked on there already"),
    (
        4,
        429,
        "too-much-at-once",
        "So many bodies of the organization, of operators, or of all to whom none is open are here already",
    ),
    (32, 503, "too-much-held", "So many bodies are worked on here already"),
)
_SOON: Final = 1  # seconds
_PATIENCE: Final = 60  # seconds for a body, which is in memory until it is whole
_SLOW: Final = 5  # seconds behind the pace of the largest in that time, after which one makes room for others


class _Body:
    """One that is read, or worked on."""

    def __init__(self, place: str, user: str) -> None:
        self.groups = ((place, user), (place,), ())  # that it counts in, in the order of their bounds
        self.held = 0  # bytes that count
        self.patience = timeout(_PATIENCE)


class BodyGuard:
    """ASGI middleware: reads the body, up to the limit, and hands it on.

    There is a bound on what all of them take together, those of one place, and those of one user there. All whom no
    organization is open to are one place: else each of a tenant's users would have the room of an organization where
    they are none of its members. So are operators, where they act as such. Small ones don't count: there are no more
    than connections, and nobody is kept out by others' large ones who sends little.

    Args:
        limit: in bytes.
        most_values: of all objects, arrays and plain values in it.
    """

    def __init__(self, app: ASGIApp, limit: int, most_values: int) -> None:
        self._app = app
        self._limit = limit
        self._most_values = most_values
        self._held: Counter[tuple[str, ...]] = Counter()  # bytes, by group
        # Those that count and are not whole, and until when what has come would do at the pace of the largest.
        self._coming: dict[_Body, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _body_in(scope)
        with self._counting(body, receive) as counted:
            try:
                read = await self._read(scope, counted, body)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            if read is not None:
                await self._app(scope, replayed(read, receive), send)

    @contextmanager
    def _counting(self, body: _Body, receive: Receive) -> Iterator[Receive]:
        """Receives a body, which counts until the block ends; then it is let go."""
        read = 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            more = max(0, read - SMALL) - body.held
            if more:
                self._make_room(body, more)
                self._hold(body, more)
                now = get_running_loop().time()
                # What came fast at first is no leave to stall later.
                self._coming[body] = min(now, self._coming.get(body, now) + more * _PATIENCE / self._limit)
            return message

        try:
            yield receiving
        finally:
            self._let_go(body)

    def _hold(self, body: _Body, more: int) -> None:
        body.held += more
        for group in body.groups:
            self._held[group] += more
            if not self._held[group]:
                del self._held[group]

    def _let_go(self, body: _Body) -> None:
        self._hold(body, -body.held)
        self._coming.pop(body, None)

    def _make_room(self, body: _Body, more: int) -> None:
        """Have no more bytes held of a user, of a place, nor of all: those that come slowly are waited for no longer.

        Raises:
            Problem: there is no room all the same, and nobody was asked for it.
        """
        going: list[_Body] = []
        for group, (most, status, kind, why) in zip(body.groups, _BOUNDS, strict=True):
            over = self._held[group] + more - most * self._limit
            over -= sum(one.held for one in going if group in one.groups)
            slow = self._slow_of(group, body, going) if over > 0 else iter(())
            while over > 0:
                one = next(slow, None)
                if one is None:
                    raise _try_later(status, kind, why)
                over -= one.held
                going.append(one)
        for one in going:
            self._let_go(one)
            one.patience.reschedule(0)

    def _slow_of(self, group: tuple[str, ...], beside: _Body, going: list[_Body]) -> Iterator[_Body]:
        """Who may be asked for room, the one that is furthest behind first."""
        late = get_running_loop().time() - _SLOW
        for one in sorted(self._coming, key=self._coming.__getitem__):
            is_slow = self._coming[one] <= late and not one.patience.expired()
            if is_slow and group in one.groups and one is not beside and one not in going:
                yield one

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> bytes | None:
        """The body; None: whoever sent it is gone.

        Raises:
            Problem
        """
        headers = Headers(scope=scope)
        is_small = scope["method"] in _BODILESS or scope.get("state", {}).get("principal") is None
        limit = min(SMALL, self._limit) if is_small else self._limit
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "compressed-body", "Send the body uncompressed.", headers=CUT)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise _too_large(limit)
        json = JsonText(headers, self._most_values)
        try:
            read = await body_of(receive, limit, body.patience, json.add)
        finally:
            self._coming.pop(body, None)  # nothing of it is waited for any more, be it whole or refused
        if read:
            json.end()
        return read


def may_be_large(scope: Scope) -> bool:
    """Whether so much may come that it counts."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    is_little = (
        "transfer-encoding" not in headers and length.isascii() and length.isdigit() and int(length[:20]) <= SMALL
    )
    return scope["method"] not in _BODILESS and not is_little


def _body_in(scope: Scope) -> _Body:
    state = scope.get("state", {})
    place, principal = state.get(PLACE, ""), state.get("principal")
    if not is_organization(place):
        place = "operators" if principal is not None and principal.is_operator else ""
    return _Body(place, principal.user if principal is not None else "")


async def body_of(
    receive: Receive, limit: int, patience: Timeout | None = None, look: Callable[[bytes], object] = bytes
) -> bytes | None:
    """Return the whole body; None: whoever sent it is gone.

    Args:
        patience: for how long to wait for it; None: a minute.
        look: called with each piece as it comes; what it raises ends the wait.

    Raises:
        Problem: it is too large, or takes too long to come.
    """
    try:
        async with patience or timeout(_PATIENCE):
            return await _all_of(receive, limit, look)
    except TimeoutError:
        detail = (
            f"The body did not come within {_PATIENCE} s, or stalled for {_SLOW} s while there was no room; "
            "send it faster, or less at once."
        )
        raise Problem(408, "slow-body", detail, headers=CUT) from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read already, and then what comes next."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _all_of(receive: Receive, limit: int, look: Callable[[bytes], object]) -> bytes | None:
    read, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        piece = message.get("body", b"")
        read += piece
        more = message.get("more_body", False)
        if len(read) > limit:
            raise _too_large(limit)
        look(piece)
    return bytes(read)


def _try_later(status: int, kind: str, why: str) -> Problem:
    detail = f"{why} that no more is taken; wait {_SOON} s and send it again, or less at once."
    return Problem(status, kind, detail, headers={**CUT, "Retry-After": str(_SOON)}, retry_after=float(_SOON))


def _too_large(limit: int) -> Problem:
    return Problem(413, "body-too-large", f"A body has at most {limit} bytes; send less at once.", headers=CUT)
