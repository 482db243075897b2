"""Job types: the handle that `@fl.job_type` returns, and the catalogue that any process can submit by."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import iscoroutinefunction, signature
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Connection

from fairlane.domain.errors import ConfigurationError, InvalidParameters, JobTypeDisabled, JobTypeNotFound, refusal
from fairlane.registry.options import Isolation, Options
from fairlane.registry.parameters import ParameterSchema, Signature
from fairlane.store.clock import Clock
from fairlane.store.statements import job_types as statements

P = ParamSpec("P")
R = TypeVar("R")

_LONGEST_NAME = 200

# How a handle submits: (job type, parameters, options of submit) -> job.
Submit = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ErrorClasses:
    """Exception classes that a type adds to the classifier's own."""

    transient: tuple[type[BaseException], ...] = ()
    permanent: tuple[type[BaseException], ...] = ()


class JobType(Generic[P, R]):
    """A job type with its handler, as this process knows it. Calling it calls the handler."""

    def __init__(
        self,
        name: str,
        handler: Callable[Concatenate[Any, P], R],
        options: Options,
        errors: ErrorClasses,
        submit: Submit,
    ) -> None:
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or "," in name:
            raise ConfigurationError(
                f"A job type's name has 1 to {_LONGEST_NAME} printable characters and no comma: {name!r}."
            )
        self.name = name
        self.handler = handler
        self.options = options
        self.errors = errors
        self.isolation = _isolation(name, handler, options.isolation)
        self.signature = Signature.of(name, handler)
        # As it is registered for other processes: the schema and the options, as JSON texts.
        self.documents = json.dumps(self.signature.schema.describe(), sort_keys=True), options.to_json()
        self._submit = submit
        self.__doc__ = handler.__doc__
        self.__name__ = getattr(handler, "__name__", name)
        self.__module__ = handler.__module__
        self.__qualname__ = getattr(handler, "__qualname__", self.__name__)

    def __call__(self, context: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the handler itself, as a test may want to."""
        return self.handler(context, *args, **kwargs)

    def submit(self, **options: Any) -> Callable[P, Any]:
        """Submit, typed: `report.submit(organization="acme", user="ana")(month=date(2026, 11, 1))`.

        Args:
            options: those of `Fairlane.submit`, without `parameters`.

        Returns:
            A function that takes the handler's parameters and returns the `Job`.
        """

        def with_parameters(*args: P.args, **kwargs: P.kwargs) -> Any:
            parameters = _by_name(self.handler, args, kwargs)
            return self._submit(self.name, parameters=parameters, **options)

        return with_parameters


def _by_name(handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by parameter name, without the context."""
    call = signature(handler)
    context = next(iter(call.parameters))
    try:
        given = call.bind_partial(None, *args, **kwargs).arguments
    except TypeError as error:
        raise refusal(InvalidParameters(f"{handler.__name__}: {error}.")) from None
    more = next((p.name for p in call.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    named = {name: value for name, value in given.items() if name not in (context, more)}
    named.update(given.get(more or "", {}))
    return named


def _isolation(name: str, handler: Callable[..., Any], wanted: Isolation) -> Isolation:
    asynchronous = iscoroutinefunction(handler)
    match wanted:
        case Isolation.AUTO:
            return Isolation.ASYNC if asynchronous else Isolation.THREAD
        case Isolation.ASYNC if not asynchronous:
            raise ConfigurationError(f"{name}: isolation 'async' needs an `async def` handler.")
        case Isolation.THREAD if asynchronous:
            raise ConfigurationError(f"{name}: an `async def` handler can't run in a thread; leave isolation out.")
        case _:
            return wanted


@dataclass(frozen=True, slots=True)
class RegisteredType:
    """What is needed to submit a type: no handler."""

    name: str
    schema: ParameterSchema
    options: Options
    enabled: bool


class Known(NamedTuple):
    """A type as this process knows it without asking.

    `documents` is its registered schema and options, to be compared; None for one of this process's own, which goes by
    its own definition whatever is registered.
    """

    type: RegisteredType
    documents: str | None


class Catalogue:
    """The types of this process, and those that others registered in the database."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mine: dict[str, JobType[..., Any]] = {}
        self._written: dict[str, tuple[str, str]] = {}
        self._read: dict[str, Known] = {}

    def add(self, job_type: JobType[..., Any]) -> None:
        """Add a type of this process.

        Raises:
            ConfigurationError: the name is taken.
        """
        if job_type.name in self._mine:
            raise ConfigurationError(f"Job type {job_type.name} is defined twice; give one of them another name.")
        self._mine[job_type.name] = job_type

    @property
    def mine(self) -> dict[str, JobType[..., Any]]:
        """The types whose handlers this process has."""
        return dict(self._mine)

    @property
    def has_news(self) -> bool:
        """Whether `write` has anything to write."""
        return any(self._written.get(name) != one.documents for name, one in self._mine.items())

    def write(self, connection: Connection) -> Callable[[], None]:
        """Register this process's types, so that any process can submit them.

        Returns:
            To be called once the transaction has committed: remembers what was written.
        """
        written = {name: one.documents for name, one in sorted(self._mine.items())}
        now = self._clock.now(connection)
        for name, (schema, options) in written.items():
            if self._written.get(name) != (schema, options):
                statements.register(connection, now, name, schema, options)
        return lambda: self._written.update(written)

    def find(self, connection: Connection, names: Sequence[str]) -> dict[str, RegisteredType]:
        """What is needed to submit these types. This process's own definition goes before the registered one.

        One that this process had registered and somebody deleted since is registered again, in this transaction.

        Raises:
            JobTypeNotFound, JobTypeDisabled
        """
        rows = {row.name: row for row in statements.find(connection, sorted(set(names)))}
        found: dict[str, RegisteredType] = {}
        for name, row in rows.items():
            if not row.enabled:
                raise JobTypeDisabled(f"Job type {name} is disabled; an operator can enable it.")
            found[name] = self._registered(name, row.schema, row.options)
        for name in sorted(set(names) & self._mine.keys()):
            mine = self._mine[name]
            if name not in rows and name in self._written:
                statements.register(connection, self._clock.now(connection), name, *mine.documents)
            found[name] = _own(mine)
        for name in names:
            if name not in found:
                known = self._mine.keys() | {row.name for row in statements.everything(connection)}
                close = get_close_matches(name, known, n=1)
                meant = f" Did you mean {close[0]}?" if close else ""
                raise JobTypeNotFound(
                    f"Job type {name} is not registered; start a worker that has it, or import its module here.{meant}"
                )
        return found

    def known(self, name: str) -> Known | None:
        """What `find` last gave, or would give if nothing has changed since; None = it has to be asked."""
        mine = self._mine.get(name)
        return Known(_own(mine), None) if mine is not None else self._read.get(name)

    def _registered(self, name: str, schema: str, options: str) -> RegisteredType:
        known = self._read.get(name)
        if known is None or known.documents != schema + options:
            document = ParameterSchema.from_document(json.loads(schema))
            known = Known(RegisteredType(name, document, Options.from_json(options), enabled=True), schema + options)
            self._read[name] = known
        return known.type


def _own(job_type: JobType[..., Any]) -> RegisteredType:
    return RegisteredType(job_type.name, job_type.signature.schema, job_type.options, enabled=True)
