"""Stage: make due jobs ready, and tell children of their parents what no single transaction could.

Some were submitted beside a finishing parent, some are more than a batch, below a parent that ended or was retried.
"""

from collections.abc import Callable, Mapping

from fairlane.store.statements import dependencies, revival
from fairlane.store.statements import stage as statements
from fairlane.store.statements.dependencies import Edge
from fairlane.store.transaction import Database


class Stage:
    """A service; every worker runs it, rows are skipped that another is at.

    Args:
        on_ready: called, from the service's thread, when something may have become claimable.
    """

    def __init__(self, database: Database, on_ready: Callable[[], object]) -> None:
        self._database = database
        self._on_ready = on_ready
        self._looked_at: Mapping[str, Edge] = {}
        self._revived = ""  # the organization that had its turn last

    def run_once(self) -> int:
        """Move one batch of each kind. Return how many jobs or edges that were."""
        database, clock = self._database, self._database.clock
        due = database.look(lambda c: statements.look(c, clock, self._revived))
        moved = 0
        if due.scheduled:
            moved += database.write(lambda c: statements.release_scheduled(c, clock.now(c)))
        if due.retry:
            moved += database.write(lambda c: statements.ready_retries(c, clock.now(c)))
        if due.has_new_edges:
            looked = database.write(lambda c: dependencies.look_at_new_edges(c, clock.now(c), self._looked_at))
            moved, self._looked_at = moved + looked.moved, looked.after
        if (organization := due.revives) is not None:
            moved += database.write(lambda c: revival.go_on(c, clock.now(c), organization))
            self._revived = organization
        if moved:
            self._on_ready()
        return moved
