"""Submission of the jobs of schedules, for `schedules.scheduler` and `schedules.verbs`."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.errors import InstallationError
from fairlane.domain.jobs import Job
from fairlane.domain.sealing import Field
from fairlane.encryption.keyring import Keyring
from fairlane.encryption.sealing import Unreadable
from fairlane.engine.batch import Submission
from fairlane.engine.drafting import Ready
from fairlane.engine.submission import Submitter
from fairlane.store.statements.admission import Live
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

# Labels of the jobs: the name of the schedule, and the moment of the tick in UTC.
SCHEDULE: Final = "schedule"
TICK: Final = "tick"


class Ticks:
    """Submit the jobs of existing schedules."""

    def __init__(self, submitter: Submitter, keyring: Keyring) -> None:
        self._submitter = submitter
        self._keyring = keyring

    def prepare(self, database: Database, schedule: AnyRow, *, by_handler: bool = True) -> Ready:
        """Check before the transaction what the job needs. The result holds for a schedule that `is_same` in it.

        Args:
            by_handler: whether the handler's own types and validators check the parameters now, or only when the job
                starts. In the scheduler a validator that never returns would hold up the ticks of all organizations.

        Raises:
            InstallationError: the parameters can't be decrypted.
        """
        of = schedule.organization_id
        parameters = database.look(lambda connection: opened(self._keyring, connection, schedule), of=of)
        return self._submitter.prepare([_of_row(schedule, parameters, None)], database, by_handler=by_handler)

    def submit(
        self, connection: Connection, schedule: AnyRow, tick: datetime, ready: Ready
    ) -> tuple[UUID, Sequence[Live]]:
        """Submit the job of a tick in this transaction; return its id, and what to `tell` after the commit.

        Raises:
            SubmissionError, ConfigurationError
        """
        job, news = self.job(connection, schedule, tick, ready)
        return job.id, news

    def tell(self, news: Sequence[Live]) -> None:
        """Warn of queues that are nearly full."""
        self._submitter.warn(news)

    def job(
        self, connection: Connection, schedule: AnyRow, tick: datetime | None, ready: Ready
    ) -> tuple[Job, Sequence[Live]]:
        """Submit the job of a tick, or a job beside the ticks; return it, and what to `tell` after the commit.

        Raises:
            SubmissionError, ConfigurationError
        """
        (payload,) = ready.payloads
        (job,), news = self._submitter.submit_in_open_transaction(
            connection, [_of_row(schedule, payload.given, tick)], ready
        )
        return job, news


def _of_row(row: AnyRow, parameters: Mapping[str, Any], tick: datetime | None) -> Submission:
    options = json.loads(row.options)
    return submission(row.organization_id, row.name, row.job_type, row.user_id, parameters, tick=tick, options=options)


def submission(
    organization: str,
    name: str,
    job_type: str,
    user: str | None,
    parameters: Mapping[str, Any],
    *,
    tick: datetime | None,
    options: Mapping[str, Any],
    **more: Any,
) -> Submission:
    """Return the submission of a schedule's job.

    Args:
        tick: the tick that the job is for; None = a job beside the ticks.
        options: the stored priority, queue and labels.
        more: fields of `Submission`.
    """
    own = {SCHEDULE: name, TICK: tick.isoformat()} if tick is not None else {SCHEDULE: name}
    return Submission(
        job_type,
        organization=organization,
        user=user,
        parameters=parameters,
        priority=options["priority"],
        queue=options["queue"],
        labels={**options["labels"], **own},
        run_at=tick,
        dedup_window=0,  # each tick gets its job, even if the job of the tick before has not ended
        **more,
    )


def opened(keyring: Keyring, connection: Connection, row: AnyRow) -> Mapping[str, Any]:
    """Return the stored parameters, decrypted, with their secrets.

    Raises:
        InstallationError: they can't be decrypted: this process lacks the master key, or the key was destroyed.
    """
    shown = keyring.shown(connection)
    try:
        opened: Mapping[str, Any] = json.loads(
            shown.opened(row.organization_id, row.id, Field.PARAMETERS, row.parameters)
        )
    except Unreadable as error:
        raise InstallationError(f"The parameters of schedule {row.name} can't be opened: {error}") from None
    return opened
