"""Pauses of queues, job types, organizations, or everything: `fl.queues`, `fl.maintenance`."""

from contextlib import suppress
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Connection

from fairlane.domain.arguments import queue_name
from fairlane.domain.errors import StorageUnavailable
from fairlane.domain.metrics import PauseView
from fairlane.domain.permissions import Right
from fairlane.domain.reasons import MAINTENANCE
from fairlane.domain.texts import storable
from fairlane.domain.timing import LOCK_WAIT_FOR_CLAIMS
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import job_types as statements
from fairlane.store.statements.transition import SYSTEM
from fairlane.store.tables import AnyRow
from fairlane.store.transaction import Database
from fairlane.tenancy.authority import Actor, Told, Work

T = TypeVar("T")


class Pausable(StrEnum):
    """The kinds of things that can be paused. Maintenance mode pauses everything."""

    QUEUE = "queue"
    JOB_TYPE = "job_type"
    ORGANIZATION = "organization"
    MAINTENANCE = "maintenance"

    @property
    def area(self) -> str:
        """Return the first part of its actions in the audit."""
        return self if self is Pausable.MAINTENANCE else f"{self}s"


class Pauses:
    """Pause and resume one kind of thing. During a pause no job of it starts; running jobs finish."""

    def __init__(self, database: Database, subject: Pausable, verbs: tuple[str, str] = ("pause", "resume")) -> None:
        self._database = database
        self._subject = subject
        self._verbs = verbs  # their names in the audit

    def pause(self, name: str, *, user: str | None = None, reason: str = "") -> None:
        """Start no job of `name` until it is resumed.

        An existing pause keeps its beginning. If a reason is given, it and `user` replace those of the pause.

        Args:
            user, reason: who paused it, and why. People of every organization who ask why their job waits see both
                (R20), so name no organization.

        Raises:
            InvalidParameters: a text that can't be stored.
            ConfigurationError: no queue can have this name.
            JobTypeNotFound: no job type has this name.
            PermissionDenied
        """
        storable(name=name, reason=reason)

        def work(connection: Connection) -> tuple[None, Told | None]:
            self._require(connection, name)
            now = self._database.clock.now(connection)
            before = statements.find_pause(connection, self._subject, name)
            if before is not None and not reason:
                return None, None
            statements.pause(connection, now, self._subject, name, actor=user or SYSTEM, reason=reason)
            return None, Told(name, _told(before), {"reason": reason}, at=now)

        self._change(self._verbs[0], name, user, work)

    def resume(self, name: str, *, user: str | None = None) -> bool:
        """End a pause; False if there was none.

        Raises:
            PermissionDenied, and what `pause` raises for an unknown name.
        """
        storable(name=name)

        def work(connection: Connection) -> tuple[bool, Told | None]:
            ended = statements.resume(connection, self._subject, name)
            if ended is None:
                self._require(connection, name)
                return False, None
            return True, Told(name, _told(ended))

        resumed = self._change(self._verbs[1], name, user, work)
        self._database.hint()
        return resumed

    def _require(self, connection: Connection, name: str) -> AnyRow | None:
        """Refuse an unknown name."""

    def names(self) -> frozenset[str]:
        """Return the names that are paused."""
        return frozenset(self._pauses())

    def _pauses(self) -> dict[str, PauseView]:
        rows = self._database.read(statements.paused, of=EVERYONE)
        return {row.name: _view(row) for row in rows if row.subject == self._subject}

    def _change(self, verb: str, name: str, user: str | None, work: Work[T], organization: str | None = None) -> T:
        whose = name if self._subject is Pausable.ORGANIZATION else organization
        actor = Actor(user, Right.ORGANIZATION_CHANGE, whose)
        return actor.change(self._database, f"{self._subject.area}.{verb}", work)


class Queues(Pauses):
    """Pause and resume queues, for all organizations."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Pausable.QUEUE)

    def _require(self, connection: Connection, name: str) -> None:
        queue_name(name)  # a queue exists once it is named, even before it has a job


class Maintenance:
    """Turn maintenance mode on and off, for all organizations.

    While it is on, no job starts on any worker. Running jobs finish, and submissions and schedules go on.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pauses = Pauses(database, Pausable.MAINTENANCE, verbs=("on", "off"))

    def on(self, *, reason: str = "", user: str | None = None) -> None:
        """Start no job until `off`. After this returns, no worker starts a job.

        If maintenance is on already, its beginning stays. If a reason is given, it and `user` replace the former ones.
        This waits at most a second for a worker that hangs in the middle of a claim.

        Args:
            reason: shown to everybody who is signed in to the dashboard or asks why their job waits, so name no
                organization.
            user: who turns maintenance on; None = the system.

        Raises:
            InvalidParameters: a text that can't be stored.
            PermissionDenied
        """
        self._pauses.pause(MAINTENANCE[1], user=user, reason=reason)
        # Wait for claims that read the pauses before this one was written.
        with suppress(StorageUnavailable):
            self._database.write(self._database.kind.wait_for_claims, of=EVERYONE, lock_seconds=LOCK_WAIT_FOR_CLAIMS)

    def off(self, *, user: str | None = None) -> bool:
        """Let jobs start again; return False if maintenance was not on. Raises `PermissionDenied`."""
        return self._pauses.resume(MAINTENANCE[1], user=user)

    def get(self) -> PauseView | None:
        """Return since when maintenance is on, by whom and why; None if it is off."""
        found = self._database.read(lambda connection: statements.find_pause(connection, *MAINTENANCE), of=EVERYONE)
        return _view(found) if found is not None else None


def _view(pause: AnyRow) -> PauseView:
    return PauseView(pause.paused_by, pause.paused_at, pause.reason)


def _told(pause: AnyRow | None) -> dict[str, Any] | None:
    return {"reason": pause.reason, "paused_by": pause.paused_by} if pause is not None else None
