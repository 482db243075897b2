"""A network of the storm's own between a worker and PostgreSQL: a TCP port that leads to the server's socket."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import uvloop

_CHUNK: Final = 65536


class Silence(StrEnum):
    """The direction that gets lost while both sides believe that they are connected."""

    NONE = "nothing"
    ANSWERS = "the server's answers"
    ALL = "both sides' words"


class Proxy:
    """A proxy on one port. `delay`: added seconds per chunk and direction; `asked`: chunks that clients sent."""

    def __init__(self, socket: Path) -> None:
        self.port = 0
        self.delay = 0.0
        self.asked = 0
        self.silence = Silence.NONE
        self._socket = socket
        self._links: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._goes_on: asyncio.Event

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Serve until the block ends."""
        is_open = threading.Event()
        thread = threading.Thread(target=self._run_on_loop, args=(is_open,), name="storm-proxy")
        thread.start()
        is_open.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join()

    def cut(self) -> None:
        """End all connections, and let the next ones through."""
        done = threading.Event()

        def cut() -> None:
            self.silence = Silence.NONE
            self._abort()
            done.set()

        self._loop.call_soon_threadsafe(cut)
        done.wait()

    def forget(self) -> None:
        """Let no more word through on the connections that are open now, as a router does that has been restarted."""
        self._loop.call_soon_threadsafe(lambda: self._forgotten.update(self._links))

    def hold(self) -> None:
        """Let no word arrive, and lose none."""
        self._loop.call_soon_threadsafe(self._goes_on.clear)

    def go_on(self) -> None:
        """Have all words arrive that were held, in their order, and those after them."""
        self._loop.call_soon_threadsafe(self._goes_on.set)

    def _abort(self) -> None:
        for link in self._links:
            link.transport.abort()

    def _run_on_loop(self, is_open: threading.Event) -> None:
        # All that the workers ask goes by here: on asyncio's own loop it took a fifth of a core from them.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(is_open))

    async def _run(self, is_open: threading.Event) -> None:
        self._loop, self._over, self._goes_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._goes_on.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        is_open.set()
        await self._over.wait()
        server.close()
        self._abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        with suppress(OSError):
            there, back = await asyncio.open_unix_connection(str(self._socket))
            self._links.add(back)
            pumps = [
                asyncio.ensure_future(self._pump(reader, back, (Silence.ALL,))),
                asyncio.ensure_future(self._pump(there, writer, (Silence.ALL, Silence.ANSWERS))),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                back.transport.abort()
                self._links.discard(back)
                self._forgotten.discard(back)
        writer.transport.abort()
        self._links.discard(writer)
        self._forgotten.discard(writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost_in: tuple[Silence, ...]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self.asked += Silence.ANSWERS not in lost_in
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._goes_on.wait()
                # A stream that has lost a part is of no use any more: `cut` ends it.
                if self.silence not in lost_in and writer not in self._forgotten:
                    writer.write(data)
                    await writer.drain()
