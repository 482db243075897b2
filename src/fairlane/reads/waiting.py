"""`Waiting`: reads of what holds back the jobs of a list, and of limits on running jobs."""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.breaker import Pair
from fairlane.domain.explain import worker_reason
from fairlane.domain.fairness import Lane
from fairlane.domain.limits import Limit, LimitUse, Subject, limits_on, running_by_subject
from fairlane.domain.reasons import Holds, Reason, ReasonCode, held_lanes, missing_worker
from fairlane.domain.statuses import OrganizationStatus
from fairlane.jobtypes.options import Options
from fairlane.reads.explain import live_worker
from fairlane.store.clock import Clock
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import breakers, job_types, organizations, running_limits, workers
from fairlane.store.transaction import Database


def limits_of(
    connection: Connection, pairs: Iterable[Pair], max_running: Mapping[str, int | None]
) -> dict[Subject, Limit]:
    """Return all limits on these pairs.

    Args:
        max_running: of the organizations; an organization that is missing has no limit of its own.
    """
    own = {name: Options.from_json(options).limit for name, options in connection.execute(job_types.OPTIONS)}
    overrides = running_limits.overrides(connection)
    found: dict[Subject, Limit] = {}
    for organization, job_type in pairs:
        found |= limits_on(
            organization,
            job_type,
            max_running=max_running.get(organization),
            own=own.get(job_type, Limit()),
            overrides=overrides,
        )
    return found


def uses_of(
    connection: Connection, clock: Clock, limits: Mapping[Subject, Limit], running: Mapping[Pair, int]
) -> dict[Subject, LimitUse]:
    """Return how much of these limits is used.

    Args:
        running: the number of running jobs.
    """
    windows = {one: limit.execution_rate_window for one, limit in limits.items() if limit.execution_rate is not None}
    started = running_limits.started(connection, clock.now(connection), windows)
    by_subject = running_by_subject(running)
    return {one: LimitUse(by_subject[one], started.get(one, 0)) for one in limits}


class Waiting:
    """Reads of what holds back many jobs, once for all of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holds(self, organization: str, types: Collection[str]) -> Holds:
        """Return what holds back the organization's jobs of these types now, without asking the host's directory."""
        # Pauses, limits and workers belong to all organizations.
        return self._database.read(
            lambda connection: _holds(connection, self._database.clock, organization, types), of=EVERYONE
        )

    def missing_workers(self, lanes: Iterable[Lane]) -> dict[Lane, Reason]:
        """Return which of these lanes have no live worker, and what to do. For operators."""
        clock = self._database.clock
        alive, lacking = self._database.read(
            lambda connection: (workers.all_workers(connection, clock), workers.lacking_keys(connection)), of=EVERYONE
        )
        found = {}
        for lane in lanes:
            able = [live_worker(row, lacks_key=lane.organization in lacking.get(row.id, ())) for row in alive]
            missing = missing_worker(able, lane.queue, lane.job_type)
            if missing is not None:
                found[lane] = worker_reason(missing, lane)
        return found


def _holds(connection: Connection, clock: Clock, organization: str, types: Collection[str]) -> Holds:
    found = organizations.find(connection, [organization])
    alive, lacking = workers.all_workers(connection, clock), workers.lacking_key_of(connection, organization)
    return Holds(
        status=OrganizationStatus(found[0].status) if found else None,
        paused={(row.subject, row.name) for row in job_types.paused(connection)},
        limits=limits_of(
            connection,
            [Pair(organization, job_type) for job_type in types],
            {row.id: row.max_running for row in found},
        ),
        resting={one.job_type for one in breakers.open_of(connection, organization)},
        workers=[live_worker(row, lacks_key=row.id in lacking) for row in alive],
    )


def holds_on(
    connection: Connection,
    clock: Clock,
    lanes: Iterable[Lane],
    paused: Collection[tuple[str, str]],
    organization: str | None,
) -> dict[Lane, ReasonCode]:
    """Return what holds back all jobs of each of these lanes: a pause, an open breaker, or no worker for them.

    Args:
        organization: of the lanes; None = of all organizations. Then it is not checked which keys a worker lacks.
    """
    if organization is None:
        lacking, resting = frozenset[UUID](), breakers.open_breakers(connection)
    else:
        lacking = workers.lacking_key_of(connection, organization)
        resting = breakers.open_of(connection, organization)
    alive = [live_worker(row, lacks_key=row.id in lacking) for row in workers.all_workers(connection, clock)]
    return held_lanes(lanes, paused, {one.pair for one in resting}, alive)
