"""The child process: `python -m fairlane.engine.executors.child <connection> <lifeline>`, started by `process`.

The main thread runs handlers, because only there can a signal raise an exception; a second thread repeats one that came
too early. A third listens to the worker; when the worker is gone, it kills this process and all that the handler
started. On Linux the kernel does so, as soon as the worker's end of the lifeline is closed: no thread runs while an
extension keeps the interpreter's lock.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache, partial
from inspect import iscoroutinefunction
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, NoReturn
from uuid import UUID

from fairlane.domain.classify import classify, snooze_of
from fairlane.domain.errors import InvalidParameters
from fairlane.domain.secrets import secret_values
from fairlane.encryption.pieces import pieces_of
from fairlane.engine import own_loop
from fairlane.engine.context import JOB, Interrupt, Interrupted, JobContext
from fairlane.engine.executors import wire
from fairlane.engine.executors.base import ending, life_of, run_async
from fairlane.engine.executors.target import load_handler
from fairlane.engine.executors.wire import Message
from fairlane.engine.job_logs import LogFormat, Logs
from fairlane.engine.middleware import around
from fairlane.engine.reports import Checkpoint, File, Interruption, Progress, Report, storable, with_results
from fairlane.jobtypes.parameters import Signature
from fairlane.jobtypes.parameters_values import encode_result

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIMITS: Final = tuple(value for name, value in vars(resource).items() if name.startswith("RLIMIT_"))
_ALONE: Final = "the worker is gone"
_ASKED: Final = 100  # of so many lines one has an answer
_AGAIN: Final = 0.1  # seconds from one signal to the next, for a handler that has not felt it


class WireChannel:
    """`Channel` to the worker. Of several progress reports it sends only the latest, once the worker is ready."""

    def __init__(self, run: int, child: "Child") -> None:
        self._run = run
        self._child = child
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._may_send = True
        self._lines = count(1)

    def send(self, report: Report) -> "Future[Any]":
        """Take the report; the future is done when the worker has it, for a checkpoint or file when it is durable.

        For each hundredth line it is done when the worker takes more lines.
        """
        if isinstance(report, Progress):
            with self._lock:
                self._latest = report
                if self._may_send:
                    self._send_latest()
        elif isinstance(report, File):
            return self._child.ask(self._message(self._as_path(report)))
        elif isinstance(report, Checkpoint) or next(self._lines) % _ASKED == 0:
            return self._child.ask(self._message(report))
        else:
            self._child.send(self._message(report) | {"number": None})
        taken: Future[Any] = Future()
        taken.set_result(None)
        return taken

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces, from a file that the worker has put there."""
        path = Path(self._child.ask({"read": [str(parent_id), name], "run": self._run}).result())
        file = path.open("rb")
        path.unlink()

        def pieces() -> Iterator[bytes]:
            with file:
                yield from pieces_of(file)

        return pieces()

    def go_on(self) -> None:
        """Send the latest progress, now that the worker has taken the last one."""
        with self._lock:
            self._may_send = True
            self._send_latest()

    def flush(self) -> None:
        """Send the progress that is held back, even if the worker is not ready: the handler has ended."""
        with self._lock:
            self._send_latest()

    def _send_latest(self) -> None:
        progress, self._latest = self._latest, None
        if progress is not None:
            self._may_send = False
            self._child.send(self._message(progress) | {"number": None})

    def _message(self, report: Report) -> Message:
        return {"report": wire.pack_report(report), "run": self._run}

    def _as_path(self, report: File) -> File:
        if isinstance(report.data, Path):
            return report
        path = wire.place_for_file(self._child.directory)
        with path.open("wb") as file:
            file.writelines(pieces_of(report.data))
        return replace(report, data=path)


