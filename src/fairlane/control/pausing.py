"""Pausing queues and job types, and enabling types: `fl.queues` and `fl.job_types`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, JobTypeNotFound
from fairlane.domain.texts import storable
from fairlane.registry.options import Options
from fairlane.store.statements import job_types as statements
from fairlane.store.statements.transition import SYSTEM
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

    def pause(self, name: str, *, user: str | None = None, reason: str = "") -> None:
        """Start nothing of `name` until it is resumed.

        Raises:
            InvalidParameters: a text that can't be stored.
        """
        storable(name=name, user=user, reason=reason)

        def work(connection: Connection) -> None:
            now = self._database.clock.now(connection)
            statements.pause(connection, now, self._subject, name, actor=user or SYSTEM, reason=reason)

        self._database.write(work)

    def resume(self, name: str, *, user: str | None = None) -> bool:
        """End a pause; False if there was none."""
        storable(name=name)
        resumed = self._database.write(lambda connection: statements.resume(connection, self._subject, name))
        self._database.hint()
        return resumed

    def names(self) -> frozenset[str]:
        """What is paused."""
        rows = self._database.read(statements.paused)
        return frozenset(row.name for row in rows if row.subject == self._subject)


class Queues(Pauses):
    """Pause and resume queues, for all organizations."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Subject.QUEUE)


@dataclass(frozen=True, slots=True)
class JobTypeView:
    """A registered job type."""

    name: str
    enabled: bool
    paused: bool
    options: Options
    registered_at: datetime


class JobTypes(Pauses):
    """Pause, disable and delete job types, for all organizations."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Subject.JOB_TYPE)

    def list(self) -> tuple[JobTypeView, ...]:
        """All registered types, by name."""
        paused = self.names()
        return tuple(
            JobTypeView(row.name, row.enabled, row.name in paused, Options.from_json(row.options), row.registered_at)
            for row in self._database.read(statements.everything)
        )

    def enable(self, name: str, *, user: str | None = None) -> None:
        """Let the type be submitted again.

        Raises:
            JobTypeNotFound
        """
        self._set_enabled(name, enabled=True)

    def disable(self, name: str, *, user: str | None = None) -> None:
        """Refuse submissions of the type; jobs that are there run.

        Raises:
            JobTypeNotFound
        """
        self._set_enabled(name, enabled=False)

    def delete(self, name: str, *, user: str | None = None) -> None:
        """Delete a type that no job is of.

        A process that has the type's handler registers it again when it submits it.

        Raises:
            JobTypeNotFound, ConfigurationError: jobs of the type are there.
            StorageUnavailable: a transaction that submits it stays open for too long.
        """

        storable(name=name)

        def work(connection: Connection) -> None:
            # Removed first: from then on no submission begins, and those that had begun are seen.
            if not statements.remove(connection, name):
                raise JobTypeNotFound(f"Job type {name} is not registered.")
            if statements.is_referenced(connection, name):
                raise ConfigurationError(
                    f"Jobs of type {name} are there; it can be deleted when retention has removed them."
                )

        self._database.write(work)

    def _set_enabled(self, name: str, *, enabled: bool) -> None:
        storable(name=name)
        if not self._database.write(lambda connection: statements.set_enabled(connection, name, enabled=enabled)):
            raise JobTypeNotFound(f"Job type {name} is not registered.")
