"""Clean-up: delete ended jobs after their retention, and files without a job; find children that were forgotten."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from fairlane.domain.breaker import Pair
from fairlane.domain.errors import FairlaneError
from fairlane.domain.timing import CENTURY, COUNTS_KEPT, LOCK_WAIT_OF_UPKEEP
from fairlane.encryption.artifacts import ObjectStorage
from fairlane.jobtypes.options import Options
from fairlane.store.driver_errors import is_held_up
from fairlane.store.statements import (
    breakers,
    bulk_actions,
    dependencies,
    doomed_files,
    feed,
    idempotency,
    job_types,
    limits,
    organizations,
    outcomes,
)
from fairlane.store.statements import cleanup as statements
from fairlane.store.statements.dependencies import EdgeKey
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database

T = TypeVar("T")
# Jobs that a transaction checks. Smaller batches are too slow if a worker ends thousands of jobs a second: each
# statement waits for its turn in that worker's process.
_BATCH = 2_000
_BATCH_ALONE = 500  # on a database with one writer: the batch blocks all other writes
_ENOUGH = 2_000  # jobs that a round deletes before its other work
_PAGES = 10  # transactions a round
_SHELVES = 1_000  # checked for old jobs at a time
_SWEEP = 5_000  # edges a round
_OLD = 10_000  # submissions, idempotency keys or alerts in a transaction
_MOST_KEPT = 100_000  # jobs that are remembered because they can't be deleted
_TRIED_AGAIN = timedelta(hours=1)  # until a job is retried that was refused for another reason than a reference
_NEVER = datetime.max.replace(tzinfo=UTC)
_QUOTAS = 500  # checked in a round
_BULK_ACTIONS = 500  # a round
_FILES = 200  # a round
_MOST_REFUSALS = 5  # a round; otherwise each file would send a request to a storage that is away
_START = Pair("", "")
_FIRST_QUOTA = ("", "")
_MOST_ERRORS = 3  # a round; then the database is away, and each further part would wait for it


class Cleanup:
    """A service of some parts. If a part fails, the others run.

    Each batch is one transaction that locks only its own rows, so it delays no worker. The clean-up checks shelf after
    shelf and remembers its place. So it checks jobs that have to stay once in each pass.
    """

    def __init__(self, database: Database, artifacts: ObjectStorage, retention: float) -> None:
        self._database = database
        self._retention = retention
        self._seen = _START
        # Shelves with due jobs, each with the moment before which its jobs go; the first shelf is at work.
        self._due: tuple[tuple[Pair, datetime], ...] = ()
        self._after: tuple[datetime, UUID] | None = None
        self._most = _BATCH_ALONE if database.kind.writers_are_serial else _BATCH
        self._size = self._most  # jobs of the next batch
        self._swept: EdgeKey | None = None
        self._quota = _FIRST_QUOTA  # the last quota that was checked
        self._kept: dict[UUID, datetime] = {}  # jobs that can't be deleted, each with the moment of its retry
        forgets: tuple[Callable[[Connection, datetime], int | None], ...] = (
            breakers.forget,
            partial(bulk_actions.forget, limit=_BULK_ACTIONS),
            outcomes.forget,
            partial(idempotency.forget, limit=_OLD),
            partial(feed.forget_alerts, limit=_OLD),
            partial(limits.forget_submissions, limit=_OLD),
            self._forget_quotas,
        )
        self._parts: tuple[Callable[[], int], ...] = (
            self._delete_some,
            lambda: database.write(self._repair),
            lambda: delete_files(database, artifacts),
            *(partial(self._forget, one) for one in forgets),
        )

    def run_once(self) -> int:
        """Delete some batches of jobs; repair orphans; delete a batch of files that no job has. Return how many.

        A batch of old counts, keys and alerts, and of quotas that nobody needs, goes with them.

        Raises the first error of the database or the storage, after all that it did delete.
        """
        done, errors = 0, list[Exception]()
        for part in self._parts:
            try:
                done += part()
            except Exception as error:  # noqa: BLE001 - raised below; a part that fails must not prevent the others
                errors.append(error)
                if len(errors) == _MOST_ERRORS:
                    break
        if errors:
            raise errors[0]
        return done

    def _delete_some(self) -> int:
        """Delete until enough jobs were deleted, the turn is over, or enough jobs were looked at."""
        deleted = 0
        for _ in range(_PAGES):
            self._due = self._due or self._database.read(self._look_for_due)
            if self._due:
                deleted += self._delete_page(*self._due[0])
            if deleted >= _ENOUGH or not self._due:
                break
        return deleted

    def _delete_page(self, shelf: Pair, moment: datetime) -> int:
        """Delete the shelf's next jobs, and return how many; a part of a job counts as one.

        An error never names its job. So smaller batches are tried, until a job fails alone. From then on it is skipped:
        for ever if a host's table refers to it, else for an hour, as the fault may lie elsewhere. If another session
        holds a row of a page, the page is retried in the next turn. If a page has more rows than a transaction may
        delete, it is retried at once.
        """
        now, page = self._database.look(
            lambda c: (
                self._database.clock.now(c),
                statements.ended_before(c, shelf, moment, self._after, self._size),
            )
        )
        ids = [row.id for row in page if self._kept.get(row.id, now) <= now]
        deleted, is_all = 0, True
        try:
            if ids:
                deleted, is_all = self._write(lambda c: self._delete(c, shelf.organization, ids, moment))
        except IntegrityError:  # a foreign key of a host's table, maybe at the commit
            if len(ids) > 1:
                self._size = len(ids) // 2
                return 0
            self._keep(ids[0], _NEVER)
        except (DBAPIError, FairlaneError) as error:
            if not is_held_up(error):
                self._size = len(ids) // 2 or 1  # the batch may have been too large for the response timeout
                if len(ids) == 1:
                    self._keep(ids[0], now + _TRIED_AGAIN)
                raise
        if not is_all:
            self._size = deleted or 1
            return self._size
        is_last = len(page) < self._size
        self._due, self._after = (self._due[1:], None) if is_last else (self._due, (page[-1].finished_at, page[-1].id))
        self._size = min(2 * self._size, self._most)
        return deleted

    def _keep(self, job_id: UUID, until: datetime) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()  # jobs that still have to stay are found again
        self._kept[job_id] = until

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._database.write(work, row_seconds=LOCK_WAIT_OF_UPKEEP)

    def _delete(
        self, connection: Connection, organization: str, ids: Sequence[UUID], moment: datetime
    ) -> tuple[int, bool]:
        """Return the number of deleted jobs, and whether these are all that may go."""
        expired = statements.lock_expired(connection, organization, ids, moment)
        if not expired:
            return 0, True
        now = self._database.clock.now(connection)
        deleted = len(statements.delete_some(connection, now, organization, expired))
        return deleted, deleted == len(expired)

    def _look_for_due(self, connection: Connection) -> tuple[tuple[Pair, datetime], ...]:
        """Return the next shelves whose oldest job is past its retention, each with the moment of the retention."""
        now = self._database.clock.now(connection)
        retention = self._retentions(connection)
        found = statements.shelves(connection, self._seen, _SHELVES)
        self._seen = found[-1][0] if len(found) == _SHELVES else _START
        moments = [(shelf, oldest, now - retention(shelf)) for shelf, oldest in found]
        return tuple((shelf, moment) for shelf, oldest, moment in moments if oldest < moment)

    def _forget(self, forget: Callable[[Connection, datetime], int | None]) -> int:
        """Delete old rows. Return their number if there may be more: then the next round follows at once."""
        before = timedelta(seconds=COUNTS_KEPT)
        deleted = self._database.write(lambda c: forget(c, self._database.clock.now(c) - before))
        return deleted if deleted == _OLD else 0

    def _forget_quotas(self, connection: Connection, before: datetime) -> None:
        self._quota = limits.forget_unused(connection, before, self._quota, _QUOTAS) or _FIRST_QUOTA

    def _retentions(self, connection: Connection) -> Callable[[Pair], timedelta]:
        """Return the retention of each shelf's jobs: the organization's, else the type's, else the setting's."""
        options = {row.name: Options.from_json(row.options) for row in job_types.everything(connection)}
        of_types = {name: one.retention for name, one in options.items() if one.retention is not None}
        of_organizations = organizations.retentions(connection)

        def retention(shelf: Pair) -> timedelta:
            of_type = of_types.get(shelf.job_type, self._retention)
            return timedelta(seconds=min(of_organizations.get(shelf.organization, of_type), CENTURY))

        return retention

    def _repair(self, connection: Connection) -> int:
        """Look at the next page of watched edges. Return how many parents had ended without telling their children."""
        edges = dependencies.watched_edges(connection, self._swept, _SWEEP)
        self._swept = edges[-1] if len(edges) == _SWEEP else None
        forgotten = dependencies.ended_parents(connection, edges)
        dependencies.settle(connection, self._database.clock.now(connection), forgotten)
        return len(forgotten)


def delete_files(database: Database, artifacts: ObjectStorage) -> int:
    """Delete a batch of files that no job has: of deleted jobs, replaced artifacts, uploads that came to nothing.

    Two such calls at once take different files, and no transaction is open while files are deleted. Return how many.

    Raises the storage's error, after all that it did delete.
    """
    clock = database.clock
    due = database.write(lambda c: doomed_files.take_due(c, clock.now(c), _FILES))
    if not due:
        return 0
    gone: list[AnyRow] = []
    refused: list[tuple[AnyRow, Exception]] = []
    for file in due:
        try:
            artifacts.delete(file.path)
        except Exception as error:  # noqa: BLE001 - the storage's; the other files shall not wait for this one
            refused.append((file, error))
            if len(refused) == _MOST_REFUSALS:
                break
        else:
            gone.append(file)

    def note(connection: Connection) -> None:
        doomed_files.forget(connection, gone)
        for file, _ in refused:
            doomed_files.postpone(connection, clock.now(connection), file)

    database.write(note)
    if refused:
        raise refused[-1][1]
    return len(gone)
