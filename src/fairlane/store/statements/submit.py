"""Submission: limits, deduplication, parents, jobs, labels and log in the caller's transaction, all or nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from fairlane.domain.errors import ParentNotFound, PermissionDenied, StorageUnavailable
from fairlane.domain.jobs import Job, JobState
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import ENDED_BADLY, TERMINAL, EdgeState, JobStatus, ParentPolicy
from fairlane.store.clock import Clock
from fairlane.store.driver_errors import is_unique_violation
from fairlane.store.engine import engine_of
from fairlane.store.sql import insert_many
from fairlane.store.statements import admission, dependencies, limits, new_jobs
from fairlane.store.statements.admission import Duplicates, Live
from fairlane.store.statements.drafts import Draft, Fresh, at
from fairlane.store.tables import job_parents
from fairlane.store.tables import labels as label_table

# The parents outside the batch, by organization and id.
Parents = Mapping[tuple[str, UUID], JobState]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The id of each draft's job: its own, or the earlier job's if `on_duplicate` is "return".

    `live`: the organizations with a limit that got new jobs. `jobs`: the drafts' own jobs if they are unchanged since
    their insert; others have to be read.
    """

    ids: list[UUID]
    live: list[Live]
    jobs: list[Job | None]


def submit(connection: Connection, clock: Clock, drafts: Sequence[Draft]) -> Submitted:
    """Insert the drafts.

    Raises:
        SubmissionError: a limit, a duplicate or an unknown parent; its `index` is the draft's.
        StorageUnavailable: a job of a draft's id was committed meanwhile; the next transaction sees it.
    """
    limits.lock(connection, clock, admission.quota_keys(drafts))
    # Rates count by this time, so it is taken after their rows are locked.
    now = clock.now(connection)
    duplicates = admission.take_keys(connection, now, drafts)
    # Limits are checked afterwards, because a duplicate adds no job.
    admission.check_rates(connection, now, drafts, duplicates)
    live = admission.check_live(connection, drafts, duplicates)
    parents = _parents(connection, drafts, duplicates)
    inserted = _insert(connection, now, drafts, parents, duplicates)
    _move_children(connection, now, drafts, duplicates)
    # The policy about parents that failed before is applied at once.
    fallen = [one for one in parents.values() if one.status in ENDED_BADLY]
    dependencies.settle_fallen(connection, now, fallen)
    if duplicates.earlier or fallen:
        return Submitted([duplicates.stand_in(draft.id) for draft in drafts], live, [None] * len(drafts))
    # A job with parents is read back: some parents may be settled already.
    known = [
        new_jobs.new_job(one.draft, now, one.status, one.run_at) if not one.draft.parents else None for one in inserted
    ]
    return Submitted([draft.id for draft in drafts], live, known)


def _parents(connection: Connection, drafts: Sequence[Draft], duplicates: Duplicates) -> Parents:
    """Return the parents outside the batch. A duplicate in the batch counts as its earlier job.

    Raises:
        ParentNotFound: neither in the organization nor in the batch.
        PermissionDenied: the sender of the draft may not see what the parent hands to its children.
    """
    wanted = {
        (draft.organization, duplicates.stand_in(parent)): index
        for index, draft in enumerate(drafts)
        for parent in draft.parents
    }
    if not wanted:
        return {}
    batch = {(draft.organization, draft.id) for draft in drafts if draft.id not in duplicates.earlier}
    found: dict[tuple[str, UUID], JobState] = {}
    users: dict[tuple[str, UUID], str | None] = {}
    for organization in sorted({organization for organization, _ in wanted.keys() - batch}):
        ids = [parent for owner, parent in wanted.keys() - batch if owner == organization]
        for job, user in admission.find_jobs(connection, organization, ids, hold=True):
            found[organization, job.id], users[organization, job.id] = job, user
    for (organization, parent), index in wanted.items():
        if (organization, parent) not in batch and (organization, parent) not in found:
            with at(index):
                raise ParentNotFound(f"Parent {parent} is not a job of organization {organization}.")
    _refuse_hidden(drafts, duplicates, users)
    return found


