"""Submit on the caller's event loop: a plain job takes no thread, and jobs that meet on a loop are submitted together.

Each loop has one connection. While a statement is on its way, what is submitted meanwhile waits, and all of it goes by
the next statement. A job of which something does not hold is left out by the statement, and submitted in a thread: the
steps there say what is wrong with it, and take the time that they take. So do all where the statement had to wait for a
lock, or had an error.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy.exc import DBAPIError

from fairlane.control.batch import Submission
from fairlane.control.submission import CHUNK, Plain, Submitter
from fairlane.domain.errors import CommitUnanswered, FairlaneError
from fairlane.domain.jobs import Job
from fairlane.store.line import Line, NeedsSession
from fairlane.store.statements import new_jobs
from fairlane.store.statements.drafts import Draft, Granted
from fairlane.store.transaction import PLANNED_ONCE, Database

# Who waits for a lock holds up all that is submitted on the loop; in a thread it may take longer.
_SESSION: Final = {"lock_timeout": "50ms", **dict([PLANNED_ONCE])}


class LoopSubmitter:
    """Submits single jobs on the loops of those who await them."""

    def __init__(self, database: Database, submitter: Submitter) -> None:
        self._database = database
        self._submitter = submitter
        self._lock = threading.Lock()
        self._is_of_use = database.is_postgres
        self._senders = WeakKeyDictionary[asyncio.AbstractEventLoop, _Sender]()

    async def submit(self, submission: Submission) -> Job:
        """Submit a job, in a transaction of Fairlane's own.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError, CommitUnanswered: as `Submitter.submit_many`.
        """
        plain = self._submitter.at_hand(submission) if self._is_of_use else None
        if plain is not None:
            try:
                at = await self._sender().send(plain)
            except NeedsSession:
                self._is_of_use, at = False, None  # behind a pooler
            except CommitUnanswered as error:
                return await asyncio.to_thread(self._submitter.find_after, error, submission)
            if at is not None:
                self._database.hint()
                (job,) = plain.jobs(at)
                return job
        (job,) = await asyncio.to_thread(self._submitter.submit_many, [submission])
        return job

    def close(self) -> None:
        """Close the connections of all loops."""
        with self._lock:
            for sender in self._senders.values():
                sender.line.abandon()
            self._senders.clear()

    def _sender(self) -> "_Sender":
        loop = asyncio.get_running_loop()
        sender = self._senders.get(loop)
        if sender is None:
            with self._lock:
                for other, left in list(self._senders.items()):
                    if other.is_closed():
                        left.line.abandon()
                        del self._senders[other]
                sender = self._senders[loop] = _Sender(self._database)
        return sender


class _Waiting(NamedTuple):
    plain: Plain
    end: asyncio.Future[datetime | None]


class _Sender:
    """One loop's connection, and who waits for it."""

    def __init__(self, database: Database) -> None:
        self.line = Line(database, None, _SESSION)
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._close: AsyncGenerator[None, None] | None = None

    async def send(self, plain: Plain) -> datetime | None:
        """Return when it was submitted; None: nothing was done.

        Raises:
            CommitUnanswered
            NeedsSession: nothing was done, nor ever will be.
        """
        one = _Waiting(plain, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="fairlane-submit")
        return await one.end

    async def _run(self) -> None:
        if self._close is None:
            # Whoever ends a loop ends its generators: that is when the connection has to be closed.
            self._close = self._closing()
            await anext(self._close)
        now: list[_Waiting] = []
        try:
            while self._waiting:
                now, self._waiting = self._waiting[:CHUNK], self._waiting[CHUNK:]
                await self._submit([one for one in now if not one.end.done()])
        finally:
            for one in (*now, *self._waiting):
                one.end.cancel()  # Where the loop ends: nobody is left waiting.
            self._waiting = []

    async def _submit(self, wanted: Sequence[_Waiting]) -> None:
        done: Mapping[UUID, datetime] = {}
        ends: dict[UUID, asyncio.Future[datetime | None]] = {}
        drafts: list[Draft] = []
        granted: dict[str, Granted] = {}
        try:
            await self.line.connect()
            for one in wanted:
                for draft in next(one.plain.chunks()) or ():
                    drafts.append(draft)
                    ends[draft.id] = one.end
                    granted |= one.plain.granted
            if drafts:
                done = await new_jobs.at_once_on(self.line, drafts, granted)
        except Exception as error:  # noqa: BLE001 - it is told
            told = [one.end for one in wanted] if isinstance(error, NeedsSession) else ends.values()
            if isinstance(error, NeedsSession | CommitUnanswered) or not isinstance(error, FairlaneError | DBAPIError):
                for end in told:
                    if not end.done():
                        end.set_exception(error)
            # Else nothing was done: each is submitted in a thread, where it is seen whose fault it was.
        at = {end: done.get(job_id) for job_id, end in ends.items()}
        for one in wanted:
            if not one.end.done():
                one.end.set_result(at.get(one.end))

    async def _closing(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.line.close()
