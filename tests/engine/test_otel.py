"""Traces by the real SDK of OpenTelemetry: from a submission to each attempt, and never into another organization."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from fairlane import DuplicateJob, JobContext, JobStatus, Submission
from fairlane.otel import instrument
from tests.engine import traced_handlers as handlers
from tests.engine.sealed_engine import FIRST
from tests.engine.worker_kit import Engine, engine, running

pytestmark = pytest.mark.both_databases
SHOP = trace.get_tracer("shop")


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The spans of this process. OpenTelemetry takes a provider once."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    return found


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture
def fl(database_url: str, spans: InMemorySpanExporter) -> Iterator[Engine]:
    with engine(database_url) as fl:
        fl.organizations.create("beta")
        instrument(fl)
        yield fl


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


def of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def linked(span: ReadableSpan) -> list[tuple[str, tuple[int, int]]]:
    return [
        (str((one.attributes or {})["fairlane.link"]), (one.context.trace_id, one.context.span_id))
        for one in span.links
    ]


@pytest.mark.parametrize("isolation", ["async", "thread"])
def test_an_attempt_is_a_trace_of_its_own_that_links_to_its_submission(
    fl: Engine, spans: InMemorySpanExporter, isolation: Any
) -> None:
    fl.job_type("work", isolation=isolation)(handlers.WORK[isolation])
    with SHOP.start_as_current_span("request"):
        job = fl.give("work")
    fl.drain()
    ((request,), (sent,)) = named(spans, "request"), named(spans, "submit work")
    ((attempt,), (inside,)) = named(spans, "process work"), named(spans, "inside")
    assert (sent.kind, attempt.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert sent.parent is not None
    assert (sent.parent.trace_id, sent.parent.span_id) == ids(request)
    assert attempt.parent is None
    assert ids(attempt)[0] != ids(request)[0]
    assert linked(attempt) == [("submission", ids(sent))]
    assert inside.parent is not None
    assert (inside.parent.trace_id, inside.parent.span_id) == ids(attempt)
    both = {
        "messaging.system": "fairlane",
        "messaging.destination.name": "work",
        "messaging.message.id": str(job.id),
        "fairlane.organization": "acme",
    }
    assert of(sent) == both | {"messaging.operation.name": "submit", "messaging.operation.type": "send"}
    assert of(attempt) == both | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "fairlane.attempt": 1,
    }
    assert attempt.status.status_code is StatusCode.UNSET


def test_a_handlers_process_exports_its_span_before_it_is_killed(
    fl: Engine, spans: InMemorySpanExporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a batch of its own, which is due in five seconds, and the process does not live that long."""
    file = tmp_path / "spans"
    monkeypatch.setenv(handlers.SPANS, str(file))
    fl.job_type("work", isolation="process")(handlers.work)
    fl.give("work")
    fl.drain()
    ((sent,),) = (named(spans, "submit work"),)
    found = {one["name"]: one for one in map(json.loads, file.read_text().splitlines())}
    attempt, inside = found["process work"], found["inside"]
    (link,) = attempt["links"]
    assert (int(link["context"]["trace_id"], 16), int(link["context"]["span_id"], 16)) == ids(sent)
    assert attempt["parent_id"] is None
    assert inside["parent_id"] == attempt["context"]["span_id"]


def test_each_attempt_links_to_the_one_submission_and_records_its_error_without_secrets(
    fl: Engine, spans: InMemorySpanExporter
) -> None:
    fl.job_type("fail", backoff=[0], max_retries=3)(handlers.fail)
    fl.give("fail", parameters={"password": "hunter22"})
    fl.drain()
    (sent,) = named(spans, "submit fail")
    attempts = named(spans, "process fail")
    assert [of(one)["fairlane.attempt"] for one in attempts] == [1, 2, 3]
    assert [linked(one) for one in attempts] == [[("submission", ids(sent))]] * 3
    assert [one.status.status_code for one in attempts] == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.ERROR]
    assert [of(one).get("error.type") for one in attempts] == [
        "ValueError",
        None,
        "PermanentError",
    ]
    (event,) = attempts[0].events
    told = dict(event.attributes or {})
    assert (event.name, told["exception.type"]) == ("exception", "ValueError")
    assert told["exception.message"] == "no paper, password=[redacted]"
    assert "in fail" in str(told["exception.stacktrace"])
    assert of(attempts[1])["fairlane.snooze_seconds"] == 0
    assert "hunter22" not in "".join(one.to_json() for one in spans.get_finished_spans())


def test_an_attempt_links_to_the_submissions_of_its_parents(fl: Engine, spans: InMemorySpanExporter) -> None:
    fl.job_type("work")(handlers.work)
    first = fl.give("work", dedup_window=0)
    child = fl.give("work", dedup_window=0, depends_on=first)
    fl.drain()
    sent = {of(one)["messaging.message.id"]: ids(one) for one in named(spans, "submit work")}
    (attempt,) = [one for one in named(spans, "process work") if of(one)["messaging.message.id"] == str(child.id)]
    assert linked(attempt) == [("submission", sent[str(child.id)]), ("parent", sent[str(first.id)])]


