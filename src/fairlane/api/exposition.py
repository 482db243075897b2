"""The metrics of all organizations, in Prometheus' text format.

The number of series is bounded, however many organizations, queues and job types there are. The largest have a series
by name, and the rest share one. No series names a job's id, user, label or payload.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlane.app import Fairlane
from fairlane.domain.breaker import Breaker
from fairlane.domain.metrics import OTHERS, Metrics, Spread, Stranded, WorkerView
from fairlane.domain.statuses import LIVE
from fairlane.reads.metrics import LiveJobs, stranded
from fairlane.realtime.hub import Hub

V = TypeVar("V")

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LARGEST: Final = 50  # series by name of each kind
_MINUTES: Final = 5  # how far back rates and seconds look
_PROCESSING: Final = "From start to end of the attempt that ended each job"


def exposition(fl: Fairlane, hub: Hub) -> bytes:
    """Return all current metrics, in Prometheus' text format.

    Args:
        hub: the hub of the node that answers.
    """
    registry, reads = CollectorRegistry(), fl.reads
    metrics, live, workers = reads.metrics(minutes=_MINUTES), reads.live_jobs(), reads.workers()
    numbers = (
        *_counts(metrics),
        *_recent(metrics),
        *_live(live),
        *_queues(live, reads.ages(), stranded(live, workers)),
        *_workers(workers),
        _breakers(fl.job_types.breakers()),
        _maintenance(is_on=fl.maintenance.get() is not None),
        *_watching(hub),
    )
    registry.register(_Numbers(list(numbers)))
    return generate_latest(registry)


class _Numbers(Collector):
    """A collector of metrics that were read already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._metrics


def _counts(metrics: Metrics) -> Iterator[Metric]:
    yield _by("fairlane_jobs", "Jobs by status.", "status", metrics.jobs_by_status)
    yield _by("fairlane_ready_jobs", "Jobs that may be claimed now.", "priority", metrics.queue_depth_by_priority)
    oldest = metrics.oldest_queued_seconds or 0.0
    yield GaugeMetricFamily("fairlane_oldest_ready_job_seconds", "How long one of these has waited.", value=oldest)
    depth = metrics.dead_letter_depth
    yield GaugeMetricFamily("fairlane_unresolved_dead_letters", "Dead letters to be decided about.", value=depth)


def _recent(metrics: Metrics) -> Iterator[Metric]:
    """Yield how jobs went within the last minutes. A figure without a value has no series."""
    of_late = f"within the last {metrics.minutes} minutes"
    rate = metrics.throughput_per_minute
    yield GaugeMetricFamily("fairlane_attempts_per_minute", f"Attempts that ended {of_late}.", value=rate)
    for name, what, told in (
        ("wait", "From when jobs were due to their first start", metrics.wait_seconds),
        ("processing", _PROCESSING, metrics.processing_seconds),
    ):
        yield _by(f"fairlane_{name}_seconds", f"{what}, of those that ended {of_late}.", "figure", _figures(told))
    of_types = f"{of_late}, of the {LARGEST} types with most attempts."
    for name, what, by_type in (
        ("attempts", "Attempts that ended", metrics.attempts_by_type),
        ("failure_rate", "Which part, 0 to 1, failed of the attempts that ended", metrics.failure_rate_by_type),
    ):
        yield _by(f"fairlane_{name}_by_job_type", f"{what} {of_types}", "job_type", dict(_busiest(by_type)))
    text = f"{_PROCESSING}, of those that ended {of_types}"
    family = GaugeMetricFamily("fairlane_processing_seconds_by_job_type", text, labels=["job_type", "figure"])
    for job_type, told in _busiest(metrics.processing_seconds_by_type):
        for figure, value in _figures(told).items():
            family.add_metric([job_type, figure], value)
    yield family


def _busiest(by_type: Mapping[str, V]) -> Iterator[tuple[str, V]]:
    return islice(by_type.items(), LARGEST)


def _figures(told: Spread) -> dict[str, float]:
    figures = {"average": told.average, "p95": told.p95}
    return {figure: value for figure, value in figures.items() if value is not None}


