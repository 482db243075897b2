"""Looks for submitted jobs during a storm, as a user would: each must be there whenever somebody looks.

A job moves between tables as it ends and as it is retried. At no moment may it stand in none.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from fairlane import Fairlane, JobNotFound, StorageUnavailable
from tests.storm.verdict import Finding

_PAUSE: Final = 0.02  # seconds between two looks
_NEWEST: Final = 4  # the higher, the more looks go to jobs that were submitted last: these move


@dataclass(slots=True)
class Looker:
    """Looks at random jobs again and again, in a thread.

    `submitted`: id and organization of each job that an application knows to be there; others add to it meanwhile.
    `looks`: how many looks the database answered; `lost`: the jobs that one of them did not find.
    """

    fl: Fairlane
    submitted: Sequence[tuple[str, str]]
    random: Random
    looks: int = 0
    lost: list[Finding] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look until the block ends."""
        with ThreadPoolExecutor(1, thread_name_prefix="looker") as threads:
            looking = threads.submit(self._run)
            try:
                yield
            finally:
                self._stop.set()
        looking.result()  # raises what ended it

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            if self.submitted:
                self.look()

    def look(self) -> None:
        """Look at one job."""
        older = int(len(self.submitted) * self.random.random() ** _NEWEST)
        job, organization = self.submitted[-1 - older]
        try:
            self.fl.get(job, organization=organization)
        except StorageUnavailable:
            return
        except JobNotFound:
            self.lost.append(Finding("lost", job, "was not found by a look, though it had been submitted"))
        self.looks += 1
