"""A client that says what it likes: packets of Socket.IO as text, and the answers as they came."""

import asyncio
import json
from itertools import count
from typing import Any, Self

import engineio

from tests.api.served import Api
from tests.patience import PATIENCE


class Wire:
    """An open websocket, by which nobody has come in yet."""

    def __init__(self, api: Api) -> None:
        self._url = api.url
        self._packets: asyncio.Queue[str] = asyncio.Queue()
        self._numbers = count()
        self._client = engineio.AsyncClient()
        self._client.on("message", self._packets.put_nowait)

    async def __aenter__(self) -> Self:
        await self._client.connect(self._url, transports=["websocket"], engineio_path="/api/v1/socket.io")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.disconnect()

    async def send(self, event: str, *body: Any, number: int | str = "") -> None:
        """An event; with a number it is to be answered."""
        await self._client.send(f"2{number}{json.dumps([event, *body])}")

    async def next(self) -> str:
        """The next packet that comes, whatever it is."""
        async with asyncio.timeout(PATIENCE):
            return await self._packets.get()

    async def come_in(self, **auth: Any) -> str:
        """Show a ticket, or whatever it is; the answer."""
        await self.send_ticket(**auth)
        return await self.next()

    async def send_ticket(self, **auth: Any) -> None:
        """The same, without waiting for an answer."""
        await self._client.send(f"0{json.dumps(auth)}")

    async def ask(self, event: str, *body: Any) -> str:
        """The answer to an event."""
        number = next(self._numbers)
        await self.send(event, *body, number=number)
        return await self.answer(number)

    async def answer(self, number: int) -> str:
        """Return the answer to the event of this number; skip other messages, for example heartbeats."""
        while not (packet := await self.next()).startswith(f"3{number}["):
            continue
        return packet.removeprefix(f"3{number}")
