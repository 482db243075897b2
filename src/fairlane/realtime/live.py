"""The live side of a process: it runs the feed while there are clients, lets them into rooms, checks their rights."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from fairlane.domain.errors import JobNotFound, StorageUnavailable
from fairlane.domain.log_cursor import Position
from fairlane.domain.permissions import Principal
from fairlane.encryption.keyring import Keyring
from fairlane.realtime.dispatch import Dispatch, catch_up
from fairlane.realtime.events import Subscribed
from fairlane.realtime.feed import Feed, Look
from fairlane.realtime.hub import Client, Hub, Room
from fairlane.realtime.membership import Membership, Silence, each_second
from fairlane.store.hints import Listener
from fairlane.store.transaction import Database, reading_within

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

THREADS: Final = 4
_ADMITTING: Final = 2  # threads
_SOONEST, _BUSY, _IDLE = 0.02, 0.05, 0.1  # seconds between two looks
_SLOWER: Final = 1.3
_WARM: Final = 0.5  # seconds that a start waits for earlier transactions
_RETRY: Final = 0.2  # seconds
_OUTAGE: Final = 5.0  # seconds, after which the database may be a standby that lacks the last rows
_BEAT: Final = 5.0  # seconds between two heartbeats of a client
_PARTS: Final = 50  # of the clients, which get heartbeats one after the other: all at once would delay events
_LINGER: Final = 5.0  # seconds that the feed runs without clients: a page that is reloaded connects again


class Doorkeeper(Protocol):
    """The check of who may enter which room, which the API makes. `admit` and `open` may block."""

    def count(self, connection: Mapping[str, Any]) -> None:
        """Count a ticket before `admit` is called with it. A connection's first ticket is counted with the connection.

        Args:
            connection: the ASGI scope of the connection.

        Raises:
            Exception: an error for `problem`.
        """

    def admit(self, ticket: str, connection: Mapping[str, Any]) -> Principal | None:
        """Return the principal of a ticket, which is valid once."""

    def tenant(self, principal: Principal) -> str:
        """Return the tenant whose turn `open` takes."""

    def open(self, principal: Principal, wanted: Mapping[str, Any]) -> "Opened":
        """Return the room that the principal wants, if they may see it. Raises an error for `problem`."""

    def problem(self, error: Exception) -> dict[str, Any]:
        """Return an error as clients get it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A room that may be entered.

    `snapshot`: returns the current state; may block, and raise. `tenant`: the tenant whose turn its questions take.
    """

    room: Room
    snapshot: Callable[[], dict[str, Any]]
    tenant: str


@dataclass(frozen=True, slots=True)
class Entered:
    """The answer to a subscription, and `release`, which is called once the answer was sent."""

    answer: dict[str, Any]
    release: Callable[[], None]


class Live:
    """The live side of one process. It belongs to one event loop, and works only while there are clients.

    Args:
        turn: a tenant's turn for one question of a client, so that many questions of one tenant delay no other. At
            most `THREADS` turns are held at once.
        read_timeout: seconds that the database may take for a read, of a client or of the feed.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        membership: Membership,
        *,
        turn: Callable[[str], AbstractAsyncContextManager[None]],
        read_timeout: float,
    ) -> None:
        self.hub = Hub()
        self.streaming = asyncio.Lock()  # of the one stream that may send
        self._database = database
        self._feed = Feed(database, keyring)
        self._membership = membership
        self._turn = turn
        self._read_timeout = read_timeout
        self._threads = ThreadPoolExecutor(THREADS, "fairlane-live")
        # Separate threads, so that a thousand returning clients do not delay the others.
        self._asking = ThreadPoolExecutor(THREADS, "fairlane-live-asking")
        # The tenant of a ticket is not known yet, so tickets take no turn, and do not wait for the feed.
        self._admitting = ThreadPoolExecutor(_ADMITTING, "fairlane-live-admitting")
        self._task: asyncio.Task[None] | None = None
        self._warm: asyncio.Future[None] | None = None
        self._looking = asyncio.Lock()
        self._position = Position(0)  # up to here all rooms got their events
        self._hint = asyncio.Event()
        self._rights_changed = asyncio.Event()

    async def ask(self, tenant: str, work: Callable[..., T], *args: Any) -> T:
        """Run blocking work for one client, in its tenant's turn.

        Raises:
            StatementTooSlow: the database took too long.
        """
        async with self._turn(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._asking, self._timed, work, *args)

    async def admit(self, work: Callable[..., T], *args: Any) -> T:
        """Run the blocking check of a ticket."""
        return await asyncio.get_running_loop().run_in_executor(self._admitting, self._timed, work, *args)

    def _timed(self, work: Callable[..., T], *args: Any) -> T:
        # The timeout is set here, because a thread does not inherit that of the request.
        with reading_within(self._read_timeout):
            return work(*args)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        # With the same timeout: a client that enters a room waits for the running look.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, work, *args)

    def close(self) -> None:
        """End all clients, and the feed."""
        for client in list(self.hub.clients):
            client.end()
        if self._task is not None:
            self._task.cancel()

    async def enter(self, client: Client, opened: Opened, after: str | None) -> Entered:
        """Let a client into a room. It gets all events since its cursor, and none before the answer.

        If this fails, a client that was in the room already stays there, and gets the events that came meanwhile.

        Args:
            after: the client's last cursor; None: it has none.

        Raises:
            StorageUnavailable: the database does not answer.
            StatementTooSlow: the database took too long.
            RateLimited: too many jobs of the organization are watched.
            JobNotFound: the client may no longer see the room, or is gone.
        """
        await self._started()
        if client.is_ending or not client.is_open:  # nothing would remove it from the room later
            raise JobNotFound("The connection is gone.")
        room = opened.room
        # Before any wait: a client that loses the right meanwhile is removed again, and the check below refuses it.
        was_there = room in client.rooms
        if not was_there:
            self.hub.enter(client, room)
            client.hold(room)
        try:
            # Messages of the running look are older than what is read below, and are dropped.
            async with self._looking:
                client.hold(room)
                position, cursors = self._position, self._feed.cursors
            missed = None
            if after is not None:
                known = (self._database, cursors, room, after, position)
                missed = await self.ask(opened.tenant, catch_up, *known)
            snapshot = await self.ask(opened.tenant, opened.snapshot) if missed is None else None
            if room not in client.rooms:
                raise JobNotFound("You may no longer see the job.")
        except BaseException:
            if was_there and room in client.rooms:
                client.release(room)
            else:
                self.hub.leave(client, room)
            raise
        cursor = cursors.seal(position) if missed is None else missed.cursor
        is_reset = after is not None and missed is None
        told = Subscribed(room=room.name, cursor=cursor, snapshot=snapshot, reset=is_reset)
        self.hub.strays += missed.strays if missed is not None else 0
        return Entered(
            told.model_dump(mode="json"), partial(client.release, room, missed.messages if missed is not None else ())
        )

    async def _started(self) -> None:
        """Wait until the feed runs.

        Raises:
            StorageUnavailable
        """
        if self._task is None:
            self._warm = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._warm))
        assert self._warm is not None
        await asyncio.shield(self._warm)

    async def _run(self, warm: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        listener = Listener(self._database, lambda _: loop.call_soon_threadsafe(self._hint.set), loop)
        others: list[asyncio.Task[None]] = []
        try:
            await self._start()
            warm.set_result(None)
            listener.start()
            checks = {self._check_credentials: asyncio.Event(), self._check_memberships: self._rights_changed}
            others += [asyncio.create_task(each_second(check, sooner)) for check, sooner in checks.items()]
            await self._follow()
        except Exception as error:
            if warm.done():
                raise
            warm.set_exception(error)
        finally:
            self._task = None
            warm.cancel()
            for other in others:
                other.cancel()
            await loop.run_in_executor(None, listener.stop)

    async def _start(self) -> None:
        await self._in_thread(self._feed.start)
        deadline = time.monotonic() + _WARM
        while not self._feed.is_warm and time.monotonic() < deadline:
            await asyncio.sleep(_SOONEST)
            await self._in_thread(self._feed.warm_up)
        self._position = self._feed.position

    async def _follow(self) -> None:
        pause, has_failed = _BUSY, False
        heard = answered = time.monotonic()
        silence = Silence()
        beaten = _turn(answered)
        while True:
            now = time.monotonic()
            heard = now if self.hub.clients else heard
            if now - heard > _LINGER:
                return
            if not self._membership.is_fresh(now):
                # A client may have lost the right to its room meanwhile.
                silence.lasts(now)
                await asyncio.sleep(_SOONEST)
                continue
            silence.ends()
            try:
                # If only this process was stopped for a while, the database is the same, and the feed goes on.
                look = await self._look(is_anew=has_failed and now - answered > _OUTAGE)
            except StorageUnavailable:
                has_failed = True
                await asyncio.sleep(_RETRY)
                continue
            except Exception:  # noqa: BLE001 - the feed must survive a bug, too
                # All rooms get a reset as soon as the feed runs again.
                _log.exception("The realtime feed failed, and goes on.")
                has_failed = True
                await asyncio.sleep(_OUTAGE)
                continue
            answered, has_failed = time.monotonic(), False
            if not look.has_more and (turn := _turn(answered)) > beaten:
                self.hub.beat({one % _PARTS for one in range(max(beaten, turn - _PARTS), turn)}, of=_PARTS)
                beaten = turn
            is_quiet = not (look.entries or look.progress or look.alerts or look.is_lost)
            pause = min(pause * _SLOWER, _IDLE) if is_quiet else _BUSY
            await self._pause(0.0 if look.has_more else pause)

    async def _look(self, *, is_anew: bool) -> Look:
        """Dispatch the news. `is_anew`: the missed events are unknown, so all rooms get a reset after an answer."""
        async with self._looking:
            if is_anew:
                await self._start()
            look = await self._in_thread(self._feed.look, self.hub.audience())
            look = replace(look, is_lost=look.is_lost or is_anew)
            await Dispatch(self.hub, self._feed.cursors, look).tell()
            self._position = look.position
        return look

    async def _pause(self, seconds: float) -> None:
        """Wait for a hint or the timeout, but for a moment at least."""
        await asyncio.sleep(min(seconds, _SOONEST))
        self._hint.clear()
        if seconds > _SOONEST:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), seconds - _SOONEST)

    async def _check_credentials(self) -> None:
        clients = list(self.hub.clients)
        now = time.monotonic()
        those = [one.principal for one in clients]
        principals = await self._in_thread(self._membership.principals, those) if those else {}
        self._membership.credentials_checked = now
        for client in clients:
            principal = principals.get(client.principal.credential)
            if principal is not None:
                if principal != client.principal:
                    self._rights_changed.set()  # else its rooms would be checked a second later
                client.principal = principal
            elif client in self.hub.clients:
                self.hub.revoke(client, list(client.rooms))
                client.end()

    async def _check_memberships(self) -> None:
        asked = [(client, room) for client in self.hub.clients for room in client.rooms]
        now = time.monotonic()
        those = [(client.principal, room) for client, room in asked]
        may_see = await self._in_thread(self._membership.those_who_may, those)
        self._membership.memberships_checked = now
        for client, room in asked:
            if room in client.rooms and not may_see(client.principal, room):
                self.hub.revoke(client, [room])


def _turn(now: float) -> int:
    """Return how many parts of the clients were due for a heartbeat since the clock began."""
    return int(now * _PARTS / _BEAT)
