"""A database with at most one row in each table, as PostgreSQL treats it at read committed, for transactions of known
steps. What they found and left can be looked at for all their orders, which with a real one would take too long.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tests.store.interleavings.order import Turn
from tests.store.interleavings.steps import Step, Touch, Touched

# What others have to wait with for the end of a transaction that has done this to the row.
HELD_UP: Final = {
    Touch.READ: frozenset[Touch](),
    Touch.INSERT: frozenset({Touch.INSERT}),
    Touch.SHARE: frozenset({Touch.REMOVE}),
    Touch.UPDATE: frozenset({Touch.INSERT, Touch.UPDATE, Touch.REMOVE}),
    Touch.REMOVE: frozenset({Touch.INSERT, Touch.SHARE, Touch.UPDATE, Touch.REMOVE}),
}

# Who inserted and changed it; None: there is none.
Row = tuple[int, ...] | None
# What each participant's steps found, what the tables had in the end, and who was left in a deadlock.
Outcome = tuple[tuple[tuple[Row, ...], ...], tuple[tuple[str, Row], ...], frozenset[int]]
Program = Sequence[Touched]


class _Lock(NamedTuple):
    place: int
    table: str
    touch: Touch


class Model:
    """A play of the programs, each a transaction that commits at its end if it may have written.

    Args:
        there: the tables that have a row before.
    """

    def __init__(self, programs: Sequence[Program], there: Iterable[str]) -> None:
        self._programs = programs
        self._rows: dict[str, Row] = dict.fromkeys(there, ())
        self._next = [0] * len(programs)
        self._seen: list[list[Row]] = [[] for _ in programs]
        self._mine: list[dict[str, Row]] = [{} for _ in programs]  # changed and not committed
        self._locks: list[_Lock] = []
        self._waiting: list[_Lock] = []

    def turns(self) -> dict[Turn, Step]:
        """Return the participants that could go on."""
        waiting = {one.place for one in self._waiting}
        return {
            (place, False): step
            for place in range(len(self._programs))
            if place not in waiting and (step := self._step(place)) is not None
        }

    def _step(self, place: int) -> Step | None:
        program, number = self._programs[place], self._next[place]
        if number < len(program):
            return _step(program[number])
        writing = [step for step in map(_step, program) if step.writes]
        if number > len(program) or not writing:
            return None
        return Step("COMMIT", frozenset[Touched]().union(*(step.touched for step in writing)), ends=True)

    def take(self, place: int) -> None:
        """Do the participant's next step, or have it wait."""
        number = self._next[place]
        self._next[place] += 1
        if number == len(self._programs[place]):
            self._commit(place)
            return
        wish = _Lock(place, *self._programs[place][number])
        if self._has_to_wait(wish):
            self._waiting.append(wish)
        else:
            self._do(wish)

    def _has_to_wait(self, wish: _Lock) -> bool:
        return any(
            lock.table == wish.table and lock.place != wish.place and wish.touch in HELD_UP[lock.touch]
            for lock in self._locks
        )

    def _do(self, one: _Lock) -> None:
        mine = self._mine[one.place]
        row = mine.get(one.table, self._rows.get(one.table))
        self._seen[one.place].append(row)
        if one.touch is Touch.READ or (row is None) is not (one.touch is Touch.INSERT):
            return
        self._locks.append(one)
        match one.touch:
            case Touch.INSERT:
                mine[one.table] = (one.place,)
            case Touch.UPDATE:
                mine[one.table] = (*(row or ()), one.place)
            case Touch.REMOVE:
                mine[one.table] = None

    def _commit(self, place: int) -> None:
        self._rows |= self._mine[place]
        self._locks = [lock for lock in self._locks if lock.place != place]
        waiting, self._waiting = self._waiting, []
        for wish in waiting:
            if self._has_to_wait(wish):
                self._waiting.append(wish)
            else:
                self._do(wish)

    def outcome(self) -> Outcome:
        """Return what was seen and left, and the participants that wait for each other."""
        return (
            tuple(map(tuple, self._seen)),
            tuple(sorted(self._rows.items())),
            frozenset(one.place for one in self._waiting),
        )


def _step(touched: Touched) -> Step:
    """Return the step: a change of a row reads it, too, and sees what is committed."""
    table, touch = touched
    return Step(f"{touch.value} {table}", frozenset({touched, (table, Touch.READ)}))
