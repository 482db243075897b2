"""What somebody who comes back has missed: told one by one where it is little and still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from fairlane.domain.tail import Position
from fairlane.realtime.cursors import Cursors
from fairlane.realtime.hub import Message, Room, RoomKind
from fairlane.realtime.telling import status_changed
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import feed as statements
from fairlane.store.statements.feed import Audience
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

_MOST: Final = 500  # events
_FARTHEST: Final = 20_000  # numbers of the log that are looked through for an organization's


@dataclass(frozen=True, slots=True)
class Missed:
    """What was missed, in order. `cursor`: to go on from until it was told."""

    messages: list[Message]
    cursor: str
    strays: int


def catch_up(database: Database, cursors: Cursors, room: Room, after: str, here: Position) -> Missed | None:
    """Return what the holder of a cursor has missed of a room; None: it can't be told.

    Args:
        here: where the room is. What comes behind it the room will be told, each with its own cursor; told here as
            well, it would leave the holder with a cursor from before it, and be missed again.
    """
    position = cursors.open(after)
    if position is None:
        return None
    rows = database.read(lambda connection: _rows(connection, room, position, here), of=EVERYONE)
    if rows is None:
        return None
    mine = [row for row in rows if here.has_read(row.id) and _is_of(room, row)]
    told = [row for row in mine if not row.is_stray]
    # Until the last one was told it goes on from where it was: better twice than never; clients drop what they know.
    messages = [status_changed(room, row, after) for row in told[:-1]]
    messages += [status_changed(room, row, cursors.seal(here)) for row in told[-1:]]
    return Missed(messages, after if told else cursors.seal(here), len(mine) - len(told))


def _rows(connection: Connection, room: Room, position: Position, here: Position) -> Sequence[AnyRow] | None:
    end = statements.newest(connection)
    # From another database, from this one before it was set back, or from a node that could not know (`Vague`).
    if position.high > max(end, statements.highest_floor(connection)):
        return None
    if _floor(connection, room) >= position.first_missing:
        return None
    audience = Audience(
        frozenset({room.organization}) if room.kind is RoomKind.ORGANIZATION else frozenset(),
        frozenset({(room.organization, room.job_id)}) if room.job_id is not None else frozenset(),
        room.kind is RoomKind.ALL,
    )
    if end - position.first_missing > _FARTHEST:
        return None
    rows = statements.missed(connection, audience, position, here.high, _MOST + 1)
    return rows if len(rows) <= _MOST else None


def _floor(connection: Connection, room: Room) -> int:
    if room.kind is RoomKind.ALL:
        return statements.highest_floor(connection)
    return statements.floors(connection, [room.organization]).get(room.organization, 0)


def _is_of(room: Room, row: AnyRow) -> bool:
    # A job of another organization may have the same id.
    return room.kind is RoomKind.ALL or row.organization_id == room.organization
