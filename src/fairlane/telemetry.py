"""The subscriber that writes the code's events as lines of the logger `fairlane`. It owns their wording.

No line holds parameters, results or error texts of a job, unless the setting `log_tracebacks` adds the traceback of a
dead letter. The subscriber changes nothing, and its errors must not reach the code that emitted the event.
"""

import logging
import shlex
import threading
import time
from typing import Final

from fairlane.domain import events as e
from fairlane.domain.breaker import Pair
from fairlane.domain.events import Event
from fairlane.domain.statuses import JobStatus
from fairlane.domain.texts import printable
from fairlane.domain.timing import SAY_AGAIN

_log = logging.getLogger("fairlane")
QUOTED: Final = "  > "  # before each line of a dead letter's traceback


# There are tens of thousands of these events a second, and few are read. JobEnded only counts if the attempt succeeded.
_LEVELS: Final[dict[type[Event], int]] = {e.JobStarted: logging.DEBUG, e.JobEnded: logging.INFO}


class EventLog:
    """A subscriber that writes a line for each event, at a fitting level. The log record has the event as `event`.

    Every service of a worker meets an outage of the database, so there is one line a minute for all of them. The first
    service that reaches the database again logs that it is back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_away = False  # True if a service has reported an outage of the database
        self._say_again = 0.0  # monotonic

    def __call__(self, event: Event) -> None:
        """Write the line, if the event has one."""
        if not self.hears(type(event)) and not (isinstance(event, e.JobEnded) and event.error_type is not None):
            return
        if isinstance(event, e.StorageLost | e.StorageBack) and not self._is_news(event):
            return
        line = _line(event)
        if line is not None:
            level, text = line
            error = event.error if isinstance(event, e.ServiceFailed) else None
            if isinstance(event, e.JobEnded) and event.traceback:
                _log_dead_letter(level, printable(text), event, event.traceback)
            else:
                _log.log(level, "%s", printable(text), exc_info=error, extra={"event": event})

    def hears(self, kind: type[Event]) -> bool:
        """Return False if events of this kind are below the current level; for JobEnded, if successes are."""
        level = _LEVELS.get(kind)
        return level is None or _log.isEnabledFor(level)

    def _is_news(self, event: e.StorageLost | e.StorageBack) -> bool:
        with self._lock:
            was_away, self._is_away = self._is_away, isinstance(event, e.StorageLost)
            if isinstance(event, e.StorageBack):
                return was_away
            now = time.monotonic()
            if was_away and now < self._say_again:
                return False
            self._say_again = now + SAY_AGAIN
            return True


def _log_dead_letter(level: int, text: str, event: e.JobEnded, traceback: str) -> None:
    """Write the line with the traceback below it. Each of its lines is marked: its text may be a tenant's, and look
    like a line of the log.
    """
    if _log.isEnabledFor(level):
        record = _log.makeRecord(_log.name, level, __file__, 0, "%s", (text,), None, extra={"event": event})
        record.exc_text = "\n".join(f"{QUOTED}{printable(line)}" for line in traceback.splitlines())
        _log.handle(record)


def _line(event: Event) -> tuple[int, str] | None:
    return _of_job(event) or _of_worker(event) or _of_operation(event) or _of_organization(event)


def _of_job(event: Event) -> tuple[int, str] | None:
    match event:
        case e.JobStarted():
            return logging.DEBUG, f"{_name(event)}: attempt {event.attempt} starts."
        case e.JobEnded():
            is_dead = event.status is JobStatus.DEAD_LETTER
            cause = f" ({event.error_type})" if event.error_type else ""
            which = f", {event.failed}" if event.failed is not None else ""
            # The error's text and its traceback belong to the organization, so the log only says where they are.
            why = f" To see why: {_show_command(event)}" if cause or is_dead else ""
            level = logging.ERROR if is_dead else logging.WARNING if cause else logging.INFO
            end = event.status if event.snoozed is None else f"snoozed for {event.snoozed:g} s"
            return level, f"{_name(event)}: {end}{cause} after {event.seconds:.2f} s{which}.{why}"
        case e.LeaseLost():
            return logging.WARNING, f"{_name(event)} was given to another worker; it is stopped here."
        case e.HandlerAbandoned():
            return logging.ERROR, (
                f"{_name(event)} does not stop and was left behind; "
                "let its handler call ctx.is_canceled(), or use isolation='process', which can be killed."
            )
        case _:
            return None


def _of_worker(event: Event) -> tuple[int, str] | None:
    match event:
        case e.WorkerStarted():
            queues = "all queues" if event.queues is None else ", ".join(event.queues)
            return logging.INFO, f"Worker {event.worker} serves {queues} with {event.slots} slots."
        case e.QueuesNotServed():
            options = " ".join(f"--queue {queue}" for queue in event.queues)
            return logging.WARNING, (
                f"Worker {event.worker} does not serve {', '.join(event.queues)}, the queue of its job types "
                f"{', '.join(event.job_types)}: their jobs wait for another worker, such as "
                f"`fairlane worker {options}`. `fairlane worker` without --queue serves all queues, as "
                "fl.worker(queues=None) does."
            )
        case e.WorkerStopping():
            left = f"unfinished jobs: {event.running}, with {event.grace:g} s to end"
            return logging.INFO, f"Worker {event.worker} stops and claims no more; {left}."
        case e.WorkerStopped():
            return logging.INFO, f"Worker {event.worker} has stopped; jobs given back unfinished: {event.released}."
        case e.LoopBlocked():
            one_of = "one of " if len(event.job_types) > 1 else ""
            types = one_of + ", ".join(event.job_types) or "no handler, but the worker itself or its host"
            advice = " Await instead, or make the handler a plain `def`." if event.job_types else ""
            return logging.WARNING, (
                f"Worker {event.worker}: {types} blocks the event loop since {event.seconds:.1f} s at {event.where}; "
                f"all async jobs here wait.{advice}"
            )
        case e.WorkerUnfit():
            return logging.WARNING, (
                f"Worker {event.worker} drains and is to be replaced: {event.reason}. `fairlane worker` then ends with "
                "exit code 75; let its supervisor start another one."
            )
        case e.WorkerStuck():
            return logging.ERROR, (
                f"Worker {event.worker}: the event loop is blocked since {event.seconds:.0f} s, longer than any "
                "handler on it may take. Other workers get its jobs; end this process and start another one."
            )
        case _:
            return None


def _of_operation(event: Event) -> tuple[int, str] | None:
    match event:
        case e.StorageLost():
            again = f"tries again by itself in {event.seconds:.1f} s"
            return logging.WARNING, f"Worker loop {event.service} {again}. It met: {event.reason}"
        case e.StorageBack():
            return logging.INFO, f"Worker loop {event.service}: the database is back."
        case e.DirectoryLost():
            return logging.WARNING, f"The directory gave no answer ({event.reason}); jobs that need it wait."
        case e.DirectoryBack():
            return logging.INFO, "The directory answers again."
        case e.JobsRescued():
            return logging.WARNING, f"Jobs taken back from the lost worker {event.worker}: {event.jobs}."
        case e.ServiceFailed():
            return logging.ERROR, f"{event.service} failed ({type(event.error).__name__}) and goes on."
        case _:
            return None


def _of_organization(event: Event) -> tuple[int, str] | None:
    match event:
        case e.DeadLetterAlert():
            return logging.WARNING, f"Organization {event.organization} has {event.depth} unresolved dead letters."
        case e.QueueLimitWarning():
            return logging.WARNING, f"Organization {event.organization} has {event.live} of {event.limit} live jobs."
        case e.BreakerOpened():
            return logging.WARNING, (
                f"{event.job_type} of {event.organization}: {event.failures} of {event.attempts} attempts failed; "
                f"nothing of it starts until {event.until:%Y-%m-%d %H:%M:%S %Z}, then one job on trial. "
                f"To let all start: {Pair(event.organization, event.job_type).close_command}"
            )
        case e.TickRefused():
            return logging.WARNING, (
                # The schedule's name belongs to the organization.
                f"A schedule of {event.organization} could not submit its job ({event.error_type}); it tries again by "
                f"itself. To see which: fairlane schedules list -o {shlex.quote(event.organization)}"
            )
        case e.KeyMissed():
            return logging.WARNING, (
                f"Jobs of {event.organization} wait: this worker can't use its encryption key. {event.why}"
            )
        case e.BreakerClosed():
            why = f"{event.by} closed its breaker" if event.by else "the job on trial completed"
            return logging.INFO, f"{event.job_type} of {event.organization} starts again: {why}."
        case _:
            return None


def _name(event: e.JobStarted | e.JobEnded | e.LeaseLost | e.HandlerAbandoned) -> str:
    return f"{event.job_type} {event.job_id} of {event.organization}"


def _show_command(event: e.JobEnded) -> str:
    return f"fairlane jobs show {event.job_id} -o {shlex.quote(event.organization)}"
