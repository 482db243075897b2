"""Files in the artifact storage that no job has, so that none is forgotten there.

A file is written down here before it is stored, and struck out in the transaction that makes it a job's. One that a job
loses is written down in the transaction that takes it away. So whatever crashes in between, clean-up finds the file.
Files themselves are deleted outside of transactions: first the file, then its row here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from fairlane.store.sql import is_row
from fairlane.store.statements.attempts import Lease
from fairlane.store.tables import AnyRow, doomed_files, live

# From the announcement: for how long an upload may go on after its attempt has ended, as that of a worker that was
# given up may.
GRACE: Final = timedelta(hours=1)
# A cleaner that takes files has so long for them; then others may try.
_TAKEN: Final = timedelta(minutes=10)
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(minutes=5), timedelta(days=1)


def announce(connection: Connection, now: datetime, lease: Lease, file_id: UUID, path: str) -> None:
    """Note that an attempt is about to store a file, which is left alone while the attempt runs."""
    attempt = {"job_id": lease.job_id, "lease_token": lease.token}
    row = _row(lease.organization, file_id, path, now, now + GRACE)
    connection.execute(doomed_files.insert().values({**row, **attempt}))


def expect(connection: Connection, now: datetime, organization: str, file_id: UUID, path: str) -> datetime:
    """Note that somebody who is no attempt is about to store a file, and return until when it is left alone."""
    until = now + GRACE
    connection.execute(doomed_files.insert().values(_row(organization, file_id, path, now, until)))
    return until


def keep_expected(connection: Connection, organization: str, file_id: UUID, until: datetime) -> bool:
    """Strike out an expected file: a job has it now. False if it came too late, and clean-up has taken it."""
    mine = is_row(doomed_files, organization, file_id)
    return connection.execute(delete(doomed_files).where(mine, doomed_files.c.due_at == until)).rowcount == 1


def keep(connection: Connection, organization: str, file_ids: Collection[UUID]) -> None:
    """Strike out announced files: their job has them now."""
    connection.execute(
        delete(doomed_files).where(
            doomed_files.c.organization_id == organization, doomed_files.c.id.in_(list(file_ids))
        )
    )


def doom(connection: Connection, now: datetime, organization: str, paths: Iterable[str]) -> None:
    """Note that their job loses these files in this transaction."""
    rows = [_row(organization, uuid4(), path, now, now) for path in paths]
    if rows:
        connection.execute(doomed_files.insert(), rows)


def _row(organization: str, file_id: UUID, path: str, now: datetime, due_at: datetime) -> dict[str, object]:
    return {"organization_id": organization, "id": file_id, "path": path, "since": now, "due_at": due_at}


def take_due(connection: Connection, now: datetime, limit: int) -> Sequence[AnyRow]:
    """Return files that are to be deleted now, and that no other cleaner will take for a while."""
    writing = (
        select(live.c.id)
        .where(
            is_row(live, doomed_files.c.organization_id, doomed_files.c.job_id),
            live.c.lease_token == doomed_files.c.lease_token,
        )
        .exists()
    )
    taken = connection.execute(
        select(doomed_files)
        .where(doomed_files.c.due_at <= now, ~writing)
        .order_by(doomed_files.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(fairlane_across="clean-up")
    ).all()
    if taken:
        later = update(doomed_files).where(_among(taken)).values(due_at=now + _TAKEN)
        connection.execute(later.execution_options(fairlane_across="clean-up"))
    return taken


def forget(connection: Connection, files: Sequence[AnyRow]) -> None:
    """Strike out files that are deleted."""
    connection.execute(delete(doomed_files).where(_among(files)).execution_options(fairlane_across="clean-up"))


def postpone(connection: Connection, now: datetime, file: AnyRow) -> None:
    """Have a file that the storage refused to delete tried again after twice the time, a day later at most."""
    wait = min(max(now - file.since, _SHORTEST_WAIT), _LONGEST_WAIT)
    connection.execute(
        update(doomed_files).where(is_row(doomed_files, file.organization_id, file.id)).values(due_at=now + wait)
    )


def _among(files: Sequence[AnyRow]) -> ColumnElement[bool]:
    keys = [(file.organization_id, file.id) for file in files]
    return tuple_(doomed_files.c.organization_id, doomed_files.c.id).in_(keys)
