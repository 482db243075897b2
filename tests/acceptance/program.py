"""`fairlane` as a process of its own, told by signals and watched by the lines it writes."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from tests.patience import PATIENCE


class Program:
    """A `fairlane` process. Its standard error is read as it comes, up to its end: that of its last child."""

    def __init__(
        self, directory: Path, url: str, *arguments: str, python: str = sys.executable, **environment: str
    ) -> None:
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self.seen: list[str] = []
        self._process = subprocess.Popen(
            [python, "-m", "fairlane", *arguments],
            cwd=directory,
            env=os.environ | {"FAIRLANE_URL": url, "FAIRLANE_APP": "handlers:fl"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # SIGTERM first: what it started must go with it.
        self.send(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
        self._reader.join()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line that the pattern is found in."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.seen.append(line)
            if (found := re.search(pattern, line)) is not None:
                return found
        raise AssertionError(f"no line with {pattern!r} in:\n{''.join(self.seen)}")

    def end(self, patience: float = PATIENCE) -> int:
        """Wait for the end of the process and of all that it started; its exit code.

        Args:
            patience: how many seconds to wait for each line.
        """
        while (line := self._lines.get(timeout=patience)) is not None:
            self.seen.append(line)
        return self._process.wait(patience)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)
