"""Steps of a transaction as others see them, and which of them may change places without anybody noticing."""

import re
from collections.abc import Iterable
from enum import Enum
from itertools import product
from typing import Final, NamedTuple

from fairlane.store.row_ending import END_WAITING
from fairlane.store.tables import dead_letters, ended, live, metadata


class Touch(Enum):
    """The effect of a step on rows of a table; by PostgreSQL's row locks, if it locks them."""

    READ = "read"
    INSERT = "insert"
    SHARE = "for key share"  # as a foreign key does with the row that it refers to
    UPDATE = "for no key update"
    REMOVE = "for update"


Touched = tuple[str, Touch]

# Those of which one waits for the other, in either order or in one. Nobody else sees a new row before its end, or waits
# for it, but who inserts the same key; and who does waits for those, too, that change or remove the row that has it.
_WAIT: Final = {
    frozenset(pair)
    for pair in (
        (Touch.INSERT, Touch.INSERT),
        (Touch.INSERT, Touch.UPDATE),
        (Touch.INSERT, Touch.REMOVE),
        (Touch.SHARE, Touch.REMOVE),
        (Touch.UPDATE, Touch.UPDATE),
        (Touch.UPDATE, Touch.REMOVE),
        (Touch.REMOVE, Touch.REMOVE),
    )
}
_CHANGE: Final = frozenset({Touch.INSERT, Touch.UPDATE, Touch.REMOVE})

_TABLE: Final = re.compile(r"\bfairlane_[a-z_]+\b")
_CHANGED: Final = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM) (fairlane_[a-z_]+)\b")
_LOCKS: Final = (
    (re.compile(r"\bFOR (NO KEY UPDATE|SHARE)\b"), Touch.UPDATE),
    (re.compile(r"\bFOR KEY SHARE\b"), Touch.SHARE),
    (re.compile(r"\bFOR UPDATE\b"), Touch.REMOVE),
)
_OVERWRITES: Final = re.compile(r"\bDO UPDATE\b")
_UNDOES: Final = re.compile(r"^ROLLBACK TO\b")
# Which tables a table's foreign keys refer to.
_REFERRED: Final = {
    name: {key.column.table.name for key in table.foreign_keys} for name, table in metadata.tables.items()
}


class Step(NamedTuple):
    """The next action of a participant.

    `touched` of a step that `ends` its transaction is all that this has touched: it becomes visible or is undone, and
    the locks are gone.
    """

    text: str
    touched: frozenset[Touched]
    ends: bool = False

    @property
    def writes(self) -> bool:
        """Return True if it locks or changes anything."""
        return any(touch is not Touch.READ for _, touch in self.touched)


def statement(text: str) -> Step | None:
    """The step of a statement; None if it touches no table of Fairlane."""
    if _UNDOES.match(text):
        return Step(text, frozenset(product(metadata.tables, Touch)), ends=True)
    touched = frozenset(_touched(text))
    return Step(" ".join(text.split()), touched) if touched else None


def _touched(text: str) -> Iterable[Touched]:
    if END_WAITING in text:  # as the function does
        text += f" DELETE FROM {live.name} INSERT INTO {ended.name} INSERT INTO {dead_letters.name} DO UPDATE"
    tables = set(_TABLE.findall(text)) & metadata.tables.keys()
    inserted = {name for verb, name in _CHANGED.findall(text) if verb == "INSERT INTO"}
    yield from ((name, Touch.READ) for name in tables)
    for verb, name in _CHANGED.findall(text):
        match verb:
            case "INSERT INTO":
                yield name, Touch.INSERT
                yield from ((other, touch) for other in _REFERRED[name] for touch in (Touch.READ, Touch.SHARE))
            case "UPDATE":
                yield name, Touch.UPDATE
                yield from ((other, touch) for other in _REFERRED[name] for touch in (Touch.READ, Touch.SHARE))
            case _:
                yield name, Touch.REMOVE
                yield from ((other, Touch.REMOVE) for other, referred in _REFERRED.items() if name in referred)
    if _OVERWRITES.search(text):
        yield from ((name, Touch.UPDATE) for name in inserted)
    for lock, touch in _LOCKS:
        if lock.search(text):
            yield from ((name, touch) for name in tables - inserted)


def commute(one: Step, other: Step) -> bool:
    """Return True if two participants' steps lead to the same state in either order.

    At read committed, and from SQLite's log, a read sees what is committed: only the ends of others matter to it.
    """
    return not any(
        frozenset({mine, theirs}) in _WAIT
        or (one.ends and mine in _CHANGE and theirs is Touch.READ)
        or (other.ends and theirs in _CHANGE and mine is Touch.READ)
        for (table, mine), (other_table, theirs) in product(one.touched, other.touched)
        if table == other_table
    )
