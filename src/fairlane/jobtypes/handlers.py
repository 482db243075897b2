"""What a handler has to look like, checked when it is made a job type."""

from collections.abc import Callable
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fairlane.domain.errors import ConfigurationError
from fairlane.jobtypes.parameters import resolved

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def check_context(job_type: str, handler: Callable[..., object], context: type) -> None:
    """Refuse a handler whose first parameter is not the context, or is annotated as something else, or that yields.

    Raises:
        ConfigurationError: the message shows the signature that is right.
    """
    if isgeneratorfunction(handler) or isasyncgenfunction(handler):
        raise ConfigurationError(
            f"{job_type}: the handler yields, so a call of it runs nothing; return its value instead, "
            "and tell how far it is by ctx.progress."
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
    """Return its annotation; `Any` where there is none, or one that only type checkers can resolve."""
    if parameter.annotation is Parameter.empty:
        return Any
    try:
        found = resolved(handler, parameter.annotation)
    except (NameError, TypeError, AttributeError):
        return Any
    return get_args(found)[0] if get_origin(found) is Annotated else found


def _may_be(context: type, annotation: Any) -> bool:
    """Return True if a context is what the annotation says: a protocol of one's own may stand for it."""
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
