"""Run handlers in processes of their own, which can be killed, and whose crash hurts nobody else.

Each child runs in its own session, one handler after the other. A child that was interrupted or that died is replaced.
`wire` has the messages between the two sides; the other side is `child`.

A child imports the application as it starts, which keeps a core busy for a second or so. If all needed children started
together, the first would be ready only with the last, and by then it could have run all short handlers. So only as many
start at once as there are cores; other handlers wait, and their organizations take turns. But a child that hangs in an
import must not hold up the others: while any handler waits, one more child starts each second.

A run that leaves a process or a limit, or that is stopped, ends its child. While any handler waits, its organization
pays for that: it starts a new child at its turn, and takes no idle child of another organization. But there are never
more children than slots, or than the system allows.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from fairlane.domain.errors import PermanentError, Snooze
from fairlane.domain.outcomes import Completed, ErrorReport, Outcome, Snoozed
from fairlane.encryption.pieces import save
from fairlane.engine import own_loop
from fairlane.engine.executors import wire
from fairlane.engine.executors.base import (
    START_LIMIT,
    Abandoned,
    Call,
    Execution,
    Executor,
    NotBegun,
    OnEnd,
    ProcessDied,
    Raised,
)
from fairlane.engine.executors.target import importable_target
from fairlane.engine.executors.wire import Message
from fairlane.engine.job_logs import Logs
from fairlane.engine.reports import File, Interruption, LoggedLine, Progress
from fairlane.engine.service import in_thread

_CHILD: Final = "fairlane.engine.executors.child"
_STDERR: Final = 2
_REAP_WAIT: Final = 0.005  # seconds; a killed process is gone within a few milliseconds
_PACE: Final = 0.05  # seconds between two progress reports of one child, so that a flood costs the loop nothing
# Children of a worker process that import the application at once: as many as the cores that it may use.
_AT_ONCE: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_HANGS_AFTER: Final = 1.0  # seconds that handlers wait for starting children, before one more starts


class ProcessExecution(Execution):
    """`Execution` in a child process.

    Args:
        run: its number.
        start: the message that starts it in a child.
        on_begun: called when its child has started and calls the handler.
    """

    def __init__(self, call: Call, on_end: OnEnd, run: int, start: bytes, on_begun: Callable[[], None]) -> None:
        super().__init__(call, on_end)
        self.queued, self.started = time.monotonic(), None
        self._run, self._start, self._on_begun = run, start, on_begun
        self._child: ChildProcess | None = None  # while it waits for one
        self.entered = None

    def enter(self, child: "ChildProcess") -> None:
        """Begin in a child."""
        self._child = child
        self.entered = time.monotonic()
        child.run(self, self._run, self._start)

    @property
    def was_interrupted(self) -> bool:
        """Return True if the handler was asked to stop."""
        return self.call.context.interrupt.reason is not None

    def begun(self) -> None:
        """Note that the child is calling the handler."""
        self.started = time.monotonic()
        self._on_begun()

    def interrupt(self, reason: Interruption) -> None:
        """Tell the child, which raises `Interrupted` in the handler and sends SIGTERM to the processes it started.

        The child signals, not the worker: so the handler always knows the reason before the signal arrives, and a
        SIGTERM from outside (systemd sends one to every process of a service) interrupts no handler.
        """
        if self.is_over or not self.call.context.interrupt.set(reason):
            return
        if self._child is None:
            self.tell(None, asyncio.CancelledError())
        else:
            self._child.interrupt(reason)

    def abandon(self) -> None:
        """Kill the child and every process that the handler started."""
        self.tell(None, Abandoned("the handler did not stop when asked to; its process was killed"))
        if self._child is not None:
            self._child.kill()


class ChildProcess:
    """A child process as its worker sees it: it runs one handler at a time. Use it on the loop's thread.

    Args:
        on_idle: called when a handler has ended and the next may start.
        on_end: called when the process is gone, and reaped.

    Raises:
        OSError: the system gives no process.
    """

    def __init__(self, on_idle: Callable[["ChildProcess"], None], on_end: Callable[["ChildProcess"], None]) -> None:
        self._on_idle = on_idle
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._running: ProcessExecution | None = None
        self._run = 0
        self._outbox: list[bytes] = []
        # Reads of parents' files, for the running handler; on the loop's thread.
        self._reads: set[Future[Any] | asyncio.Future[Any]] = set()
        self._room = asyncio.Event()  # set while it takes more reports of its handler
        self._room.set()
        self._writer: asyncio.StreamWriter | None = None
        self._directory = Path(tempfile.gettempdir(), f"fairlane-{uuid4().hex}")
        self.came_up = False
        self.organization: str | None = None  # of its latest run
        self._has_loaded = False  # the application, which takes most of the time until the first handler begins
        self._process, connection, self._lifeline = _spawn()
        python_path = os.environ.get("PYTHONPATH")
        self.send({"hello": str(self._directory), "path": sys.path, "pythonpath": python_path, "logs": Logs.present()})
        self.ended = self._loop.create_task(self._attend(connection), name=f"child process {self.pid}")

    @property
    def pid(self) -> int:
        """Return its process id, which is also that of its process group."""
        return self._process.pid

    @property
    def is_loading(self) -> bool:
        """Return True if it starts, or imports the application, for a handler."""
        return self._running is not None and not self._has_loaded

    def run(self, running: ProcessExecution, run: int, start: bytes) -> None:
        """Run a handler, by the message `start`; all messages of the child about it have the number `run`."""
        self._running, self._run = running, run
        self.organization = running.call.inputs.organization
        self._write(start)

    def send(self, message: Message) -> None:
        """Send a message; it is lost if the process is gone."""
        self._write(wire.line(message))

    def interrupt(self, reason: Interruption) -> None:
        """Ask the handler to stop, and read its end, which follows all its reports."""
        self.send({"interrupt": reason})
        self._room.set()

    def kill(self) -> None:
        """Kill the process and its group."""
        self._room.set()
        # Not after it was reaped: its id may be that of another process by now.
        if self._process.returncode is None:
            # macOS says PermissionError if all of them are dead and not reaped yet.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """End the process and its handler."""
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
            await self._remove_files()

    async def _remove_files(self) -> None:
        """Remove files that were under way, in a thread: they may be many, or large."""
        if not self._directory.exists():
            return
        remove = partial(shutil.rmtree, self._directory, ignore_errors=True)
        try:
            await in_thread(None, remove)
        except RuntimeError:  # there is no thread
            remove()

    async def _listen(self, connection: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        self._writer.writelines(self._outbox)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self._take(json.loads(await _next_line(reader)))
                # Lines in the buffer are read without waiting: others have their turn between two lines.
                await asyncio.sleep(0)
                await self._room.wait()

    def _bury(self, code: int, trouble: Exception | None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._lifeline.close()
        running = self._leave()
        if running is not None:
            died = ProcessDied(f"the handler's process {_how_it_ended(code, trouble)}")
            died.__cause__ = trouble
            running.tell(None, asyncio.CancelledError() if running.was_interrupted else died)
        self._on_end(self)

    def _take(self, message: Message) -> None:
        self.came_up = True
        if self._running is None or self._running.is_over or message.get("run") != self._run:
            self._refuse(message)
            return
        match message:
            case {"report": packed, "number": number}:
                self._forward(self._running.call, packed, number)
            case {"read": [parent, name], "number": number}:
                read = partial(self._read, self._running.call, UUID(parent), name)
                reading = self._running.call.channel.in_file_thread(read)
                self._reads.add(reading)
                reading.add_done_callback(lambda done: self._on_loop(self._answer, number, done))
            case {"begun": _}:
                self._has_loaded = True
                self._running.begun()
            case {"returned": str() | None as text, "clean": clean}:
                self._ended(None, is_clean=clean, outcome=Completed(text))
            case {"raised": report, "clean": clean}:
                self._ended(ErrorReport(**report), is_clean=clean)
            case {"snoozed": [seconds, reason], "clean": clean}:
                self._ended(Snooze(seconds, reason), is_clean=clean, outcome=Snoozed(seconds, reason))
            case {"stopped": _}:
                self._ended(asyncio.CancelledError(), is_clean=False)

    def _leave(self) -> ProcessExecution | None:
        """Return the handler that ran and has ended: the files that it asked for are not needed any more."""
        running, self._running = self._running, None
        for reading in self._reads:
            reading.cancel()
        self._reads.clear()
        return running

    def _refuse(self, message: Message) -> None:
        """Refuse a message from a thread of an earlier handler: it does not belong to the present job."""
        if (number := message.get("number")) is not None:
            late = PermanentError("the handler has ended, nothing more can be kept for its job")
            self.send({"failed": number, "error": wire.pack_error(late)})

    def _ended(self, raised: Raised | None, *, is_clean: bool, outcome: Outcome | None = None) -> None:
        running = self._leave()
        assert running is not None
        self._has_loaded = True
        running.outcome = outcome
        running.tell(None, raised)
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
        # The end of an interrupted handler follows its lines, so too many lines are omitted, not waited for.
        has_room = isinstance(report, LoggedLine) and call.context.interrupt.reason is not None
        if call.channel.is_full and not future.done() and not has_room:
            self._room.clear()
            future.add_done_callback(lambda _: self._on_loop(self._room.set))
        if number is not None:
            future.add_done_callback(lambda done: self._on_loop(self._answer, number, done))

    def _read(self, call: Call, parent: UUID, name: str) -> str:
        """Copy an artifact of a parent to a file for the child. The child never sees the storage's credentials."""
        path = wire.place_for_file(self._directory)
        saved = str(save(call.channel.read_artifact(parent, name), path))
        if self._running is None or self._running.call is not call:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # other files are there
                self._directory.rmdir()
            raise PermanentError("the handler has ended, nobody needs the file any more")
        return saved

    def _taken(self, report: File) -> None:
        # A path that the handler gave is the handler's own file.
        if not isinstance(report.data, Path) or report.data.parent != self._directory:
            return
        remove = partial(report.data.unlink, missing_ok=True)
        if own_loop.is_running():  # the report was given up
            self._loop.run_in_executor(None, remove)
        else:
            remove()

    def _answer(self, number: int, future: "Future[Any] | asyncio.Future[Any]") -> None:
        self._reads.discard(future)
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.send({"failed": number, "error": wire.pack_error(error)})
        else:
            result = future.result()
            self.send({"done": number, "value": result if isinstance(result, str) else None})

    def _on_loop(self, function: Callable[..., object], *args: Any) -> None:
        # A closed loop means that the worker is gone, and soon its children are, too.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)


