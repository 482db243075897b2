"""Submit on the caller's event loop: a plain job takes no thread, and jobs that meet on a loop are submitted together.

Each loop that submits twice has a connection. Its first job is submitted in a thread, as many loops are made for one
call. While a statement is under way, further jobs wait for the next statement, which takes all of them, up to a size
that holds up the loop for a moment only. The statement skips a job if an assumption about it is wrong. Such a job is
submitted in a thread, whose steps find the error, however long they take.

A statement that met a lock, or had an error, did nothing. Then each organization's jobs have a statement of their own.
Only jobs that fail again go to threads, in turn by organization (`Submitter.turns`). While an organization has turns
there, or waits for one, no statement takes its jobs: others would wait for its lock.

A connection that is silent for ten seconds is given up, since all jobs that are submitted on the loop wait for it.
"""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextvars import Context
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

from fairlane.domain.errors import CommitUnanswered, StorageUnavailable
from fairlane.domain.jobs import Job
from fairlane.domain.timing import LOCK_WAIT_OF_MOMENT, SILENCE
from fairlane.engine.batch import Submission, refuse_misfits
from fairlane.engine.submission import CHUNK, CROWDED, Plain, Submitter
from fairlane.store.driver_errors import is_held_up
from fairlane.store.forks import in_each_child
from fairlane.store.line import Line, NeedsSession
from fairlane.store.response_timeout import answered_within
from fairlane.store.shared_threads import SharedThreads
from fairlane.store.statements import new_jobs
from fairlane.store.statements.drafts import Draft
from fairlane.store.transaction import Database

_MOST: Final = 100_000  # characters of a statement's parameters, after which it takes no more jobs


class _HeldUp(Exception):
    """Another transaction's lock was in the way; nothing was done."""


class LoopSubmitter:
    """Submit single jobs on the loops of their callers."""

    def __init__(self, database: Database, submitter: Submitter, threads: SharedThreads) -> None:
        self._database = database
        self._threads = threads
        self._submitter = submitter
        self._is_of_use = database.kind.is_server
        self._begin()
        _all.add(self)

    async def submit(self, submission: Submission) -> Job:
        """Submit a job, in a transaction of Fairlane's own.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError, CommitUnanswered: as `Submitter.submit_many`.
        """
        refuse_misfits([submission])
        with self._submitter.around([submission]) as (given,):
            return await self._submit_one(given)

    async def _submit_one(self, submission: Submission) -> Job:
        sender = self._sender() if self._is_of_use else None
        plain = self._submitter.plain_for_loop(submission) if sender is not None else None
        if sender is not None and plain is not None:
            moment = None
            try:
                moment = await sender.send(submission.organization, plain)
            except NeedsSession:
                self._is_of_use = False  # behind a pooler
            except _HeldUp:
                (job,) = await self._submit_in_turn([submission])
                return job
            except CommitUnanswered as error:
                with answered_within(SILENCE):
                    find = partial(self._submitter.find_unanswered, [submission], error)
                    found = await self._threads.run([submission.organization], find)
                    return found[0][0]
            if moment is not None:
                self._database.hint()
                (job,) = plain.jobs(moment)
                return job
        (job,) = await self._submit_many([submission])
        return job

    async def submit_many(self, submissions: Sequence[Submission]) -> list[Job]:
        """Submit all, or none, in threads that organizations share.

        Raises:
            SubmissionError, StorageUnavailable, ConfigurationError, CommitUnanswered: as `Submitter.submit_many`.
        """
        refuse_misfits(submissions)
        with self._submitter.around(submissions) as given:
            return await self._submit_many(given)

    async def _submit_many(self, submissions: Sequence[Submission]) -> list[Job]:
        organizations = {one.organization for one in submissions}
        if not any(map(self._submitter.turns.are_of, organizations)):
            try:
                work = partial(self._submitter.submit_in_own_transaction, submissions, LOCK_WAIT_OF_MOMENT)
                return await self._threads.run(organizations, work)
            except StorageUnavailable as error:
                if not is_held_up(error):
                    raise
        return await self._submit_in_turn(submissions)

    async def _submit_in_turn(self, submissions: Sequence[Submission]) -> list[Job]:
        organizations = {one.organization for one in submissions}
        coming = self._submitter.turns.submit(
            organizations, partial(self._submitter.submit_in_own_transaction, submissions)
        )
        awaited = asyncio.wrap_future(coming)
        try:
            await asyncio.wait([awaited], timeout=self._submitter.lock_timeout)
            if coming.cancel():  # False once it has begun
                raise StorageUnavailable(CROWDED)
        except BaseException:
            awaited.cancel()
            raise
        return await awaited

    def close(self) -> None:
        """Close the connections of all loops."""
        with self._lock:
            for sender in self._senders.values():
                if sender is not None:
                    sender.line.abandon()
        self._begin()

    def begin_in_child(self) -> None:
        """Leave connections to the parent of this forked process."""
        for sender in list(self._senders.values()):
            if sender is not None:
                sender.line.leave_to_parent()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._senders = WeakKeyDictionary[asyncio.AbstractEventLoop, _Sender | None]()

    def _sender(self) -> "_Sender | None":
        """Return the loop's sender; None: it submits for the first time, perhaps the only time."""
        loop = asyncio.get_running_loop()
        sender = self._senders.get(loop)
        if sender is None:
            with self._lock:
                for other, left in list(self._senders.items()):
                    if other.is_closed():
                        if left is not None:
                            left.line.abandon()
                        del self._senders[other]
                sender = _Sender(self._database, self._submitter.turns) if loop in self._senders else None
                self._senders[loop] = sender
        return sender


