"""The storm's workers: `fairlane worker` processes, each replaced as soon as it has ended, as a supervisor does."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.storm import clock, folder
from tests.storm.memory import StormFailed
from tests.storm.promises import Exit

ROOT: Final = Path(__file__).parents[2]
_LOOK: Final = 0.05  # seconds
_UP_PATIENCE: Final = 60.0  # seconds
_STOP_PATIENCE: Final = 60.0  # seconds


@dataclass(slots=True)
class Slot:
    """A place for a worker, through which one after the other goes. `url`: of its database, for a `{worker}`."""

    number: int
    url: str
    clock: Path
    generation: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def worker(self) -> str:
        """The name of the one that is there."""
        return f"worker{self.number}-{self.generation}"


@dataclass(slots=True)
class Fleet:
    """The fleet of workers. `settings`: FAIRLANE_… for each; `concurrency`: how many jobs each runs at once.

    `exits`: how each ended.
    """

    directory: Path
    slots: Sequence[Slot]
    settings: Mapping[str, str]
    concurrency: int
    library: Path | None = None  # that makes clocks lie
    exits: list[Exit] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["Fleet"]:
        """Run them until the block ends."""
        folder.prepare(self.directory)
        watcher = threading.Thread(target=self._watch, name="storm-fleet")
        self._replace_ended()
        watcher.start()
        try:
            yield self
        finally:
            self.is_over.set()
            watcher.join()
            self._end()

    def up(self, number: int) -> "tuple[str, subprocess.Popen[bytes]]":
        """The worker in a slot and its process, once it claims."""
        waited = 0.0
        while waited < _UP_PATIENCE:
            with self._lock:
                slot = self.slots[number]
                worker, process = slot.worker, slot.process
            if process is not None and process.poll() is None and folder.up_file(self.directory, worker).exists():
                return worker, process
            self.is_over.wait(_LOOK)
            waited += _LOOK
        log = folder.log_file(self.directory, self.slots[number].worker)
        raise StormFailed(f"{self.slots[number].worker} did not come up; see {log}")

    def pid(self) -> int | None:
        """Return the process id of the worker in the last slot."""
        with self._lock:
            process = self.slots[-1].process
        return process.pid if process is not None else None

    def _watch(self) -> None:
        while not self.is_over.wait(_LOOK):
            self._replace_ended()

    def _replace_ended(self) -> None:
        for slot in self.slots:
            code = slot.process.poll() if slot.process is not None else 0
            if code is None:
                continue
            if slot.process is not None:
                self.exits.append(Exit(slot.worker, code))
            with self._lock:
                slot.generation += 1
                slot.process = self._start(slot)

    def _start(self, slot: Slot) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            **self.settings,
            **clock.variables(self.library, slot.clock),
            "FAIRLANE_URL": slot.url.format(worker=slot.worker),
            folder.DIRECTORY: str(self.directory),
            folder.WORKER: slot.worker,
        }
        # Without bytecode a worker and its children take twice as long to start, which is what a storm has them do.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "fairlane", "--app", "tests.storm.app:fl", "worker"]
        options = ["--concurrency", str(self.concurrency), "--name", slot.worker, "--log-level", "warning"]
        with folder.log_file(self.directory, slot.worker).open("wb") as log:
            return subprocess.Popen(
                [*command, *options],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the storm, which ends them
            )

    def _end(self) -> None:
        left = [(slot.worker, slot.process) for slot in self.slots if slot.process is not None]
        asked = {worker for worker, process in left if process.poll() is None}
        # In one that is still being imported nobody hears a signal yet: it just ends.
        up = {worker for worker, _ in left if folder.up_file(self.directory, worker).exists()}
        for _, process in left:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for worker, process in left:
            try:
                code = process.wait(_STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if worker in up or code != -signal.SIGTERM:
                self.exits.append(Exit(worker, code, was_asked=worker in asked))
