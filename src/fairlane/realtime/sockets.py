"""Socket.IO, and nothing else: python-socketio's server between clients and the hub.

It has no bound on what gathers for a client that does not read. So it is given little at a time: what waits stays with
the client in the hub, where of progress only the latest is kept and where there is a bound.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.packet import EVENT, Packet

from fairlane.domain.errors import FairlaneError, InvalidParameters, RateLimited
from fairlane.domain.permissions import Principal
from fairlane.domain.timing import STRANGER_WAITS
from fairlane.realtime.hub import MOST_ROOMS, STALLED, Client, Message
from fairlane.realtime.live import Doorkeeper, Live

_IN_FLIGHT: Final = 16  # packets that the server has of a client at a time
_BEHIND: Final = 0.05  # seconds between two looks at those who are behind
_ALL: Final = 1.0  # seconds between two looks at all
_MOST_ASKING: Final = 2_000  # connections whose tickets are looked for; who comes then comes back a little later
_HAS_SHOWN: Final = "fairlane.has_shown"  # in a connection's environment: it has shown one, whatever it was
LARGEST: Final = 64 * 1024  # bytes that a client sends at once
_LONGEST_SECRET: Final = 200  # characters
_UNAUTHORIZED: Final = "unauthorized"
_UNAVAILABLE: Final = "unavailable"
REQUESTS: Final = ("subscribe", "unsubscribe")  # that clients may send

# Its messages quote what clients send, tickets too.
_quiet: Final = logging.getLogger("fairlane.engineio")
_quiet.setLevel(logging.CRITICAL)


class _ClientsPacket(Packet):  # type: ignore[misc] # the library has no types
    """A packet that a client may send: no other event, and no attachments.

    The library takes "connect" and "disconnect" for events, too, and calls what it calls itself when a client comes or
    goes; and it keeps attachments, as many and as large as come, until all are there.
    """

    # The library's own drops a packet with a number of more than 100 digits, and its sender waits for an answer.
    json = SimpleNamespace(dumps=json.dumps, loads=partial(json.loads, parse_int=float))

    def decode(self, encoded_packet: str) -> int:
        """Read it."""
        if super().decode(encoded_packet):
            raise ValueError("no client of ours sends attachments")
        if self.packet_type == EVENT and self.data[0] not in REQUESTS:
            raise ValueError("no client of ours sends that")
        return 0


class Sockets:
    """The sockets of one process.

    Args:
        door: who may in.
    """

    def __init__(self, live: Live, door: Doorkeeper) -> None:
        self._live = live
        self._door = door
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            # Who asks from where was looked at before: by `api.sockets`.
            cors_allowed_origins=lambda *_: True,
            async_handlers=False,  # one request of a client at a time
            max_http_buffer_size=LARGEST,
            serializer=_ClientsPacket,
            logger=_quiet,
            engineio_logger=_quiet,
        )
        for name in ("connect", "disconnect", *REQUESTS):
            self._server.on(name, getattr(self, f"_{name}"))
        self._clients: dict[str, _Connection] = {}
        self._asking: set[str] = set()  # connections whose tickets are looked for
        self._dirty: set[str] = set()
        self._behind: set[str] = set()  # for whom more waits than they have taken
        self._flushing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer by ASGI."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        await self._server.handle_request(scope, receive, send)

    def __len__(self) -> int:
        return len(self._clients)

    def has(self, eio_sid: str) -> bool:
        """Return True if there is a connection of this name."""
        return eio_sid in self._server.eio.sockets

    def has_let_in(self, eio_sid: str) -> bool:
        """Return True if somebody was let in by the connection."""
        return self._server.manager.sid_from_eio_sid(eio_sid, "/") in self._clients

    @property
    def ticketless(self) -> int:
        """Return how many connections there are that have shown no ticket, or none that is good."""
        return len(self._server.eio.sockets) - len(self._clients) - len(self._asking)

    async def drop_ticketless(self) -> None:
        """Close a tenth of the connections that have shown no good ticket: those that came first."""
        ticketless = self._ticketless()
        for eio_sid in ticketless[: len(ticketless) // 10 + 1]:
            await self._drop(eio_sid)
        self._forget_closed()

    def _ticketless(self) -> list[str]:
        return [one for one in self._server.eio.sockets if one not in self._asking and not self.has_let_in(one)]

    async def _drop(self, eio_sid: str) -> None:
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is not None:
            await socket.close(wait=False)
            self._release(eio_sid)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        ticket = auth.get("ticket") if isinstance(auth, Mapping) else None
        if not isinstance(ticket, str) or len(ticket) > _LONGEST_SECRET:
            raise Refused(_UNAUTHORIZED)
        connection = environ["asgi.scope"]
        try:
            if environ.get(_HAS_SHOWN):
                self._door.count(connection)
            environ[_HAS_SHOWN] = True
        except Exception as error:  # noqa: BLE001 - the door says what clients may know of it
            raise Refused(self._door.problem(error)["detail"]) from None
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        principal = await self._admit(eio_sid, ticket, connection)
        if principal is None:
            raise Refused(_UNAUTHORIZED)
        if not self._is_open(eio_sid):
            raise Refused("gone")  # of its end we would never hear: it was nobody's yet
        client = Client(principal, lambda: self._wake(sid))
        try:
            self._live.hub.add(client)
        except RateLimited as error:
            raise Refused(str(error)) from None
        self._clients[sid] = _Connection(client, eio_sid)
        socket = self._server.eio.sockets[eio_sid]
        socket.poll = partial(_next_packets, socket)

    async def _admit(self, eio_sid: str, ticket: str, connection: Mapping[str, Any]) -> Principal | None:
        """Return whose ticket it is.

        Whoever waits for that makes room for nobody: others who come back would wait in vain.
        """
        if len(self._asking) >= _MOST_ASKING:
            raise Refused(_UNAVAILABLE)
        self._asking.add(eio_sid)
        try:
            return await self._live.admit(self._door.admit, ticket, connection)
        except FairlaneError:
            raise Refused(_UNAVAILABLE) from None
        finally:
            self._asking.discard(eio_sid)

    def _is_open(self, eio_sid: str) -> bool:
        socket = self._server.eio.sockets.get(eio_sid)
        return socket is not None and not (socket.closed or socket.closing)

    async def _disconnect(self, sid: str, _reason: object = None) -> None:
        connection = self._clients.pop(sid, None)
        self._behind.discard(sid)
        if connection is not None:
            self._live.hub.remove(connection.client)
            self._release(connection.eio_sid)

    def _release(self, eio_sid: str) -> None:
        """Answer a poll that waits, and end a websocket: a client does not hang up because it is told "close"."""
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is not None:
            socket.queue.put_nowait(None)

    async def _subscribe(self, sid: str, wanted: object = None) -> dict[str, Any]:
        connection = self._clients.get(sid)
        if connection is None:
            return {}
        client = connection.client
        try:
            asked = wanted if isinstance(wanted, Mapping) else {}
            async with connection.turn:
                tenant = self._door.tenant(client.principal)
                opened = await self._live.ask(tenant, self._door.open, client.principal, asked)
                if len(client.rooms | {opened.room}) > MOST_ROOMS:
                    raise InvalidParameters(
                        f"A socket may be in {MOST_ROOMS} rooms; leave one, or open another socket."
                    )
                entered = await self._live.enter(client, opened, asked.get("after"))
        except Exception as error:  # noqa: BLE001 - the door says what clients may know of it
            return {"error": self._door.problem(error)}
        # Once the answer is on its way: it is put there before anything else of this loop runs.
        asyncio.get_running_loop().call_soon(entered.release)
        return entered.answer

    async def _unsubscribe(self, sid: str, wanted: object = None) -> dict[str, Any]:
        connection = self._clients.get(sid)
        name = wanted.get("room") if isinstance(wanted, Mapping) else None
        if connection is not None:
            for room in [one for one in connection.client.rooms if one.name == name]:
                self._live.hub.leave(connection.client, room)
        return {}

    def _wake(self, sid: str) -> None:
        self._dirty.add(sid)
        self._start_flushing()

    def _start_flushing(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._dirty:
            dirty, self._dirty = self._dirty, set()
            for number, sid in enumerate(dirty):
                connection = self._clients.get(sid)
                if connection is not None:
                    await self._send(sid, connection)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            # Meanwhile whoever reads has taken what they were given, and has place for more.
            await asyncio.sleep(0)
            self._dirty |= {sid for sid in self._behind if self._has_capacity(sid)}

    def _has_capacity(self, sid: str) -> bool:
        connection = self._clients.get(sid)
        socket = self._server.eio.sockets.get(connection.eio_sid) if connection is not None else None
        return socket is not None and socket.queue.qsize() < _IN_FLIGHT

    async def _send(self, sid: str, connection: "_Connection") -> None:
        client = connection.client
        socket = self._server.eio.sockets.get(connection.eio_sid)
        if socket is None or not client.is_open:
            await self._close(sid, connection)
            return
        for message in client.take(_IN_FLIGHT - socket.queue.qsize()):
            # Not by the library's `send`, which looks each time whether the client answers; it looks at all by turns.
            socket.queue.put_nowait(_packet(message))
            connection.took_at = time.monotonic()
        (self._behind.add if len(client) else self._behind.discard)(sid)
        if client.is_ending and not len(client):
            await self._close(sid, connection)

    async def _close(self, sid: str, connection: "_Connection") -> None:
        await self._server.disconnect(sid)
        await self._disconnect(sid)
        socket = self._server.eio.sockets.get(connection.eio_sid)
        if socket is not None:
            await socket.close(wait=False)  # it may never take what it was given

    async def _watch(self) -> None:
        """Watch as long as there are connections."""
        first_seen: dict[str, float] = {}
        looked_at = 0.0
        while self._server.eio.sockets:
            await asyncio.sleep(_BEHIND)
            self._dirty |= self._behind
            self._start_flushing()
            now = time.monotonic()
            if now - looked_at < _ALL:
                continue
            looked_at = now
            self._drop_stalled(now)
            # Those whose tickets are looked for, too: that takes so long only where nothing goes.
            waiting = [one for one in self._server.eio.sockets if not self.has_let_in(one)]
            first_seen = {one: first_seen.get(one, now) for one in waiting}
            for eio_sid in [one for one, since in first_seen.items() if now - since > STRANGER_WAITS]:
                await self._drop(eio_sid)
            self._forget_closed()

    def _forget_closed(self) -> None:
        """Forget those that poll and are closed: the library would keep them for a minute and more."""
        sockets = self._server.eio.sockets
        for eio_sid in [one for one, socket in sockets.items() if socket.closed]:
            del sockets[eio_sid]

    def _drop_stalled(self, now: float) -> None:
        for sid, connection in list(self._clients.items()):
            if sid not in self._behind:
                connection.took_at = now
            elif now - connection.took_at > STALLED:
                self._live.hub.drop(connection.client)


class _Connection:
    """A client with its socket."""

    __slots__ = ("client", "eio_sid", "took_at", "turn")

    def __init__(self, client: Client, eio_sid: str) -> None:
        self.client = client
        self.eio_sid = eio_sid
        self.took_at = time.monotonic()
        self.turn = asyncio.Lock()


def _packet(message: Message) -> EnginePacket:
    """Return the message as it is sent; one for all who get it, as it keeps its text once that is made."""
    if message.sent_as is None:
        message.sent_as = EnginePacket(MESSAGE, Packet(EVENT, [message.name, message.data]).encode())
    return message.sent_as


async def _next_packets(socket: AsyncSocket) -> list[EnginePacket]:
    """Return what is to be sent next; none: it is to be closed.

    The library's own sets a clock for each packet, so that a poll is answered in time. That takes as long as all else
    that it does for a packet, and a websocket need not be answered.
    """
    if not socket.upgraded:
        return await AsyncSocket.poll(socket)  # type: ignore[no-any-return] # the library has no types
    packet = await socket.queue.get()
    socket.queue.task_done()
    return [] if packet is None else [packet]
