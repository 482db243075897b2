"""The order of the steps of transactions that race: of all participants exactly one goes on at a time.

Each participant is a call in a thread of its own, with the connection that it takes from the pool. SQLAlchemy's events
stop the thread before each statement and each commit until it is its turn. A step may have to wait for a lock that
another holds: PostgreSQL tells, and the participant's step then ends within a step of the other's. SQLite has one
lock for all writers, so there a participant that would begin to write has no turn while another does.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

from fairlane import FairlaneError
from fairlane.store.engine import WRITE
from fairlane.store.gathering import Gathering
from tests.store.interleavings.steps import Step, Touch, Touched, statement
from tests.store.races.race import DEADLINE

_LOOK: Final = 0.003  # seconds until PostgreSQL is asked whether a step waits for a lock
_BEGIN: Final = Step("BEGIN", frozenset({("the file", Touch.REMOVE)}))  # of a transaction that writes to SQLite
_BLOCKED: Final = "SELECT pid FROM unnest(%s::int[]) AS pid WHERE pg_blocking_pids(pid) && %s::int[]"

# Whose turn it is, and whether they crash instead of taking their step.
Turn = tuple[int, bool]
Choose = Callable[[Mapping[Turn, Step]], Turn]


class Crashed(BaseException):
    """A participant's process is gone; its transaction is rolled back."""


class Participant:
    """A side of the race. `step` is what it is about to do while it stands still."""

    def __init__(self, *, may_crash: bool) -> None:
        self.step: Step | None = None
        self.moves = True
        self.has_crashed = False
        self.may_crash = may_crash
        self.pid = 0
        self.is_writing = False  # on SQLite: has the lock
        self.touched: frozenset[Touched] = frozenset()  # by its transaction, if that has written


class Order:
    """Plays one order.

    Args:
        observer: a connection to PostgreSQL; None: the database is SQLite's.
        threads: for the participants.
        choose: whose turn it is, of those who could go on.
        mortals: the participants that may crash before any write or commit, by their place in `run`.
    """

    def __init__(
        self,
        observer: psycopg.Connection | None,
        threads: ThreadPoolExecutor,
        choose: Choose,
        mortals: Sequence[int] = (),
    ) -> None:
        self._observer = observer
        self._pool = threads
        self._choose = choose
        self._mortals = mortals
        self._news = threading.Condition()
        self._participants: list[Participant] = []
        self._by_thread: dict[int, Participant] = {}
        self._taken: list[str] = []

    def __str__(self) -> str:
        return "\n".join(["", *self._taken])

    def run(self, *calls: Callable[[], object]) -> list[Any]:
        """Race the calls in this order; what each returned, or the error that refused it, or None if it crashed."""
        self._participants = [Participant(may_crash=place in self._mortals) for place in range(len(calls))]
        with self._stops():
            futures = [
                self._pool.submit(self._take_part, one, call)
                for one, call in zip(self._participants, calls, strict=True)
            ]
            self._settle()
            while turns := self._turns():
                self._take(self._choose(turns))
                self._settle()
        return [_answer(future) for future in futures]

    def _take_part(self, me: Participant, call: Callable[[], object]) -> object:
        self._by_thread[threading.get_ident()] = me
        try:
            return call()
        finally:
            with self._news:
                # Of a COMMIT at which it crashed, SQLAlchemy tells no ROLLBACK.
                me.moves, me.step, me.is_writing = False, None, False
                self._news.notify_all()

    def _turns(self) -> dict[Turn, Step]:
        """Return the participants that could go on. A crash before a plain read is no turn: it equals one after it."""
        is_taken = any(one.is_writing for one in self._participants)
        turns: dict[Turn, Step] = {}
        for place, one in enumerate(self._participants):
            if one.moves or one.step is None or (is_taken and one.step is _BEGIN):
                continue
            turns[place, False] = one.step
            if one.may_crash and (one.step.writes or one.step.ends):
                turns[place, True] = Step("crash", one.touched, ends=True)
        return turns

    def _take(self, turn: Turn) -> None:
        place, crashes = turn
        one = self._participants[place]
        assert one.step is not None
        self._taken.append(f"{place + 1}: {'crash before ' if crashes else ''}{one.step.text[:150]}")
        with self._news:
            if one.step is _BEGIN:
                one.is_writing = not crashes
            if one.step.writes:
                one.touched |= one.step.touched
            one.has_crashed = crashes
            one.moves = True
            self._news.notify_all()

    def _settle(self) -> None:
        """Return when nobody moves but those who wait for others' locks."""
        while True:
            with self._news:
                moving = [one for one in self._participants if one.moves]
                others_stand = any(one.step is not None and not one.moves for one in self._participants)
                if not moving or self._news.wait_for(lambda m=moving: not any(one.moves for one in m), _LOOK):  # type: ignore[misc]
                    return
            # Where all wait, the database breaks the deadlock.
            if others_stand and self._are_blocked([one for one in moving if one.moves]):
                return

    def _are_blocked(self, moving: Sequence[Participant]) -> bool:
        if self._observer is None:
            return False
        pids, all_pids = [one.pid for one in moving], [one.pid for one in self._participants]
        return len(self._observer.execute(_BLOCKED, (pids, all_pids)).fetchall()) == len(pids)

    @contextmanager
    def _stops(self) -> Iterator[None]:
        """Stop the participants before their steps while the block runs."""
        _playing.append(self)
        yield
        _playing.remove(self)

    def _before_begin(self, connection: Connection) -> None:
        if self._observer is None and connection.get_execution_options().get(WRITE, False):
            self._stop(lambda: connection.connection.driver_connection, _BEGIN)

    def _before_statement(self, connection: Connection, _cursor: object, text: str, *_: object) -> None:
        is_by_itself = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        self._before_text(lambda: connection.connection.driver_connection, text, is_by_itself=is_by_itself)

    def _before_text(self, driver: Callable[[], Any], text: str, *, is_by_itself: bool) -> None:
        step = statement(text)
        if step is not None:
            self._stop(driver, step._replace(ends=True) if is_by_itself and step.writes else step)

    def _before_commit(self, connection: Connection) -> None:
        self._before_end(connection, "COMMIT")

    def _before_rollback(self, connection: Connection) -> None:
        self._before_end(connection, "ROLLBACK")

    def _before_end(self, connection: Connection, text: str) -> None:
        me = self._by_thread.get(threading.get_ident())
        if me is not None and me.touched:
            self._stop(lambda: connection.connection.driver_connection, Step(text, me.touched, ends=True))
            me.touched, me.is_writing = frozenset(), False

    def _stop(self, driver: Callable[[], Any], step: Step) -> None:
        me = self._by_thread.get(threading.get_ident())
        if me is None or me.has_crashed:
            return
        with self._news:
            if self._observer is not None:
                me.pid = driver().info.backend_pid
            me.step, me.moves = step, False
            self._news.notify_all()
            assert self._news.wait_for(lambda: me.moves, DEADLINE), "it never was its turn"
        if me.has_crashed:
            raise Crashed


