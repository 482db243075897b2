"""Stage: make due jobs ready, and look at the edges of children that were submitted beside a finishing parent."""

from fairlane.store.statements import dependencies
from fairlane.store.statements import stage as statements
from fairlane.store.transaction import Database


class Stage:
    """A service; every worker runs it, rows are skipped that another is at."""

    def __init__(self, database: Database, interval: float) -> None:
        self.name = "stage"
        self.interval = interval
        self._database = database

    def run_once(self) -> int:
        """One batch of each kind; how many jobs or edges were moved."""
        clock = self._database.clock
        scheduled = self._database.write(lambda c: statements.release_scheduled(c, clock.now(c)))
        retries = self._database.write(lambda c: statements.ready_retries(c, clock.now(c)))
        edges = self._database.write(lambda c: dependencies.look_at_new_edges(c, clock.now(c)))
        return scheduled + retries + edges
