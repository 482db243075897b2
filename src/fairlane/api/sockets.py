"""Where Socket.IO comes in. It has a door of its own: its credential is a ticket, sent once the socket is open.

So none of the other layers applies to it: not the credential in each request, which a browser can't send, nor what
bodies must be. What does is here: which pages may, how many may come without one, and how much they may send.
"""

from asyncio import timeout
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlane.api.authentication import ROOT, comes_from_elsewhere, path_of, refuse_socket
from fairlane.api.bodies import SMALL, body_of, replayed
from fairlane.api.problems import Problem
from fairlane.api.watching import Door
from fairlane.domain.timing import STRANGER_WAITS
from fairlane.realtime.sockets import LARGEST, Sockets

PATH: Final = f"{ROOT}/socket.io"
MOST_TICKETLESS: Final = 2_000  # sockets of a node, kept for 10 s: some 20 kB each, and what they have of a message


class SocketDoor:
    """ASGI middleware: hands Socket.IO its requests.

    Args:
        door: who counts those who come.
        origins: other sites whose pages may connect. Without any it is this one's alone.
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
        """Count one that begins. It is kept without any connection, and for a while: so there is a bound.

        Where that is reached, the oldest make room. Who has a ticket shows it at once; to refuse the new ones would
        close the door to all while somebody fills it.

        Raises:
            Problem: too many have come from there, and shown no good ticket.
        """
        self._door.count(scope)
        if self._sockets.ticketless >= MOST_TICKETLESS:
            await self._sockets.drop_ticketless()

    async def _whole(self, scope: Scope, receive: Receive, sid: str | None) -> Receive | None:
        """Return what receives the whole body, which Socket.IO would wait for whatever its size.

        None: who sends it is gone.

        Raises:
            Problem: it is too large, or takes too long to come.
        """
        if scope["type"] != "http":
            return receive
        has_ticket = sid is not None and self._sockets.has_let_in(sid)
        deadline = None if has_ticket else timeout(STRANGER_WAITS)
        body = await body_of(receive, LARGEST if has_ticket else SMALL, deadline)
        return replayed(body, receive) if body is not None else None


def _named_in(scope: Scope) -> str | None:
    """Return whose request it is; None: its socket's first. Read as Engine.IO does: an empty name is none."""
    names = parse_qs(scope["query_string"].decode("latin-1")).get("sid")
    return names[0] if names else None


def _unknown() -> Problem:
    """Return the problem of an unknown socket. It is told before a body is read: anybody can name a socket."""
    detail = "There is no such socket, or no longer; connect again."
    return Problem(400, "unknown-socket", detail, headers={"Connection": "close"})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await problem.response()(scope, receive, send)
        return
    await refuse_socket(receive, send, problem.kind)
