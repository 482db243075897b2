"""OpenTelemetry: a span for each submission and for each attempt. It needs the extra `otel`.

A submission is a span of the kind PRODUCER, and each attempt one of the kind CONSUMER, with a link to the submission
and to those of its parents. The traceparent travels in the job's headers. Each attempt begins a trace of its own: a job
may wait for days, and the code that submits may serve several organizations. So a trace of an attempt holds nothing of
another organization. The attributes follow the semantic conventions of messaging; the destination is the job type.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from fairlane.domain.errors import ConfigurationError, Snooze
from fairlane.engine.context import JobContext, current_job
from fairlane.engine.reports import Interruption

if TYPE_CHECKING:
    from fairlane.app import Fairlane
    from fairlane.engine.batch import Submission

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as missing:
    raise ConfigurationError("Traces need OpenTelemetry: pip install 'fairlane[otel]'.") from missing

_W3C: Final = TraceContextTextMapPropagator()
_NOWHERE: Final = Context()  # within no trace
_CHILD: Final = "fairlane.engine.executors.child"
_FLUSH: Final = 2_000  # milliseconds


def instrument(fl: "Fairlane") -> None:
    """Trace the submissions of this process and the attempts of its workers, by the global tracer provider."""
    fl.on_submit(submission)
    fl.middleware(attempt)


def submission(submissions: "Sequence[Submission]") -> Iterator[None]:
    """Make a span for each organization of a batch, as a function of `on_submit`; its jobs carry the traceparent."""
    batches = defaultdict[str, list["Submission"]](list)
    for one in submissions:
        batches[one.organization].append(one)
    with ExitStack() as spans:
        made = []
        for organization, batch in batches.items():
            span = _tracer().start_span(
                _name("submit", batch),
                None if len(batches) == 1 and not _is_of_another(organization) else _NOWHERE,
                trace.SpanKind.PRODUCER,
                _of_batch(organization, batch),
            )
            made.append(span)
            spans.callback(span.end)
            for one in batch:
                _W3C.inject(one.headers, trace.set_span_in_context(span, _NOWHERE))
        if len(made) == 1:
            spans.enter_context(trace.use_span(made[0], record_exception=False, set_status_on_exception=False))
        try:
            yield
        except Exception as error:
            for span in made:  # the texts of refusals may quote parameters
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
            raise


def attempt(context: JobContext) -> Iterator[None]:
    """Make a span around the handler, as a middleware: at the top of this module, so that any process can import it."""
    links = [*_link("submission", context.headers)]
    links += [link for parent in context.parents for link in _link("parent", parent.headers)]
    attributes = _conventions("process", context.organization, context.job_type)
    attributes |= {"messaging.message.id": str(context.job_id), "fairlane.attempt": context.attempt}
    try:
        with _tracer().start_as_current_span(
            f"process {context.job_type}",
            _NOWHERE,
            trace.SpanKind.CONSUMER,
            attributes,
            links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                _record(span, context, error)
                raise
    finally:
        _flush_in_child()


def _tracer() -> trace.Tracer:
    return trace.get_tracer("fairlane")


def _is_of_another(organization: str) -> bool:
    """Return True if a handler of another organization submits: the trace of its attempt shall not hold this."""
    job = current_job()
    return job is not None and job.organization != organization


def _name(verb: str, batch: "Sequence[Submission]") -> str:
    kinds = {one.job_type for one in batch}
    return f"{verb} {kinds.pop()}" if len(kinds) == 1 else verb


def _of_batch(organization: str, batch: "Sequence[Submission]") -> dict[str, str | int]:
    kinds = {one.job_type for one in batch}
    attributes = _conventions("submit", organization, kinds.pop() if len(kinds) == 1 else None)
    if len(batch) == 1:
        return attributes | {"messaging.message.id": str(batch[0].id)}
    return attributes | {"messaging.batch.message_count": len(batch)}


def _conventions(verb: str, organization: str, job_type: str | None) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": "fairlane",
        "messaging.operation.name": verb,
        "messaging.operation.type": "send" if verb == "submit" else verb,
        "fairlane.organization": organization,
    }
    return attributes if job_type is None else {**attributes, "messaging.destination.name": job_type}


def _link(what: str, headers: Mapping[str, str]) -> Iterator[trace.Link]:
    """Yield the link to the span whose traceparent a job carries, if it carries one."""
    found = trace.get_current_span(_W3C.extract(headers, _NOWHERE)).get_span_context()
    if found.is_valid:
        yield trace.Link(found, {"fairlane.link": what})


def _record(span: trace.Span, context: JobContext, error: BaseException) -> None:
    """Record how the handler ended, with an error as it is stored: without secrets."""
    reason = context.interrupt.reason
    if reason is not None:
        span.set_attribute("fairlane.interruption", str(reason))
        if reason is not Interruption.TIMEOUT:
            return
    if isinstance(error, Snooze):
        span.set_attribute("fairlane.snooze_seconds", error.seconds)
        return
    if not isinstance(error, Exception):
        span.set_attribute("error.type", str(reason) if reason is not None else type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)
        return
    told = context.redacted(error)
    words = {"exception.message": told.message, "exception.stacktrace": told.traceback}
    span.add_event("exception", {"exception.type": told.error_type, **{key: one for key, one in words.items() if one}})
    span.set_attribute("error.type", told.error_type)
    span.set_status(trace.StatusCode.ERROR, told.message or None)


def _flush_in_child() -> None:
    """Export the span now in a handler's process: it is killed with its worker, before a batch may be due."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    flush: Callable[[int], bool] | None = getattr(trace.get_tracer_provider(), "force_flush", None)
    if spec is not None and spec.name == _CHILD and flush is not None:
        flush(_FLUSH)