class ProcessExecutor(Executor):
    """`Executor` with child processes, on POSIX systems.

    Args:
        slots: the most handlers that run at once, and so the most children.
        middlewares: the places of the functions around each handler (`importable_target`).
    """

    left_behind = ()  # a killed process occupies nothing

    def __init__(self, slots: int, middlewares: Sequence[tuple[str, str]] = ()) -> None:
        self._slots = slots
        self._middlewares = middlewares
        self._children: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        # Executions that wait for a child, by organization, the next one first; some may be over by now.
        self._waiting: dict[str, deque[ProcessExecution]] = {}
        self._owing = set[str]()  # organizations whose run ended its child while others waited
        self._growing: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._stopped = False

    @property
    def pids(self) -> frozenset[int]:
        """Return the process ids of the live children."""
        return frozenset(child.pid for child in self._children)

    async def start(self) -> None:
        """Start a child beforehand."""
        self._warm_up()

    async def stop(self) -> None:
        """Kill all children and the processes that they started; none is left, not even as a zombie."""
        self._stopped = True
        if self._growing is not None:
            self._growing.cancel()
            self._growing = None
        while self._waits():
            self._take(next(iter(self._waiting))).abandon()
        children = tuple(self._children)
        for child in children:
            child.dismiss()
        # If the whole loop is taken down, these tasks are cancelled.
        await asyncio.gather(*(child.ended for child in children), return_exceptions=True)

    def begin(self, call: Call, on_end: OnEnd) -> ProcessExecution:
        """Begin to run a handler, in an idle child or a new one, at its organization's turn.

        It ends with NotBegun if the system gives no process. Raises ConfigurationError if it can't be imported, and
        PermanentError if its inputs are too long for a message.
        """
        self._numbers += 1
        target = importable_target(call.job_type.handler)
        wire.refuse_longer_texts([call.inputs.parameters, *(one.result or "" for one in call.inputs.parents)])
        inputs = wire.INPUTS.dump_python(call.inputs, mode="json")
        errors = call.job_type.errors
        start = wire.line(
            {
                "start": inputs,
                "target": target,
                "middlewares": self._middlewares,
                "errors": errors,
                "limit": call.channel.result_limit,
                "run": self._numbers,
            },
            times=2,  # quotes in results, which are texts in this text, are escaped
        )
        execution = ProcessExecution(call, on_end, self._numbers, start, self._grow)
        self._waiting.setdefault(call.inputs.organization, deque()).append(execution)
        self._grow()
        return execution

    def _waits(self) -> bool:
        """Return True if any execution waits for a child; forget those in front that are over."""
        for organization, line in tuple(self._waiting.items()):
            while line and line[0].is_over:
                line.popleft()
            if not line:
                del self._waiting[organization]
        return bool(self._waiting)

    def _take(self, organization: str) -> ProcessExecution:
        """Take the organization's next execution; the rest wait behind the other organizations."""
        line = self._waiting.pop(organization)
        taken = line.popleft()
        if line:
            self._waiting[organization] = line
        return taken

    def _whose_turn(self, *, may_come_up: bool) -> str | None:
        """Return the first organization that can be given a child now."""
        if not self._waits():
            self._owing.clear()
        return next((one for one in self._waiting if may_come_up or self._idle_for(one)), None)

    def _idle_for(self, organization: str) -> ChildProcess | None:
        """Return an idle child that the organization may use: only its own, while it owes one."""
        owes = organization in self._owing and len(self._children) < self._slots
        return next((one for one in reversed(self._idle) if not owes or one.organization == organization), None)

    def _coming_up(self) -> int:
        return sum(child.is_loading for child in self._children)

    def _grow(self, least: int = 0) -> None:
        """Begin waiting executions, in idle children and in as many new ones as may start: at least `least`."""
        at_once = max(_AT_ONCE, least)
        while (organization := self._whose_turn(may_come_up=self._coming_up() < at_once)) is not None:
            try:
                child = self._idle_for(organization) or self._launch()
            except OSError as error:
                if self._idle:
                    self._owing.clear()  # no child can be started to pay with
                    continue
                first = min((line[0] for line in self._waiting.values()), key=lambda one: one.queued)
                if self._children and time.monotonic() - first.queued <= START_LIMIT:
                    break  # one of these children will take it, unless they are busy for long
                self._take(first.call.inputs.organization).tell(None, NotBegun(str(error)))
            else:
                with suppress(ValueError):
                    self._idle.remove(child)
                self._take(organization).enter(child)
        if self._waits() and self._growing is None:
            self._growing = asyncio.get_running_loop().call_later(_HANGS_AFTER, self._grow_by_one)

    def _grow_by_one(self) -> None:
        self._growing = None
        self._grow(self._coming_up() + 1)

    def _launch(self) -> ChildProcess:
        child = ChildProcess(self._on_idle, self._on_end)
        self._children.add(child)
        return child

    def _warm_up(self) -> None:
        # If the system gives none, the execution that needs a child reports it.
        with suppress(OSError):
            self._idle.append(self._launch())

    def _on_idle(self, child: ChildProcess) -> None:
        self._idle.append(child)
        self._grow()

    def _on_end(self, child: ChildProcess) -> None:
        self._children.discard(child)
        with suppress(ValueError):
            self._idle.remove(child)
        if self._stopped:
            return
        if child.organization is not None:
            self._owing.add(child.organization)
        self._grow()
        # A child that never started is not replaced unasked: the next would fail, too, and so for ever.
        if child.came_up and not self._idle and not self._waits() and len(self._children) < self._slots:
            self._warm_up()


