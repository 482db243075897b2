"""Files in the artifact storage that no job has, so that the cleanup finds them.

A file gets a row here before it is stored. The transaction that gives it to a job deletes the row. The transaction that
takes a file from its job inserts a row again. So after any crash in between the cleanup finds the file. Files are
deleted outside transactions: first the file, then its row here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from fairlane.store.sql import is_row
from fairlane.store.statements.attempts import AttemptKey
from fairlane.store.tables import AnyRow, doomed_files, live

# How long an announced upload may go on after its attempt has ended, for example because its worker was given up.
GRACE: Final = timedelta(hours=1)
# A cleaner has so long for the files that it takes; then others may try.
_TAKEN: Final = timedelta(minutes=10)
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(minutes=5), timedelta(days=1)


def announce(connection: Connection, now: datetime, attempt: AttemptKey, file_id: UUID, path: str) -> None:
    """Note that an attempt is about to store a file. The file is kept while the attempt runs."""
    claimed = {"job_id": attempt.job_id, "lease_token": attempt.lease_token}
    row = _row(attempt.organization, file_id, path, now, now + GRACE)
    connection.execute(doomed_files.insert().values({**row, **claimed}))


def expect(connection: Connection, now: datetime, organization: str, file_id: UUID, path: str) -> datetime:
    """Note that a file is about to be stored outside an attempt, and return until when it is kept."""
    until = now + GRACE
    connection.execute(doomed_files.insert().values(_row(organization, file_id, path, now, until)))
    return until


def keep_expected(connection: Connection, organization: str, file_id: UUID, until: datetime) -> bool:
    """Delete the row of an expected file, which a job has now; False if the cleanup has already taken it."""
    mine = is_row(doomed_files, organization, file_id)
    return connection.execute(delete(doomed_files).where(mine, doomed_files.c.due_at == until)).rowcount == 1


def keep(connection: Connection, organization: str, file_ids: Collection[UUID]) -> None:
    """Delete the rows of announced files, which their job has now."""
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
    """Return files to delete now. No other cleaner takes them for a while."""
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
    """Delete the rows of deleted files."""
    connection.execute(delete(doomed_files).where(_among(files)).execution_options(fairlane_across="clean-up"))


def postpone(connection: Connection, now: datetime, file: AnyRow) -> None:
    """Retry later a file that the storage refused to delete: after twice the time, at most a day later."""
    wait = min(max(now - file.since, _SHORTEST_WAIT), _LONGEST_WAIT)
    connection.execute(
        update(doomed_files).where(is_row(doomed_files, file.organization_id, file.id)).values(due_at=now + wait)
    )


def _among(files: Sequence[AnyRow]) -> ColumnElement[bool]:
    keys = [(file.organization_id, file.id) for file in files]
    return tuple_(doomed_files.c.organization_id, doomed_files.c.id).in_(keys)
