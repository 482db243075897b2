"""Pausing queues, job types and organizations: `fl.queues`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from fairlane.control.authority import refuse_unless_operator
from fairlane.domain.metrics import PauseView
from fairlane.domain.permissions import Right
from fairlane.domain.texts import storable
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import audit
from fairlane.store.statements import job_types as statements
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database


class Subject(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    JOB_TYPE = "job_type"
    ORGANIZATION = "organization"


class Pauses:
    """Pause and resume one kind of thing. While it is paused nothing of it starts; running jobs finish."""

    def __init__(self, database: Database, subject: Subject) -> None:
        self._database = database
        self._subject = subject

    def pause(self, name: str, *, user: str | None = None, reason: str = "", right: Right | None = None) -> None:
        """Start nothing of `name` until it is resumed.

        Args:
            user, reason: who paused it and why, as whoever asks why their job waits is told (R20), in every
                organization: name none in it.
            right: which `user` must have as an operator at that moment, as for a request; None = trusted code, which is
                not asked. The other verbs have it, too.

        Raises:
            InvalidParameters: a text that can't be stored.
            PermissionDenied
        """
        storable(name=name, user=user, reason=reason)

        def work(connection: Connection) -> None:
            refuse_unless_operator(connection, user, right)
            now = self._database.clock.now(connection)
            before = statements.find_pause(connection, self._subject, name)
            statements.pause(connection, now, self._subject, name, actor=user or SYSTEM, reason=reason)
            self._record(connection, user, "pause", name, before=_told(before), after={"reason": reason})

        self._database.write(work, of=EVERYONE)

    def resume(self, name: str, *, user: str | None = None, right: Right | None = None) -> bool:
        """End a pause; False if there was none. Raises `PermissionDenied`."""
        storable(name=name, user=user)

        def work(connection: Connection) -> bool:
            refuse_unless_operator(connection, user, right)
            ended = statements.resume(connection, self._subject, name)
            if ended is not None:
                self._record(connection, user, "resume", name, before=_told(ended))
            return ended is not None

        resumed = self._database.write(work, of=EVERYONE)
        self._database.hint()
        return resumed

    def names(self) -> frozenset[str]:
        """What is paused."""
        return frozenset(self._pauses())

    def _pauses(self) -> dict[str, PauseView]:
        rows = self._database.read(statements.paused, of=EVERYONE)
        return {
            row.name: PauseView(row.paused_by, row.paused_at, row.reason)
            for row in rows
            if row.subject == self._subject
        }

    def _record(
        self,
        connection: Connection,
        user: str | None,
        verb: str,
        name: str,
        organization: str | None = None,
        **what: Mapping[str, Any] | None,
    ) -> None:
        now = self._database.clock.now(connection)
        whose = name if self._subject is Subject.ORGANIZATION else organization
        audit.record(connection, now, whose, user or SYSTEM, f"{self._subject}s.{verb}", name, **what)


class Queues(Pauses):
    """Pause and resume queues, for all organizations."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Subject.QUEUE)


def _told(pause: AnyRow | None) -> dict[str, Any] | None:
    return {"reason": pause.reason, "paused_by": pause.paused_by} if pause is not None else None
