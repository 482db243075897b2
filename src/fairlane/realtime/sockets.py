"""Socket.IO: python-socketio's server between clients and the hub.

The server has no bound on the packets of a client that does not read. So it gets few at a time. The others wait in the
hub, which has a bound and keeps only the latest progress.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakKeyDictionary

import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import MESSAGE
from engineio.packet import Packet as EnginePacket
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.packet import EVENT, Packet

from fairlane.domain.errors import FairlaneError, InvalidParameters, RateLimited
from fairlane.domain.permissions import Principal
from fairlane.domain.timing import RETRY_LATER, STRANGER_WAITS
from fairlane.realtime.hub import MOST_ROOMS, STALLED, Client, Message
from fairlane.realtime.live import Doorkeeper, Live

_IN_FLIGHT: Final = 16  # packets of a client that the server has at a time
_BEHIND: Final = 0.05  # seconds between two looks at slow clients
_ALL: Final = 1.0  # seconds between two looks at all clients
_MOST_ASKING: Final = 2_000  # connections whose tickets are being checked; others have to retry a little later
_HAS_SHOWN: Final = "fairlane.has_shown"  # in a connection's environment: it has shown a ticket, valid or not
LARGEST: Final = 64 * 1024  # bytes that a client sends at once
PACKETS, PACKETS_A_SECOND = 200, 20  # of a client
_PACKETS_OF_STRANGER: Final = 20  # that a client without a ticket may send at once, where it polls
_MOST_UNREAD: Final = 300  # packets that wait for a client: answers, and up to 16 messages
_MOST_CHARACTERS: Final = 64 * 1024  # of these packets; while more wait, the client gets no other snapshot
_LONGEST_SECRET: Final = 200  # characters
_UNAUTHORIZED: Final = "unauthorized"
_UNAVAILABLE: Final = "unavailable"
REQUESTS: Final = ("subscribe", "unsubscribe")  # that clients may send

# The library's log lines quote what clients send, even tickets.
_quiet: Final = logging.getLogger("fairlane.engineio")
_quiet.setLevel(logging.CRITICAL)


class _ClientsPacket(Packet):  # type: ignore[misc] # the library has no types
    """A packet that a client may send: no other event, and no attachments.

    For events named "connect" and "disconnect" the library would call its own handlers. It would also keep attachments
    of any number and size until all have come.
    """

    # The library's JSON drops a packet with a number of more than 100 digits, and its sender waits for an answer.
    json = SimpleNamespace(dumps=json.dumps, loads=partial(json.loads, parse_int=float))

    def decode(self, encoded_packet: str) -> int:
        """Decode and check the packet."""
        if super().decode(encoded_packet):
            raise ValueError("a client may send no attachments")
        if self.packet_type == EVENT and self.data[0] not in REQUESTS:
            raise ValueError("a client may send no such event")
        return 0


class Allowance:
    """The number of packets, or frames, that one client may send: so many at once, and some more each second."""

    def __init__(self, at_once: int = PACKETS) -> None:
        self._most = self._left = float(at_once)
        self._at = time.monotonic()

    def take(self, number: int) -> bool:
        """Count so many; return False if that is too many."""
        now = time.monotonic()
        self._left = min(self._most, self._left + PACKETS_A_SECOND * (now - self._at)) - number
        self._at = now
        return self._left >= 0


class Sockets:
    """The sockets of one process.

    Args:
        door: decides who may enter.
    """

    def __init__(self, live: Live, door: Doorkeeper) -> None:
        self._live = live
        self._door = door
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            # `api.sockets` has checked the origin.
            cors_allowed_origins=lambda *_: True,
            async_handlers=False,  # one request of a client at a time
            max_http_buffer_size=LARGEST,
            serializer=_ClientsPacket,
            logger=_quiet,
            engineio_logger=_quiet,
        )
        self._server.eio.create_queue = _Unread
        for name in ("connect", "disconnect", *REQUESTS):
            self._server.on(name, getattr(self, f"_{name}"))
        self._clients: dict[str, _Connection] = {}
        self._allowances = WeakKeyDictionary[AsyncSocket, Allowance]()  # of clients that poll
        self._asking: set[str] = set()  # connections whose tickets are being checked
        self._dirty: set[str] = set()
        self._behind: set[str] = set()  # clients with more messages than they have taken
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
        """Return True if there is an open connection of this name."""
        socket = self._server.eio.sockets.get(eio_sid)
        return socket is not None and not socket.closed

    async def take(self, eio_sid: str, packets: int) -> bool:
        """Count packets that come by polling; return False, and close the connection, if it is too many.

        A client without a ticket may send few. A client that reads no answers may send no more, as they are kept.
        """
        socket = self._server.eio.sockets[eio_sid]
        allowance = self._allowances.setdefault(socket, Allowance(_PACKETS_OF_STRANGER))
        if allowance.take(packets) and socket.queue.qsize() < _MOST_UNREAD:
            return True
        await self._drop(eio_sid)
        self._forget_closed()
        return False

    def has_let_in(self, eio_sid: str) -> bool:
        """Return True if the connection has shown a valid ticket."""
        return self._server.manager.sid_from_eio_sid(eio_sid, "/") in self._clients

    @property
    def ticketless(self) -> int:
        """Return the number of connections without a valid ticket."""
        return len(self._server.eio.sockets) - len(self._clients) - len(self._asking)

    async def drop_ticketless(self) -> None:
        """Close the oldest tenth of the connections without a valid ticket."""
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
            raise Refused("gone")  # `_disconnect` was not called for it, as it had no client yet
        client = Client(principal, lambda: self._wake(sid))
        try:
            self._live.hub.add(client)
        except RateLimited as error:
            raise Refused(str(error)) from None
        self._clients[sid] = _Connection(client, eio_sid)
        socket = self._server.eio.sockets[eio_sid]
        socket.poll = partial(_next_packets, socket)
        self._allowances[socket] = Allowance()

    async def _admit(self, eio_sid: str, ticket: str, connection: Mapping[str, Any]) -> Principal | None:
        """Return the principal of a ticket.

        A connection whose ticket is being checked is not dropped for a new one: else returning clients would wait in
        vain.
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
        """Answer a poll that waits, and end a websocket: clients do not disconnect on the packet "close"."""
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
                self._refuse_unless_read(connection)
                tenant = self._door.tenant(client.principal)
                opened = await self._live.ask(tenant, self._door.open, client.principal, asked)
                if len(client.rooms | {opened.room}) > MOST_ROOMS:
                    raise InvalidParameters(
                        f"A socket may be in {MOST_ROOMS} rooms; leave one, or open another socket."
                    )
                entered = await self._live.enter(client, opened, asked.get("after"))
        except Exception as error:  # noqa: BLE001 - the door says what clients may know of it
            return {"error": self._door.problem(error)}
        # After the answer: it is queued before any other callback of this loop runs.
        asyncio.get_running_loop().call_soon(entered.release)
        return entered.answer

    def _refuse_unless_read(self, connection: "_Connection") -> None:
        """Refuse another snapshot, of up to `payload_limit`, to a client that does not read the last ones.

        Raises:
            RateLimited
        """
        socket = self._server.eio.sockets.get(connection.eio_sid)
        if socket is not None and socket.queue.characters > _MOST_CHARACTERS:
            raise RateLimited("Read the answers that wait, then subscribe again.", retry_after=RETRY_LATER)

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
            # Meanwhile clients that read have taken their packets, and may get more.
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
            # Not by the library's `send`, which checks the client each time; the library also checks all in turn.
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
            await socket.close(wait=False)  # the client may never take its packets

    async def _watch(self) -> None:
        """Watch the connections as long as there are any."""
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
            # Also those whose tickets are being checked: a check takes this long only in an outage.
            waiting = [one for one in self._server.eio.sockets if not self.has_let_in(one)]
            first_seen = {one: first_seen.get(one, now) for one in waiting}
            for eio_sid in [one for one, since in first_seen.items() if now - since > STRANGER_WAITS]:
                await self._drop(eio_sid)
            self._forget_closed()

    def _forget_closed(self) -> None:
        """Forget closed connections that poll: the library would keep them for more than a minute."""
        sockets = self._server.eio.sockets
        for eio_sid in [one for one, socket in sockets.items() if socket.closed]:
            del sockets[eio_sid]

    def _drop_stalled(self, now: float) -> None:
        """Drop clients that take no message, or that read too few of their answers."""
        for sid, connection in list(self._clients.items()):
            if sid not in self._behind:
                connection.took_at = now
            socket = self._server.eio.sockets.get(connection.eio_sid)
            unread = socket.queue.qsize() if socket is not None else 0
            if now - connection.took_at > STALLED or unread > _MOST_UNREAD:
                self._live.hub.drop(connection.client)


