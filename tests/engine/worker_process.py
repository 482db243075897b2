"""A worker in a process of its own, and what it tells of itself."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Final

from tests.engine.worker_kit import QUICK, Engine
from tests.patience import PATIENCE

ROOT: Final = Path(__file__).parents[2]


class WorkerProcess:
    """A program of `tests.acceptance.apps` on the database of `fl`, and its arguments."""

    def __init__(self, fl: Engine, *arguments: str, program: str = "worker", **settings: Any) -> None:
        given = json.dumps({**QUICK, "url": fl.settings.url, **settings})
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.acceptance.apps.{program}", given, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._told: Queue[dict[str, Any]] = Queue()
        self.events: list[dict[str, Any]] = []
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def wait(self, event: str, **attributes: object) -> dict[str, Any]:
        """Wait until it has told of such an event."""
        wanted = {"event": event} | {name: str(value) for name, value in attributes.items()}
        for told in self._all():
            if wanted.items() <= told.items():
                return told
        raise AssertionError(f"waited for {wanted}, it told only {self.events}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it like `kill -9`."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._listener.join(PATIENCE)  # a pipe that is closed under its reader raises in the reader's thread
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.put(json.loads(line))

    def _all(self) -> Iterator[dict[str, Any]]:
        yield from list(self.events)
        while True:
            try:
                self.events.append(self._told.get(timeout=PATIENCE))
            except Empty:
                return
            yield self.events[-1]


@contextmanager
def worker_process(fl: Engine, *arguments: str, **settings: Any) -> Iterator[WorkerProcess]:
    """A worker in a process of its own; it is dead when the block ends."""
    process = WorkerProcess(fl, *arguments, **settings)
    try:
        yield process
    finally:
        process.close()
