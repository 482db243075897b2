"""Rooms, who is in them, and what waits for each client. No I/O: sockets and streams fetch it from here.

All of it belongs to one event loop.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final, NamedTuple
from uuid import UUID

from fairlane.domain.errors import RateLimited
from fairlane.domain.permissions import Principal
from fairlane.domain.timing import RETRY_LATER
from fairlane.realtime.events import Event, Heartbeat, Reset, Revoked
from fairlane.store.statements.feed import Audience

# Messages that wait for a client; beyond that a reset stands for those of a room. They are shared by all who get them.
MOST_WAITING: Final = 1_000
MOST_ROOMS: Final = 100  # of a client
MOST_JOBS: Final = 1_000  # rooms of jobs of one organization on a node: each look goes through all of them
MOST_JOBS_OF_USER: Final = 200  # of these that one user is in, by all of their clients
MOST_OF_USER: Final = 100  # clients of one user on a node, and of a user's tokens of one organization
STALLED: Final = 10.0  # seconds without taking anything, though something waits


class RoomKind(StrEnum):
    """What a room is about."""

    ORGANIZATION = "org"
    JOB = "job"
    ALL = "admin"


class Room(NamedTuple):
    """What one may watch. A job is known by its organization and its id: an id alone is no key."""

    kind: RoomKind
    organization: str = ""
    job_id: UUID | None = None

    @property
    def name(self) -> str:
        """Return the name that clients know it by."""
        match self.kind:
            case RoomKind.ORGANIZATION:
                return f"org:{self.organization}"
            case RoomKind.JOB:
                return f"job:{self.job_id}"
            case RoomKind.ALL:
                return "admin:jobs"


EVERYTHING: Final = Room(RoomKind.ALL)


class Message:
    """An event on its way to a room.

    Args:
        room: None: to all, whatever room they are in.
        key: of several with one key only the latest counts.
    """

    __slots__ = ("data", "key", "name", "room", "sent_as")

    def __init__(self, room: Room | None, event: Event, *, key: Hashable = None) -> None:
        self.room = room
        self.name = event.name
        self.data = event.model_dump(mode="json")
        self.key = key
        self.sent_as: Any = None  # of sockets; made by the first to which it is sent


@dataclass(slots=True)
class Second:
    """What the rooms of an organization, or the platform's room, were told in one.

    `messages`: events times those who hear them. `is_reset`: they were told that they begin anew. `owes_reset`: since
    then something was left out.
    """

    began: float
    messages: int = 0
    is_reset: bool = False
    owes_reset: bool = False


class Client:
    """One socket or stream.

    Args:
        wake: called when something waits for it, or it is to be closed.
    """

    def __init__(self, principal: Principal, wake: Callable[[], object]) -> None:
        self.principal = principal
        self.rooms: set[Room] = set()
        self.is_open = True  # False: it gets nothing any more
        self.is_ending = False  # it is closed as soon as nothing waits
        self._wake = wake
        self._waiting: dict[object, Message] = {}
        self._held: dict[Room | None, list[Message]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Let a message wait for it; if too many do, the room that has most of them begins anew."""
        if not self.is_open:
            return
        held = self._held.get(message.room)
        if held is not None:
            held.append(message)
            if len(held) > MOST_WAITING:
                held[:] = [_reset_after(message)]
        else:
            if message.name == Reset.name:
                self._forget(message.room)  # it is to be fetched anew
            key = message.key if message.key is not None else message
            # To the end: its cursor is behind those of all that waits.
            self._waiting.pop(key, None)
            self._waiting[key] = message
            if len(self._waiting) > MOST_WAITING:
                self._shorten()
        self._wake()

    def take(self, most: int) -> list[Message]:
        """Take the next messages, which wait no longer."""
        keys = [key for key, _ in zip(self._waiting, range(most), strict=False)]
        return [self._waiting.pop(key) for key in keys]

    def hold(self, room: Room) -> None:
        """Keep back what is told of the room until `release`, or until it is left."""
        self._held[room] = []

    def release(self, room: Room, missed: Sequence[Message] = ()) -> None:
        """Let go what was kept back, behind what it had missed before.

        Nothing at all where the room was left meanwhile: what is behind a gap must not move a cursor over it.
        """
        held = self._held.pop(room, None)
        if held is None:
            return
        for message in (*missed, *held):
            self.put(message)

    def leave(self, room: Room) -> None:
        """Leave the room, to be told of it no more."""
        self.rooms.discard(room)
        self._held.pop(room, None)

    def revoke(self, room: Room) -> None:
        """Send nothing of a room that was left any more but that it was."""
        self._forget(room)
        self.put(Message(room, Revoked(room=room.name)))

    def drop(self) -> None:
        """Send it nothing any more, and close it."""
        self.is_open = False
        self._waiting.clear()
        self._held.clear()
        self._wake()

    def end(self) -> None:
        """Close it once what waits was sent."""
        self.is_ending = True
        self._wake()

    def _shorten(self) -> None:
        """Shorten what waits: who reads slowly misses some, but is not sent away."""
        placed = [one for one in self._waiting.values() if "cursor" in one.data]
        ((room, _),) = Counter(one.room for one in placed).most_common(1)
        reset = _reset_after([one for one in placed if one.room == room][-1])
        self._forget(room)
        self._waiting[reset] = reset

    def _forget(self, room: Room | None) -> None:
        self._waiting = {key: one for key, one in self._waiting.items() if one.room != room}