def _live(live: LiveJobs) -> Iterator[Metric]:
    """Count live jobs by organization, by queue and by job type."""
    for label in ("organization", "queue", "job_type"):
        sizes = {status: Counter[str]() for status in sorted(LIVE)}
        for status, lanes in live.by_status.items():
            for lane, size in lanes.items():
                sizes[status][getattr(lane, label)] += size
        named = _largest(sizes.values())
        family = GaugeMetricFamily(
            f"fairlane_live_jobs_by_{label}",
            f"Jobs that have not ended, of the {LARGEST} largest and of the others together.",
            labels=[label, "status"],
        )
        for status, counts in sizes.items():
            for name, size in _bounded(counts, named).items():
                family.add_metric([name, status], size)
        yield family


def _queues(live: LiveJobs, ages: Mapping[str, float], alone: Iterable[Stranded]) -> Iterator[Metric]:
    """Tell what a scaler asks of each queue that has live jobs."""
    sizes, ready, without = Counter[str](), Counter[str](), Counter[str]()
    for jobs in live.by_status.values():
        for lane, size in jobs.items():
            sizes[lane.queue] += size
    for lane, size in live.ready.items():
        ready[lane.queue] += size
    for one in alone:
        without[one.queue] += one.waiting
    named, oldest = _largest([sizes]), dict[str, float]()
    for queue, age in ages.items():
        name = queue if queue in named else OTHERS
        oldest[name] = max(age, oldest.get(name, 0.0))
    all_of = dict.fromkeys(_bounded(sizes, named), 0)  # a queue without them has 0, so that no series comes and goes
    for what, text, found in (
        ("ready_jobs", "Jobs that are due", _bounded(ready, named)),
        ("oldest_ready_job_seconds", "How long the oldest of these could have started", oldest),
        ("stranded_jobs", "Waiting jobs that no live worker could claim", _bounded(without, named)),
    ):
        of_which = f"{text}, of the {LARGEST} largest queues and of the others together."
        yield _by(f"fairlane_{what}_by_queue", of_which, "queue", {**all_of, **found})


def _breakers(breakers: Iterable[Breaker]) -> Metric:
    found = Counter(one.job_type for one in breakers)
    text = "Circuit breakers that hold back a job type in an organization."
    return _by("fairlane_open_breakers", text, "job_type", _bounded(found, _largest([found])))


def _largest(sizes: Iterable[Counter[str]]) -> set[str]:
    total = sum(sizes, Counter[str]())
    return {name for name, _ in total.most_common(LARGEST)}


def _bounded(counts: Counter[str], named: set[str]) -> Counter[str]:
    """Return the counts, with all names but the given ones under `OTHERS`."""
    found = Counter[str]()
    for name, size in counts.items():
        found[name if name in named else OTHERS] += size
    return found


def _workers(workers: Iterable[WorkerView]) -> Iterator[Metric]:
    alive = list(workers)
    yield GaugeMetricFamily("fairlane_workers", "Workers with a valid lease.", value=len(alive))
    slots = sum(one.slots for one in alive)
    yield GaugeMetricFamily("fairlane_worker_slots", "Jobs that they may run at once.", value=slots)
    taken = sum(one.running for one in alive)
    yield GaugeMetricFamily("fairlane_worker_slots_taken", "Jobs that they run.", value=taken)


def _maintenance(*, is_on: bool) -> Metric:
    return GaugeMetricFamily("fairlane_maintenance", "1 while maintenance mode is on: no job starts.", value=is_on)


def _watching(hub: Hub) -> Iterator[Metric]:
    """Count the clients that watch at this node."""
    clients = len(hub.clients)
    yield GaugeMetricFamily("fairlane_realtime_clients", "Open sockets and streams of this node.", value=clients)
    yield CounterMetricFamily(
        "fairlane_realtime_dropped_clients", "Closed as they did not take what waited for them.", value=hub.dropped
    )
    yield CounterMetricFamily(
        "fairlane_realtime_stray_events",
        "Told to nobody, as the organization had no such job; should be none.",
        value=hub.strays,
    )


def _by(name: str, what: str, label: str, values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