class Run:
    """A run of a handler, by the message that starts it.

    Attributes:
        armed: a signal may raise `Interrupted` in the main thread now.
    """

    def __init__(self, start: Message, child: "Child") -> None:
        self.number: int = start["run"]
        self.inputs = wire.INPUTS.validate_python(start["start"])
        self._target: tuple[str, str] = start["target"]
        self._middlewares = tuple(map(tuple, start.get("middlewares", ())))
        self._errors: tuple[list[str], list[str]] = start["errors"]
        # Half of what fits into a line, because text in text is escaped.
        self.result_limit: int = min(start["limit"], wire.LINE_LIMIT // 2)
        self.interrupt = Interrupt()
        self.armed = False
        self.channel = WireChannel(self.number, child)
        self._child = child
        self._cancels: list[Callable[[], object]] = []

    def execute(self) -> object:
        """Run the handler in the main thread and return its value."""
        life = life_of(self.inputs, self.inputs.timeout)
        JOB.set(life)
        self.armed = True
        if self.interrupt.reason is not None:
            self.interrupt.throw()
        handler, parameters = _handler(self.inputs.job_type, tuple(self._target), self._middlewares)
        self._child.set_up_logs()
        arguments = parameters.decode(self.inputs.parameters)
        is_async = iscoroutinefunction(handler)
        try:
            inputs = with_results(self.inputs)
        except (ValueError, RecursionError):
            raise InvalidParameters("payload not decodable: the result of a parent is no JSON.") from None
        context = JobContext(inputs, self.channel, self.interrupt, blocking=not is_async)
        self._child.send({"begun": True, "run": self.number})
        if not is_async:
            return handler(context, **arguments)
        # A cancellation stops a task; an exception raised by a signal would break its loop.
        self.armed = False
        return asyncio.run(self._cancelable(partial(run_async, handler, context, arguments, life)))

    def failure(self, raised: BaseException) -> Message:
        """Return the message about a handler that raised."""
        error = ending(raised, self.interrupt.reason)
        if isinstance(error, Interrupted):
            return {"stopped": True}
        secrets = secret_values(self.inputs.parameters)
        if (snooze := snooze_of(error)) is not None:
            return {"snoozed": [snooze.seconds, storable(snooze.reason, secrets)]}
        transient, permanent = self._errors
        return {"raised": asdict(classify(error, transient=transient, permanent=permanent, secrets=secrets))}

    def stop(self, reason: Interruption) -> bool:
        """Ask the handler to stop, from another thread; return False if it was asked before."""
        if not self.interrupt.set(reason):
            return False
        self._cancel()
        return True

    async def _cancelable(self, work: Callable[[], Any]) -> object:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(own_loop.tell_without_words)
        self._cancels.append(partial(loop.call_soon_threadsafe, task.cancel))
        if self.interrupt.reason is not None:
            self._cancel()
        value: object = await work()
        return value

    def _cancel(self) -> None:
        # The first thread pops it: a second cancellation would hit the handler's clean-up. And a closed loop has run
        # its task to the end.
        with suppress(IndexError, RuntimeError):
            self._cancels.pop()()


class Child:
    """The child process: it runs the handlers that the worker sends, until the worker is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._worker = os.getppid()
        self._main = threading.get_ident()
        self._runs: SimpleQueue[Run] = SimpleQueue()
        self._stopped: SimpleQueue[Run] = SimpleQueue()  # told to stop, once each
        self._run: Run | None = None
        self._sending = threading.Lock()
        self._shielded = False
        self._numbers = count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._limits = _limits()
        self.directory = Path()
        self.logs: Logs | None = None

    def serve(self) -> NoReturn:
        """Run handlers, one after the other, for ever."""
        self._greet()
        os.register_at_fork(after_in_child=self._on_fork)
        threading.Thread(target=self._listen, name="fairlane-worker-listener", daemon=True).start()
        threading.Thread(target=self._insist, name="fairlane-interrupt", daemon=True).start()
        self._tell({"ready": True})
        while True:
            # For each run again: the handler before may have ignored the signal.
            signal.signal(signal.SIGTERM, self._on_terminate)
            run = self._runs.get()
            end = self._end_of(run)
            run.channel.flush()
            sys.stdout.flush()
            self._tell(end | {"run": run.number, "clean": self._limits == _limits() and not _has_children()})

    def _tell(self, message: Message) -> None:
        try:
            self.send(message)
        except ConnectionError:
            sys.exit(_ALONE)

    def send(self, message: Message) -> None:
        """Send a message. Raises PermanentError if it is too long."""
        self._write(wire.line(message))

    def ask(self, message: Message) -> "Future[Any]":
        """Send a message that has an answer. Raises PermanentError if it is too long."""
        number = next(self._numbers)
        data = wire.line(message | {"number": number})
        answer = self._answers[number] = Future()
        self._write(data)
        return answer

    def _greet(self) -> None:
        hello = next(self._messages(), None)
        if hello is None:
            sys.exit(_ALONE)
        self.directory = Path(hello["hello"])
        if logs := hello.get("logs"):
            level, form = logs
            self.logs = Logs(level, LogFormat(form))
        sys.path[:] = hello["path"]
        del os.environ["PYTHONPATH"]
        if hello["pythonpath"] is not None:
            os.environ["PYTHONPATH"] = hello["pythonpath"]

    def set_up_logs(self) -> None:
        """Log as the worker does, unless the application, which is imported by now, has configured logging itself."""
        logs, self.logs = self.logs, None
        if logs is not None:
            logs.set_up()

    def _end_of(self, run: Run) -> Message:
        try:
            try:
                value = run.execute()
            finally:
                run.armed = False
            return {"returned": encode_result(value, limit=run.result_limit)}
        except BaseException as raised:  # noqa: BLE001 - whatever it is, the worker shall know
            if isinstance(raised, MemoryError):
                # The message takes memory, too: the handler's memory is freed before.
                traceback.clear_frames(raised.__traceback__)
            return run.failure(raised)

    def _write(self, data: bytes) -> None:
        with self._shield(), self._sending:
            self._connection.sendall(data)

    @contextmanager
    def _shield(self) -> Iterator[None]:
        """Delay signals that arrive in the middle of a line until its end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        self._throw_if_due()

    def _on_terminate(self, _number: int, _frame: FrameType | None) -> None:
        if os.getppid() != self._worker:
            self._die()
        self._throw_if_due()

    def _throw_if_due(self) -> None:
        run = self._run
        if run is None or not run.armed or self._shielded:
            return
        # No reason means that the signal was not meant for the handler: see ProcessExecution.interrupt.
        if run.interrupt.reason is not None and not run.interrupt.was_thrown:
            run.interrupt.throw()

    def _messages(self) -> Iterator[Message]:
        """Yield the worker's messages, until it is gone: it may have been killed in the middle of a line."""
        with suppress(ConnectionError):
            while (line := self._lines.readline()).endswith(b"\n"):
                yield json.loads(line)

    def _listen(self) -> None:
        try:
            for message in self._messages():
                self._take(message)
        except Exception:  # noqa: BLE001 - whatever it is, nobody could stop this process any more
            traceback.print_exc()
        finally:
            self._die()

    def _take(self, message: Message) -> None:
        match message:
            case {"start": _}:
                self._run = Run(message, self)
                self._runs.put(self._run)
            case {"interrupt": reason}:
                # The reason first: the interrupted handler shall find it.
                if self._run is not None and self._run.stop(Interruption(reason)):
                    os.killpg(0, signal.SIGTERM)
                    self._stopped.put(self._run)
            case {"done": number, "value": value}:
                self._answers.pop(number).set_result(value)
            case {"failed": number, "error": packed}:
                self._answers.pop(number).set_exception(wire.unpack_error(packed))
            case {"paced": number}:
                if self._run is not None and self._run.number == number:
                    self._run.channel.go_on()

    def _insist(self) -> NoReturn:
        """Signal the main thread again, until a handler that was told to stop has noticed it.

        A signal just before a system call does not end the call: Python looks for signals only after it. And the main
        thread is often at that point: the listener gets the interpreter when a handler begins to wait.
        """
        while True:
            run = self._stopped.get()
            time.sleep(_AGAIN)
            while run.armed and not run.interrupt.was_thrown:
                if signal.getsignal(signal.SIGTERM) == self._on_terminate:  # what a handler put there hears it once
                    signal.pthread_kill(self._main, signal.SIGTERM)
                time.sleep(_AGAIN)

    def _on_fork(self) -> None:
        """Close, in a process that the handler forked, the connection whose end the worker waits for."""
        os.close(self._connection.detach())  # its own `close` would wait for that of the reader
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _die(self) -> None:
        """Kill this process, and with it the processes that the handler started."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)


@cache
def _handler(
    job_type: str, target: tuple[str, str], middlewares: tuple[tuple[str, str], ...]
) -> tuple[Callable[..., Any], Signature]:
    handler = load_handler(*target)
    return around(handler, [load_handler(*one) for one in middlewares]), Signature.of(job_type, handler)


def _limits() -> list[tuple[int, int]]:
    """Return the limits of this process on memory, time, files and so on."""
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _has_children() -> bool:
    """Return True if any child process remains, including zombies. Wait for none: others do that."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _tie_to_worker(lifeline: int) -> None:
    """Ask Linux to end this process with its worker, and to make it the parent of orphans of the processes it starts.

    Nothing is ever sent through the lifeline: the worker's end is only closed. SIGTERM helps if a process that the
    worker forked still holds that end.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main(connection: str, lifeline: str) -> NoReturn:
    """Serve as the child process of a worker."""
    if os.getpgrp() != os.getpid():
        # It would kill the process group of its caller.
        sys.exit("this module is started by a Fairlane worker, in a session of its own")
    for descriptor in (int(connection), int(lifeline)):
        os.set_inheritable(descriptor, False)  # processes of a handler must not hold the line
    _tie_to_worker(int(lifeline))
    own_loop.tell_of_threads_without_words()
    Child(socket.socket(fileno=int(connection))).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
