"""The audit: written in the transaction of what it tells of, never changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, select, tuple_
from uuid_utils.compat import uuid7

from fairlane.domain.origin import origin
from fairlane.store.sql import insert_many
from fairlane.store.tables import AnyRow, audit

PLATFORM: Final = ""  # in the place of an organization: it concerns all of them


def record(
    connection: Connection,
    now: datetime,
    organization: str | None,
    actor: str,
    action: str,
    subject: object,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what.

    Args:
        organization: whose; None = it concerns all of them.
        action: such as "members.add".
        subject: what it was done to, by its id or name.
        before, after: what of it was changed; no secret and no payload.
    """
    record_all(connection, now, organization, actor, action, [(subject, before, after)])


def record_all(
    connection: Connection,
    now: datetime,
    organization: str | None,
    actor: str,
    action: str,
    done: Iterable[tuple[object, Mapping[str, Any] | None, Mapping[str, Any] | None]],
) -> None:
    """Write down who did the same to several subjects: each with what was changed of it, before and after."""
    rows = [
        {
            "organization_id": organization or PLATFORM,
            "id": uuid7(),
            "at": now,
            "actor": actor,
            "origin": origin(),
            "action": action,
            "subject": str(subject),
            "before": _json(before),
            "after": _json(after),
        }
        for subject, before, after in done
    ]
    insert_many(connection, audit, rows)


def page(
    connection: Connection, organization: str | None, *, subject: str | None, before: UUID | None, limit: int
) -> Sequence[AnyRow]:
    """Return entries of an organization, or of what concerns all (None), newest first, older than the entry `before`.

    Args:
        subject: only what was done to it.
    """
    statement = select(audit).where(audit.c.organization_id == (organization or PLATFORM))
    if subject is not None:
        # Nobody but people writes the audit, so a second index costs little; without it few of many would be sought.
        statement = statement.where(audit.c.subject == subject)
    if before is not None:
        last = audit.alias("last")
        moment = select(last.c.at).where(last.c.organization_id == (organization or PLATFORM), last.c.id == before)
        statement = statement.where(tuple_(audit.c.at, audit.c.id) < tuple_(moment.scalar_subquery(), before))
    return connection.execute(statement.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)).all()


def _json(value: Mapping[str, Any] | None) -> str | None:
    return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True) if value is not None else None
