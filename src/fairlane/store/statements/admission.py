"""Checks of submissions in the database: rates, limits on live jobs, existing ids, and duplicates."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, select

from fairlane.domain import transitions
from fairlane.domain.errors import DuplicateJob, QueueFull, RateLimited, StorageUnavailable
from fairlane.domain.jobs import JobState
from fairlane.domain.permissions import may_replace
from fairlane.domain.statuses import JobStatus
from fairlane.store.engine import engine_of
from fairlane.store.statements import audit, dedup, dependencies, limits
from fairlane.store.statements.drafts import Dedup, Draft, RateLimit, at
from fairlane.store.statements.locks import lock_job
from fairlane.store.statements.rows import HAS_STATE, STATUS, WHOLE
from fairlane.store.statements.transition import SYSTEM, write
from fairlane.store.tables import jobs

MOST_IDS: Final = 10_000  # in one statement; a driver sends at most 65,535 values
_QUEUE_FULL_RETRY = 30.0  # seconds; a guess, as nobody knows when a job will end


@dataclass(slots=True)
class Duplicates:
    """The result of deduplication: drafts that get an earlier job, and earlier jobs that drafts replace.

    `successors`: the drafts that replace a job and take over its children, by the job's id. `children`: how many
    children they take over.
    """

    earlier: dict[UUID, UUID] = field(default_factory=dict)
    replaced: dict[UUID, UUID] = field(default_factory=dict)
    successors: dict[UUID, UUID] = field(default_factory=dict)
    children: int = 0

    def stand_in(self, job_id: UUID) -> UUID:
        """Return the id of the job that is used in place of the draft or the replaced job of this id."""
        return self.earlier.get(job_id, self.successors.get(job_id, job_id))

    def adds(self, draft: Draft) -> bool:
        """Return True if the draft adds a job: it neither gets an earlier one nor replaces one."""
        return draft.id not in self.earlier and draft.id not in self.replaced


@dataclass(slots=True)
class Live:
    """The numbers of an organization's live jobs `before` and `after` a submission, and their limit."""

    organization: str
    before: int
    after: int
    limit: int


def quota_keys(drafts: Sequence[Draft]) -> Iterator[tuple[str, str]]:
    """Yield the quota rows that these drafts must lock."""
    for draft in drafts:
        if draft.kind.max_live_jobs is not None:
            yield draft.organization, "live"
        if draft.kind.rate is not None:
            yield draft.organization, f"rate/{draft.job_type}/{draft.user or ''}"


def check_rates(connection: Connection, now: datetime, drafts: Sequence[Draft], duplicates: Duplicates) -> None:
    """Check submission rates, whose quota rows are locked. A draft that gets an earlier job does not count.

    Raises:
        RateLimited
    """
    submitted: dict[tuple[str, str, str | None], int] = {}
    for index, draft in enumerate(drafts):
        if draft.kind.rate is not None and draft.id not in duplicates.earlier:
            who = (draft.organization, draft.job_type, draft.user)
            with at(index):
                _check_rate(connection, now, draft, draft.kind.rate, submitted.get(who, 0))
            submitted[who] = submitted.get(who, 0) + 1


def _check_rate(connection: Connection, now: datetime, draft: Draft, rate: RateLimit, in_batch: int) -> None:
    if rate.limit == 0:
        raise RateLimited(f"Nobody may submit {draft.job_type}: its rate_limit is 0; raise it.")
    times = "once" if rate.limit == 1 else f"{rate.limit} times"
    may = f"{draft.user or 'system'} may submit {draft.job_type} {times} in {rate.window:g} s"
    nth = rate.limit - in_batch
    if nth <= 0:
        raise RateLimited(f"{may}, and this batch has more; split it.")
    oldest = limits.nth_newest_submission(
        connection,
        draft.organization,
        draft.user,
        draft.job_type,
        nth=nth,
        since=now - timedelta(seconds=rate.window),
    )
    if oldest is None:
        return
    wait = max((oldest - now).total_seconds() + rate.window, 0.001)
    raise RateLimited(f"{may}; try again in {ceil(wait)} s.", retry_after=wait)


def check_live(connection: Connection, drafts: Sequence[Draft], duplicates: Duplicates) -> list[Live]:
    """Check the limits on live jobs, whose quota rows are locked. Only drafts that add a job count.

    Returns:
        A `Live` for each organization with a limit and new jobs.

    Raises:
        QueueFull
    """
    if all(draft.kind.max_live_jobs is None for draft in drafts):
        return []
    # Replaced jobs are canceled by now; the drafts that replace them count like others.
    replaced = Counter(draft.organization for draft in drafts if draft.id in duplicates.replaced)
    found: dict[str, Live] = {}
    for index, draft in enumerate(drafts):
        limit, organization = draft.kind.max_live_jobs, draft.organization
        if limit is None or not duplicates.adds(draft):
            continue
        if organization not in found:
            before = limits.live_jobs(connection, organization, up_to=limit) + replaced[organization]
            found[organization] = Live(organization, before, before, limit)
        if found[organization].after >= limit:
            added = sum(one.organization == organization and duplicates.adds(one) for one in drafts)
            with at(index):
                raise _queue_full(found[organization], added)
        found[organization].after += 1
    return list(found.values())


