"""The dispatch of rows to rooms as messages, and the messages that a returning client has missed."""

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

MOST_MESSAGES: Final = 10_000  # in a second to the rooms of an organization on a node: events times clients
_SECOND: Final = 1.0
_AT_ONCE: Final = 50  # rows, before other tasks of the loop run
_MOST_MISSED: Final = 500  # events
_FARTHEST: Final = 20_000  # numbers of the log that are searched for an organization's rows


def rooms_of(organization: str, job_id: Any = None) -> tuple[Room, ...]:
    """Return the rooms that get the events of an organization, or of its job."""
    of_job = (Room(RoomKind.JOB, organization, job_id),) if job_id is not None else ()
    return (Room(RoomKind.ORGANIZATION, organization), *of_job, EVERYTHING)


def status_changed(room: Room, row: AnyRow, cursor: str) -> Message:
    """Return the message with which a room gets a row of the log."""
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
    """The dispatch of what one look at the feed has found, in the order in which clients need it."""

    def __init__(self, hub: Hub, cursors: Cursors, look: Look) -> None:
        self._hub = hub
        self._look = look
        self._progress: dict[Key, Progress] = {one.key: one for one in look.progress}
        self._seal: Callable[[Position], str] = cursors.seal
        self._end = cursors.seal(look.position)
        self._cursor = cursors.seal(look.before)  # after the last message
        self._closed: set[Room] = set()  # rooms that get no single messages of this look

    async def tell(self) -> None:
        """Send all messages to the rooms; other tasks of the loop run meanwhile."""
        if self._look.is_lost:
            self._reset(self._hub.rooms)
        else:
            await self._tell_changes()
        # After a reset, too: a snapshot has no alerts.
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
        """Close the rooms with too many events to send one by one; return those that get a reset.

        A room gets a reset once a second at most, because then all its clients read everything.
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
            # An alert is always sent, and its cursor comes after all omitted events. So the reset comes before it.
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
        # An attempt's last progress comes before its end.
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
    """The events that a returning client has missed, in order.

    `cursor`: where the client goes on until it has got them.
    """

    messages: list[Message]
    cursor: str
    strays: int


def catch_up(database: Database, cursors: Cursors, room: Room, after: str, here: Position) -> Missed | None:
    """Return the events of a room that the holder of a cursor has missed; None: too many, or no longer known.

    Args:
        here: the room's position. The room will get later events with their own cursors. If they were returned here,
            the holder would get them with an earlier cursor, and miss them again.
    """
    position = cursors.open(after)
    if position is None:
        return None
    rows = database.read(lambda connection: _rows(connection, room, position, here), of=EVERYONE)
    if rows is None:
        return None
    mine = [row for row in rows if here.has_read(row.id) and _is_of(room, row)]
    told = [row for row in mine if not row.is_stray]
    # Only the last message has a new cursor: a client that stops before it gets some events twice, and drops them.
    messages = [status_changed(room, row, after) for row in told[:-1]]
    messages += [status_changed(room, row, cursors.seal(here)) for row in told[-1:]]
    return Missed(messages, after if told else cursors.seal(here), len(mine) - len(told))


def _rows(connection: Connection, room: Room, position: Position, here: Position) -> Sequence[AnyRow] | None:
    end = statements.newest(connection)
    # The cursor is of another database, of this one before it was restored, or of `Vague`.
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
