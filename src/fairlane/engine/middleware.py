"""The application's functions around handlers and submissions. Each is a generator function that yields once.

A middleware sees the context and the error of its handler, and changes nothing of the outcome unless it raises an error
itself. It runs where the handler runs: on the loop, in the handler's thread, or in the handler's process.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from fairlane.domain.errors import ConfigurationError, FairlaneError, TransientError
from fairlane.domain.events import Emit, ServiceFailed
from fairlane.engine.context import JobContext

if TYPE_CHECKING:  # a handler's own process imports this module, and knows of no database
    from fairlane.engine.batch import Submission

Middleware: TypeAlias = Callable[[JobContext], Iterator[None] | AsyncIterator[None]]
OnSubmit: TypeAlias = Callable[[Sequence["Submission"]], Iterator[None]]
Handler: TypeAlias = Callable[..., Any]
M = TypeVar("M", bound=Middleware)
S = TypeVar("S", bound=OnSubmit)


class MiddlewareFailed(TransientError):
    """A middleware raised an error of its own, not the handler's: the message names both."""


def checked_middleware(function: M) -> M:
    """Return a function that may be a middleware.

    Raises:
        ConfigurationError: it does not yield.
    """
    is_generator = isgeneratorfunction(function) or isasyncgenfunction(function)
    if not is_generator:
        raise _no_generator(function, "ctx", "the handler runs")
    return function


def checked_on_submit(function: S) -> S:
    """Return a function that may be called around submissions.

    Raises:
        ConfigurationError: it does not yield, or is async.
    """
    is_generator = isgeneratorfunction(function)
    if not is_generator:
        raise _no_generator(function, "submissions", "the jobs are submitted")
    return function


def _no_generator(function: object, argument: str, what: str) -> ConfigurationError:
    name = getattr(function, "__name__", repr(function))
    return ConfigurationError(f"{name} must yield once, where {what}: write `def {name}({argument}): …; yield; …`.")


def refuse_async(middlewares: Sequence[Middleware], job_type: str, handler: Handler) -> None:
    """Refuse an async middleware around a plain handler, which has no event loop.

    Raises:
        ConfigurationError
    """
    for one in middlewares:
        if isasyncgenfunction(one) and not iscoroutinefunction(handler):
            raise ConfigurationError(
                f"The middleware {one.__name__} is `async def`, and the handler of {job_type} is not: make the "
                "middleware a plain `def`, which runs around all handlers, or the handler an `async def`."
            )


def around(handler: Handler, middlewares: Sequence[Middleware]) -> Handler:
    """Return the handler with the middlewares around it, the first outermost; without any, the handler itself."""
    if middlewares and iscoroutinefunction(handler):
        handler = partial(_settled, handler)  # the reports of the handler are part of what they are around
    for one in reversed(middlewares):
        handler = partial(_around_async if iscoroutinefunction(handler) else _around_plain, one, handler)
    return handler


async def _settled(handler: Handler, context: JobContext, **arguments: object) -> object:
    value = await handler(context, **arguments)
    await context.settled()
    return value


def _around_plain(middleware: Middleware, handler: Handler, context: JobContext, **arguments: object) -> object:
    with _within(middleware, context):
        return handler(context, **arguments)


async def _around_async(middleware: Middleware, handler: Handler, context: JobContext, **arguments: object) -> object:
    if isasyncgenfunction(middleware):
        async with _within_async(middleware, context):
            return await handler(context, **arguments)
    with _within(middleware, context):
        return await handler(context, **arguments)


@contextmanager
def _within(middleware: Any, context: JobContext) -> Iterator[None]:
    """Run the block where the middleware yields. It sees the block's error, and can't hide it."""
    its, name = contextmanager(middleware)(context), middleware.__name__
    with _naming(name):
        its.__enter__()
    try:
        yield
    except BaseException as error:
        with _naming(name, error):
            its.__exit__(type(error), error, error.__traceback__)
        raise
    with _naming(name):
        its.__exit__(None, None, None)


@asynccontextmanager
async def _within_async(middleware: Any, context: JobContext) -> AsyncIterator[None]:
    """Do the same with an async middleware."""
    its, name = asynccontextmanager(middleware)(context), middleware.__name__
    with _naming(name):
        await its.__aenter__()
    try:
        yield
    except BaseException as error:
        with _naming(name, error):
            await its.__aexit__(type(error), error, error.__traceback__)
        raise
    with _naming(name):
        await its.__aexit__(None, None, None)


@contextmanager
def _naming(name: str, given: BaseException | None = None) -> Iterator[None]:
    """Name the middleware in an error of its own. Errors of Fairlane's keep their meaning: it may raise Snooze.

    Args:
        given: the error that the middleware was given; it raises nothing of its own by this one.
    """
    try:
        yield
    except Exception as error:
        if error is given:
            return
        if isinstance(error, FairlaneError):
            raise
        raise MiddlewareFailed(f"the middleware {name} raised {type(error).__name__}: {error}") from error


@contextmanager
def around_submission(
    functions: Sequence[OnSubmit], submissions: "Sequence[Submission]", emit: Emit
) -> "Iterator[Sequence[Submission]]":
    """Yield the submissions, within the functions, which may add to their headers.

    An error before their `yield` is raised, and nothing is submitted. A later one is only told to subscribers: the jobs
    are submitted by then, and their submitter must not believe otherwise.
    """
    given = [replace(one, headers=dict(one.headers)) for one in submissions]
    with ExitStack() as stack:
        for one in functions:
            its: Any = contextmanager(one)(given)
            its.__enter__()
            stack.push(partial(_leave, its, one, emit))
        yield given


def _leave(
    its: Any,
    function: Any,
    emit: Emit,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    try:
        its.__exit__(kind, error, trace)
    except Exception as raised:  # noqa: BLE001 - whatever it is, the submission has its own end
        if raised is not error:
            emit(ServiceFailed(f"on_submit {function.__name__}", raised))
