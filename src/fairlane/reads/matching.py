"""`Matching`: what fits the filters of a list, without the jobs themselves."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar, Unpack
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.metrics import JobCounts
from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import require_organization
from fairlane.reads import jobs as asked
from fairlane.reads import metrics as numbers
from fairlane.reads.jobs import SEARCHED_NEWEST, Filters
from fairlane.store.engine import engine_of
from fairlane.store.statements import job_list, rows
from fairlane.store.statements.job_list import Place, WantedJobs
from fairlane.store.transaction import Database
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")


class Matching:
    """Counts and ids of jobs that fit.

    A filter that makes no sense is an `InvalidParameters`; for an unknown organization `counts` and `known` raise
    `OrganizationNotFound`.
    """

    def __init__(self, database: Database, tenants: Tenants) -> None:
        self._database = database
        self._tenants = tenants

    def counts(self, organization: str, *, undecided: bool = False, **filters: Unpack[Filters]) -> JobCounts:
        """Count how many there are in each status, or in those asked for.

        Each is counted to 10,000 and no further, so that it costs the same whatever there is. Of dead letters that
        a retry takes there may be more where more than 10,000 fit, though most of these follow a parent.

        Args:
            undecided: dead letters alone, as a retry takes them: none that somebody has decided about, and none that
                follows a parent, which is a dead letter itself.
        """

        def read(connection: Connection, wanted: WantedJobs) -> JobCounts:
            counted = _to_retry if undecided else numbers.counts_of
            return counted(connection, organization, wanted, cap=asked.TOTAL_CAP)

        return self._read(organization, filters, read)

    def resolved(self, organization: str, **filters: Unpack[Filters]) -> WantedJobs:
        """Return what is asked for, with a text as what it stands for now: a part of an id, or a word."""
        return self._read(organization, filters, lambda _, wanted: wanted)

    def places(
        self, organization: str, wanted: WantedJobs, *, before: Place | None = None, limit: int = 1000
    ) -> tuple[Place, ...]:
        """Return where the jobs stand that were `resolved`, newest first, from just after `before`."""

        def read(connection: Connection) -> tuple[Place, ...]:
            engine_of(connection).plan_for_values(connection)
            return job_list.places(connection, organization, wanted, before=before, limit=limit)

        return self._database.read(read, of=organization)

    def known(self, organization: str, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids that the organization's jobs have; the database is asked once."""
        return self._tenants.read(lambda connection: rows.known(connection, organization, ids), of=organization)

    def _read(self, organization: str, filters: Filters, read: Callable[[Connection, WantedJobs], T]) -> T:
        require_organization(organization)
        wanted, search = asked.wanted_of(**filters), asked.search_of(filters.get("text"))
        return self._tenants.read(
            lambda connection: read(
                connection, asked.narrowed(connection, self._database.clock, organization, wanted, search)
            ),
            of=organization,
        )


def _to_retry(connection: Connection, organization: str, wanted: WantedJobs, *, cap: int) -> JobCounts:
    """Count the wanted jobs that a retry takes: of the first beyond the cap those that nobody else takes with them."""
    letters = frozenset({JobStatus.DEAD_LETTER})
    wanted = replace(wanted, statuses=letters & (wanted.statuses or letters), undecided=True)
    fitting, size = 0, 0
    if wanted.statuses:
        fitting, size = job_list.count_by_themselves(connection, organization, wanted, up_to=cap + 1)
    return JobCounts(
        by_status={JobStatus.DEAD_LETTER: min(size, cap)},
        capped=tuple(letters) if fitting > cap else (),
        searched_newest=SEARCHED_NEWEST if wanted.words is not None else None,
    )
