"""Change when a waiting job starts, and how urgent it is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from fairlane.domain import transitions
from fairlane.domain.arguments import choice, moment_of
from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.jobs import Job, JobOrId
from fairlane.domain.statuses import PRIORITY_OF_RANK, JobStatus, Priority
from fairlane.domain.transitions import Start, Transition
from fairlane.engine.jobs import JobControl
from fairlane.store.statements.transition import SYSTEM, write
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database


class WaitingJobs:
    """The verbs on one job that has not started. `user=None` is the system, which may do all.

    Each raises JobNotFound, PermissionDenied, StorageUnavailable, and IllegalTransition if the job has started.
    """

    def __init__(self, database: Database, jobs: JobControl) -> None:
        self._database = database
        self._jobs = jobs

    def run_now(self, job: JobOrId, organization: str, *, user: str | None) -> Job:
        """Let the job start at once. Raises IllegalTransition for one that waits for parents, too."""
        return self._change(job, organization, user, "run", transitions.run_now)

    def reschedule(self, job: JobOrId, run_at: datetime, organization: str, *, user: str | None) -> Job:
        """Let the job start no earlier than `run_at`. Raises InvalidParameters for what is no moment."""
        with _as_parameter():
            at = moment_of("run_at", run_at)
        after = {"run_at": at.isoformat()}
        return self._change(
            job, organization, user, "reschedule", lambda start, now: transitions.reschedule(start, at, now), after
        )

    def prioritize(self, job: JobOrId, priority: Priority | str, organization: str, *, user: str | None) -> Job:
        """Give the job another priority. Raises InvalidParameters for what is none."""
        with _as_parameter():
            wanted = choice(Priority, "priority", priority)
        after = {"priority": wanted}
        return self._change(
            job, organization, user, "prioritize", lambda start, _: transitions.prioritize(start, wanted), after
        )

    def _change(
        self,
        job: JobOrId,
        organization: str,
        user: str | None,
        verb: str,
        decide: Callable[[Start, datetime], Transition | None],
        after: Mapping[str, Any] | None = None,
    ) -> Job:
        """Make the transition that `decide` returns, under the job's lock."""

        def work(connection: Connection, row: AnyRow) -> Job:
            now = self._database.clock.now(connection)
            transition = decide(_start(row), now)
            if transition is not None:
                write(connection, now, organization, row.id, transition, actor=user or SYSTEM)
            return self._jobs.read(connection, organization, row.id)

        return self._jobs.change(job, organization, user, verb, work, after=after)


def _start(row: AnyRow) -> Start:
    priority = PRIORITY_OF_RANK[row.priority]
    return Start(row.id, JobStatus(row.status), row.ready, row.unmet_parents, row.run_at, priority)


@contextmanager
def _as_parameter() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise InvalidParameters(str(error)) from error
