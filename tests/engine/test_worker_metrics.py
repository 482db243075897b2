"""The counters of a worker's process: what they count, and how many series they become."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from fairlane import Fairlane, JobContext, JobStatus, PermanentError, Snooze, TransientError
from fairlane.cli import worker_metrics
from fairlane.cli.worker_metrics import WorkerMetrics
from fairlane.domain.events import JobEnded, JobStarted
from fairlane.domain.metrics import OTHERS
from fairlane.engine.worker import Worker
from tests.engine.worker_kit import Engine, engine, running, started, until
from tests.scraping import HOST, Series, free_ports, probe, scrape

CANARY = "canary-0815"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "prometheus.md"


@contextmanager
def served(fl: Engine, metrics: WorkerMetrics) -> Iterator[tuple[Worker, int]]:
    """Serve the metrics of a worker, and yield the worker and the port."""
    worker, port = fl.worker(subscribers=[metrics]), free_ports()
    server = metrics.serve(worker, HOST, port)
    try:
        yield worker, port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def watched(fl: Engine, organizations: int = 10) -> Iterator[int]:
    """Run a worker in a thread, and yield the port of its metrics."""
    with served(fl, WorkerMetrics(organizations)) as (worker, port), running(worker):
        yield port


def handlers(fl: Engine) -> None:
    """Register a type for each way in which an attempt ends by itself."""

    @fl.job_type("good", dedup_window=0)
    async def good(ctx: JobContext, text: str = "") -> str:
        return text

    @fl.job_type("weak", max_retries=1, backoff=[0.01])
    async def weak(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise TransientError(CANARY)

    @fl.job_type("bad")
    async def bad(ctx: JobContext) -> None:
        raise PermanentError(CANARY)

    @fl.job_type("slow", timeout=0.05, max_retries=0)
    async def slow(ctx: JobContext) -> None:
        await ctx.sleep(600)

    @fl.job_type("sleepy")
    async def sleepy(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise Snooze(0.01)

    @fl.job_type("long")
    async def long(ctx: JobContext) -> None:
        await ctx.sleep(600)


def total(found: Series, name: str) -> float:
    return sum(found[name].values())


def test_attempts_are_counted_by_outcome_and_the_jobs_that_they_ended_by_status(fl: Engine):
    handlers(fl)
    for name in ("weak", "bad", "slow", "sleepy"):
        fl.give(name)
    jobs = [fl.give("good") for _ in range(2)]
    with watched(fl) as port:
        canceled = fl.give("long")
        started(fl, canceled)
        fl.cancel(canceled, organization="acme")
        until(lambda: total(scrape(port), "fairlane_jobs_ended_total") == 7)
        found = scrape(port)
    assert found["fairlane_attempts_total"] == {
        ("good", "acme", "completed"): 2,
        ("weak", "acme", "failed"): 1,
        ("weak", "acme", "completed"): 1,
        ("bad", "acme", "failed"): 1,
        ("slow", "acme", "timed_out"): 1,
        ("sleepy", "acme", "snoozed"): 1,
        ("sleepy", "acme", "completed"): 1,
        ("long", "acme", "canceled"): 1,
    }
    assert found["fairlane_jobs_ended_total"] == {
        **{(name, "acme", "completed"): number for name, number in (("good", 2), ("weak", 1), ("sleepy", 1))},
        **{(name, "acme", "dead_letter"): 1 for name in ("bad", "slow")},
        ("long", "acme", "canceled"): 1,
    }
    assert {fl.look(job).status for job in jobs} == {JobStatus.COMPLETED}
    assert found["fairlane_job_wait_seconds_count"][("weak", "acme")] == 1, "only the first start ends a wait"
    assert found["fairlane_attempt_seconds_count"][("weak", "acme")] == 2
    assert found["fairlane_attempt_seconds_sum"][("slow", "acme")] >= 0.05


def test_an_attempt_that_a_check_refused_never_ran(fl: Engine):
    handlers(fl)
    fl.give("good", user="ana")
    fl.members.remove("acme", "ana")
    with watched(fl) as port:
        until(lambda: scrape(port)["fairlane_attempts_total"] == {("good", "acme", "refused"): 1})
        found = scrape(port)
    assert found["fairlane_jobs_ended_total"] == {("good", "acme", "dead_letter"): 1}
    assert found["fairlane_job_wait_seconds_count"] == found["fairlane_attempt_seconds_count"] == {}


def test_a_wait_begins_when_a_job_is_due():
    with engine("sqlite://") as fl:
        handlers(fl)
        fl.give("good", delay=timedelta(seconds=0.05))
        with watched(fl) as port:
            until(lambda: scrape(port)["fairlane_job_wait_seconds_count"].get(("good", "acme")) == 1)
            waited = scrape(port)["fairlane_job_wait_seconds_sum"][("good", "acme")]
        (event,) = fl.events.of(JobStarted)
    assert waited == event.waited
    job = fl.events.of(JobEnded)[0].job_id
    assert job == event.job_id


def test_metrics_and_probes_hold_nothing_of_a_job(fl: Engine):
    handlers(fl)
    fl.members.add("acme", f"user-{CANARY}", role="admin")
    labels = {"case": f"label-{CANARY}"}
    job = fl.give("good", user=f"user-{CANARY}", parameters={"text": CANARY}, labels=labels, dedup_key=CANARY)
    fl.give("bad", user=f"user-{CANARY}", labels=labels)
    with watched(fl) as port:
        until(lambda: total(scrape(port), "fairlane_jobs_ended_total") == 2)
        text = repr(scrape(port)) + "".join(probe(port, name).sentence for name in ("livez", "readyz", "jobs"))
    for secret in (CANARY, str(job.id), job.id.hex, "PermanentError"):
        assert secret not in text


def ended(organization: str) -> JobEnded:
    return JobEnded(organization, uuid4(), "good", JobStatus.COMPLETED, None, 0.1)


@contextmanager
def counting(organizations: int) -> Iterator[tuple[WorkerMetrics, int]]:
    """Yield metrics of a worker that does not run, and their port."""
    metrics = WorkerMetrics(organizations)
    with engine("sqlite://") as fl:
        handlers(fl)
        with served(fl, metrics) as (_, port):
            yield metrics, port


def named(port: int) -> dict[str, float]:
    return {labels[1]: value for labels, value in scrape(port)["fairlane_attempts_total"].items()}


def test_the_first_organizations_and_later_the_busiest_have_series_of_their_own():
    with counting(4) as (metrics, port):
        for name in ("first", "second", *("small" + str(number) for number in range(3))):
            metrics(ended(name))
        assert named(port) == {"first": 1, "second": 1, OTHERS: 3}
        for _ in range(worker_metrics._COUNTED):
            metrics(ended("busy"))
        assert named(port).keys() == {"first", "second", "busy", OTHERS}


def test_counters_never_go_backwards_and_series_stay_few_however_many_organizations_there_are():
    organizations, lowest = 6, dict[str, float]()
    with counting(organizations) as (metrics, port):
        for turn, number in zip(range(9), count(step=500), strict=False):
            for each in range(500):
                metrics(ended(f"organization {number + each}"))
                metrics(ended(f"busy {turn}"))
            found = named(port)
            assert {name: value for name, value in lowest.items() if found[name] < value} == {}
            assert len(found) <= organizations + 1
            assert sum(found.values()) == 1000 * (turn + 1)
            lowest = found
    assert len(lowest) == organizations + 1


def test_with_no_organization_by_name_all_are_counted_together():
    with counting(0) as (metrics, port):
        metrics(ended("acme"))
        metrics(ended("other"))
        assert named(port) == {OTHERS: 2}


def test_nobody_makes_events_of_each_job_where_no_metrics_are_served(caplog: pytest.LogCaptureFixture):
    caplog.set_level("WARNING", logger="fairlane")
    with Fairlane("sqlite://") as fl:
        with_metrics = fl.emit.and_also(WorkerMetrics(1))
        for kind in (JobStarted, JobEnded):
            assert (fl.emit.hears(kind), with_metrics.hears(kind)) == (False, True)


def test_a_worker_that_does_not_run_is_not_ready_and_its_process_lives():
    with counting(1) as (_, port):
        ready = probe(port, "readyz")
        assert ready.status == 503
        assert ready.sentence.startswith("The worker is not ready: it has not claimed yet")
        assert probe(port, "livez").status == 200
        assert probe(port, "jobs") == (404, "There are /metrics, /livez and /readyz.\n")
        assert scrape(port)["fairlane_worker_unready"][("starting",)] == 1


def test_the_page_has_each_metric_of_a_worker():
    with counting(1) as (_, port):
        text = httpx.get(f"http://{HOST}:{port}/metrics").text
    exported = [name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if name.startswith("fairlane_")]
    _, _, page = PAGE.read_text(encoding="utf-8").partition("## Scrape the workers")
    page, _, _ = page.partition("## Probe workers")
    assert sorted(re.findall(r"^\| `(fairlane_\w+)` \|", page, re.MULTILINE)) == sorted(exported)