def _refuse_hidden(
    drafts: Sequence[Draft], duplicates: Duplicates, users: Mapping[tuple[str, UUID], str | None]
) -> None:
    """Refuse parents whose payload the sender may not see: a child gets its parents' results and files.

    Args:
        users: who submitted the parents outside the batch. Parents within the batch are the sender's.

    Raises:
        PermissionDenied
    """
    for index, draft in enumerate(drafts):
        access = draft.kind.access
        for parent in draft.parents if access is not None else ():
            key = (draft.organization, duplicates.stand_in(parent))
            if access is not None and key in users and not access.sees_payload(users[key]):
                with at(index):
                    raise _hidden(key[1], is_own=users[key] == access.user)


def _insert(
    connection: Connection, now: datetime, drafts: Sequence[Draft], parents: Parents, duplicates: Duplicates
) -> list[Fresh]:
    mine = [draft for draft in drafts if draft.id not in duplicates.earlier] if duplicates.earlier else drafts
    if not mine:
        return []
    edges = [
        {
            "organization_id": draft.organization,
            "job_id": draft.id,
            "parent_id": parent,
            "state": _edge_state(draft.kind.on_parent_failure, parents.get((draft.organization, parent))),
        }
        for draft in mine
        for parent in dict.fromkeys(map(duplicates.stand_in, draft.parents))
    ]
    unmet = Counter(edge["job_id"] for edge in edges if edge["state"] != EdgeState.SETTLED)
    # Parent and child become visible at the same time, so the parent's end must see the child.
    watched = {(edge["organization_id"], edge["parent_id"]) for edge in edges if edge["state"] == EdgeState.WATCHED}
    new = [
        new_jobs.fresh(
            draft,
            now,
            unmet[draft.id] if draft.parents else 0,
            has_children=(draft.organization, draft.id) in watched,
        )
        for draft in mine
    ]
    _insert_jobs(connection, now, new, duplicates.replaced)
    limits.note_submissions(connection, now, mine)
    if edges:
        insert_many(connection, job_parents, edges)
    named = [
        {"organization_id": draft.organization, "job_id": draft.id, "name": name, "value": value, "created_at": now}
        for draft in mine
        for name, value in draft.label_items
    ]
    if named:
        insert_many(connection, label_table, named)
    return new


def _insert_jobs(connection: Connection, now: datetime, new: Sequence[Fresh], replaced: Mapping[UUID, UUID]) -> None:
    try:
        engine_of(connection).insert_jobs(connection, now, new, replaced)
    except IntegrityError as error:
        if not is_unique_violation(error):
            raise
        raise StorageUnavailable(
            "A job with the id of a submission was submitted at the same time; nothing was changed, try again."
        ) from error


def _hidden(parent: UUID, *, is_own: bool) -> PermissionDenied:
    if is_own:  # with a credential that has fewer rights than its user
        return PermissionDenied(
            f"To build on job {parent} takes the right {Right.JOBS_READ}, which you don't have here."
        )
    return PermissionDenied(f"Job {parent} is not yours; to build on it takes the right {Right.PAYLOAD_READ}.")


def _edge_state(policy: ParentPolicy, there: JobState | None) -> EdgeState:
    if there is None:  # in the batch: both become visible at the same time, so the parent's end sees the child
        return EdgeState.WATCHED
    if there.status is JobStatus.COMPLETED or (there.status in TERMINAL and policy is ParentPolicy.RUN_ANYWAY):
        return EdgeState.SETTLED
    return EdgeState.NEW


def _move_children(connection: Connection, now: datetime, drafts: Sequence[Draft], duplicates: Duplicates) -> None:
    """Let the children of a replaced job wait for its replacement.

    If the replacement has parents, it might depend on such a child. Then the children are told that their parent was
    canceled.
    """
    canceled: list[JobState] = []
    for draft in drafts if duplicates.replaced else ():
        earlier = duplicates.replaced.get(draft.id)
        if earlier is None:
            continue
        if draft.parents:
            canceled.append(JobState(draft.organization, earlier, draft.job_type, JobStatus.CANCELED))
        else:
            connection.execute(
                update(job_parents)
                .where(
                    job_parents.c.organization_id == draft.organization,
                    job_parents.c.parent_id == earlier,
                    job_parents.c.state != EdgeState.SETTLED,
                )
                .values(parent_id=draft.id, state=EdgeState.NEW)
            )
    dependencies.settle(connection, now, canceled)
