"""Keeps the feed going while somebody listens, lets clients into rooms, and looks whether they still may be there."""

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
_WARM: Final = 0.5  # seconds that a start waits for transactions from before it
_RETRY: Final = 0.2  # seconds
_OUTAGE: Final = 5.0  # seconds, after which the database may be another one: a standby that lacks the last rows
_BEAT: Final = 5.0  # seconds between two heartbeats of a client
_PARTS: Final = 50  # of the clients, which have theirs one after the other: all at once would hold up what happens
_LINGER: Final = 5.0  # seconds that it goes on without clients: a page that is loaded again comes back


class Doorkeeper(Protocol):
    """Who is let in, and where; the API is it. `admit` and `open` may block."""

    def count(self, connection: Mapping[str, Any]) -> None:
        """Count a ticket, which `admit` is then to be asked about; a connection's first came counted with it.

        Args:
            connection: the ASGI scope that it began with.

        Raises:
            Exception: what `problem` tells of.
        """

    def admit(self, ticket: str, connection: Mapping[str, Any]) -> Principal | None:
        """Return whose ticket it is; it is good once."""

    def tenant(self, principal: Principal) -> str:
        """Return whose turn `open` takes."""

    def open(self, principal: Principal, wanted: Mapping[str, Any]) -> "Opened":
        """Return the room that somebody wants, if they may see it. Raises whatever `problem` tells of."""

    def problem(self, error: Exception) -> dict[str, Any]:
        """Return an error as clients are told."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A room that may be entered.

    `snapshot`: how it stands now; may block, and raise. `tenant`: whose turn its questions take.
    """

    room: Room
    snapshot: Callable[[], dict[str, Any]]
    tenant: str


@dataclass(frozen=True, slots=True)
class Entered:
    """The answer to whoever subscribed, and what to do once it was sent."""

    answer: dict[str, Any]
    release: Callable[[], None]


class Live:
    """The realtime side of one process. It belongs to one event loop, and works only while somebody listens.

    Args:
        turn: of a place, in which one question of a client is asked: else who asks much holds up the others. At most
            `THREADS` have one at once.
        read_timeout: seconds that the database may take for a look, of a client or of the feed.
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
        self._database = database
        self._feed = Feed(database, keyring)
        self._membership = membership
        self._turn = turn
        self._read_timeout = read_timeout
        self._threads = ThreadPoolExecutor(THREADS, "fairlane-live")
        # Apart, so that a thousand clients who come back at once hold up nobody who is there.
        self._asking = ThreadPoolExecutor(THREADS, "fairlane-live-asking")
        # Whose a ticket is nobody knows yet, so it takes nobody's turn, and waits behind no look.
        self._admitting = ThreadPoolExecutor(_ADMITTING, "fairlane-live-admitting")
        self._task: asyncio.Task[None] | None = None
        self._warm: asyncio.Future[None] | None = None
        self._looking = asyncio.Lock()
        self._position = Position(0)  # up to where all rooms were told
        self._hint = asyncio.Event()
        self._rights_changed = asyncio.Event()

    async def ask(self, tenant: str, work: Callable[..., T], *args: Any) -> T:
        """Run what blocks, for one client, in its place's turn.

        Raises:
            StatementTooSlow: the database took too long for it.
        """
        async with self._turn(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._asking, self._timed, work, *args)

    async def admit(self, work: Callable[..., T], *args: Any) -> T:
        """Run what blocks, for whoever shows a ticket."""
        return await asyncio.get_running_loop().run_in_executor(self._admitting, self._timed, work, *args)

    def _timed(self, work: Callable[..., T], *args: Any) -> T:
        # Here, as a thread does not inherit what the request had set.
        with reading_within(self._read_timeout):
            return work(*args)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        # Within the same time: who enters a room waits for a look that is on its way.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, work, *args)

    def close(self) -> None:
        """End all clients, and the feed."""
        for client in list(self.hub.clients):
            client.end()
        if self._task is not None:
            self._task.cancel()

    async def enter(self, client: Client, opened: Opened, after: str | None) -> Entered:
        """Let a client into a room: told is all from what it knows on, and nothing before the answer.

        Where that fails, who was there already stays, and is told what came meanwhile.

        Args:
            after: the cursor of what it knows; None: nothing.

        Raises:
            StorageUnavailable: the database does not answer.
            StatementTooSlow: it took too long for it.
            RateLimited: so many jobs of the organization are watched already.
            JobNotFound: it may no longer be seen, or the client is gone.
        """
        await self._started()
        if client.is_ending or not client.is_open:  # nobody would take it out of the room again
            raise JobNotFound("The connection is gone.")
        room = opened.room
        # Before it waits for anything: who loses the right meanwhile is taken out again, and then not let in below.
        was_there = room in client.rooms
        if not was_there:
            self.hub.enter(client, room)
            client.hold(room)
        try:
            # What a look that is on its way tells it meanwhile is older than what is read below, and is forgotten.
            async with self._looking:
                client.hold(room)
                position, cursors = self._position, self._feed.cursors
            missed = None
            if after is not None:
                known = (self._database, cursors, room, after, position)
                missed = await self.ask(opened.tenant, catch_up, *known)
            snapshot = await self.ask(opened.tenant, opened.snapshot) if missed is None else None
            if room not in client.rooms:
                raise JobNotFound("Meanwhile it may no longer be seen.")
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
        """Wait until the feed goes.

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
                # Whoever is in a room may have lost it meanwhile.
                silence.lasts(now)
                await asyncio.sleep(_SOONEST)
                continue
            silence.ends()
            try:
                # Not where this process alone was held up: what it then reads is as good as before.
                look = await self._look(is_anew=has_failed and now - answered > _OUTAGE)
            except StorageUnavailable:
                has_failed = True
                await asyncio.sleep(_RETRY)
                continue
            except Exception:  # noqa: BLE001 - a mistake of ours, too, must leave nobody in silence
                # All begin anew as soon as it goes again.
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
        """Tell what is new. `is_anew`: of what was missed nobody knows, so all rooms begin anew, once it answers."""
        async with self._looking:
            if is_anew:
                await self._start()
            look = await self._in_thread(self._feed.look, self.hub.audience())
            look = replace(look, is_lost=look.is_lost or is_anew)
            await Dispatch(self.hub, self._feed.cursors, look).tell()
            self._position = look.position
        return look

    async def _pause(self, seconds: float) -> None:
        """Wait until a hint, but not before a moment has passed."""
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
                    self._rights_changed.set()  # two looks one after the other would take two seconds
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
    """Return how many parts of the clients have had a heartbeat, or should have, since the clock began."""
    return int(now * _PARTS / _BEAT)