_playing: list[Order] = []


# For good, since threads of the test go through them while a play begins or ends. Of all engines: they come before
# what our own do at a BEGIN.
@event.listens_for(Engine, "before_cursor_execute")
def _before_statement(*given: Any) -> None:
    for one in _playing:
        one._before_statement(*given[:3])


def _sending(dialect: Any, cursor: Any, text: str, parameters: Any, context: Any = None) -> None:
    if context is None:  # it goes straight to the driver
        alone = dialect.name == "postgresql"
        for one in _playing:
            one._before_text(lambda: cursor.connection, text, is_by_itself=alone)
    _send(dialect, cursor, text, parameters, context)


def _alone(gathering: Gathering, work: Callable[[Connection], object]) -> object:
    """Commit it as in a process of its own: a thread that waits for another's commit would take no step."""
    return _commit(Gathering(gathering.write) if _playing else gathering, work)


_commit: Final = Gathering.commit
Gathering.commit = _alone  # type: ignore[method-assign, assignment]
_send: Final[Callable[..., None]] = DefaultDialect.do_execute
DefaultDialect.do_execute = _sending  # type: ignore[method-assign]


@event.listens_for(Engine, "begin")
def _before_begin(connection: Connection) -> None:
    for one in _playing:
        one._before_begin(connection)


@event.listens_for(Engine, "commit")
def _before_commit(connection: Connection) -> None:
    for one in _playing:
        one._before_commit(connection)


@event.listens_for(Engine, "rollback")
def _before_rollback(connection: Connection) -> None:
    for one in _playing:
        one._before_rollback(connection)


def _answer(future: "Future[object]") -> object:
    try:
        return future.result(DEADLINE)
    except FairlaneError as error:
        return error
    except Crashed:
        return None
