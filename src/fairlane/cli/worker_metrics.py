"""The metrics and probes of a worker's process, over HTTP: `/metrics`, `/livez` and `/readyz`.

Prometheus adds up the processes, each of which is a target, and sees when a counter begins anew. The number of series
is bounded for the life of a process: see `_Named`. No series has a job's id, user, label or payload.
"""

import logging
import socket
import threading
from collections import Counter as Counts
from collections.abc import Iterable
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, MetricsHandler, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from fairlane.domain import events as e
from fairlane.domain.errors import ConfigurationError
from fairlane.domain.metrics import OTHERS
from fairlane.domain.statuses import TERMINAL, JobStatus
from fairlane.engine.worker import Unready, Worker

_log = logging.getLogger("fairlane")

LAST_PORT: Final = 65_535
ANSWER: Final = 1.0  # seconds for the event loop to answer; Kubernetes waits as long by default
_SILENCE: Final = 5.0  # seconds until a client that sends nothing is left
_COUNTED: Final = 1000  # starts and ends of organizations without a name, until the busiest of them gets one
_BUCKETS: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)  # seconds
# The outcomes of attempts that are no status of a job.
_SNOOZED, _RELEASED, _REFUSED = OTHER_OUTCOMES = ("snoozed", "released", "refused")
_WHY: Final = {
    Unready.STARTING: "it has not claimed yet, or has left",
    Unready.STOPPING: "it stops and claims no more",
    Unready.DATABASE: "the database does not answer",
    Unready.LEASE: "its lease ran out; it waits for a heartbeat to succeed",
    Unready.CLAIMS: "its last claim is too long ago; see its log",
}


