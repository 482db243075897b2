"""Where a reader of the execution log stands: how far it is, and which numbers below that may still come.

A row has its number before its transaction commits, so a row may appear below others that were read already, minutes
later if somebody holds his transaction open. And the number of a transaction that was rolled back never appears. A
reader that waited for either would wait for strangers. So a `Tail` takes what is there at once, and remembers what is
missing until it can no longer come: until every transaction has ended that was able to write when the gap was seen.
Which these are the database says (`store.engine`, `log_writers`); no clock and no bound in time decides.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

Range = tuple[int, int]  # from the first to the last, both included


class Position(NamedTuple):
    """All up to `high` was read, but for what is in the gaps."""

    high: int
    gaps: tuple[Range, ...] = ()

    @property
    def first_missing(self) -> int:
        """Return the lowest number that was not read."""
        return self.gaps[0][0] if self.gaps else self.high + 1

    def has_read(self, number: int) -> bool:
        """Return True if this number was read, or can no longer come."""
        return number <= self.high and not any(first <= number <= last for first, last in self.gaps)

    def within(self, gaps: int) -> "Position":
        """Return the same with no more than so many gaps.

        It is less far, so that something may be read again, and nothing is missed.
        """
        if len(self.gaps) <= gaps:
            return self
        return Position(self.gaps[gaps][0] - 1, self.gaps[:gaps])


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    writers: AbstractSet[str] | None = None  # who may fill it; None: not asked yet

    def without(self, number: int) -> "list[_Gap]":
        if not self.first <= number <= self.last:
            return [self]
        parts = (self.first, number - 1), (number + 1, self.last)
        return [_Gap(*part, self.writers) for part in parts if part[0] <= part[1]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look added. `came`: numbers from gaps, ascending; the others are above `before`."""

    before: int
    came: tuple[int, ...]
    gaps: tuple[Range, ...]  # that are left

    def after(self, number: int) -> Position:
        """Return where a reader stands who has read this look's rows, in ascending order, up to this number."""
        if number > self.before:
            return Position(number, tuple(gap for gap in self.gaps if gap[0] < number))
        # What came late and lies above is still to be read.
        later = [(one, one) for one in self.came if one > number]
        below = [gap for gap in self.gaps if gap[0] <= self.before]
        return Position(self.before, tuple(sorted([*below, *later])))


class Tail:
    """A reader at the end of the log.

    Args:
        high: the last number that it does not read.
    """

    def __init__(self, high: int) -> None:
        self.high = high
        self._gaps: list[_Gap] = []

    def copy(self) -> "Tail":
        """Return one that stands where this one does: what either takes then, the other does not know of."""
        other = Tail(self.high)
        other._gaps = list(self._gaps)
        return other

    @property
    def gaps(self) -> tuple[Range, ...]:
        """Return what is missing and may still come, ascending."""
        return tuple((gap.first, gap.last) for gap in self._gaps)

    @property
    def position(self) -> Position:
        """Return where it stands."""
        return Position(self.high, self.gaps)

    def take(self, came: Sequence[int], fresh: Iterable[Range], *, is_all: bool = True) -> Taken:
        """Take what a look has seen; then forget the gaps that `settle` had found to be closed before that look.

        Args:
            came: numbers from its gaps, ascending.
            fresh: ranges above `high`, ascending.
            is_all: whether no others from its gaps were there; else it forgets none of them yet.
        """
        before = self.high
        kept = [gap for gap in self._gaps if not is_all or gap.writers is None or gap.writers]
        for number in came:
            kept = [part for gap in kept for part in gap.without(number)]
        for first, last in fresh:
            if first > self.high + 1:
                kept.append(_Gap(self.high + 1, first - 1))
            self.high = last
        self._gaps = kept
        return Taken(before, tuple(came), self.gaps)

    def settle(self, writers: AbstractSet[str]) -> None:
        """Note who was able to write, asked after the last look and before the next one.

        A gap is closed once all have ended who were able to write when it was first asked about.
        """
        for gap in self._gaps:
            gap.writers = writers if gap.writers is None else gap.writers & writers
