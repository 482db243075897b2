"""Read the bodies of requests, with bounds on their size, on the memory of all, and on the time each may take."""

from asyncio import Timeout, get_running_loop, timeout
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api.json_text import CUT, JsonText
from fairlane.api.problems import Problem
from fairlane.api.request_tenants import is_organization
from fairlane.api.tenant_queue import TENANT
from fairlane.domain.permissions import Principal
from fairlane.domain.timing import RETRY_SOON, STRANGER_WAITS

SMALL: Final = 16 * 1024  # bytes; no more is read without a valid credential: a login needs no more
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})  # their bodies are not read
# How many times the limit may be in memory until the requests are answered, and how more is refused: for one user of
# a tenant, for a tenant, and for all. A user has less than a tenant, so that other users of the organization can send.
_BOUNDS: Final = (
    (2, 429, "too-much-at-once", "So many bodies of yours are worked on there already"),
    (
        4,
        429,
        "too-much-at-once",
        "So many bodies of the organization, of operators, or of users without an organization are here already",
    ),
    (32, 503, "too-much-held", "So many bodies are worked on here already"),
)
_TIMEOUT: Final = 60  # seconds for a body, which is in memory until it is whole
_MOST_OF_ADDRESS: Final = 20  # bodies without a credential that may be on their way
_SLOW: Final = 5  # seconds that a body may be behind the slowest allowed pace; then it makes room for others


class _Body:
    """A body that is being read or worked on, and the bytes of it that count."""

    def __init__(self, tenant: str, principal: Principal | None) -> None:
        user = principal.user if principal is not None else ""
        self.groups = ((tenant, user), (tenant,), ())  # in the order of their bounds
        self.held = 0  # bytes that count
        self.deadline = timeout(_TIMEOUT if principal is not None else STRANGER_WAITS)


class BodyGuard:
    """ASGI middleware that reads each body up to the limit, and hands it to the application.

    Bounds hold for all bodies together, for those of one tenant, and for those of one user of a tenant. An
    organization is a tenant. All users without an organization are one tenant: else each of them could use as much
    memory as an organization. Operators who act as operators are another one. Small bodies do not count: there are no
    more of them than connections, and so large bodies keep no small one out.

    Args:
        limit: largest body, in bytes.
        most_values: largest number of objects, arrays and plain values in a body.
    """

    def __init__(self, app: ASGIApp, limit: int, most_values: int) -> None:
        self._app = app
        self._limit = limit
        self._most_values = most_values
        self._held: Counter[tuple[str, ...]] = Counter()  # bytes, by group
        # Bodies that count and are incomplete, each with the time until which its bytes keep the slowest allowed pace.
        self._coming: dict[_Body, float] = {}
        self._strangers: Counter[str] = Counter()  # bodies without a credential on their way, by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or pass the request on."""
        # The health check has no tenant, and its body is not read.
        if scope["type"] != "http" or TENANT not in scope.get("state", {}):
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
        """Return a `receive` that counts the body until the block ends."""
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
                # A fast start does not allow a stall later.
                self._coming[body] = min(now, self._coming.get(body, now) + more * _TIMEOUT / self._limit)
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
        """Make room for more bytes of a user, of a tenant and of all: cut off bodies that come slowly.

        Raises:
            Problem: this would not make enough room, so no body was cut off.
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
            one.deadline.reschedule(0)

    def _slow_of(self, group: tuple[str, ...], beside: _Body, going: list[_Body]) -> Iterator[_Body]:
        """Yield the bodies that may be cut off, the slowest first."""
        late = get_running_loop().time() - _SLOW
        for one in sorted(self._coming, key=self._coming.__getitem__):
            is_slow = self._coming[one] <= late and not one.deadline.expired()
            if is_slow and group in one.groups and one is not beside and one not in going:
                yield one

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> bytes | None:
        """Return the body; None: the client is gone.

        Raises:
            Problem
        """
        headers = Headers(scope=scope)
        is_stranger = scope["state"].get("principal") is None
        is_small = scope["method"] in _BODILESS or is_stranger
        limit = min(SMALL, self._limit) if is_small else self._limit
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "compressed-body", "Send the body uncompressed.", headers=CUT)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise _too_large(limit)
        json = JsonText(headers, self._most_values)
        try:
            with self._waiting(scope["state"][TENANT]) if is_stranger else nullcontext():
                read = await body_of(receive, limit, body.deadline, json.add)
        finally:
            self._coming.pop(body, None)  # the body is complete or refused
        if read:
            json.end()
        return read

    @contextmanager
    def _waiting(self, address: str) -> Iterator[None]:
        """Count a body without a credential under its address, while it is on its way.

        Raises:
            Problem: too many bodies of the address are on their way.
        """
        if self._strangers[address] >= _MOST_OF_ADDRESS:
            raise _try_later(429, "too-much-at-once", "So many bodies without a credential come from your address")
        self._strangers[address] += 1
        try:
            yield
        finally:
            self._strangers -= Counter([address])  # which keeps no zeros


def may_be_large(scope: Scope) -> bool:
    """Return True if the body may be large enough to count."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    is_little = (
        "transfer-encoding" not in headers and length.isascii() and length.isdigit() and int(length[:20]) <= SMALL
    )
    return scope["method"] not in _BODILESS and not is_little


def _body_in(scope: Scope) -> _Body:
    tenant, principal = scope["state"][TENANT], scope["state"].get("principal")
    if not is_organization(tenant):
        tenant = "operators" if principal is not None and principal.is_operator else ""
    return _Body(tenant, principal)


async def body_of(
    receive: Receive, limit: int, deadline: Timeout | None = None, look: Callable[[bytes], object] = bytes
) -> bytes | None:
    """Return the whole body; None: the client is gone.

    Args:
        deadline: how long to wait for the body; None: a minute.
        look: called with each piece as it comes; an exception that it raises ends the wait.

    Raises:
        Problem: the body is too large, or takes too long to come.
    """
    try:
        async with deadline or timeout(_TIMEOUT):
            return await _all_of(receive, limit, look)
    except TimeoutError:
        detail = (
            f"The body did not come within {_TIMEOUT} s, without a credential {STRANGER_WAITS} s, or stalled for "
            f"{_SLOW} s while there was no room; "
            "send it faster, or less at once."
        )
        raise Problem(408, "slow-body", detail, headers=CUT) from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already, and then the messages after it."""
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
    detail = f"{why} that no more is taken; wait {RETRY_SOON} s and send it again, or less at once."
    return Problem(status, kind, detail, headers={**CUT, "Retry-After": str(RETRY_SOON)}, retry_after=float(RETRY_SOON))


def _too_large(limit: int) -> Problem:
    return Problem(413, "body-too-large", f"A body has at most {limit} bytes; send less at once.", headers=CUT)
