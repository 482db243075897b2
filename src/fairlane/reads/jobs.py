"""Filters of job lists: their checks, their translation for the store, and the pages and counts of matching jobs."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal, TypedDict, TypeVar, Unpack
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.arguments import moment_of
from fairlane.domain.errors import ConfigurationError, InvalidParameters
from fairlane.domain.jobs import Job, Page, empty_filter, encode_cursor, statuses_of
from fairlane.domain.metrics import JobCounts
from fairlane.domain.statuses import PASSING, JobStatus
from fairlane.domain.texts import require_organization, storable
from fairlane.store.clock import Clock
from fairlane.store.engine import engine_of
from fairlane.store.statements import job_list, rows
from fairlane.store.statements.job_list import Place, WantedJobs
from fairlane.store.statements.rows import Opener
from fairlane.store.transaction import Database
from fairlane.tenancy.tenants import Tenants

T = TypeVar("T")

# Totals are counted up to this number.
TOTAL_CAP: Final = 10_000
# Words are searched in this many of the newest jobs: a search through all jobs of a large organization takes minutes.
SEARCHED_NEWEST: Final = 10_000
# Up to so many jobs are found by their label, and then looked up one by one.
_FEW: Final = 2_000
# Up to so many jobs of a type, user and queue have their statuses looked up one by one, instead of a scan by status.
_LOOKED_UP: Final = 1_000
_LONGEST_TEXT: Final = 1000  # characters
_ID_DIGITS: Final = 32
# People see this many digits of an id. Fewer would not do: any short word of hex digits is the end of some id.
_ID_END: Final = 8
_EVER: Final = datetime(1, 1, 1, tzinfo=UTC)


class Filters(TypedDict, total=False):
    """The filters of `Reads.list`. An omitted filter matches every job."""

    status: str | Iterable[str] | None
    job_type: str | None
    user: str | None
    label: tuple[str, str] | Mapping[str, str] | None
    queue: str | None
    created_after: datetime | None
    created_before: datetime | None
    waiting_for: Literal["retry"] | None
    text: str | None
    in_errors: bool
    fingerprint: str | None


def wanted_of(**filters: Unpack[Filters]) -> WantedJobs:
    """Return the filter for the store, without the text and the time, which `narrowed` adds in a transaction.

    Raises:
        InvalidParameters: a filter makes no sense; the message says which.
    """
    unknown = filters.keys() - Filters.__annotations__.keys()
    if unknown:
        raise InvalidParameters(
            f"There is no filter {min(unknown)!r:.80}; there are {', '.join(Filters.__annotations__)}."
        )
    statuses = statuses_of(filters.get("status"))
    wanted = WantedJobs(
        statuses,
        filters.get("job_type"),
        filters.get("user"),
        filters.get("queue"),
        labels_of(filters.get("label")),
        filters.get("created_after"),
        filters.get("created_before"),
        in_errors=filters.get("in_errors", True),
        fingerprint=filters.get("fingerprint"),
        retry_after=_retry_after(filters.get("waiting_for"), statuses),
    )
    check(wanted)
    return wanted


def _retry_after(waiting_for: object, statuses: frozenset[JobStatus]) -> datetime | None:
    if waiting_for not in (None, "retry"):
        raise InvalidParameters(f"waiting_for is 'retry' or omitted, and not {waiting_for!r:.80}.")
    if waiting_for is not None and statuses and JobStatus.QUEUED not in statuses:
        raise InvalidParameters(
            f"What waits for a retry is queued, and never {' or '.join(sorted(statuses))}; omit the status, "
            "or omit waiting_for."
        )
    return _EVER if waiting_for is not None else None


def labels_of(label: tuple[str, str] | Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Return the names and values of all labels that a job must have.

    Raises:
        InvalidParameters: `label` is neither a pair nor a mapping, or the mapping is empty.
    """
    match label:
        case None:
            return ()
        case (str() as name, str() as value):
            return ((name, value),)
        case Mapping() if not label:
            raise empty_filter("label")
        case Mapping() if all(isinstance(one, str) for pair in label.items() for one in pair):
            return tuple(label.items())
        case _:
            raise InvalidParameters(
                f"label must be a name and its value, like ('sample', '42'), or a mapping of several, "
                f"not {label!r:.80}."
            )