class Hub:
    """Who is in which room."""

    def __init__(self) -> None:
        self._rooms: dict[Room, dict[Client, None]] = {}
        # How many rooms of jobs there are of an organization (None), and how often each of its watchers is in one.
        self._jobs: Counter[tuple[str, tuple[str | None, str] | None]] = Counter()
        self._audience: Audience | None = None
        self.seconds: dict[str, Second] = {}  # of organizations; of `EVERYTHING`, too, which has none
        self.clients: dict[Client, int] = {}  # numbered as they come
        self._numbers = count()
        self.dropped = 0  # clients that did not take what waited for them
        self.strays = 0  # events that were not told, as the organization had no such job

    def __contains__(self, room: Room) -> bool:
        return room in self._rooms

    @property
    def rooms(self) -> Collection[Room]:
        """Return those that somebody is in."""
        return self._rooms.keys()

    def hearing(self, room: Room) -> int:
        """Return how many clients are in it."""
        return len(self._rooms.get(room, ()))

    def rooms_of(self, organization: str) -> Iterator[Room]:
        """Return those of an organization that somebody is in."""
        return (room for room in self._rooms if room.organization == organization)

    def audience(self) -> Audience:
        """Return whose rows somebody listens to."""
        if self._audience is None:
            self._audience = Audience(
                frozenset(room.organization for room in self._rooms if room.kind is RoomKind.ORGANIZATION),
                frozenset((room.organization, room.job_id) for room in self._rooms if room.job_id is not None),
                EVERYTHING in self._rooms,
            )
        return self._audience

    def add(self, client: Client) -> None:
        """Add a client that is in no room yet.

        Raises:
            RateLimited: its user has so many already.
        """
        if sum(_whose(one) == _whose(client) for one in self.clients) >= MOST_OF_USER:
            raise RateLimited(
                f"A user may have {MOST_OF_USER} sockets and streams open; close some.", retry_after=RETRY_LATER
            )
        self.clients[client] = next(self._numbers)

    def enter(self, client: Client, room: Room) -> None:
        """Let a client into a room; whether it may has been checked.

        Raises:
            RateLimited: the user is in so many rooms of the organization's jobs already, or there are so many of them.
        """
        if room.kind is RoomKind.JOB and client not in self._rooms.get(room, ()):
            self._refuse_one_more(client, room)
            self._count(client, room, 1)
        client.rooms.add(room)
        self._rooms.setdefault(room, {})[client] = None
        self._audience = None

    def _refuse_one_more(self, client: Client, room: Room) -> None:
        if self._jobs[room.organization, _whose(client)] >= MOST_JOBS_OF_USER:
            told = f"A user may watch {MOST_JOBS_OF_USER} jobs of an organization at once"
        elif room not in self and self._jobs[room.organization, None] >= MOST_JOBS:
            told = f"{MOST_JOBS:,} jobs of the organization are watched here already"
        else:
            return
        raise RateLimited(
            f"{told}; leave the rooms of some, or watch the organization, whose room tells of all its jobs.",
            retry_after=RETRY_LATER,
        )

    def _count(self, client: Client, room: Room, one: int) -> None:
        """Note that a client comes (1) or goes (-1), before it is in the room or after it was."""
        keys = [(room.organization, _whose(client)), *([(room.organization, None)] if room not in self else [])]
        for key in keys:
            self._jobs[key] += one
            if not self._jobs[key]:
                del self._jobs[key]

    def leave(self, client: Client, room: Room) -> None:
        """Take a client out of a room."""
        client.leave(room)
        members = self._rooms.get(room, {})
        was_in = client in members
        members.pop(client, None)
        if not members:
            self._rooms.pop(room, None)
        if was_in and room.kind is RoomKind.JOB:
            self._count(client, room, -1)
        self._audience = None

    def remove(self, client: Client) -> None:
        """Remove a client that is gone."""
        for room in list(client.rooms):
            self.leave(client, room)
        self.clients.pop(client, None)
        client.is_open = False

    def revoke(self, client: Client, rooms: Collection[Room]) -> None:
        """Take a client out of rooms that it may no longer see, and tell it; without a room left it is closed."""
        for room in rooms:
            self.leave(client, room)
            client.revoke(room)
        if rooms and not client.rooms:
            client.end()

    def beat(self, parts: Collection[int], *, of: int) -> None:
        """Say to the clients of some parts, of so many, that everything was told; each is always of the same one."""
        those = [one for one, number in self.clients.items() if number % of in parts]
        self._put(Message(None, Heartbeat(), key=Heartbeat.name), those)

    def tell(self, message: Message) -> None:
        """Let a message wait for all in its room."""
        if message.room is not None:
            self._put(message, self._rooms.get(message.room, ()))

    def _put(self, message: Message, clients: Iterable[Client]) -> None:
        for client in clients:
            client.put(message)

    def drop(self, client: Client) -> None:
        """Tell a client nothing more that does not take what waits for it.

        It counts among those of its user until it is removed: its connection may stay for as long as it likes.
        """
        for room in list(client.rooms):
            self.leave(client, room)
        client.drop()
        self.dropped += 1


def _reset_after(message: Message) -> Message:
    """Return what stands for all that was told in a room, up to this message."""
    assert message.room is not None
    return Message(message.room, Reset(room=message.room.name, cursor=message.data["cursor"]))


def _whose(client: Client) -> tuple[str | None, str]:
    """Return with whom it is counted.

    The admins of an organization enroll whom they like, and make tokens for them.
    """
    return client.principal.organization, client.principal.user
