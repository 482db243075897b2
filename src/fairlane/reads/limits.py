"""Gathers limits on what runs, and how far they are used."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from fairlane.domain.limits import Limit, LimitUse, Subject, limits_on, running_by_subject
from fairlane.jobtypes.options import Options
from fairlane.store.clock import Clock
from fairlane.store.statements import job_types, running_limits


def limits_of(
    connection: Connection, pairs: Iterable[tuple[str, str]], max_running: Mapping[str, int | None]
) -> dict[Subject, Limit]:
    """Return all that limits these (job type, organization).

    Args:
        max_running: of the organizations; one that is not among them has no limit of its own.
    """
    own = {name: Options.from_json(options).limit for name, options in connection.execute(job_types.OPTIONS)}
    overrides = running_limits.overrides(connection)
    found: dict[Subject, Limit] = {}
    for job_type, organization in pairs:
        found |= limits_on(
            organization,
            job_type,
            max_running=max_running.get(organization),
            own=own.get(job_type, Limit()),
            overrides=overrides,
        )
    return found


def uses_of(
    connection: Connection, clock: Clock, limits: Mapping[Subject, Limit], running: Mapping[tuple[str, str], int]
) -> dict[Subject, LimitUse]:
    """Return how far these limits are used.

    Args:
        running: how many jobs run, by (job type, organization).
    """
    windows = {one: limit.execution_rate_window for one, limit in limits.items() if limit.execution_rate is not None}
    started = running_limits.started(connection, clock.now(connection), windows)
    by_subject = running_by_subject(running)
    return {one: LimitUse(by_subject[one], started.get(one, 0)) for one in limits}
