"""Handlers whose attempts are traced. In a child process this sets up its spans, as an application's module would."""

import os
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from fairlane import JobContext, PermanentError, Snooze

SPANS: Final = "TEST_SPANS"  # environment variable: the file for the spans of child processes


def as_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


if SPANS in os.environ:
    provider = TracerProvider()
    lines = Path(os.environ[SPANS]).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=lines, formatter=as_line)))
    trace.set_tracer_provider(provider)


def work(ctx: JobContext) -> None:
    with trace.get_tracer("shop").start_as_current_span("inside"):
        pass


async def work_on_loop(ctx: JobContext) -> None:
    work(ctx)


def fail(ctx: JobContext, password: str) -> None:
    if ctx.attempt == 1:
        raise ValueError(f"no paper, password={password}")
    if ctx.attempt == 2:
        raise Snooze(0)
    raise PermanentError("gone")


WORK: Final = {"async": work_on_loop, "thread": work, "process": work}
