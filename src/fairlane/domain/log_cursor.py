"""The position of a reader in the execution log, and the missing numbers below it that may still appear.

A row gets its number before its transaction commits. So a row may appear below rows that were read already, minutes
later if its transaction stays open. If the transaction is rolled back, its number never appears. A reader must not wait
for transactions of others. So a `LogCursor` takes the rows that are visible now, and remembers each missing number. It
forgets the number when all transactions have ended that could write when the gap was found: then the number can no
longer appear. The database names these transactions (`store.engine`, `log_writers`); no clock and no timeout decides.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

Range = tuple[int, int]  # from the first to the last, both included


class Position(NamedTuple):
    """A position in the log: all numbers up to `high` were read, except those in the gaps."""

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
        """Return an earlier position with at most so many gaps: rows may be read twice, but none is missed."""
        if len(self.gaps) <= gaps:
            return self
        return Position(self.gaps[gaps][0] - 1, self.gaps[:gaps])


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    writers: AbstractSet[str] | None = None  # the transactions that may fill it; None: not read yet

    def without(self, number: int) -> "list[_Gap]":
        if not self.first <= number <= self.last:
            return [self]
        parts = (self.first, number - 1), (number + 1, self.last)
        return [_Gap(*part, self.writers) for part in parts if part[0] <= part[1]]


@dataclass(frozen=True, slots=True)
class LogRead:
    """The numbers that a read of the log added. `came`: those from gaps, ascending; the others are above `before`."""

    before: int
    came: tuple[int, ...]
    gaps: tuple[Range, ...]  # the gaps that remain

    def after(self, number: int) -> Position:
        """Return the position of a reader that has read these rows, in ascending order, up to this number."""
        if number > self.before:
            return Position(number, tuple(gap for gap in self.gaps if gap[0] < number))
        # Numbers from gaps above this number are still to be read.
        later = [(one, one) for one in self.came if one > number]
        below = [gap for gap in self.gaps if gap[0] <= self.before]
        return Position(self.before, tuple(sorted([*below, *later])))


class LogCursor:
    """A cursor at the end of the log.

    Args:
        high: the last number that it does not read.
    """

    def __init__(self, high: int) -> None:
        self.high = high
        self._gaps: list[_Gap] = []

    def copy(self) -> "LogCursor":
        """Return an independent cursor at the same position."""
        other = LogCursor(self.high)
        other._gaps = list(self._gaps)
        return other

    @property
    def gaps(self) -> tuple[Range, ...]:
        """Return the missing numbers that may still appear, ascending."""
        return tuple((gap.first, gap.last) for gap in self._gaps)

    @property
    def position(self) -> Position:
        """Return the position."""
        return Position(self.high, self.gaps)

    def take(self, came: Sequence[int], fresh: Iterable[Range], *, is_all: bool = True) -> LogRead:
        """Take the numbers that a read has found; then forget the gaps that `settle` had found closed before that read.

        Args:
            came: numbers from the gaps, ascending.
            fresh: ranges above `high`, ascending.
            is_all: whether the read found all numbers from the gaps that were there; if not, no gap is forgotten yet.
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
        return LogRead(before, tuple(came), self.gaps)

    def settle(self, writers: AbstractSet[str]) -> None:
        """Note the transactions that are able to write, read after the last read of the log and before the next one.

        A gap is closed once all transactions have ended that were able to write when the gap was first checked.
        """
        for gap in self._gaps:
            gap.writers = writers if gap.writers is None else gap.writers & writers
