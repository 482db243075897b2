"""`fl.aio`: the async side of `Fairlane`."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fairlane.app import FIRST_LOOK, SLOWEST_LOOK, Fairlane
from fairlane.control.asynchronous import (
    AsyncAudit,
    AsyncBulk,
    AsyncDeadLetters,
    AsyncJobTypes,
    AsyncKeys,
    AsyncMaintenance,
    AsyncMembers,
    AsyncOrganizations,
    AsyncQueues,
    AsyncSchedules,
    AsyncTokens,
    AsyncUsers,
    AsyncWorkers,
    Verbs,
    asynchronous,
    submitting,
)
from fairlane.control.batch import Submission, alone
from fairlane.domain.arguments import Seconds
from fairlane.domain.jobs import Job, JobChange, JobOrId
from fairlane.domain.statuses import TERMINAL
from fairlane.encryption.pieces import PIECE, in_pieces
from fairlane.store.shared_threads import SharedThreads


async def _submit(
    sync: Fairlane,
    job_type: str,
    *,
    organization: str,
    parameters: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **more: Any,
) -> Job:
    submission = Submission(
        job_type, organization=organization, parameters=parameters or {}, labels=labels or {}, **more
    )
    with alone():
        return await sync._on_loops.submit(submission)  # noqa: SLF001 - the other half of the same object


async def _submit_many(sync: Fairlane, submissions: Sequence[Submission]) -> list[Job]:
    return await sync._on_loops.submit_many(submissions)  # noqa: SLF001 - as above


class AsyncVerbs(Verbs[Fairlane]):
    """`fl.aio`: the verbs of `Fairlane` with the same arguments, to be awaited."""

    def __init__(self, sync: Fairlane, threads: SharedThreads) -> None:
        super().__init__(sync, threads)
        self.organizations = AsyncOrganizations(sync.organizations, threads)
        self.members = AsyncMembers(sync.members, threads)
        self.queues = AsyncQueues(sync.queues, threads)
        self.maintenance = AsyncMaintenance(sync.maintenance, threads)
        self.job_types = AsyncJobTypes(sync.job_types, threads)
        self.dead_letters = AsyncDeadLetters(sync.dead_letters, threads)
        self.schedules = AsyncSchedules(sync.schedules, threads)
        self.users = AsyncUsers(sync.users, threads)
        self.tokens = AsyncTokens(sync.tokens, threads)
        self.keys = AsyncKeys(sync.keys, threads)
        self.audit = AsyncAudit(sync.audit, threads)
        self.bulk = AsyncBulk(sync.bulk, threads)
        self.workers = AsyncWorkers(sync.workers, threads)

    migrate = asynchronous(Fairlane.migrate)
    submit = submitting(Fairlane.submit, _submit)
    submit_many = submitting(Fairlane.submit_many, _submit_many)
    get = asynchronous(Fairlane.get)
    list = asynchronous(Fairlane.list)
    history = asynchronous(Fairlane.history)
    log_lines = asynchronous(Fairlane.log_lines)
    explain = asynchronous(Fairlane.explain)
    result = asynchronous(Fairlane.result)
    artifact = asynchronous(Fairlane.artifact)
    save_artifact = asynchronous(Fairlane.save_artifact)
    list_artifacts = asynchronous(Fairlane.list_artifacts)
    find_artifact = asynchronous(Fairlane.find_artifact)
    cancel = asynchronous(Fairlane.cancel)
    run_now = asynchronous(Fairlane.run_now)
    reschedule = asynchronous(Fairlane.reschedule)
    prioritize = asynchronous(Fairlane.prioritize)
    retry = asynchronous(Fairlane.retry)
    delete = asynchronous(Fairlane.delete)
    directory_changed = asynchronous(Fairlane.directory_changed)
    metrics = asynchronous(Fairlane.metrics)

    async def stream_artifact(self, job: JobOrId, name: str, *, organization: str) -> AsyncGenerator[bytes, None]:
        """Return an artifact's bytes in pieces of a megabyte at most, so that a large one need not fit into memory.

        It raises before the first piece. Of `fl.aio` take them by `async for piece in await fl.aio.stream_artifact(…)`.

        Raises:
            JobNotFound, ArtifactNotFound
            OrganizationSuspended: results are locked until it is active again.
        """

        def opened() -> Iterator[bytes]:
            # The way to a thread and back takes longer than a small piece.
            return in_pieces(self._sync.stream_artifact(job, name, organization=organization), PIECE)

        return self._pieces(await self._threads.run([organization], opened), organization)

    async def wait(self, job: JobOrId, *, organization: str, timeout: Seconds | None = 30) -> Job:
        """Wait until the job has ended.

        Raises:
            JobNotFound
            StorageUnavailable: the database did not answer. The job goes on; call this again.
            WaitTimeout: it has not ended within `timeout` (seconds or timedelta; None = for ever), and why. The job is
                left as it is.
        """
        looks = self._sync._looks(job, organization=organization, timeout=timeout)  # noqa: SLF001 - as above
        while True:
            look = await self._threads.run([organization], partial(next, looks))
            if isinstance(look, Job):
                return look
            await asyncio.sleep(look)

    async def watch(self, job: JobOrId, *, organization: str) -> AsyncGenerator[JobChange, None]:
        """Yield the job as it stands, then each of its transitions and each change of its progress, until it has ended.

        It looks at the database up to twice a second while nothing happens, and more often just after a change. To
        show thousands of jobs to many people at once, take the live events.

        Raises:
            JobNotFound: there is no such job, or it was deleted meanwhile.
        """
        before: Job | None = None
        told, look = 0, FIRST_LOOK
        while True:
            now = await self.get(job, organization=organization)
            entries = await self.history(job, organization=organization) if now != before else ()
            # A log that has gone on since then, or is not the job's: both are read again after the pause.
            if entries and entries[-1].to_status == now.status:
                new = () if before is None else tuple(one for one in entries if one.sequence > told)
                for entry in new or (None,):
                    yield JobChange(now, entry)
                if now.status in TERMINAL:
                    return
                before, told, look = now, entries[-1].sequence, FIRST_LOOK
            await asyncio.sleep(look)
            look = min(look * 1.5, SLOWEST_LOOK)

    async def _pieces(self, pieces: Iterator[bytes], organization: str) -> AsyncGenerator[bytes, None]:
        """Yield the pieces, each read in a thread."""
        while (piece := await self._threads.run([organization], partial(next, pieces, None))) is not None:
            yield piece
