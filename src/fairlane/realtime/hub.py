"""Rooms, their clients, and the messages that wait for each client. No I/O: sockets and streams take messages here.

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

# Messages that wait for a client; beyond that a reset replaces those of a room. All clients share a message's memory.
MOST_WAITING: Final = 1_000
MOST_ROOMS: Final = 100  # of a client
MOST_JOBS: Final = 1_000  # rooms of jobs of one organization on a node: each look queries all of them
MOST_JOBS_OF_USER: Final = 200  # such rooms of one user, by all clients of the user
MOST_OF_USER: Final = 100  # clients of one user on a node, and of a user's tokens of one organization
STALLED: Final = 10.0  # seconds in which a client takes no message although messages wait


class RoomKind(StrEnum):
    """The subject of a room."""

    ORGANIZATION = "org"
    JOB = "job"
    ALL = "admin"


class Room(NamedTuple):
    """A set of events that clients may watch. A job's key is its organization and its id, not the id alone."""

    kind: RoomKind
    organization: str = ""
    job_id: UUID | None = None

    @property
    def name(self) -> str:
        """Return the name that clients see."""
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
        room: None: to all clients.
        key: of several waiting messages with the same key only the latest is kept.
    """

    __slots__ = ("data", "key", "name", "room", "sent_as", "text")

    def __init__(self, room: Room | None, event: Event, *, key: Hashable = None) -> None:
        self.room = room
        self.name = event.name
        self.data = event.model_dump(mode="json")
        self.key = key
        self.sent_as: Any = None  # the packet for sockets; the first socket makes it
        self.text: str | None = None  # the text for streams; the first stream makes it


@dataclass(slots=True)
class Second:
    """The messages to the rooms of an organization, or to the operators' room, within one second.

    `messages`: events times clients. `is_reset`: the rooms got a reset. `owes_reset`: events were skipped since.
    """

    began: float
    messages: int = 0
    is_reset: bool = False
    owes_reset: bool = False


class Client:
    """A socket or stream, and the messages that wait for it.

    Args:
        wake: called when messages wait, or the client is to be closed.
    """

    def __init__(self, principal: Principal, wake: Callable[[], object]) -> None:
        self.principal = principal
        self.rooms: set[Room] = set()
        self.is_open = True  # False: it gets no more messages
        self.is_ending = False  # it is closed as soon as no message waits
        self._wake = wake
        self._waiting: dict[object, Message] = {}
        self._held: dict[Room | None, list[Message]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Add a waiting message. If too many wait, a reset replaces those of the room with the most."""
        if not self.is_open:
            return
        held = self._held.get(message.room)
        if held is not None:
            held.append(message)
            if len(held) > MOST_WAITING:
                held[:] = [_reset_after(message)]
        else:
            if message.name == Reset.name:
                self._forget(message.room)  # the client will read everything again
            key = message.key if message.key is not None else message
            # At the end: its cursor is later than those of all waiting messages.
            self._waiting.pop(key, None)
            self._waiting[key] = message
            if len(self._waiting) > MOST_WAITING:
                self._shorten()
        self._wake()

    def take(self, most: int) -> list[Message]:
        """Take the next messages out of the waiting ones."""
        keys = [key for key, _ in zip(self._waiting, range(most), strict=False)]
        return [self._waiting.pop(key) for key in keys]

    def hold(self, room: Room) -> None:
        """Hold back the messages of a room until `release`, or until the client leaves it."""
        self._held[room] = []

    def release(self, room: Room, missed: Sequence[Message] = ()) -> None:
        """Release the missed messages, and after them those that were held back.

        If the client has left the room meanwhile, release nothing: a cursor must not move over a gap.
        """
        held = self._held.pop(room, None)
        if held is None:
            return
        for message in (*missed, *held):
            self.put(message)

    def leave(self, room: Room) -> None:
        """Leave the room."""
        self.rooms.discard(room)
        self._held.pop(room, None)

    def revoke(self, room: Room) -> None:
        """Drop the waiting messages of a room, and tell the client that it may no longer see the room."""
        self._forget(room)
        self.put(Message(room, Revoked(room=room.name)))

    def drop(self) -> None:
        """Drop all waiting messages, and close the client."""
        self.is_open = False
        self._waiting.clear()
        self._held.clear()
        self._wake()

    def end(self) -> None:
        """Close the client once all waiting messages were sent."""
        self.is_ending = True
        self._wake()

    def _shorten(self) -> None:
        """Replace the messages of one room with a reset: a slow reader misses events, but stays connected."""
        placed = [one for one in self._waiting.values() if "cursor" in one.data]
        ((room, _),) = Counter(one.room for one in placed).most_common(1)
        reset = _reset_after([one for one in placed if one.room == room][-1])
        self._forget(room)
        self._waiting[reset] = reset

    def _forget(self, room: Room | None) -> None:
        self._waiting = {key: one for key, one in self._waiting.items() if one.room != room}