class _Connection:
    """A client with its socket."""

    __slots__ = ("client", "eio_sid", "took_at", "turn")

    def __init__(self, client: Client, eio_sid: str) -> None:
        self.client = client
        self.eio_sid = eio_sid
        self.took_at = time.monotonic()
        self.turn = asyncio.Lock()


class _Unread(asyncio.Queue[EnginePacket | None]):
    """The packets that wait for a client, and the number of characters in them."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.characters = 0

    def _put(self, item: EnginePacket | None) -> None:
        super()._put(item)
        self.characters += _length(item)

    def _get(self) -> EnginePacket | None:
        item: EnginePacket | None = super()._get()
        self.characters -= _length(item)
        return item


def _length(packet: EnginePacket | None) -> int:
    return len(packet.data) if packet is not None and isinstance(packet.data, str) else 0


def _packet(message: Message) -> EnginePacket:
    """Return the message's packet, which all clients share: it keeps its encoded text."""
    if message.sent_as is None:
        message.sent_as = EnginePacket(MESSAGE, Packet(EVENT, [message.name, message.data]).encode())
    return message.sent_as


async def _next_packets(socket: AsyncSocket) -> list[EnginePacket]:
    """Return the packets to send next; an empty list closes the socket.

    The library sets a timer for each packet, so that a poll is answered in time. The timer takes as long as the rest of
    the packet's handling, and a websocket does not need it.
    """
    if not socket.upgraded:
        return await AsyncSocket.poll(socket)  # type: ignore[no-any-return] # the library has no types
    packet = await socket.queue.get()
    socket.queue.task_done()
    return [] if packet is None else [packet]