def _queue_full(live: Live, added: int) -> QueueFull:
    """Return the error for `added` new jobs that do not fit beside the earlier ones."""
    name, limit = live.organization, live.limit
    if limit == 0:
        return QueueFull(f"Organization {name} may have no live jobs, as its max_live_jobs is 0; raise it.")
    if added > limit:
        return QueueFull(
            f"Organization {name} has {live.before} live jobs of at most {limit}; this batch of {added} does not fit: "
            "split it or raise max_live_jobs."
        )
    if live.before < limit:
        return QueueFull(
            f"Organization {name} has {live.before} live jobs of at most {limit}; this batch of {added} does not fit; "
            "try again when some have ended, or split it.",
            retry_after=_QUEUE_FULL_RETRY,
        )
    return QueueFull(
        f"Organization {name} has {limit} live jobs, its limit; try again when some have ended.",
        retry_after=_QUEUE_FULL_RETRY,
    )


def find_jobs(
    connection: Connection, organization: str, ids: Collection[UUID], *, hold: bool
) -> Iterator[tuple[JobState, str | None]]:
    """Yield those of the organization's jobs that have these ids, each with who submitted it.

    Args:
        hold: lock the jobs against deletion.
    """
    ordered = sorted(ids)
    for start in range(0, len(ordered), MOST_IDS):
        mine = (jobs.c.organization_id == organization, HAS_STATE)
        found = select(jobs.c.id, jobs.c.job_type, jobs.c.submitted_by, STATUS).select_from(WHOLE).where(*mine)
        if hold:
            # The same lock as by an edge's foreign key, which would not say which parent was deleted meanwhile.
            found = found.with_for_update(read=True, key_share=True, of=jobs)
        some = ordered[start : start + MOST_IDS]
        for row in connection.execute(engine_of(connection).by_ids(found, jobs.c.id, some)):
            yield JobState(organization, row.id, row.job_type, JobStatus(row.status)), row.submitted_by


def _find_ids(connection: Connection, drafts: Sequence[Draft], *, hold: bool) -> dict[UUID, UUID]:
    """Find the drafts that get the earlier job of their own id.

    Args:
        hold: as for `find_jobs`.

    Raises:
        DuplicateJob: a job of the draft's id exists, and its `on_duplicate` does not return that job. A job can't
            replace another of its own id.
    """
    places: dict[str, dict[UUID, int]] = {}
    for index, draft in enumerate(drafts):
        places.setdefault(draft.organization, {})[draft.id] = index
    found: dict[UUID, UUID] = {}
    for organization in sorted(places):
        for job, _ in find_jobs(connection, organization, places[organization].keys(), hold=hold):
            index = places[organization][job.id]
            if drafts[index].kind.on_duplicate != "return":
                with at(index):
                    raise DuplicateJob(
                        f"Job {job.id} was submitted before, and is {job.status}. Draw another id for another job, "
                        'or submit with on_duplicate="return".',
                        existing_id=job.id,
                        existing_status=job.status,
                    )
            found[job.id] = job.id
    return found


def take_keys(connection: Connection, now: datetime, drafts: Sequence[Draft]) -> Duplicates:
    """Find the drafts' ids, then take the deduplication keys of the others, in sorted order against deadlocks.

    Raises:
        DuplicateJob: a job of the draft's id exists, or an identical one is live or in the batch, and the draft's
            `on_duplicate` neither returns nor replaces it.
    """
    found = Duplicates(_find_ids(connection, drafts, hold=True))
    in_batch: dict[tuple[str, str], int] = {}  # the earlier draft with the same key
    keyed = sorted(
        (draft.organization, draft.dedup.key, index)
        for index, draft in enumerate(drafts)
        if draft.dedup and draft.id not in found.earlier
    )
    free = _take_free(connection, now, drafts, keyed)
    if len(free) == len(keyed):
        return found
    for organization, key, index in keyed:
        draft, rule = drafts[index], drafts[index].dedup
        assert rule is not None
        with at(index):
            before = in_batch.get((organization, key))
            if before is not None and drafts[before].id not in found.earlier:
                _resolve_twin(drafts, before, index, found)
                continue
            holder = None
            if (organization, key) not in free:
                expires = now + timedelta(seconds=rule.window)
                holder = dedup.take(connection, now, organization, key, draft.id, expires)
            if holder is not None:
                _resolve_duplicate(connection, now, draft, rule, holder, found)
            in_batch[organization, key] = index
    return found


def _resolve_twin(drafts: Sequence[Draft], first: int, second: int, found: Duplicates) -> None:
    """Give the second of two drafts with the same key the first's job, or refuse it: neither can be replaced yet."""
    rule = drafts[second].dedup
    assert rule is not None
    if drafts[second].kind.on_duplicate == "return":
        found.earlier[drafts[second].id] = drafts[first].id
        return
    what, other = ("are identical", "") if rule.given is None else (f"have dedup_key {rule.given!r}", " of its own")
    raise DuplicateJob(
        f"Submissions {first} and {second} of this batch {what}; leave one out, give each a dedup_key{other}, "
        'or submit the second with on_duplicate="return".'
    )