class WorkerMetrics:
    """A subscriber that counts what happens in a worker.

    Args:
        organizations: how many organizations have series of their own.
    """

    def __init__(self, organizations: int) -> None:
        self._registry = registry = _Registry()
        self._named = _Named(organizations)
        whose, counter = ["job_type", "organization"], partial(Counter, registry=registry)
        timer = partial(Histogram, labelnames=whose, buckets=_BUCKETS, registry=registry)
        self._attempts = counter("fairlane_attempts", "Attempts that ended in this process.", [*whose, "outcome"])
        self._ended = counter("fairlane_jobs_ended", "Jobs that such an attempt ended.", [*whose, "status"])
        self._waits = timer("fairlane_job_wait_seconds", "From when a job was due to its first start.")
        self._seconds = timer("fairlane_attempt_seconds", "How long handlers ran.")
        self._opened = counter("fairlane_breakers_opened", "Circuit breakers that this worker opened.", whose)
        self._abandoned = counter("fairlane_handlers_abandoned", "Handlers that did not stop.", ["job_type"])
        self._errors = counter("fairlane_storage_errors", "Tries that the database did not answer.", ["service"])
        self._leases = counter("fairlane_leases_lost", "Attempts whose job was given to another worker.")
        self._rescued = counter("fairlane_jobs_rescued", "Jobs that this worker took back from lost workers.")
        self._blocks = counter("fairlane_loop_blocks", "Blocks of the event loop of more than a second.")
        self._slots = Gauge("fairlane_slots", "Jobs that this process may run at once.", registry=registry)
        ProcessCollector(registry=registry)

    def hears(self, kind: type[e.Event]) -> bool:
        """Return False if events of this kind are not counted."""
        return kind is not e.JobProgressed

    def __call__(self, event: e.Event) -> None:
        """Count an event, on any thread."""
        match event:
            case e.JobStarted():
                if event.waited is not None:
                    self._waits.labels(event.job_type, self._named(event.organization)).observe(event.waited)
            case e.JobEnded():
                self._count_end(event)
            case _:
                self._count_rare(event)

    def _count_rare(self, event: e.Event) -> None:
        match event:
            case e.BreakerOpened():
                self._opened.labels(event.job_type, self._named(event.organization)).inc()
            case e.HandlerAbandoned():
                self._abandoned.labels(event.job_type).inc()
            case e.StorageLost():
                self._errors.labels(event.service).inc()
            case e.LeaseLost():
                self._leases.inc()
            case e.JobsRescued():
                self._rescued.inc(event.jobs)
            case e.LoopBlocked():
                self._blocks.inc()
            case e.WorkerStarted():
                self._slots.set(event.slots)
            case _:
                pass

    def serve(self, worker: Worker, host: str, port: int) -> ThreadingHTTPServer:
        """Serve the metrics and probes of a worker from a thread, until the process ends or the server is shut down.

        Raises:
            ConfigurationError: the address can't be listened at.
        """
        self._registry.register(_State(worker))
        server = _Server((host, port), partial(_Handler, self._registry, worker), bind_and_activate=False)
        server.socket.close()
        server.socket = listen(host, port)
        threading.Thread(target=server.serve_forever, name="fairlane-metrics", daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        _log.info("Metrics at http://%s:%d/metrics, probes at /livez and /readyz.", shown, port)
        return server

    def _count_end(self, event: e.JobEnded) -> None:
        whose = event.job_type, self._named(event.organization)
        self._attempts.labels(*whose, _outcome(event)).inc()
        if event.status in TERMINAL:
            self._ended.labels(*whose, event.status.value).inc()
        if event.seconds > 0:  # else its handler did not begin
            self._seconds.labels(*whose).observe(event.seconds)


def _outcome(event: e.JobEnded) -> str:
    if event.status is JobStatus.QUEUED:
        return _SNOOZED if event.snoozed is not None else _RELEASED
    if event.status is JobStatus.DEAD_LETTER:
        return event.outcome.value if event.outcome is not None else _REFUSED
    return event.status.value


class _Named:
    """The organizations that have series of their own; the others have one together.

    Half of the places are for those that come first. Each of the other places goes to the organization that was the
    busiest of the others, after 1,000 starts and ends of these. An organization keeps its place, and what was counted
    before stays with the others, so no counter goes backwards.
    """

    def __init__(self, number: int) -> None:
        self._number, self._at_once = number, -(-number // 2)
        self._names = set[str]()
        self._others = Counts[str]()
        self._counted = 0
        self._lock = threading.Lock()

    def __call__(self, organization: str) -> str:
        """Return the label for something that happened to an organization, on any thread."""
        if organization in self._names or (len(self._names) < self._number and self._has_place(organization)):
            return organization
        return OTHERS

    def _has_place(self, organization: str) -> bool:
        """Count the organization, and return True if it has a place from now on."""
        with self._lock:
            if len(self._names) < self._at_once:
                self._names.add(organization)
                return True
            self._others[organization] += 1
            self._counted += 1
            if self._counted == _COUNTED:
                ((busiest, _),) = self._others.most_common(1)
                self._names.add(busiest)
                self._others.clear()
                self._counted = 0
            return organization in self._names


class _Registry(CollectorRegistry):
    """A registry without the moments at which series began: they would be as many series again."""

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        for metric in super().collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric


class _State(Collector):
    """A collector of what a worker is at the moment."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily("fairlane_slots_taken", "Jobs that this process runs.", value=self._worker.running)
        why = self._worker.why_not_ready()
        family = GaugeMetricFamily(
            "fairlane_worker_unready", "1: it claims no jobs for this reason.", labels=["reason"]
        )
        for one in Unready:
            family.add_metric([one.value], one is why)
        yield family


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigurationError: the address is taken, or is not of this machine.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"Can't serve metrics at {host}, port {port} ({error.strerror or error}); name others by --metrics-host "
            "and --metrics-port."
        ) from None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that did not wait for its answer."""


class _Handler(MetricsHandler):
    timeout = _SILENCE
    server_version, sys_version = "fairlane", ""

    def __init__(self, registry: Collector, worker: Worker, *request: Any) -> None:
        self.registry = registry
        self._worker = worker
        super().__init__(*request)  # which answers the request

    @override
    def do_GET(self) -> None:
        """Answer a request."""
        match self.path.partition("?")[0]:
            case "/metrics":
                super().do_GET()
            case "/livez" if self._worker.answers(ANSWER):
                self._say(200, "The event loop answers.")
            case "/livez":
                self._say(503, f"The event loop has not answered for {ANSWER:g} s; see the worker's log.")
            case "/readyz" if (why := self._worker.why_not_ready()) is not None:
                self._say(503, f"The worker is not ready: {_WHY[why]}.")
            case "/readyz":
                self._say(200, "The worker claims jobs, or runs as many as it may.")
            case _:
                self._say(404, "There are /metrics, /livez and /readyz.")

    def _say(self, status: int, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
