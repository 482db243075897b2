"""Server-sent events: the same rooms and cursors for clients without Socket.IO."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from fairlane.domain.permissions import Principal
from fairlane.realtime.hub import STALLED, Client, Message
from fairlane.realtime.live import Live, Opened

SUBSCRIBED: Final = "subscribed"
_HEARTBEAT: Final = 15.0  # seconds
_RETRY: Final = 2_000  # milliseconds after which a browser reconnects
_AT_ONCE: Final = 16  # messages


class Stream:
    """A stream of one room to one reader."""

    def __init__(self, live: Live, principal: Principal) -> None:
        self._live = live
        self._woken = asyncio.Event()
        self._client = Client(principal, self._woken.set)

    async def open(self, opened: Opened, after: str | None) -> dict[str, Any]:
        """Enter the room and return its first event, which equals Socket.IO's acknowledgement.

        Raises:
            RateLimited, StorageUnavailable
        """
        self._live.hub.add(self._client)
        try:
            entered = await self._live.enter(self._client, opened, after)
        except BaseException:
            self.close()
            raise
        entered.release()
        return entered.answer

    def close(self) -> None:
        """Leave the room."""
        self._live.hub.remove(self._client)

    async def lines(self, first: dict[str, Any]) -> AsyncIterator[str]:
        """Yield the events as text, until the client may no longer see the room."""
        yield f"retry: {_RETRY}\n\n" + _event(SUBSCRIBED, first)
        client = self._client
        while client.is_open:
            self._woken.clear()
            if len(client):
                # A stream for each pass of the loop, so that requests get their turn between two streams.
                async with self._live.streaming:
                    await asyncio.sleep(0)
                with self._dropped_if_stalled():
                    yield "".join(map(_text, client.take(_AT_ONCE)))
                continue
            if client.is_ending:
                return
            try:
                await asyncio.wait_for(self._woken.wait(), _HEARTBEAT)
            except TimeoutError:
                yield ": still here\n\n"

    @contextmanager
    def _dropped_if_stalled(self) -> Iterator[None]:
        """Drop a client that does not take its text in time. A timer does it, because its `yield` may never return."""
        late = asyncio.get_running_loop().call_later(STALLED, self._live.hub.drop, self._client)
        try:
            yield
        finally:
            late.cancel()


def _text(message: Message) -> str:
    """Return the message's text, which all streams share."""
    if message.text is None:
        message.text = _event(message.name, message.data)
    return message.text


def _event(name: str, data: dict[str, Any]) -> str:
    cursor_line = f"id: {data['cursor']}\n" if "cursor" in data else ""
    return f"event: {name}\n{cursor_line}data: {json.dumps(data, ensure_ascii=False)}\n\n"