class Hub:
    """The rooms of a process and their clients."""

    def __init__(self) -> None:
        self._rooms: dict[Room, dict[Client, None]] = {}
        # The number of an organization's job rooms (None), and for each user the number of clients in such rooms.
        self._jobs: Counter[tuple[str, tuple[str | None, str] | None]] = Counter()
        self._audience: Audience | None = None
        self.seconds: dict[str, Second] = {}  # by organization; "" for `EVERYTHING`
        self.clients: dict[Client, int] = {}  # numbered in the order of their arrival
        self._numbers = count()
        self.dropped = 0  # clients that did not take their messages
        self.strays = 0  # events that were not sent, because the organization had no such job

    def __contains__(self, room: Room) -> bool:
        return room in self._rooms

    @property
    def rooms(self) -> Collection[Room]:
        """Return the rooms that have clients."""
        return self._rooms.keys()

    def hearing(self, room: Room) -> int:
        """Return the number of clients in a room."""
        return len(self._rooms.get(room, ()))

    def rooms_of(self, organization: str) -> Iterator[Room]:
        """Return the rooms of an organization that have clients."""
        return (room for room in self._rooms if room.organization == organization)

    def audience(self) -> Audience:
        """Return the organizations and jobs that have listeners."""
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
            RateLimited: the user has too many clients.
        """
        if sum(_whose(one) == _whose(client) for one in self.clients) >= MOST_OF_USER:
            raise RateLimited(
                f"A user may have {MOST_OF_USER} sockets and streams open; close some.", retry_after=RETRY_LATER
            )
        self.clients[client] = next(self._numbers)

    def enter(self, client: Client, room: Room) -> None:
        """Add a client to a room. The caller has checked that it may enter.

        Raises:
            RateLimited: the user, or all users together, watch too many jobs of the organization.
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
        """Note that a client enters (1) or leaves (-1) a room, while it is not in the room."""
        keys = [(room.organization, _whose(client)), *([(room.organization, None)] if room not in self else [])]
        for key in keys:
            self._jobs[key] += one
            if not self._jobs[key]:
                del self._jobs[key]

    def leave(self, client: Client, room: Room) -> None:
        """Remove a client from a room."""
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
        """Remove a closed client."""
        for room in list(client.rooms):
            self.leave(client, room)
        self.clients.pop(client, None)
        client.is_open = False

    def revoke(self, client: Client, rooms: Collection[Room]) -> None:
        """Remove a client from rooms that it may no longer see, and tell it; without rooms it is closed."""
        for room in rooms:
            self.leave(client, room)
            client.revoke(room)
        if rooms and not client.rooms:
            client.end()

    def beat(self, parts: Collection[int], *, of: int) -> None:
        """Send a heartbeat to the clients of some of `of` parts. A client is always in the same part."""
        those = [one for one, number in self.clients.items() if number % of in parts]
        self._put(Message(None, Heartbeat(), key=Heartbeat.name), those)

    def tell(self, message: Message) -> None:
        """Send a message to all clients of its room."""
        if message.room is not None:
            self._put(message, self._rooms.get(message.room, ()))

    def _put(self, message: Message, clients: Iterable[Client]) -> None:
        for client in clients:
            client.put(message)

    def drop(self, client: Client) -> None:
        """Drop a client that does not take its messages.

        It counts for its user until it is removed, because its connection may stay open.
        """
        for room in list(client.rooms):
            self.leave(client, room)
        client.drop()
        self.dropped += 1


def _reset_after(message: Message) -> Message:
    """Return the reset that replaces a room's messages up to this one."""
    assert message.room is not None
    return Message(message.room, Reset(room=message.room.name, cursor=message.data["cursor"]))


def _whose(client: Client) -> tuple[str | None, str]:
    """Return the key under which a client is counted.

    It has the token's organization, because the admins of an organization can enroll any user and make them a token.
    """
    return client.principal.organization, client.principal.user