def check(wanted: WantedJobs) -> None:
    """Refuse values that a database can't compare with.

    Raises:
        InvalidParameters: a text can't be stored, or a moment has no time zone or is too far away.
    """
    storable(job_type=wanted.job_type, user=wanted.user, queue=wanted.queue, fingerprint=wanted.fingerprint)
    for pair in wanted.labels:
        storable(label="".join(pair))
    for name in ("created_after", "created_before"):
        moment = getattr(wanted, name)
        try:
            if moment is not None:
                moment_of(name, moment)
        except ConfigurationError as error:
            raise InvalidParameters(str(error)) from None


def search_of(text: str | None) -> str | None:
    """Return the text to search for; None if there is none.

    Raises:
        InvalidParameters: the text is too long, or can't be stored.
    """
    storable(text=text)
    if text is None or not text.strip():
        return None
    if len(text) > _LONGEST_TEXT:
        raise InvalidParameters(f"A search text has at most {_LONGEST_TEXT} characters, not {len(text)}.")
    return text.strip()


def narrowed(
    connection: Connection, clock: Clock, organization: str, wanted: WantedJobs, search: str | None
) -> WantedJobs:
    """Return the filter with the search, the time, and the ids found by its labels or other indexes.

    From here on, PostgreSQL plans the transaction's statements for their values.
    """
    engine_of(connection).plan_for_values(connection)
    if wanted.retry_after is not None:
        wanted = replace(wanted, retry_after=clock.now(connection))
    common = {one for one in wanted.labels if job_list.is_common(connection, organization, one, above=_FEW)}
    wanted = replace(wanted, common=frozenset(common))
    if search is not None:
        found = narrow(connection, organization, search)
        wanted = replace(wanted, ids=found.ids, id_end=found.id_end, words=found.words, words_from=found.words_from)
    return replace(wanted, are_few=job_list.are_few(connection, organization, wanted, up_to=_LOOKED_UP))


def narrow(connection: Connection, organization: str, search: str) -> WantedJobs:
    """Return a search as ids or words.

    Hex digits are the beginning of an id if an id of the organization begins with them. Eight or more digits may also
    be the end of an id, which lists show. Otherwise they are a word: "feed" and "decade" are hex digits, too.
    """
    ids = id_range(search)
    if ids is not None and rows.has_id_in(connection, organization, ids):
        return WantedJobs(ids=ids)
    first = job_list.nth_newest(connection, organization, SEARCHED_NEWEST)
    end = search.replace("-", "").lower()
    if ids is not None and len(end) >= _ID_END and job_list.has_id_end(connection, organization, end, first):
        return WantedJobs(id_end=end, words_from=first)
    return WantedJobs(words=search, words_from=first)


