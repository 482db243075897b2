"""The channel of a handler in a child process: its reports go over the wire to the worker."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from fairlane.engine.executors.wire import Message, pack_report, place_for_file
from fairlane.engine.reports import Checkpoint, File, Progress, Report
from fairlane.registry.pieces import pieces_of


class Wire(Protocol):
    """The connection to the worker. `directory` is for files on their way."""

    @property
    def directory(self) -> Path:
        """Return where the worker looks for files."""

    def send(self, message: Message) -> None:
        """Send a message. Raises PermanentError if it is too long."""

    def ask(self, message: Message) -> "Future[Any]":
        """Send a message that has an answer. Raises PermanentError if it is too long."""


class WireChannel:
    """`Channel` to the worker. Progress is latest-wins: none is sent before the worker has taken the one before."""

    def __init__(self, run: int, wire: Wire) -> None:
        self._run = run
        self._wire = wire
        self._lock = threading.Lock()
        self._latest: Progress | None = None
        self._may_send = True

    def send(self, report: Report) -> "Future[Any]":
        """Take the report; the future is done when the worker has it, of a checkpoint or file when it is durable."""
        if isinstance(report, Progress):
            with self._lock:
                self._latest = report
                if self._may_send:
                    self._send_latest()
        elif isinstance(report, File):
            return self._wire.ask(self._message(self._as_path(report)))
        elif isinstance(report, Checkpoint):
            return self._wire.ask(self._message(report))
        else:
            self._wire.send(self._message(report) | {"number": None})
        taken: Future[Any] = Future()
        taken.set_result(None)
        return taken

    def read_artifact(self, parent_id: UUID, name: str) -> Iterator[bytes]:
        """Return the bytes of a parent's artifact in pieces, of a file that the worker has put beside this process."""
        path = Path(self._wire.ask({"read": [str(parent_id), name], "run": self._run}).result())
        file = path.open("rb")
        path.unlink()

        def pieces() -> Iterator[bytes]:
            with file:
                yield from pieces_of(file)

        return pieces()

    def go_on(self) -> None:
        """Send what came since the last progress, which the worker has taken."""
        with self._lock:
            self._may_send = True
            self._send_latest()

    def flush(self) -> None:
        """Send what is held back, whether or not the worker is ready: the handler has ended."""
        with self._lock:
            self._send_latest()

    def _send_latest(self) -> None:
        progress, self._latest = self._latest, None
        if progress is not None:
            self._may_send = False
            self._wire.send(self._message(progress) | {"number": None})

    def _message(self, report: Report) -> Message:
        return {"report": pack_report(report), "run": self._run}

    def _as_path(self, report: File) -> File:
        if isinstance(report.data, Path):
            return report
        path = place_for_file(self._wire.directory)
        with path.open("wb") as file:
            file.writelines(pieces_of(report.data))
        return replace(report, data=path)
