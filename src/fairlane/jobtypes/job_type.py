"""Job types: the checks of a handler's signature, and the handle that `@fl.job_type` returns.

A handler's own process imports this module, so it knows of no database.
"""

import json
from collections.abc import Callable
from copy import copy
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from types import UnionType
from typing import (
    Annotated,
    Any,
    Concatenate,
    Final,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from fairlane.domain.errors import ConfigurationError, InvalidParameters, refusal
from fairlane.domain.jobs import Job
from fairlane.domain.texts import JOB_TYPE_NAMES
from fairlane.jobtypes.options import Isolation, Options
from fairlane.jobtypes.parameters import Signature, resolved

P = ParamSpec("P")
R = TypeVar("R")

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


# The function by which a handle submits: (job type, parameters, options of submit) -> job.
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
        """Call the handler itself, for example in a test."""
        return self.handler(context, *args, **kwargs)

    def with_handler(self, handler: Callable[..., Any]) -> "JobType[..., Any]":
        """Return the same type with another handler that takes the same arguments."""
        made = copy(self)
        made.handler = handler
        return made

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

    Unknown names are included; submit refuses them.
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


def check_context(job_type: str, handler: Callable[..., object], context: type) -> None:
    """Refuse a handler whose first parameter is not the context, or is annotated as something else, or that yields.

    Raises:
        ConfigurationError: the message shows the signature that is right.
    """
    if isgeneratorfunction(handler) or isasyncgenfunction(handler):
        raise ConfigurationError(
            f"{job_type}: the handler yields, so a call of it runs nothing; return its value instead, "
            "and report its progress by ctx.progress."
        )
    if not iscoroutinefunction(handler) and iscoroutinefunction(type(handler).__call__):
        raise ConfigurationError(
            f"{job_type}: the handler is an object whose `__call__` is async, which would be called in a thread and "
            "never awaited; write an `async def` function that awaits it."
        )
    parameters = list(signature(handler).parameters.values())
    if parameters and parameters[0].kind in _POSITIONAL:
        first, *rest = (_annotation(handler, parameter) for parameter in parameters)
        if _may_be(context, first) and not any(_is(context, one) for one in rest):
            return
    hint = ""
    if parameters and parameters[0].kind is Parameter.VAR_POSITIONAL:
        hint = " If that is what a decorator made of it, give the decorator functools.wraps."
    raise ConfigurationError(
        f"{job_type}: a handler's first parameter is the job's context; "
        f"write `{_right(handler, parameters, context)}`.{hint}"
    )


def _annotation(handler: Callable[..., object], parameter: Parameter) -> Any:
    """Return the parameter's annotation; `Any` if there is none, or only type checkers can resolve it."""
    if parameter.annotation is Parameter.empty:
        return Any
    try:
        found = resolved(handler, parameter.annotation)
    except (NameError, TypeError, AttributeError):
        return Any
    return get_args(found)[0] if get_origin(found) is Annotated else found


def _may_be(context: type, annotation: Any) -> bool:
    """Return True if a context fits the annotation, which may be a protocol of the application."""
    if get_origin(annotation) in {Union, UnionType}:
        return any(_may_be(context, one) for one in get_args(annotation))
    kind = get_origin(annotation) or annotation
    if kind is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    return issubclass(context, kind) or issubclass(kind, context)


def _is(context: type, annotation: Any) -> bool:
    return annotation is not Any and isinstance(annotation, type) and issubclass(annotation, context)


def _right(handler: Callable[..., object], parameters: list[Parameter], context: type) -> str:
    name = getattr(handler, "__name__", "handler")
    others = [
        str(one)
        for one in parameters
        if one.kind is not Parameter.VAR_POSITIONAL and not _is(context, _annotation(handler, one))
    ]
    word = "async def" if iscoroutinefunction(handler) else "def"
    return f"{word} {name if name.isidentifier() else 'handler'}({', '.join([f'ctx: {context.__name__}', *others])})"
