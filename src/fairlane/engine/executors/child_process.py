"""A child process as its worker sees it: started, told what to run, listened to, killed and reaped."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from fairlane.domain.errors import PermanentError
from fairlane.engine.executors import wire
from fairlane.engine.executors.base import Call, ProcessDied
from fairlane.engine.executors.wire import Message
from fairlane.engine.reports import File, Progress
from fairlane.registry.pieces import save

_CHILD: Final = "fairlane.engine.executors.child"
_STDERR: Final = 2
_REAP_WAIT: Final = 0.005  # seconds; a killed process is gone within a few milliseconds
_PACE: Final = 0.05  # seconds between two progress reports of one child, so that a flood costs the loop nothing


class Running(Protocol):
    """What a child runs, as far as it is concerned; `ProcessExecution` is one."""

    call: Call

    @property
    def was_interrupted(self) -> bool:
        """Return True if the handler was asked to stop."""

    def begun(self) -> None:
        """Note that the handler begins."""

    def abandon(self) -> None:
        """End it now."""

    def tell(self, value: object, raised: BaseException | None) -> None:
        """Take its end."""


class ChildProcess:
    """Runs one handler at a time. To be used on the loop's thread.

    Args:
        on_idle: called when a handler has ended and the next may come.
        on_end: called when the process is gone, and reaped.

    Raises:
        OSError: the system has no process to give.
    """

    def __init__(self, on_idle: Callable[["ChildProcess"], None], on_end: Callable[["ChildProcess"], None]) -> None:
        self._on_idle = on_idle
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._running: Running | None = None
        self._run = 0
        self._outbox: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self._directory = Path(tempfile.gettempdir(), f"fairlane-{uuid4().hex}")
        self.came_up = False
        self._has_loaded = False  # the application: that takes most of the time until the first handler begins
        self._process, connection, self._lifeline = _spawn()
        self.send({"hello": str(self._directory), "path": sys.path, "pythonpath": os.environ.get("PYTHONPATH")})
        self.ended = self._loop.create_task(self._attend(connection), name=f"child process {self.pid}")

    @property
    def pid(self) -> int:
        """Return its process id, which is also that of its process group."""
        return self._process.pid

    @property
    def is_loading(self) -> bool:
        """Return True if it comes up, or imports the application, for what it is to run."""
        return self._running is not None and not self._has_loaded

    def run(self, running: Running, run: int, start: bytes) -> None:
        """Run a handler, by the message `start`; everything that the child says of it bears the number `run`."""
        self._running, self._run = running, run
        self._write(start)

    def send(self, message: Message) -> None:
        """Send a message; one to a process that is gone is lost."""
        self._write(wire.line(message))

    def kill(self) -> None:
        """Kill the process and its group."""
        # Not after it was reaped: its id may be that of another process by now.
        if self._process.returncode is None:
            # macOS says PermissionError if all of them are dead and not reaped yet.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """End it, and with it what it runs."""
        if self._running is not None:
            self._running.abandon()
        self.kill()

    def _write(self, data: bytes) -> None:
        if self._writer is None:
            self._outbox.append(data)
        elif not self._writer.is_closing():
            self._writer.write(data)

    async def _attend(self, connection: socket.socket) -> None:
        trouble: Exception | None = None
        try:
            await self._listen(connection)
        except Exception as error:  # noqa: BLE001 - a child that can't be understood is as good as dead
            trouble = error
        finally:
            self.kill()
            while (code := self._process.poll()) is None:  # noqa: ASYNC110 - no event says so on every system
                await asyncio.sleep(_REAP_WAIT)
            self._bury(code, trouble)

    async def _listen(self, connection: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=wire.LINE_LIMIT)
        self._writer.writelines(self._outbox)
        with suppress(ConnectionError):
            while (line := await reader.readline()).endswith(b"\n"):
                self._take(json.loads(line))
                # What is in the buffer is read without waiting: others have their turn between two lines.
                await asyncio.sleep(0)

    def _bury(self, code: int, trouble: Exception | None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._lifeline.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        running, self._running = self._running, None
        if running is not None:
            died = ProcessDied(f"the handler's process {_how_it_ended(code, trouble)}")
            died.__cause__ = trouble
            running.tell(None, asyncio.CancelledError() if running.was_interrupted else died)
        self._on_end(self)

    def _take(self, message: Message) -> None:
        self.came_up = True
        if self._running is None or message.get("run") != self._run:
            self._refuse(message)
            return
        match message:
            case {"report": packed, "number": number}:
                self._forward(self._running.call, packed, number)
            case {"read": [parent, name], "number": number}:
                read = partial(self._read, self._running.call, UUID(parent), name)
                self._loop.run_in_executor(None, read).add_done_callback(partial(self._answer, number))
            case {"begun": _}:
                self._has_loaded = True
                self._running.begun()
            case {"returned": text, "clean": clean}:
                self._ended(None if text is None else json.loads(text), None, is_clean=clean)
            case {"raised": packed, "clean": clean}:
                self._ended(None, wire.unpack_error(packed), is_clean=clean)
            case {"stopped": _}:
                self._ended(None, asyncio.CancelledError(), is_clean=False)

    def _refuse(self, message: Message) -> None:
        """Refuse what a thread of an earlier handler says: it does not speak for the job that runs now."""
        if (number := message.get("number")) is not None:
            late = PermanentError("the handler has ended, nothing more can be kept for its job")
            self.send({"failed": number, "error": wire.pack_error(late)})

    def _ended(self, value: object, raised: BaseException | None, *, is_clean: bool) -> None:
        running, self._running = self._running, None
        assert running is not None
        self._has_loaded = True
        running.tell(value, raised)
        if running.was_interrupted or not is_clean:
            self.kill()
        else:
            self._on_idle(self)

    def _forward(self, call: Call, packed: Message, number: int | None) -> None:
        report = wire.unpack_report(packed)
        future = call.channel.send(report)
        if isinstance(report, Progress):
            self._loop.call_later(_PACE, self.send, {"paced": self._run})
        if isinstance(report, File):
            future.add_done_callback(lambda _: self._taken(report))
        if number is not None:
            future.add_done_callback(lambda done: self._on_loop(self._answer, number, done))

    def _read(self, call: Call, parent: UUID, name: str) -> str:
        """Put an artifact of a parent where the child can take it. The child never sees the storage's credentials."""
        path = wire.place_for_file(self._directory)
        return str(save(call.channel.read_artifact(parent, name), path))

    def _taken(self, report: File) -> None:
        # A path that the handler gave is the handler's.
        if isinstance(report.data, Path) and report.data.parent == self._directory:
            report.data.unlink(missing_ok=True)

    def _answer(self, number: int, future: "Future[Any] | asyncio.Future[Any]") -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.send({"failed": number, "error": wire.pack_error(error)})
        else:
            result = future.result()
            self.send({"done": number, "value": result if isinstance(result, str) else None})

    def _on_loop(self, function: Callable[..., object], *args: Any) -> None:
        # A closed loop means that the worker is gone, and soon its children are.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)


def _spawn() -> tuple["subprocess.Popen[bytes]", socket.socket, socket.socket]:
    """Return a child, the connection to it, and our end of its lifeline.

    On the loop's thread: the child is told of the end of the thread that started it as if it were the worker's.
    """
    ours, theirs = socket.socketpair()
    held, lifeline = socket.socketpair()
    ours.setblocking(False)
    with theirs, lifeline:
        try:
            process = subprocess.Popen(
                # -P: a file json.py in the working directory shall not be what the child imports.
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno()), str(lifeline.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                pass_fds=[theirs.fileno(), lifeline.fileno()],
                start_new_session=True,
                # What this process can import, the child can; it puts the variable back.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        except OSError:
            ours.close()
            held.close()
            raise
    return process, ours, held


def _how_it_ended(code: int, trouble: Exception | None) -> str:
    if trouble is not None:
        return f"said what can't be understood, so it was killed: {trouble}"
    if code >= 0:
        return f"ended with exit code {code} before the handler did"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = "; Linux does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
