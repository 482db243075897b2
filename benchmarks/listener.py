"""A client of Socket.IO that takes as little as it can: who measures a thousand must not be slower than the server."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import httpx
import websockets

_CLOSE, _PING = 8, 9  # what a frame does
Arrival = tuple[str, dict[str, Any], float]


class Listener(asyncio.Protocol):
    """A websocket client that speaks only the Socket.IO that the benchmark needs.

    The websockets library opens the connection, and this class then reads the bytes: the library takes longer to read a
    message than the server to send it. What servers send has no mask, and here it is short and in one frame each.

    Args:
        told: called with each event's name, its data, and the moment of its arrival.
    """

    def __init__(self, transport: asyncio.Transport, told: Callable[[Arrival], object]) -> None:
        self.transport = transport
        self.closed = asyncio.get_running_loop().create_future()
        self._told = told
        self._data = b""

    @classmethod
    async def open(
        cls,
        base: str,
        secret: str,
        wanted: dict[str, Any],
        told: Callable[[Arrival], object],
        buffer: int | None = None,
    ) -> "Listener":
        """Connect and subscribe. What is told together with the answer is lost: write nothing before all are open.

        Args:
            buffer: bytes that the kernel keeps of what is not read; None = as it likes.
        """
        async with httpx.AsyncClient(timeout=60) as client:
            made = await client.post(f"{base}/api/v1/socket-tickets", headers={"Authorization": f"Bearer {secret}"})
        ticket = made.raise_for_status().json()["ticket"]
        place = f"{base.replace('http', 'ws')}/api/v1/socket.io/?EIO=4&transport=websocket"
        sock = socket.create_connection((base.rpartition("//")[2].split(":")[0], int(base.rpartition(":")[2])))
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection = await websockets.connect(place, sock=sock, compression=None, ping_interval=None, open_timeout=60)
        await connection.recv()
        await connection.send("40" + json.dumps({"ticket": ticket}))
        assert str(await connection.recv()).startswith("40"), "it was let in"
        await connection.send("420" + json.dumps(["subscribe", wanted]))
        while (answer := str(await connection.recv())).startswith("42"):
            continue  # a heartbeat
        assert '"room"' in answer, f"it has not subscribed: {answer}"
        one = cls(connection.transport, told)
        connection.transport.set_protocol(one)
        return one

    def data_received(self, data: bytes) -> None:
        """Tell of what came."""
        at = time.perf_counter()
        for operation, message in self._messages(data):
            if operation == _CLOSE:
                self.transport.close()
            elif operation == _PING:
                self._write(0x8A, message)
            elif message == b"2":
                self._write(0x81, b"3")
            elif message.startswith(b"42"):
                name, event = _read(message)
                self._told((name, event, at))

    def connection_lost(self, _error: Exception | None) -> None:
        """It is closed."""
        if not self.closed.done():
            self.closed.set_result(None)

    def _write(self, first: int, message: bytes) -> None:
        """A frame, with the mask that what clients send has: one that changes nothing."""
        self.transport.write(bytes((first, 0x80 | len(message), 0, 0, 0, 0)) + message)

    def _messages(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._data += data
        while len(self._data) >= 2:
            head, size = 2, self._data[1]
            if size == 126:
                head, size = 4, int.from_bytes(self._data[2:4])
            assert size < 126 or head == 4, "all messages are short"
            if len(self._data) < head + size:
                return
            operation, message = self._data[0] & 0x0F, self._data[head : head + size]
            self._data = self._data[head + size :]
            yield operation, message


@lru_cache(10_000)
def _read(message: bytes) -> Any:
    """The same for all in a room."""
    return json.loads(message[2:])
