"""The surroundings of a measurement: a fresh database for each run, and processes that end with it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Final

from benchmarks.databases import temporary_database
from benchmarks.work import SLOTS, application
from fairlane import Fairlane, FairlaneError

_END_SECONDS: Final = 60.0
_SHOWN: Final = 2000  # characters of what a process said before it ended


class BenchmarkFailed(FairlaneError):
    """Something that was to be measured did not work, so there is no figure."""


@dataclass(frozen=True, slots=True)
class Site:
    """A fresh, migrated database with nothing in it, and an application on it."""

    fl: Fairlane
    url: str

    def worker(self, slots: int = SLOTS) -> AbstractContextManager["Beside"]:
        """Run a worker beside this process."""
        return self.process("worker", slots)

    @contextmanager
    def process(self, role: str, number: int) -> Iterator["Beside"]:
        """Run `benchmarks.work` with these arguments, beside this process; it is ended at the end."""
        with TemporaryFile() as said:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.work", role, str(number)],
                env=os.environ | {"FAIRLANE_URL": self.url},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for the one that measures
            )
            try:
                yield Beside(child, said)
            finally:
                _end(child)


@contextmanager
def fresh_site(place: str) -> Iterator[Site]:
    """Yield a site on a database of its own beside `place`."""
    with temporary_database(place) as url, application(url) as fl:
        fl.migrate()
        yield Site(fl, url)


@dataclass(frozen=True, slots=True)
class Beside:
    """A process that runs beside."""

    child: "subprocess.Popen[bytes]"
    said: IO[bytes]

    def check(self) -> None:
        """Raise `BenchmarkFailed` with what it said if it has ended."""
        if self.child.poll() is not None:
            self.said.seek(0)
            text = self.said.read().decode(errors="replace").strip()[-_SHOWN:]
            raise BenchmarkFailed(f"A process that was measured ended (exit code {self.child.returncode}): {text}")


def _end(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    child.stdin.close()  # which it takes as a SIGTERM
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
