"""A handler that can't work is refused when it is made a job type, by a sentence that says how to write it."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import pytest

from fairlane import ConfigurationError, Fairlane, JobContext

if TYPE_CHECKING:
    pass


class Talks(Protocol):
    """The part of the context that one application needs."""

    def progress(self, percent: float) -> object: ...


class MyContext(JobContext):
    """A context for an application that wants its own name."""


def made(handler: Callable[..., Any], **options: Any) -> None:
    with Fairlane("sqlite://") as fl:
        fl.job_type("report", **options)(handler)


def none_at_all() -> None: ...


async def without(month: date, *, copies: int = 1) -> None: ...


def last(month: date, ctx: JobContext) -> None: ...


def second(month, ctx: "JobContext") -> None: ...


def a_list(months: list[str]) -> None: ...


def optional(name: str | None) -> None: ...


def swallowed(*args: Any, **kwargs: Any) -> None: ...


def by_name(*, ctx: JobContext) -> None: ...


@pytest.mark.parametrize(
    ("handler", "right"),
    [
        (none_at_all, "def none_at_all(ctx: JobContext)"),
        (without, "async def without(ctx: JobContext, month: datetime.date, copies: int = 1)"),
        (last, "def last(ctx: JobContext, month: datetime.date)"),
        (second, "def second(ctx: JobContext, month)"),
        (a_list, "def a_list(ctx: JobContext, months: list[str])"),
        (optional, "def optional(ctx: JobContext, name: str | None)"),
        (swallowed, "def swallowed(ctx: JobContext, **kwargs: Any)"),
        (by_name, "def by_name(ctx: JobContext)"),
        (lambda: None, "def handler(ctx: JobContext)"),
    ],
)
def test_a_handler_without_the_context_is_told_its_right_signature(handler: Callable[..., Any], right: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        made(handler)
    assert str(refusal.value).startswith(f"report: a handler's first parameter is the job's context; write `{right}`.")
    assert ("functools.wraps" in str(refusal.value)) is (handler is swallowed)


def yields(ctx: JobContext) -> Iterator[int]:
    yield 1


async def yields_too(ctx: JobContext) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("handler", [yields, yields_too])
def test_a_handler_that_yields_is_refused(handler: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"report: the handler yields, .*; return its value instead"):
        made(handler)


class AsyncCall:
    async def __call__(self, ctx: JobContext) -> None: ...


def test_an_object_with_an_async_call_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`async def` function that awaits it"):
        made(AsyncCall())


@pytest.mark.parametrize(
    "annotation",
    [JobContext, "JobContext", MyContext, Talks, Any, object, JobContext | None, Annotated[JobContext, 1], "Unknown"],
    ids=str,
)
def test_the_context_may_be_annotated_as_what_it_is(annotation: object) -> None:
    def handler(ctx, month: date) -> None: ...

    handler.__annotations__["ctx"] = annotation
    made(handler)


def test_a_handler_that_no_process_can_import_is_refused_at_once() -> None:
    def nested(ctx: JobContext) -> None: ...

    made(nested)
    with pytest.raises(
        ConfigurationError, match=r"report: .*nested can't run in a process of its own, .*: move it to the top"
    ):
        made(nested, isolation="process")
