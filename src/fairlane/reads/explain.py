"""Gather what `domain.explain` needs to explain a job."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import Pair
from fairlane.domain.explain import (
    LAST_PLACE,
    NAMED_PARENTS,
    Decision,
    Explanation,
    Facts,
    Holder,
    LimitOn,
    Pause,
    explain,
)
from fairlane.domain.fairness import Lane
from fairlane.domain.jobs import Job, JobState, LogEntry, entry_without_payload, job_not_found, job_without_errors
from fairlane.domain.limits import Limit, limits_on, next_start, running_by_subject
from fairlane.domain.reasons import LiveWorker, pauses_on
from fairlane.domain.statuses import TERMINAL, JobStatus, OrganizationStatus, Resolution
from fairlane.jobtypes.options import Options
from fairlane.store.clock import Clock
from fairlane.store.statements import (
    breakers,
    dead_letters,
    dependencies,
    history,
    job_types,
    lanes,
    metrics,
    rows,
    running_limits,
    workers,
)
from fairlane.store.statements.lanes import Running
from fairlane.store.tables import AnyRow
from fairlane.tenancy.directory import Standing, memberships, standings

_GENERATIONS: Final = 5  # searched above a dead letter's parent, with a query for each


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """An answer of the host's directory about the organization. `standing` None: no organization has this id."""

    standing: Standing | None = None
    is_away: bool = False


def explain_job(
    connection: Connection,
    clock: Clock,
    organization: str,
    job_id: UUID,
    host: HostAnswer | None,
    *,
    opener: rows.Opener,
    with_errors: bool = True,
) -> Explanation:
    """Say why the job is not running, or how it runs, or how it ended.

    Args:
        host: None = Fairlane keeps the organizations itself.
        with_errors: whether to quote the texts of its handler's errors.

    Raises:
        JobNotFound
    """
    row = rows.shown(connection, organization, job_id)
    if row is None:
        raise job_not_found(job_id, organization)
    depends_on = rows.parents_of(connection, organization, [job_id]).get(job_id, ())
    job = rows.to_job(row, depends_on, opener)
    now = clock.now(connection)
    logged = history.last_move(connection, organization, job_id)
    last_entry = history.entry_of(logged, opener) if logged is not None else _unlogged(job)
    if not with_errors:
        job, last_entry = job_without_errors(job), entry_without_payload(last_entry)
    if job.status in TERMINAL:
        return explain(_ended_facts(connection, Facts(job, now, last_entry), host))
    if job.status is JobStatus.RUNNING:
        return explain(_running_facts(connection, clock, row, Facts(job, now, last_entry)))
    return explain(_waiting_facts(connection, clock, row, Facts(job, now, last_entry), host))


def _unlogged(job: Job) -> LogEntry:
    """Return a stand-in for a job's last transition, where the newest entries of its log have none."""
    said = "its log does not say why"
    return LogEntry(0, None, job.status, job.created_at, "unknown", said, job.attempt, None, None)


def _ended_facts(connection: Connection, known: Facts, host: HostAnswer | None) -> Facts:
    parent = dead_letters.culprit(connection, known.job.organization, known.job.id)
    letter = dead_letters.decided(connection, known.job.organization, known.job.id)
    return replace(
        known,
        culprit=_waited_for(known.job.organization, parent) if parent is not None else None,
        to_retry=_to_retry(connection, known.job.organization, parent) if parent is not None else None,
        decision=_decision(letter) if letter is not None else None,
        organization_status=_status(_standing(connection, known.job.organization, host), host),
    )


def _to_retry(connection: Connection, organization: str, fallen: AnyRow) -> JobState | None:
    """Return the dead letter that can be retried: this one or one above it; None if there is none within the bound."""
    for _ in range(_GENERATIONS):
        above = dead_letters.culprit(connection, organization, fallen.id)
        if above is None or above.status != JobStatus.DEAD_LETTER:
            return _waited_for(organization, fallen)
        fallen = above
    return None


def _decision(letter: AnyRow) -> Decision:
    parent_deleted = letter.parent_deleted_at is not None
    return Decision(Resolution(letter.resolution), letter.resolved_by, letter.note or "", parent_deleted)


def _running_facts(connection: Connection, clock: Clock, row: AnyRow, known: Facts) -> Facts:
    return replace(
        known,
        workers=_live_workers(connection, clock, known.job),
        holder=_holder(connection, clock, row),
        cancel_requested_by=row.cancel_requested_by,
        cancel_reason=row.cancel_reason or "",
    )


