"""Tokens as the audit is told of them, from their rows."""

import json
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from fairlane.store.statements import audit
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow


def audit_revoked(connection: Connection, now: datetime, by: str | None, revoked: Iterable[AnyRow]) -> None:
    """Write into the audit of its organization, of each of these tokens, that it was revoked.

    Args:
        by: who did it; None = the system.
    """
    for one in revoked:
        before = {"name": one.name, "user": one.user_id, "scopes": json.loads(one.scopes)}
        audit.record(connection, now, one.organization_id or None, by or SYSTEM, "tokens.revoke", one.id, before=before)
