"""Where Socket.IO comes in. It has a door of its own: its credential is a ticket, sent once the socket is open.

So none of the other layers applies to it: not the credential in each request, which a browser can't send, nor what
bodies must be. What does is here: which pages may, and how much they may send.
"""

from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairlane.api.authentication import ROOT, path_of, refuse_socket
from fairlane.api.cross_site import comes_from_elsewhere
from fairlane.api.problems import Problem
from fairlane.realtime.sockets import LARGEST, Sockets

PATH: Final = f"{ROOT}/socket.io"


class SocketDoor:
    """ASGI middleware: hands Socket.IO its requests.

    Args:
        origins: other sites whose pages may connect. Without any it is this one's alone.
    """

    def __init__(self, app: ASGIApp, sockets: Sockets, origins: tuple[str, ...]) -> None:
        self._app = app
        self._sockets = sockets
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
            taken = await _bounded(receive) if scope["type"] == "http" else receive
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
            return
        await self._sockets(scope, taken, send)


async def _bounded(receive: Receive) -> Receive:
    """The whole body at once, which Socket.IO would read whatever its size.

    Raises:
        Problem: it is too large.
    """
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST:
            raise Problem(413, "body-too-large", f"A client sends at most {LARGEST} bytes at once.")
    first: Any = {"type": "http.request", "body": bytes(body), "more_body": False}

    async def replay() -> Message:
        nonlocal first
        message, first = first, None
        return message if message is not None else await receive()

    return replay


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem.response()(scope, receive, send)
        return
    await refuse_socket(receive, send, problem.kind)
