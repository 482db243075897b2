"""The HTTP server of `fairlane serve`."""

import asyncio
import socket
from typing import Any, Final

import h11
import uvicorn
from fastapi import FastAPI
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from fairlane.domain.timing import STRANGER_WAITS
from fairlane.realtime.sockets import Allowance

# Seconds between two looks at how much was read. A client that reads 2 kB/s reads 64 KiB each half minute.
_READ_TIMEOUT: Final = 150.0
_LEAST_READ: Final = 160 * 1024  # bytes to be read until the next look, if so many wait; else all
_PIECE: Final = 4096  # bytes of a WebSocket that are read at a time
# Pieces of a body: so many, and one more for each 64 bytes. The first 100 pieces of each read are free.
_LEAST_PIECE: Final = 64
_PIECES, _PIECES_A_READ = 3_000, 100
_MOST_LINES: Final = 200  # of a request's head, or of the trailer of its body; each costs the loop 2 microseconds
_MOST_UNSENT: Final = 16 * 1024  # bytes of a connection that wait in the kernel's memory


class ApiServer(uvicorn.Server):
    """A Uvicorn server that ends sockets and streams before it waits for open requests: they would never end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        config.http, config.ws = PunctualProtocol, SocketProtocol
        super().__init__(config)
        self._live = app.state.web.live

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        for one in sockets or ():
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                # Connections inherit this bound. Without it the kernel holds megabytes for a client that hardly reads.
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._live.close()
        await super().shutdown(sockets)


class _ReadProtocol(asyncio.Protocol):
    """A timer that ends a connection whose client hardly reads: Uvicorn would wait for ever."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _unread: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._look_no_more()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note that sent bytes wait to be read."""
        super().pause_writing()
        self._look_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Note that the client has read all bytes."""
        self._look_no_more()
        super().resume_writing()

    def _look_later(self, left: int) -> None:
        self._unread = self.loop.call_later(_READ_TIMEOUT, self._look, left)

    def _look(self, left_before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left > left_before - _LEAST_READ:
            self.transport.abort()  # closing would wait until the client has read all
        else:
            self._look_later(left)

    def _look_no_more(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class SocketProtocol(_ReadProtocol, WebSocketsSansIOProtocol):
    """Uvicorn's WebSocket protocol, ending connections that send very many frames, whatever is in them.

    Each frame takes the loop, which all share, for as long as a small request, and no rate counts it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Begin to count."""
        super().connection_made(transport)
        self._allowance = Allowance()

    def data_received(self, data: bytes) -> None:
        """Read the data, unless it holds too many frames."""
        for start in range(0, len(data), _PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])

    def handle_ping(self) -> None:
        """Answer."""
        if self._may_come():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take the answer to a ping."""
        if self._may_come():
            super().handle_pong(event)

    def handle_text(self, event: Frame) -> None:
        """Take a message, or its first piece."""
        if self._may_come():
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Take a message of bytes, or its first piece."""
        if self._may_come():
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further piece of a message."""
        if self._may_come():
            super().handle_cont(event)

    def _may_come(self) -> bool:
        """Count a frame; return False, and end the connection, if it is one too many."""
        may_come = self._allowance.take(1)
        if not may_come:
            self.transport.abort()
        return may_come


class _SmallPieces(Exception):
    """The error that a body came in too many small pieces."""


class _Lines(ReceiveBuffer):
    """The buffer of an h11 connection. It counts the lines of a head or trailer before h11 parses each by a regex."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines up to the first blank line; None if the blank line has not come.

        Raises:
            h11.RemoteProtocolError: there are too many lines.
        """
        if len(self) > _MOST_LINES and not self._data.startswith((b"\r\n", b"\n")):
            end = self._data.find(b"\n\r\n") + 1 or len(self)
            if self._data.count(b"\n", 0, end) > _MOST_LINES:
                raise h11.RemoteProtocolError("The request has too many headers.", error_status_hint=431)
        return super().maybe_extract_lines()


class _Connection(h11.Connection):
    """An h11 connection that counts the pieces of a body: one byte takes as long as a thousand."""

    _left = _PIECES
    _free = 0

    def __init__(self, most: int) -> None:
        super().__init__(h11.SERVER, most)
        self._receive_buffer = _Lines()

    def receive_data(self, data: bytes) -> None:
        """Take the data of one read."""
        self._free = _PIECES_A_READ
        super().receive_data(data)

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            _SmallPieces: a body came in too many small pieces.
            h11.RemoteProtocolError: a request is malformed, or its head or its trailer has too many lines.
        """
        event = super().next_event()
        if isinstance(event, h11.Data) and self._free > 0:
            self._free -= 1
        elif isinstance(event, h11.Data):
            self._left += len(event.data) // _LEAST_PIECE - 1
            if self._left < 0:
                raise _SmallPieces
        elif isinstance(event, h11.Request):
            self._left = _PIECES
        return event


class PunctualProtocol(_ReadProtocol, H11Protocol):
    """Uvicorn's HTTP protocol, closing a connection whose request line and headers are incomplete for too long.

    It also closes a connection whose request is answered, if the unread rest of the body takes too long. Uvicorn
    itself limits only a head's size, open connections, and the pause between two requests. So a client that sends a
    byte now and then would keep a connection for ever.
    """

    _late: asyncio.TimerHandle | None = None

    def __init__(self, config: uvicorn.Config, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self.conn = _Connection(self.conn._max_incomplete_event_size)  # noqa: SLF001 - as uvicorn made it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Wait for the first head."""
        transport.set_write_buffer_limits(high=0)  # a piece is sent only once the one before was taken
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read the data; the first byte of a head starts the timer for the head."""
        if self._late is None and self.conn.their_state is h11.IDLE:
            self._wait()
        try:
            super().data_received(data)
        except _SmallPieces:
            self.transport.abort()
        if self.conn.their_state is not h11.IDLE and not self._has_rest:
            self._wait_no_more()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request. If its answer has begun already, end the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # else an answer of the application would be an error, with a traceback
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was not read."""
        try:
            super().on_response_complete()
        except _SmallPieces:  # bytes of the next request, which came with this one
            self.transport.abort()
        if self._has_rest and self._late is None:
            self._wait()

    @property
    def _has_rest(self) -> bool:
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(STRANGER_WAITS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
