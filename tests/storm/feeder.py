"""Submits during a storm, as an application would that tries again what the database refused."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from fairlane import CommitUnanswered, DuplicateJob, Fairlane, IllegalTransition, JobNotFound, StorageUnavailable
from fairlane.domain.statuses import JobStatus
from tests.storm import work
from tests.storm.promises import Twin
from tests.storm.verdict import Expected
from tests.storm.work import Order

_BATCH: Final = 50
_AGAIN: Final = 0.2  # seconds before what the database refused is tried again


@dataclass(slots=True)
class Feeder:
    """Submits `jobs` jobs, evenly over `seconds`, in a thread.

    `expected` has what was acknowledged, by id; `unsure` the batches that may have been submitted, as nobody answered.
    `taken`: id and organization of each job that was acknowledged, in the order of the submissions.
    `parents`: of each job that has any. `due`: before which moment (monotonic) one with a delay is not to begin.
    `twins`: what was submitted under the key of another one.
    """

    fl: Fairlane
    random: Random
    jobs: int
    seconds: float
    expected: dict[str, Expected] = field(default_factory=dict)
    taken: list[tuple[str, str]] = field(default_factory=list)
    unsure: list[dict[str, Expected]] = field(default_factory=list)
    parents: dict[str, Sequence[str]] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    twins: list[Twin] = field(default_factory=list)
    rejected: int = 0  # duplicates that were submitted on purpose
    _running: list[Order] = field(default_factory=list)
    asked: int = 0  # jobs whose worker was asked to cancel them
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Submit until all jobs are submitted."""
        began = time.monotonic()
        self._submit(work.rush(self.random))
        while len(self.expected) < self.jobs and not self.stop.is_set():
            self._submit(work.batch(self.random, _BATCH))
            due = began + self.seconds * len(self.expected) / self.jobs
            self.stop.wait(max(0.0, due - time.monotonic()))
            self._cancel_running()

    def _cancel_running(self) -> None:
        """Cancel the jobs that were submitted a batch ago: by now they run, if the backlog is short."""
        while self._running:
            self._cancel(self._running.pop())

    def _submit(self, orders: list[Order]) -> None:
        if not self._take(orders):
            return
        for order in orders:
            if order.again:
                self._submit_twin(order)
            if order.cancel and order.expected is Expected.EITHER:
                self._running.append(order)
            elif order.cancel:
                self._cancel(order)

    def _take(self, orders: list[Order]) -> bool:
        """Submit the batch; return True if it is known to be in the database."""
        ids = {str(order.submission.id): order.expected for order in orders}
        self.parents |= {str(order.submission.id): order.parents for order in orders if order.parents}
        now = time.monotonic()
        self.due |= {str(order.submission.id): now + order.delay for order in orders if order.delay}
        while not self.stop.is_set():
            try:
                self.fl.submit_many([order.submission for order in orders])
            except CommitUnanswered:
                if not self._is_there(orders[0]):
                    self.unsure.append(ids)
                    return False
            except StorageUnavailable:
                self._wait()
                continue
            self.expected |= ids
            self.taken += [(str(order.submission.id), order.submission.organization) for order in orders]
            return True
        return False

    def _is_there(self, order: Order) -> bool:
        while not self.stop.is_set():
            try:
                self.fl.get(order.submission.id, organization=order.submission.organization)
            except JobNotFound:
                return False
            except StorageUnavailable:
                self._wait()
            else:
                return True
        return False

    def _submit_twin(self, order: Order) -> None:
        """Another job under the same key: refused, unless the database was away until the first had ended."""
        twin = Order(work.twin(order.submission))
        try:
            self._take([twin])
        except DuplicateJob:
            self.rejected += 1
        else:
            self.twins.append(Twin(str(twin.submission.id), str(order.submission.id), time.monotonic()))

    def _cancel(self, order: Order) -> None:
        while not self.stop.is_set():
            try:
                job = self.fl.cancel(order.submission.id, organization=order.submission.organization)
            except StorageUnavailable:  # also where nobody knows whether it was done
                self._wait()
            except IllegalTransition:
                return  # it has ended
            else:
                if job.status is JobStatus.CANCELED and order.expected is Expected.EITHER:
                    self.expected[str(job.id)] = Expected.STOPPED
                self.asked += job.status is JobStatus.RUNNING
                return

    def _wait(self) -> None:
        self.stop.wait(_AGAIN)