def _waiting_facts(connection: Connection, clock: Clock, row: AnyRow, known: Facts, host: HostAnswer | None) -> Facts:
    job = known.job
    running = lanes.running(connection)
    parents = dependencies.unmet_parents(connection, job.organization, job.id, NAMED_PARENTS)
    standing = _standing(connection, job.organization, host)
    return replace(
        known,
        parents=tuple(_waited_for(job.organization, parent) for parent in parents),
        unmet_parents=parents[0].total if parents else 0,
        place_in_lane=_place(connection, row) if row.ready else None,
        organization_status=_status(standing, host),
        directory_is_away=host is not None and host.is_away,
        pauses=tuple(_pauses_on(connection, job)),
        is_hosted=host is not None,
        may_submit=host is not None or standing is None or _may_submit(connection, row),
        limits=tuple(_limits_on(connection, known, standing, running)),
        breaker=breakers.find_open(connection, Pair(job.organization, job.job_type)),
        workers=_live_workers(connection, clock, job),
    )


def _waited_for(organization: str, parent: AnyRow) -> JobState:
    return JobState(organization, parent.id, parent.job_type, JobStatus(parent.status))


def _place(connection: Connection, row: AnyRow) -> int:
    return min(lanes.ahead_in_lane(connection, row, up_to=LAST_PLACE) + 1, LAST_PLACE)


def _standing(connection: Connection, organization: str, host: HostAnswer | None) -> Standing | None:
    return host.standing if host is not None else standings(connection, [organization]).get(organization)


def _may_submit(connection: Connection, row: AnyRow) -> bool:
    if row.submitted_by is None:
        return True
    whose = (row.organization_id, row.submitted_by)
    member = memberships(connection, [whose]).get(whose)
    return member is not None and member.may_submit(row.required_permission)


def _status(standing: Standing | None, host: HostAnswer | None) -> OrganizationStatus | None:
    if host is not None and standing is None and not host.is_away:
        return OrganizationStatus.DELETED  # a worker will treat it as deleted
    return standing.status if standing is not None else None


def _limits_on(connection: Connection, known: Facts, standing: Standing | None, running: Running) -> Iterator[LimitOn]:
    job = known.job
    options = job_types.options_of(connection, job.job_type)
    found = limits_on(
        job.organization,
        job.job_type,
        max_running=standing.max_running if standing is not None else None,
        own=Options.from_json(options).limit if options is not None else Limit(),
        overrides=running_limits.overrides(connection),
    )
    by_subject, held = running_by_subject(running), running_limits.held(connection, found)
    for subject, limit in found.items():
        rate = limit.execution_rate
        started = running_limits.latest_starts(connection, subject, rate) if rate else []
        at = next_start(limit, started, known.now)
        yield LimitOn(subject, limit, by_subject[subject], at, is_held=subject in held)


def _pauses_on(connection: Connection, job: Job) -> Iterator[Pause]:
    mine = pauses_on(Lane(job.queue, job.organization, job.job_type))
    for row in job_types.paused(connection):
        if (row.subject, row.name) in mine:
            yield Pause(row.subject, row.name, row.paused_by, row.paused_at, row.reason)


def _live_workers(connection: Connection, clock: Clock, job: Job) -> tuple[LiveWorker, ...]:
    """Return the live workers, with what matters for the job."""
    running, lacking = metrics.running_by_worker(connection), workers.lacking_key_of(connection, job.organization)
    return tuple(
        live_worker(row, running[row.id], lacks_key=row.id in lacking) for row in workers.all_workers(connection, clock)
    )


def live_worker(row: AnyRow, running: int = 0, *, lacks_key: bool) -> LiveWorker:
    """Return a live worker, with what matters for an organization."""
    queues = json.loads(row.queues)
    return LiveWorker(
        queues=frozenset(queues) if queues is not None else None,
        job_types=frozenset(json.loads(row.job_types)),
        stopping=row.stopping,
        free_slots=row.slots - running,
        lacks_key=lacks_key,
    )


def _holder(connection: Connection, clock: Clock, row: AnyRow) -> Holder | None:
    held = workers.holder(connection, row.worker_id) if row.worker_id is not None else None
    if held is None:
        return None
    silent = (clock.now(connection) - held.heartbeat_at).total_seconds()
    if held.boot_id != clock.boot_id(connection):
        return Holder(held.name, silent, None)
    return Holder(held.name, silent, held.lease_expires - clock.lease_seconds(connection))