def test_no_trace_has_spans_of_two_organizations(fl: Engine, spans: InMemorySpanExporter) -> None:
    """A batch of two, and a handler of one that submits for the other, and for its own."""

    @fl.job_type("submit on")
    def submit_on(ctx: JobContext) -> None:
        for organization in ("acme", "beta"):
            fl.submit("work", organization=organization)

    fl.job_type("work", dedup_window=0)(handlers.work)
    batch = [Submission("work", organization=one) for one in ("acme", "beta", "acme")]
    with SHOP.start_as_current_span("for all"):
        fl.submit_many(batch)
    fl.give("submit on")
    fl.drain()
    owners: dict[int, set[str]] = {}
    for one in spans.get_finished_spans():
        if "fairlane.organization" in of(one):
            owners.setdefault(ids(one)[0], set()).add(of(one)["fairlane.organization"])
    assert all(len(organizations) == 1 for organizations in owners.values())
    ((overall,),) = (named(spans, "for all"),)
    assert ids(overall)[0] not in owners
    counts = {
        of(one)["fairlane.organization"]: of(one).get("messaging.batch.message_count")
        for one in named(spans, "submit work")[:2]
    }
    assert counts == {"acme": 2, "beta": None}
    (on,) = named(spans, "process submit on")
    within = [of(one)["fairlane.organization"] for one in named(spans, "submit work") if ids(one)[0] == ids(on)[0]]
    assert within == ["acme"]


def test_a_handler_that_is_stopped_says_why(fl: Engine, spans: InMemorySpanExporter) -> None:
    @fl.job_type("sleep", max_retries=0, dedup_window=0)
    async def sleep(ctx: JobContext) -> None:
        await asyncio.Event().wait()

    late, canceled = fl.give("sleep", timeout=0.05), fl.give("sleep")
    with running(fl.worker()):
        fl.ended(late)
        fl.cancel(canceled, organization="acme")
        assert fl.ended(canceled).status is JobStatus.CANCELED
    found = {of(one)["messaging.message.id"]: one for one in named(spans, "process sleep")}
    overdue, ended = found[str(late.id)], found[str(canceled.id)]
    assert (overdue.status.status_code, of(overdue)["error.type"]) == (StatusCode.ERROR, "timeout")
    assert (ended.status.status_code, of(ended)["fairlane.interruption"]) == (StatusCode.UNSET, "cancel")


def test_of_an_organization_with_a_key_no_words_are_in_a_trace(sqlite_url: str, spans: InMemorySpanExporter) -> None:
    with engine(sqlite_url, encryption_keys=FIRST) as fl:
        fl.keys.enable(organization="acme")
        instrument(fl)
        fl.job_type("fail", max_retries=0)(handlers.fail)
        fl.give("fail", parameters={"password": "x"})
        fl.drain()
    (attempt,) = named(spans, "process fail")
    (event,) = attempt.events
    assert dict(event.attributes or {}) == {"exception.type": "ValueError"}
    assert "no paper" not in attempt.to_json()


def test_a_refused_submission_is_an_error_without_its_words(fl: Engine, spans: InMemorySpanExporter) -> None:
    fl.job_type("work")(handlers.work)
    fl.give("work")
    with pytest.raises(DuplicateJob):
        fl.give("work")
    _, refused = named(spans, "submit work")
    assert (refused.status.status_code, of(refused)["error.type"]) == (StatusCode.ERROR, "DuplicateJob")
    assert refused.status.description is None
    assert refused.events == ()


def test_submissions_that_meet_on_a_loop_each_have_their_own_trace(fl: Engine, spans: InMemorySpanExporter) -> None:
    fl.job_type("work", dedup_window=0)(handlers.work)

    async def submit(number: int) -> tuple[str, str]:
        with SHOP.start_as_current_span(f"request {number}") as request:
            job = await fl.aio.submit("work", organization="acme")
        return str(job.id), f"{request.get_span_context().trace_id:032x}"

    async def submit_all() -> list[tuple[str, str]]:
        return await asyncio.gather(*map(submit, range(20)))

    wanted = dict(asyncio.run(submit_all()))
    fl.drain()
    sent = {of(one)["messaging.message.id"]: one for one in named(spans, "submit work")}
    assert {job: f"{ids(one)[0]:032x}" for job, one in sent.items()} == wanted
    for one in named(spans, "process work"):
        assert linked(one) == [("submission", ids(sent[of(one)["messaging.message.id"]]))]


def test_a_traceparent_that_is_none_links_to_nothing(fl: Engine, spans: InMemorySpanExporter) -> None:
    fl.job_type("work", dedup_window=0)(handlers.work)
    with engine("sqlite://") as plain:  # without traces
        plain.job_type("work", dedup_window=0)(handlers.work)
        plain.middleware(fl._middlewares[0])
        for headers in ({}, {"traceparent": "00-0-0-01"}, {"traceparent": "x" * 1000}):
            plain.give("work", headers=headers)
        plain.drain()
    assert [linked(one) for one in named(spans, "process work")] == [[]] * 3


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
import fairlane
try:
    import fairlane.otel
except fairlane.ConfigurationError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import fairlane, sys; fairlane.Fairlane, fairlane.Worker; print('opentelemetry' in sys.modules)", "False"),
        (
            WITHOUT,
            "Traces need OpenTelemetry: pip install 'fairlane[otel]'.",
        ),
    ],
)
def test_nothing_else_needs_opentelemetry(program: str, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == said