def _take_free(
    connection: Connection, now: datetime, drafts: Sequence[Draft], keyed: Sequence[tuple[str, str, int]]
) -> set[tuple[str, str]]:
    """Take those keys of a batch that are free, mostly all of them, in one statement."""
    first: dict[tuple[str, str], dedup.KeyToTake] = {}
    for organization, key, index in keyed:
        rule = drafts[index].dedup
        if rule is not None and (organization, key) not in first:
            expires = now + timedelta(seconds=rule.window)
            first[organization, key] = dedup.KeyToTake(organization, key, drafts[index].id, expires)
    return first.keys() - engine_of(connection).take_keys(connection, list(first.values())) if len(first) > 1 else set()


def _resolve_duplicate(
    connection: Connection, now: datetime, draft: Draft, rule: Dedup, holder: dedup.KeyHolder, found: Duplicates
) -> None:
    if draft.kind.on_duplicate == "return":
        found.earlier[draft.id] = holder.job_id
        return
    if draft.kind.on_duplicate == "replace" and _replace(connection, now, draft, rule, holder):
        found.replaced[draft.id] = holder.job_id
        if not draft.parents:
            found.successors[holder.job_id] = draft.id
            _count_children(connection, draft, holder, found)
        return
    raise _duplicate(draft, holder)


def _count_children(connection: Connection, draft: Draft, holder: dedup.KeyHolder, found: Duplicates) -> None:
    """Count the children that the draft takes over. All are changed in this transaction, so their number is bounded.

    Raises:
        DuplicateJob
    """
    most, earlier = dependencies.EDGES, holder.job_id
    left = most - found.children
    found.children += dependencies.count_children(connection, draft.organization, earlier, up_to=left + 1)
    if found.children > most:
        raise DuplicateJob(
            f"Job {earlier} can't be replaced: one submission moves at most {most} children to new jobs, and this one "
            f'has more. Cancel the job first, replace fewer jobs at a time, or submit with on_duplicate="return".',
            existing_id=earlier,
            existing_status=holder.status,
        )


def _duplicate(draft: Draft, holder: dedup.KeyHolder) -> DuplicateJob:
    given = draft.dedup.given if draft.dedup is not None else None
    what = f"An identical {draft.job_type} job" if given is None else f"A {draft.job_type} job with dedup_key {given!r}"
    return DuplicateJob(
        f'{what} is {holder.status}: {holder.job_id}. Wait for it, or submit with on_duplicate="return".',
        existing_id=holder.job_id,
        existing_status=holder.status,
    )


def earlier_jobs(connection: Connection, now: datetime, drafts: Sequence[Draft]) -> list[UUID]:
    """Return the earlier jobs that drafts get, which their own transaction can't see, without any lock.

    Raises:
        DuplicateJob: a job of its id exists, or an identical one is live, and the draft's `on_duplicate` rejects it.
        StorageUnavailable: not every draft gets an earlier job; only a new transaction of the caller can insert one.
    """
    found = _find_ids(connection, drafts, hold=False)
    for index, draft in enumerate(drafts):
        if draft.id in found or draft.dedup is None or draft.kind.on_duplicate == "replace":
            continue
        holder = dedup.holder(connection, now, draft.organization, draft.dedup.key)
        if holder is not None and draft.kind.on_duplicate == "reject":
            with at(index):
                raise _duplicate(draft, holder)
        if holder is not None:
            found[draft.id] = holder.job_id
    if len(found) < len(drafts):
        raise StorageUnavailable(
            "Another transaction submitted jobs at the same time, and yours may never see them. "
            "Nothing was changed; submit again in a new transaction."
        )
    return [found[draft.id] for draft in drafts]


def _replace(connection: Connection, now: datetime, draft: Draft, rule: Dedup, holder: dedup.KeyHolder) -> bool:
    """Cancel the earlier job, if it has not started and the submitter may, and give its key to the new one."""
    earlier = lock_job(connection, draft.organization, holder.job_id)
    if earlier is None:
        return False
    status, may_replace_all = JobStatus(earlier.status), draft.kind.may_replace_all
    if not may_replace(status, earlier.submitted_by, user=draft.user, may_replace_all=may_replace_all):
        return False
    reason = f"replaced by {draft.id}"
    transition = transitions.cancel(status, draft.user or SYSTEM, reason, now)
    write(connection, now, draft.organization, holder.job_id, transition, actor=draft.user or SYSTEM)
    dedup.give(connection, draft.organization, rule.key, draft.id, now + timedelta(seconds=rule.window))
    if earlier.submitted_by != draft.user:
        actor, before = draft.user or SYSTEM, {"status": earlier.status}
        audit.record(connection, now, draft.organization, actor, "jobs.replace", holder.job_id, before=before)
    return True
