"""The catalogue of the job types that a process can submit: its own types, and those that others registered."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, JobTypeDisabled, JobTypeNotFound, StorageUnavailable
from fairlane.domain.timing import LOCK_WAIT_OF_UPKEEP
from fairlane.jobtypes.job_type import JobType
from fairlane.jobtypes.options import Options
from fairlane.jobtypes.parameters import ParameterSchema
from fairlane.store.clock import Clock
from fairlane.store.row_security import EVERYONE
from fairlane.store.statements import job_types as statements
from fairlane.store.transaction import Database


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredType:
    """A job type without its handler, as submissions need it.

    `judge` raises InvalidParameters for the text of parameters that fit the schema, if the handler's own types and
    validators refuse them; None: it has none, or this process does not have the handler.
    `documents` is the registered schema and options, to be compared; None for a type of this process, which uses its
    own definition whatever is registered.
    Each instance is equal only to itself, so that caches of a type do not serve its next version.
    """

    name: str
    schema: ParameterSchema
    options: Options
    enabled: bool
    judge: Callable[[str], None] | None = None
    documents: str | None = None


class Catalogue:
    """The types of this process, and those that others registered in the database."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mine: dict[str, JobType[..., Any]] = {}
        self._own: dict[str, RegisteredType] = {}
        self._written: set[str] = set()
        self._held: set[str] = set()  # another session held their rows when they should have been written
        self._read: dict[str, RegisteredType] = {}

    def add(self, job_type: JobType[..., Any]) -> None:
        """Add a type of this process.

        Raises:
            ConfigurationError: the name is taken.
        """
        if job_type.name in self._mine:
            raise ConfigurationError(f"Job type {job_type.name} is defined twice; give one of them another name.")
        self._own[job_type.name] = _own(job_type)
        self._mine[job_type.name] = job_type

    @property
    def mine(self) -> dict[str, JobType[..., Any]]:
        """Return the types whose handlers this process has."""
        return dict(self._mine)

    def news(self, needed: Collection[str] = ()) -> list[str]:
        """Return the types to register before `needed` are submitted.

        These are all that were not registered yet. A type whose row another session held is registered only by callers
        that need it: workers, and submissions of the type.
        """
        if len(self._written) == len(self._mine):
            return []
        left = sorted(self._mine.keys() - self._written)
        return [name for name in left if name not in self._held or name in needed]

    def register(self, database: Database, names: Sequence[str], *, anew: bool = False) -> Sequence[str]:
        """Register these types of this process, so that any process can submit them.

        Args:
            anew: register again those that are registered, as they are here; for workers and `migrate`.

        Returns:
            The types that are not registered, as another session holds their rows: see `held_types`.

        Raises:
            CommitUnanswered, StorageUnavailable, ConfigurationError
        """

        def write(connection: Connection, some: Sequence[str]) -> None:
            now = self._clock.now(connection)
            for name in some:
                statements.register(connection, now, name, *self._mine[name].documents, anew=anew)

        held = database.write_each(write, names, lock_seconds=LOCK_WAIT_OF_UPKEEP, of=EVERYONE if anew else None)
        self._held.update(held)
        self._written.update(set(names).difference(held))
        return held

    def find(self, connection: Connection, names: Sequence[str]) -> dict[str, RegisteredType]:
        """Return these types for a submission. This process's own definition goes before the registered one.

        A type that this process had registered and that was deleted since is registered again, in this transaction.

        Raises:
            JobTypeNotFound, JobTypeDisabled
        """
        rows = {row.name: row for row in statements.find(connection, sorted(set(names)))}
        found: dict[str, RegisteredType] = {}
        for name, row in rows.items():
            if not row.enabled:
                raise JobTypeDisabled(f"Job type {name} is disabled; an operator can enable it.")
            if name not in self._mine:
                found[name] = self._registered(name, row.schema, row.options)
        for name in sorted(set(names) & self._mine.keys()):
            mine = self._mine[name]
            if name not in rows and name in self._written:
                statements.register(connection, self._clock.now(connection), name, *mine.documents)
            found[name] = self._own[name]
        for name in names:
            if name not in found:
                known = self._mine.keys() | {row.name for row in statements.everything(connection)}
                close = get_close_matches(name, known, n=1)
                meant = f" Did you mean {close[0]}?" if close else ""
                raise JobTypeNotFound(
                    f"Job type {name} is not registered; start a worker that has it, or import its module here.{meant}"
                )
        return found

    def known(self, name: str) -> RegisteredType | None:
        """Return the cached answer of `find`; None = call `find`."""
        return self._own.get(name) or self._read.get(name)

    def learn(self, connection: Connection, names: Collection[str]) -> dict[str, RegisteredType]:
        """Return these types as they are registered, and cache them for `known`. Lock nothing, and refuse nothing.

        A type that a newer version of Fairlane registered is omitted: `find` raises the error.
        """
        found = {}
        for row in statements.documents(connection, names):
            with suppress(ConfigurationError):
                found[row.name] = self._registered(row.name, row.schema, row.options)
        return found

    def _registered(self, name: str, schema: str, options: str) -> RegisteredType:
        known = self._read.get(name)
        if known is None or known.documents != schema + options:
            document = ParameterSchema.from_document(json.loads(schema))
            given = Options.from_json(options)
            known = self._read[name] = RegisteredType(name, document, given, enabled=True, documents=schema + options)
        return known


def _own(job_type: JobType[..., Any]) -> RegisteredType:
    signature = job_type.signature
    judge = signature.judge if signature.has_code else None
    return RegisteredType(job_type.name, signature.schema, job_type.options, enabled=True, judge=judge)


def held_types(names: Iterable[str]) -> StorageUnavailable:
    """Return the error for types that `Catalogue.register` could not register."""
    return StorageUnavailable(
        f"An open transaction holds the rows of these job types in fairlane_job_types: {', '.join(names)}. "
        "They are not registered; end that transaction, then try again."
    )
