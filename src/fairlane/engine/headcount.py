"""What runs, as far as a worker knows without counting it: where that is dear, rounds between two looks go by this."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from fairlane.store.statements import lanes
from fairlane.store.statements.claim import Claimed
from fairlane.store.statements.lanes import Running, RunningRow


@dataclass(slots=True)
class Headcount:
    """For the claims of one worker. It knows its own jobs at any time, and those of others since the last look."""

    worker_id: UUID
    _mine: dict[UUID, tuple[str, str]] = field(default_factory=dict, init=False)  # job type, organization by lease

    def claimed(self, jobs: Iterable[Claimed]) -> None:
        """These run here, too."""
        self._mine |= {one.lease_token: (one.job_type, one.organization) for one in jobs}

    def running(self, seen: Iterable[RunningRow], known: frozenset[UUID]) -> Running:
        """Return what runs here now, and what ran elsewhere when it was looked at.

        Args:
            seen: what ran then.
            known: the leases of the worker; its other jobs have ended.
        """
        for lease in self._mine.keys() - known:  # in C, which needs no hash of those that go on
            del self._mine[lease]
        mine = [(self.worker_id, *pair, number) for pair, number in Counter(self._mine.values()).items()]
        return lanes.counted([*(row for row in seen if row.worker != self.worker_id), *mine])
