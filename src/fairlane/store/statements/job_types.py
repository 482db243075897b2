"""Registered job types, and pauses."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, literal, select, text, update

from fairlane.domain.statuses import OrganizationStatus
from fairlane.store.engine import engine_of
from fairlane.store.sql import fixed, is_row
from fairlane.store.tables import AnyRow, job_types, organizations, pauses, schedules

# KEY SHARE, as for a foreign key: it waits only for a delete, and holds up nothing else.
_HELD: Final = select(job_types).order_by(job_types.c.name).with_for_update(read=True, key_share=True)
# A separate statement for the usual case of a single type: a list has to be written out each time.
_FIND_ONE: Final = _HELD.where(job_types.c.name == bindparam("name"))
_FIND: Final = _HELD.where(job_types.c.name.in_(bindparam("names", expanding=True)))


# For a claim round: pauses (a handful of rows), and suspended organizations of Fairlane's own directory, as (subject,
# name); and the options of all types, by name, as JSON text.
PAUSED: Final = select(pauses.c.subject, pauses.c.name)
SUSPENDED: Final = select(literal("organization").label("subject"), organizations.c.id).where(
    organizations.c.status == fixed(OrganizationStatus.SUSPENDED)
)
OPTIONS: Final = select(job_types.c.name, job_types.c.options)


def register(
    connection: Connection, now: datetime, name: str, schema: str, options: str, *, anew: bool = False
) -> None:
    """Insert a type's parameter schema and options; `anew`: also replace those of a registered type.

    `enabled` stays, and is true for a new type. A submitter has no right to set it, or to change a type, which all
    organizations share.
    """
    values = {"schema": schema, "options": options, "registered_at": now}
    statement = engine_of(connection).insert(job_types).values(name=name, **values)
    if anew:
        statement = statement.on_conflict_do_update(index_elements=[job_types.c.name], set_=values)
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement)


def find(connection: Connection, names: Sequence[str]) -> Sequence[AnyRow]:
    """Return these registered types, locked against deletion until this transaction ends."""
    # Names are printable; PostgreSQL would refuse a NUL with its own error.
    possible = [name for name in names if name.isprintable()]
    if len(possible) == 1:
        return connection.execute(_FIND_ONE, {"name": possible[0]}).all()
    return connection.execute(_FIND, {"names": possible}).all()


def hold(connection: Connection, name: str) -> AnyRow | None:
    """Lock a registered type against other changes, but not against submissions; None if there is none."""
    statement = select(job_types).where(job_types.c.name == name).with_for_update(key_share=True)
    return connection.execute(statement).one_or_none()


def documents(connection: Connection, names: Collection[str]) -> Sequence[AnyRow]:
    """Return name, schema and options of these registered types; unlike `find` it locks nothing."""
    chosen = select(job_types.c.name, job_types.c.schema, job_types.c.options)
    return connection.execute(chosen.where(job_types.c.name.in_(sorted(filter(str.isprintable, names))))).all()


def options_of(connection: Connection, name: str) -> str | None:
    """Return a registered type's options, as JSON text; unlike `find` it locks nothing."""
    return connection.scalars(select(job_types.c.options).where(job_types.c.name == name)).one_or_none()


def everything(connection: Connection) -> Sequence[AnyRow]:
    """Return all registered types, by name."""
    return connection.execute(select(job_types).order_by(job_types.c.name)).all()


def set_enabled(connection: Connection, name: str, *, enabled: bool) -> None:
    """Enable or disable a type, which the caller has locked."""
    connection.execute(update(job_types).where(job_types.c.name == name).values(enabled=enabled))


def remove(connection: Connection, name: str) -> bool:
    """Delete a type; False if it is not registered. Wait for submissions of it."""
    return connection.execute(delete(job_types).where(job_types.c.name == name)).rowcount == 1


# Skip scan: two index probes per organization that has jobs. An index by type alone would cost every submission.
_REFERENCE = text("""
WITH RECURSIVE organization AS (
  SELECT min(organization_id) AS id FROM fairlane_jobs
  UNION ALL
  SELECT (SELECT min(organization_id) FROM fairlane_jobs WHERE organization_id > organization.id)
  FROM organization WHERE organization.id IS NOT NULL
)
SELECT id FROM organization
WHERE EXISTS (SELECT 1 FROM fairlane_jobs WHERE organization_id = organization.id AND job_type = :name) LIMIT 1
""").execution_options(fairlane_across="operator reads")


def is_referenced(connection: Connection, name: str) -> bool:
    """Return True if any organization still has a job or a schedule of the type.

    The cost depends on the number of organizations.
    """
    # The first schedule from this name on: one probe of the index, whatever number the planner expects.
    scheduled = select(func.min(schedules.c.job_type)).where(schedules.c.job_type >= name)
    return (
        connection.execute(_REFERENCE, {"name": name}).first() is not None
        or connection.scalar(scheduled.execution_options(fairlane_across="operator reads")) == name
    )


def pause(connection: Connection, now: datetime, subject: str, name: str, *, actor: str, reason: str) -> None:
    """Pause a queue, a job type or an organization; for an existing pause change only the reason, if given."""
    told = {"paused_by": actor, "reason": reason}
    statement = engine_of(connection).insert(pauses).values(subject=subject, name=name, paused_at=now, **told)
    keys = list(pauses.primary_key)
    if reason:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=told)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement)


def find_pause(connection: Connection, subject: str, name: str) -> AnyRow | None:
    """Return the pause of a queue, a job type or an organization; None if it is not paused."""
    return connection.execute(select(pauses).where(is_row(pauses, subject, name))).one_or_none()


def resume(connection: Connection, subject: str, name: str) -> AnyRow | None:
    """End and return a pause; None if there was none."""
    return connection.execute(delete(pauses).where(is_row(pauses, subject, name)).returning(pauses)).one_or_none()


def paused(connection: Connection) -> Sequence[AnyRow]:
    """Return all pauses."""
    return connection.execute(select(pauses).order_by(pauses.c.subject, pauses.c.name)).all()
