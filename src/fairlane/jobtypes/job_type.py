"""Job types: the handle that `@fl.job_type` returns. A handler's own process needs it, so it knows of no database."""

import json
from collections.abc import Callable
from inspect import iscoroutinefunction, signature
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar

from fairlane.domain.errors import ConfigurationError, InvalidParameters, refusal
from fairlane.domain.jobs import Job
from fairlane.domain.texts import JOB_TYPE_NAMES
from fairlane.jobtypes.options import Isolation, Options
from fairlane.jobtypes.parameters import Signature

P = ParamSpec("P")
R = TypeVar("R")


# How a handle submits: (job type, parameters, options of submit) -> job.
Submit = Callable[..., Job]


class ErrorClasses(NamedTuple):
    """Names of exception classes that a type adds to the classifier's own."""

    transient: tuple[str, ...] = ()
    permanent: tuple[str, ...] = ()


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
        if not JOB_TYPE_NAMES.fits(name):
            raise ConfigurationError(
                f"A job type's name has 1 to {JOB_TYPE_NAMES.longest} printable characters and no comma, is neither "
                f"'.' nor '..', and does not end in /limits, as the address of its limits does; {name!r} does not fit."
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

    def __repr__(self) -> str:
        return f"<JobType {self.name!r}>"

    def __call__(self, context: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the handler itself, as a test may want to."""
        return self.handler(context, *args, **kwargs)

    def submit(self, **options: Any) -> Callable[P, Job]:
        """Submit, typed: `report.submit(organization="acme", user="ana")(month=date(2026, 11, 1))`.

        Args:
            options: those of `Fairlane.submit`, without `parameters`.

        Returns:
            A function that takes the handler's parameters and returns the `Job`.
        """

        def with_parameters(*args: P.args, **kwargs: P.kwargs) -> Job:
            parameters = _by_name(self.handler, args, kwargs)
            return self._submit(self.name, parameters=parameters, **options)

        return with_parameters


def _by_name(handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by parameter name, without the context.

    Those of unknown names are there too; submit refuses them.
    """
    call = signature(handler)
    context = next(iter(call.parameters))
    more = next((p.name for p in call.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    unknown = {} if more else {name: value for name, value in kwargs.items() if name not in call.parameters}
    known = {name: value for name, value in kwargs.items() if name not in unknown}
    try:
        given = call.bind_partial(None, *args, **known).arguments
    except TypeError as error:
        raise refusal(InvalidParameters(f"{handler.__name__}: {error}.")) from None
    named = {name: value for name, value in given.items() if name not in (context, more)}
    named.update(given.get(more or "", unknown))
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