def _spawn() -> tuple["subprocess.Popen[bytes]", socket.socket, socket.socket]:
    """Return a child, the connection to it, and the worker's end of its lifeline.

    On the loop's thread: for the child, the end of the thread that started it is the end of the worker.
    """
    ours, theirs = socket.socketpair()
    held, lifeline = socket.socketpair()
    ours.setblocking(False)
    with theirs, lifeline:
        try:
            process = subprocess.Popen(
                # -P: the child shall not import a file json.py of the working directory.
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno()), str(lifeline.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                pass_fds=[theirs.fileno(), lifeline.fileno()],
                start_new_session=True,
                # The child can import all that this process can; it restores the variable.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        except OSError:
            ours.close()
            held.close()
            raise
    return process, ours, held


async def _next_line(reader: asyncio.StreamReader) -> bytearray:
    """Return the next line. It may be longer than the reader's buffer, of which each child has one.

    Raises:
        IncompleteReadError: there is none.
        ValueError: it is too long.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        if len(line) > wire.LINE_LIMIT:
            raise ValueError(f"a message of more than {wire.LINE_LIMIT:,} bytes")
        try:
            line += await reader.readuntil()
        except asyncio.LimitOverrunError as ahead:
            line += await reader.readexactly(ahead.consumed)
    return line


def _how_it_ended(code: int, trouble: Exception | None) -> str:
    if trouble is not None:
        return f"sent a message that can't be read, so it was killed: {trouble}"
    if code >= 0:
        return f"ended with exit code {code} before the handler did"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = "; Linux does that when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