class _Waiting(NamedTuple):
    organization: str
    plain: Plain
    end: asyncio.Future[datetime | None]

    def tell(self, moment: datetime | None) -> None:
        if not self.end.done():
            self.end.set_result(moment)

    def fail(self, error: Exception) -> None:
        if not self.end.done():
            self.end.set_exception(error)


class _Going(NamedTuple):
    draft: Draft
    of: _Waiting


class _Sender:
    """A loop's connection, and the jobs that wait for it."""

    def __init__(self, database: Database, turns: SharedThreads) -> None:
        self.line = Line(database, None, {})
        self._turns = turns
        self._waiting = deque[_Waiting]()
        self._going: list[_Going] = []
        self._task: asyncio.Task[None] | None = None
        self._close: AsyncGenerator[None, None] | None = None

    async def send(self, organization: str, plain: Plain) -> datetime | None:
        """Return the moment of the submission; None: nothing was done.

        Raises:
            CommitUnanswered
            NeedsSession: nothing was done, and nothing can be on this connection.
            _HeldUp: nothing was done.
        """
        one = _Waiting(organization, plain, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if self._task is None or self._task.done():
            # The task outlives the first caller, so it has nothing of their context.
            self._task = asyncio.create_task(self._run(), name="fairlane-submit", context=Context())
        return await one.end

    async def _run(self) -> None:
        if self._close is None:
            # The end of a loop ends its generators, and then the connection has to be closed.
            self._close = self._closing()
            await anext(self._close)
        try:
            with answered_within(SILENCE):
                await self._submit_all()
        finally:
            for one in (*(each.of for each in self._going), *self._waiting):
                one.end.cancel()  # The loop ends: no caller shall be left waiting.
            self._going = []
            self._waiting.clear()

    async def _submit_all(self) -> None:
        while self._waiting:
            try:
                await self.line.connect()
            except Exception as error:  # noqa: BLE001 - each goes by a thread, where it is told
                for one in self._waiting:
                    if isinstance(error, NeedsSession):
                        one.fail(error)
                    one.tell(None)
                self._waiting.clear()
                return
            self._going = self._drafted()
            if self._going:
                await self._submit(self._going)

    def _drafted(self) -> list[_Going]:
        """Take the jobs for the next statement."""
        going: list[_Going] = []
        characters = 0
        while self._waiting and len(going) < CHUNK and characters < _MOST:
            one = self._waiting.popleft()
            if one.end.done():
                continue
            if self._turns.are_of(one.organization):
                one.fail(_HeldUp())
                continue
            try:
                drafts = next(one.plain.chunks())
            except Exception as error:  # noqa: BLE001 - it is told, and nobody else
                one.fail(error)
                continue
            if drafts is None:
                one.tell(None)
                continue
            (draft,) = drafts
            going.append(_Going(draft, one))
            characters += len(draft.parameters)
        return going

    async def _submit(self, going: Sequence[_Going]) -> None:
        """Submit the jobs by one statement; if it fails as a whole, by one statement for each organization."""
        done: Mapping[UUID, datetime] = {}
        try:
            done = await new_jobs.at_once_on(self.line, [one.draft for one in going], LOCK_WAIT_OF_MOMENT)
        except (CommitUnanswered, NeedsSession) as error:
            for one in going:
                one.of.fail(error)
        except Exception as error:  # noqa: BLE001 - nothing was done; it is seen in a thread whose fault it was
            owners = defaultdict[str, list[_Going]](list)
            for one in going:
                owners[one.draft.organization].append(one)
            if len(owners) > 1 and self.line.is_there:
                for mine in owners.values():
                    await self._submit(mine)
            elif is_held_up(error):
                for one in going:
                    one.of.fail(_HeldUp())
                await asyncio.sleep(0)  # They ask for their turn before the next statement is drafted.
        for one in going:
            one.of.tell(done.get(one.draft.id))

    async def _closing(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.line.close()


_all: Final = in_each_child(LoopSubmitter.begin_in_child)
