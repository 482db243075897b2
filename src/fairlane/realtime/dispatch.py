"""From rows to the messages of rooms, and to those for somebody who comes back."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from fairlane.domain.events import AlertKind
from fairlane.domain.log_cursor import Position
from fairlane.domain.statuses import JobStatus
from fairlane.realtime.cursors import Cursors
from fairlane.realtime.events import (
    DeadLetterAlert,
    JobProgress,
    JobStatusChanged,
    Placed,
    QueueLimitWarning,
    Reset,
)
from fairlane.realtime.feed import MOST_ENTRIES, Key, Look, Progress
from fairlane.realtime.hub import EVERYTHING, Hub, Message, Room, RoomKind, Second
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import feed as statements
from fairlane.store.statements.feed import Audience
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

MOST_MESSAGES: Final = 10_000  # a second that the rooms of an organization are told on a node: events times clients
_SECOND: Final = 1.0
_AT_ONCE: Final = 50  # rows, before those who read may take some of it
_MOST_MISSED: Final = 500  # events
_FARTHEST: Final = 20_000  # numbers of the log that are looked through for an organization's


def rooms_of(organization: str, job_id: Any = None) -> tuple[Room, ...]:
    """Return where something of the organization, or of its job, is told."""
    of_job = (Room(RoomKind.JOB, organization, job_id),) if job_id is not None else ()
    return (Room(RoomKind.ORGANIZATION, organization), *of_job, EVERYTHING)


def status_changed(room: Room, row: AnyRow, cursor: str) -> Message:
    """Return a row of the log as a room is told."""
    event = JobStatusChanged(
        room=room.name,
        cursor=cursor,
        organization=row.organization_id,
        job_id=row.job_id,
        job_type=row.job_type,
        queue=row.queue,
        sequence=row.sequence,
        from_status=row.from_status,
        to_status=row.to_status,
        at=row.at,
        attempt=row.attempt,
        user=row.submitted_by,
    )
    return Message(room, event)


class Dispatch:
    """Tells the rooms of a hub what one look has found, in the order in which clients need it."""

    def __init__(self, hub: Hub, cursors: Cursors, look: Look) -> None:
        self._hub = hub
        self._look = look
        self._progress: dict[Key, Progress] = {one.key: one for one in look.progress}
        self._seal: Callable[[Position], str] = cursors.seal
        self._end = cursors.seal(look.position)
        self._cursor = cursors.seal(look.before)  # after what was told last
        self._closed: set[Room] = set()  # they are told nothing of it one by one

    async def tell(self) -> None:
        """Do so; others have their turn meanwhile."""
        if self._look.is_lost:
            self._reset(self._hub.rooms)
        else:
            await self._tell_changes()
        # Behind a reset, too: nobody catches up with alerts.
        for alert in self._look.alerts:
            self._tell_alert(alert)

    async def _tell_changes(self) -> None:
        look = self._look
        begin_anew = self._close_crowded()
        for number, row in enumerate(look.entries):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            rooms = self._open_rooms_of(row.organization_id, row.job_id)
            if rooms:
                self._tell_entry(row, rooms)
        self._cursor = self._end
        self._reset(begin_anew)
        for number, progress in enumerate(self._progress.values()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            self._tell_progress(progress)

    def _close_crowded(self) -> list[Room]:
        """Close the rooms in which too much happens to tell it one by one; return those that begin anew.

        They do so once a second: each time all their clients read everything.
        """
        look, hub, now = self._look, self._hub, time.monotonic()
        unread = {row.organization_id for row in look.entries if row.place > MOST_ENTRIES}
        if unread or len(look.entries) > MOST_ENTRIES:
            unread.add(EVERYTHING.organization)
        messages: Counter[str] = Counter()
        for key in [*((row.organization_id, row.job_id) for row in look.entries), *self._progress]:
            for room in rooms_of(*key):
                messages[room.organization] += hub.hearing(room)
        hub.seconds = {key: one for key, one in hub.seconds.items() if one.owes_reset or now - one.began < _SECOND}
        alerted = {room.organization for row in look.alerts for room in rooms_of(row.organization_id)}
        begin_anew: list[Room] = []
        for organization in messages.keys() | hub.seconds.keys() | unread:
            second = hub.seconds.get(organization)
            is_owed = second is not None and second.owes_reset
            if second is None or now - second.began >= _SECOND:
                second = hub.seconds[organization] = Second(now)
            second.messages += messages[organization]
            if not (is_owed or organization in unread or second.messages > MOST_MESSAGES):
                continue
            rooms = list(hub.rooms_of(organization))
            self._closed.update(rooms)
            # An alert is never left out, and its cursor is behind all that was.
            if not second.is_reset or organization in alerted:
                begin_anew += rooms
                second.is_reset, second.owes_reset = True, False
            else:
                second.owes_reset = second.owes_reset or messages[organization] > 0
        return begin_anew

    def _open_rooms_of(self, organization: str, job_id: Any) -> list[Room]:
        return [one for one in rooms_of(organization, job_id) if one in self._hub and one not in self._closed]

    def _tell_entry(self, row: AnyRow, rooms: Iterable[Room]) -> None:
        if row.is_stray:
            self._hub.strays += 1
            return
        key = (row.organization_id, row.job_id)
        progress = self._progress.get(key)
        # What an attempt told last comes before its end.
        if progress is not None and row.from_status == JobStatus.RUNNING and progress.attempt == row.attempt:
            self._tell_progress(self._progress.pop(key))
        self._cursor = self._seal(self._look.taken.after(row.id))
        for room in rooms:
            self._hub.tell(status_changed(room, row, self._cursor))

    def _tell_progress(self, progress: Progress) -> None:
        for room in self._open_rooms_of(*progress.key):
            data = {**progress.data, "cursor": self._cursor, "room": room.name}
            self._hub.tell(Message(room, JobProgress.model_validate(data), key=(room, progress.key)))

    def _tell_alert(self, row: AnyRow) -> None:
        for room in rooms_of(row.organization_id):
            if room in self._hub:
                self._hub.tell(Message(room, self._alert(room, row)))

    def _alert(self, room: Room, row: AnyRow) -> Placed:
        common: dict[str, Any] = {
            "room": room.name,
            "cursor": self._end,
            "organization": row.organization_id,
            "at": row.at,
        }
        if row.kind == AlertKind.DEAD_LETTERS:
            return DeadLetterAlert(depth=row.size, threshold=row.bound, **common)
        return QueueLimitWarning(live=row.size, limit=row.bound, **common)

    def _reset(self, rooms: Iterable[Room]) -> None:
        for room in list(rooms):
            if room in self._hub:
                self._hub.tell(Message(room, Reset(room=room.name, cursor=self._end)))


@dataclass(frozen=True, slots=True)
class Missed:
    """The events that somebody who comes back has missed, in order: told one by one where it is little and still there.

    `cursor`: to go on from until it was told.
    """

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
    rows = statements.missed(connection, audience, position, here.high, _MOST_MISSED + 1)
    return rows if len(rows) <= _MOST_MISSED else None


def _floor(connection: Connection, room: Room) -> int:
    if room.kind is RoomKind.ALL:
        return statements.highest_floor(connection)
    return statements.floors(connection, [room.organization]).get(room.organization, 0)


def _is_of(room: Room, row: AnyRow) -> bool:
    # A job of another organization may have the same id.
    return room.kind is RoomKind.ALL or row.organization_id == room.organization
