"""Middleware for Socket.IO, whose credential is a ticket that the client sends once its socket is open.

So the other middleware does not apply: a browser can't send a credential with each of these requests, and the rules
for bodies differ. The checks here are: which pages may connect, how many may without a ticket, and how much they send.
"""

from asyncio import timeout
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlane.api.authentication import ROOT, comes_from_elsewhere, path_of, refuse_socket
from fairlane.api.bodies import SMALL, body_of, replayed
from fairlane.api.headers import refuse_long_query
from fairlane.api.problems import Problem
from fairlane.api.watching import Door
from fairlane.domain.timing import STRANGER_WAITS
from fairlane.realtime.sockets import LARGEST, Sockets

PATH: Final = f"{ROOT}/socket.io"
_BETWEEN_PACKETS: Final = b""
MOST_TICKETLESS: Final = 2_000  # sockets of a node, kept for 10 s: about 20 kB each, and a partial message


class SocketDoor:
    """ASGI middleware that passes requests to Socket.IO.

    Args:
        door: counts new connections.
        origins: other sites whose pages may connect, beside the pages of this one.
    """

    def __init__(self, app: ASGIApp, sockets: Sockets, door: Door, origins: tuple[str, ...]) -> None:
        self._app = app
        self._sockets = sockets
        self._door = door
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"} or path_of(scope).rstrip("/") != PATH:
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            if comes_from_elsewhere(headers, self._origins, scheme=scope["scheme"], must_say=False):
                raise Problem(
                    403, "cross-site", "A page of another site may not connect; FAIRLANE_WEB_ORIGINS lets it."
                )
            refuse_long_query(scope)
            sid = _named_in(scope)
            if sid is None:
                await self._count(scope)
            elif not self._sockets.has(sid):
                raise _unknown()
            taken = await self._whole(scope, receive, sid)
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
            return
        if taken is not None:
            await self._sockets(scope, taken, send)

    async def _count(self, scope: Scope) -> None:
        """Count a new socket. It is kept for a while even without a connection, so their number is bounded.

        At the bound the oldest ones are dropped: a client with a ticket shows it at once. To refuse new ones would
        lock everybody out during a flood.

        Raises:
            Problem: too many sockets without a valid ticket came from the address.
        """
        self._door.count(scope)
        if self._sockets.ticketless >= MOST_TICKETLESS:
            await self._sockets.drop_ticketless()

    async def _whole(self, scope: Scope, receive: Receive, sid: str | None) -> Receive | None:
        """Return a `receive` with the whole body; Socket.IO itself would wait for a body of any size.

        None: the client is gone.

        Raises:
            Problem: the body is too large, takes too long to come, or has too many packets.
        """
        if scope["type"] != "http":
            return receive
        has_ticket = sid is not None and self._sockets.has_let_in(sid)
        deadline = None if has_ticket else timeout(STRANGER_WAITS)
        body = await body_of(receive, LARGEST if has_ticket else SMALL, deadline)
        if body is None:
            return None
        if body.startswith(b"d="):  # which the library would parse as a form
            raise Problem(400, "jsonp", "JSONP is not served; send packets as they are.")
        if body and sid is not None:
            if not self._sockets.has(sid):
                raise _unknown()
            if not await self._sockets.take(sid, 1 + body.count(_BETWEEN_PACKETS)):
                detail = "The socket sent too many packets, or did not fetch its answers; it is closed."
                raise Problem(429, "too-many-packets", detail)
        return replayed(body, receive)


def _named_in(scope: Scope) -> str | None:
    """Return the id of the request's socket, as Engine.IO reads it; None: the first request of a socket."""
    names = parse_qs(scope["query_string"].decode("latin-1")).get("sid")
    return names[0] if names else None


def _unknown() -> Problem:
    """Return the problem of an unknown socket. It is sent before a body is read: anybody can invent a socket's id."""
    detail = "There is no such socket, or no longer; connect again."
    return Problem(400, "unknown-socket", detail, headers={"Connection": "close"})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await problem.response()(scope, receive, send)
        return
    await refuse_socket(receive, send, problem.kind)