def id_range(prefix: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begin with these hex digits; None if the text has other characters.

    Dashes may stand among the digits.
    """
    digits = prefix.replace("-", "")
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", digits):
        return None
    return UUID(digits.ljust(_ID_DIGITS, "0")), UUID(digits.ljust(_ID_DIGITS, "f"))


def page_of(
    connection: Connection,
    organization: str,
    wanted: WantedJobs,
    *,
    opener: Opener,
    beyond: Place | None,
    limit: int,
    oldest_first: bool,
    with_parameters: bool,
) -> Page[Job]:
    """Return a page of the wanted jobs, and their total."""
    # One job more than the limit says that there is another page; one more than the cap says that the cap was reached.
    items = job_list.page(
        connection,
        organization,
        wanted,
        beyond=beyond,
        limit=limit + 1,
        opener=opener,
        oldest_first=oldest_first,
        with_parameters=with_parameters,
    )
    is_all = beyond is None and len(items) <= limit
    total = len(items) if is_all else job_list.count(connection, organization, wanted, up_to=TOTAL_CAP + 1)
    last = items[limit - 1] if len(items) > limit else None
    return Page(
        items=items[:limit],
        next_cursor=encode_cursor(last.created_at, last.id) if last is not None else None,
        total=min(total, TOTAL_CAP),
        total_is_capped=total > TOTAL_CAP,
        searched_newest=SEARCHED_NEWEST if wanted.words is not None or wanted.id_end is not None else None,
    )


class Matching:
    """Counts and ids of jobs that match a filter.

    A filter that makes no sense raises `InvalidParameters`. For an unknown organization `counts` and `known` raise
    `OrganizationNotFound`.
    """

    def __init__(self, database: Database, tenants: Tenants) -> None:
        self._database = database
        self._tenants = tenants

    def counts(self, organization: str, *, undecided: bool = False, **filters: Unpack[Filters]) -> JobCounts:
        """Count matching jobs in each status, or in the given statuses.

        Each count stops at 10,000, which bounds its cost. If more than 10,000 dead letters match, a retry may take more
        of them than the count says, as most may follow a parent.

        Args:
            undecided: only dead letters that a retry takes: without a decision, and without a parent that is a dead
                letter itself.
        """

        def read(connection: Connection, wanted: WantedJobs) -> JobCounts:
            counted = _to_retry if undecided else _counts
            return counted(connection, organization, wanted, cap=TOTAL_CAP)

        return self._read(organization, filters, read)

    def resolved(self, organization: str, **filters: Unpack[Filters]) -> WantedJobs:
        """Return the filter for the store, with a text resolved to part of an id or a word."""
        return self._read(organization, filters, lambda _, wanted: wanted)

    def places(
        self, organization: str, wanted: WantedJobs, *, before: Place | None = None, limit: int = 1000
    ) -> tuple[Place, ...]:
        """Return the places of the jobs that match a `resolved` filter, newest first, from just after `before`."""

        def read(connection: Connection) -> tuple[Place, ...]:
            engine_of(connection).plan_for_values(connection)
            return job_list.places(connection, organization, wanted, before=before, limit=limit)

        return self._database.read(read, of=organization)

    def known(self, organization: str, ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids that are jobs of the organization, by one query."""
        return self._tenants.read(lambda connection: rows.known(connection, organization, ids), of=organization)

    def _read(self, organization: str, filters: Filters, read: Callable[[Connection, WantedJobs], T]) -> T:
        require_organization(organization)
        wanted, search = wanted_of(**filters), search_of(filters.get("text"))
        return self._tenants.read(
            lambda connection: read(
                connection, narrowed(connection, self._database.clock, organization, wanted, search)
            ),
            of=organization,
        )


def _to_retry(connection: Connection, organization: str, wanted: WantedJobs, *, cap: int) -> JobCounts:
    """Count the wanted jobs that a retry takes, without those that are retried with their parents."""
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


def _counts(connection: Connection, organization: str, wanted: WantedJobs, *, cap: int) -> JobCounts:
    """Count the wanted jobs in each status, each up to the cap.

    Each status takes a probe of an index. No index has the status with words or with several labels. Then, and where
    few jobs match, one query finds all of them.
    """
    asked_for = [one for one in JobStatus if one not in PASSING and one in (wanted.statuses or {one})]
    is_looked_for = any((len(wanted.labels) > 1, wanted.words is not None, wanted.id_end is not None, wanted.are_few))
    found = None
    if is_looked_for and len(asked_for) > 1:
        found = job_list.count_by_status(connection, organization, wanted, up_to=cap + 1)
    if found is not None and sum(found.values()) <= cap:
        sizes = {one: found.get(one, 0) for one in asked_for}
    else:
        sizes = {
            one: job_list.count(connection, organization, replace(wanted, statuses=frozenset({one})), up_to=cap + 1)
            for one in asked_for
        }
    return JobCounts(
        by_status={one: min(size, cap) for one, size in sizes.items()},
        capped=tuple(one for one, size in sizes.items() if size > cap),
        searched_newest=SEARCHED_NEWEST if wanted.words is not None else None,
    )
