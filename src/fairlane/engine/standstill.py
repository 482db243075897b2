"""Whether a claim round can be spared: the last one found that all that is ready is held back, and nothing has changed.

Pauses, limits without room, suspended organizations: a round that tries them all takes five to nine statements, and
a worker may stand before them for days. One statement sees whether anything is different, as often as a round was
made before, so that whatever is let go is found just as soon.

What only time changes, an execution rate or a breaker, is not for this; nor is what is locked by somebody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fairlane.engine.outlook import Outlook
from fairlane.engine.patience import DirectoryAway
from fairlane.registry.directory import Directory, Standing, StoredDirectory
from fairlane.store.statements import claim_round
from fairlane.store.statements.claim_round import Holds
from fairlane.store.transaction import Database


class Sighting(NamedTuple):
    """What held back jobs when it was looked at; `locked`: organizations whose keys are not here."""

    holds: Holds
    locked: frozenset[str]
    standings: Mapping[str, Standing] | None


@dataclass(slots=True)
class Standstill:
    """For the claim rounds of one worker."""

    database: Database
    directory: Directory
    queues: tuple[str, ...] | None  # that the worker serves; None = all
    _names: frozenset[str] = field(default=frozenset(), init=False)  # whose jobs the last round found held back
    _known: Sighting | None = field(default=None, init=False)  # by which it did

    @property
    def is_watched(self) -> bool:
        """Whether the last round was held back, so that the next one looks at what holds it."""
        return bool(self._names)

    def look(self, locked: frozenset[str]) -> Sighting | None:
        """What holds back jobs now; None: the last round was not held back, or nobody can say."""
        if not self._names:
            return None
        are_ours = isinstance(self.directory, StoredDirectory)
        clock, names = self.database.clock, sorted(self._names)
        found = self.database.look(lambda c: claim_round.holds(c, clock, names, self.queues, are_ours=are_ours))
        try:
            standings = None if are_ours else dict(self.directory.organizations(names))
        except DirectoryAway:
            return None
        return Sighting(found, locked, standings)

    def goes_on(self, seen: Sighting) -> bool:
        """Whether a round would find what the last one found."""
        return seen == self._known

    def ended(self, outlook: Outlook | None, seen: Sighting | None, *, is_blocked: bool) -> None:
        """A round has ended.

        Args:
            outlook: what it went by, read after `seen` was, where there is one; None: the directory gave no answer.
            is_blocked: whether nothing may start of what was ready, because of something that holds it back.
        """
        self._names, self._known = frozenset(), None
        if not is_blocked or outlook is None or (seen is not None and seen.holds.is_timed):
            return
        if not any(limit.execution_rate for limit in outlook.limits.values()):
            self._names, self._known = outlook.organizations, seen
