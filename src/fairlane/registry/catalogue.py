"""The catalogue of job types that any process can submit by: its own, and those that others registered."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, JobTypeDisabled, JobTypeNotFound
from fairlane.registry.job_types import JobType
from fairlane.registry.options import Options
from fairlane.registry.parameters import ParameterSchema
from fairlane.store.clock import Clock
from fairlane.store.statements import job_types as statements


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredType:
    """What is needed to submit a type: no handler.

    `judge` raises InvalidParameters for the text of parameters that fit the schema, if the handler's own types and
    validators refuse them; None: it has none, or this process does not have the handler.
    `documents` is the registered schema and options, to be compared; None for a type of this process's own, which goes
    by its own definition whatever is registered.
    Each is equal to itself alone, so that what is kept of a type is not kept of the next version.
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
        self._written: dict[str, tuple[str, str]] = {}
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

    @property
    def has_news(self) -> bool:
        """Return True if `write` has anything to write."""
        return len(self._written) < len(self._mine)

    def write(self, connection: Connection, *, anew: bool = False) -> Callable[[], None]:
        """Register this process's types, so that any process can submit them.

        Args:
            anew: also those that are registered, as they are here; for workers and `migrate`.

        Returns:
            To be called once the transaction has committed: remembers what was written.
        """
        written = {name: one.documents for name, one in sorted(self._mine.items())}
        now = self._clock.now(connection)
        for name, (schema, options) in written.items():
            if anew or self._written.get(name) != (schema, options):
                statements.register(connection, now, name, schema, options, anew=anew)
        return lambda: self._written.update(written)

    def find(self, connection: Connection, names: Sequence[str]) -> dict[str, RegisteredType]:
        """Return what is needed to submit these types. This process's own definition goes before the registered one.

        One that this process had registered and somebody deleted since is registered again, in this transaction.

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
        """Return what `find` last gave, or would give if nothing has changed since; None = it has to be asked."""
        return self._own.get(name) or self._read.get(name)

    def learn(self, connection: Connection, names: Collection[str]) -> None:
        """Read how these types are registered, so that they are `known`. It locks nothing, and refuses nothing."""
        for row in statements.documents(connection, names):
            self._registered(row.name, row.schema, row.options)

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
