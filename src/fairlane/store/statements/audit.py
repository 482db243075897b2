"""The audit. An entry is written in the transaction of its change, and never changed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, select, tuple_
from uuid_utils.compat import uuid7

from fairlane.domain.origin import origin
from fairlane.domain.texts import PLATFORM
from fairlane.store.sql import insert_many
from fairlane.store.tables import AnyRow, audit

ALL: Final = ""  # in place of an organization, for entries that concern all


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
    """Write an entry about a change.

    Args:
        organization: of the entry; None = it concerns all organizations. The platform's are among these.
        action: for example "members.add".
        subject: the id or name of the changed thing.
        before, after: the changed values, without secrets and payloads.
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
    """Write entries about the same action on several subjects, each with its values before and after."""
    rows = [
        {
            "organization_id": ALL if organization in {None, PLATFORM} else organization,
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
    """Return entries of an organization, or those that concern all (None), newest first, older than `before`.

    Args:
        subject: only entries about this subject.
    """
    statement = select(audit).where(audit.c.organization_id == (organization or ALL))
    if subject is not None:
        # Only people's actions write to the audit, so a second index costs little. Without it a search would read all
        # entries.
        statement = statement.where(audit.c.subject == subject)
    if before is not None:
        last = audit.alias("last")
        moment = select(last.c.at).where(last.c.organization_id == (organization or ALL), last.c.id == before)
        statement = statement.where(tuple_(audit.c.at, audit.c.id) < tuple_(moment.scalar_subquery(), before))
    return connection.execute(statement.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)).all()


def _json(value: Mapping[str, Any] | None) -> str | None:
    return json.dumps(value, default=str, ensure_ascii=False, sort_keys=True) if value is not None else None
