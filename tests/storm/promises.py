"""Judge the promises that `verdict` leaves: whole batches, keys, limits, parents, ends of workers."""

import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from fairlane.engine.supervisor import EXIT_REPLACE
from tests.storm.faults import Fault, Injection
from tests.storm.ledger import Entry, Kind
from tests.storm.verdict import Finding, Stored

_ENDS: Final = frozenset({Kind.EFFECT, Kind.FAIL, Kind.GIVE_UP})
_DRIFT: Final = 0.1  # seconds by which this machine's clocks may part while a storm goes by; those that lie do by 3600
# What has a worker end with which exit code. One that stood still for a lease, as its loop did, is to be replaced.
_REASONS: Final[Mapping[int, frozenset[Fault]]] = {
    0: frozenset({Fault.TERM}),
    -signal.SIGKILL: frozenset({Fault.KILL}),
    EXIT_REPLACE: frozenset({Fault.STOP}),
}
Run = tuple[float, float]  # from when to when a handler ran, in monotonic seconds


@dataclass(frozen=True, slots=True)
class Twin:
    """A job that was submitted under the key of another one, and was not refused until `answered` (monotonic)."""

    job: str
    original: str
    answered: float


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a worker's process. `was_asked`: by the storm, when it was over."""

    worker: str
    code: int
    was_asked: bool = False


def crashes(exits: Iterable[Exit], injections: Iterable[Injection]) -> list[str]:
    """Processes that ended otherwise than by what was done to them."""
    kinds = defaultdict[str, set[Fault]](set)
    for injection in injections:
        kinds[injection.worker].add(injection.kind)
    return [
        f"{one.worker} ended with exit code {one.code}"
        for one in exits
        if not (_REASONS.get(one.code, frozenset()) & kinds[one.worker] or (one.was_asked and one.code == 0))
    ]


def halves(batches: Iterable[Iterable[str]], stored: Mapping[str, Stored]) -> list[Finding]:
    """Batches of which some jobs are there, and some are not."""
    found = []
    for batch in batches:
        missing = [job for job in batch if job not in stored]
        if missing and any(job in stored for job in batch):
            found += [Finding("lost", job, "is not there, and others of its batch are") for job in missing]
    return found


def double(twins: Iterable[Twin], stored: Mapping[str, Stored]) -> list[Finding]:
    """Twins that were taken while the job that had their key lived."""
    return [
        Finding("duplicate", one.job, f"was taken though {one.original}, which has its key, had not ended")
        for one in twins
        if one.job in stored and not _had_ended(stored.get(one.original), one.answered)
    ]


def _had_ended(one: Stored | None, at: float) -> bool:
    return one is not None and one.ended is not None and one.ended <= at


def too_early(
    parents: Mapping[str, Sequence[str]], entries: Iterable[Entry], stored: Mapping[str, Stored]
) -> Iterator[Finding]:
    """Children whose handler was called before a parent had taken the effect that its result is of, and had ended."""
    first: dict[str, float] = {}
    effects = defaultdict[tuple[str, str], list[float]](list)
    for entry in entries:
        if entry.kind is Kind.BEGIN:
            first[entry.job] = min(entry.at, first.get(entry.job, entry.at))
        elif entry.kind is Kind.EFFECT:
            effects[entry.job, entry.lease].append(entry.at)
    for child, all_of_them in parents.items():
        for parent in all_of_them if child in first else ():
            one = stored.get(parent)
            done = effects[parent, one.result_lease] if one is not None and one.result_lease is not None else []
            is_over = one is not None and one.ended is not None and one.ended <= first[child] + _DRIFT
            if not done or done[0] > first[child] or not is_over:
                yield Finding("broken", child, f"began before its parent {parent} had completed")


def before_time(
    due: Mapping[str, float], entries: Sequence[Entry], stored: Mapping[str, Stored], backoff: float
) -> Iterator[Finding]:
    """Handlers that were called before their job's time.

    Args:
        due: the moment of each job that had to wait for one (monotonic).
        backoff: seconds that a job rests after a failure, at least; not after one that came when it had been lost.
    """
    lost = {(job, loss.attempt) for job, one in stored.items() for loss in one.losses}
    failures = (one for one in entries if one.kind is Kind.FAIL and (one.job, one.attempt) not in lost)
    failed = {(one.job, one.attempt + 1): one.at for one in failures}
    for entry in entries:
        if entry.kind is Kind.BEGIN:
            after_failure = failed.get((entry.job, entry.attempt), -inf) + backoff
            early = max(due.get(entry.job, -inf), after_failure) - entry.at
            if early > _DRIFT:
                yield Finding("broken", entry.job, f"began {early:.3f} s before its time, with attempt {entry.attempt}")


def mistaken(entries: Iterable[Entry], stored: Mapping[str, Stored]) -> Iterator[Finding]:
    """Handlers that were called for another organization than their job's, or with what another job was to get."""
    for entry in entries:
        if entry.kind is Kind.BEGIN:
            one = stored.get(entry.job)
            if not entry.is_own or (one is not None and one.organization != entry.organization):
                told = f"attempt {entry.attempt} was called for {entry.organization}"
                yield Finding("broken", entry.job, f"was given what is another job's: {told}")


def of_ledger(entries: Iterable[Entry], job_type: str, stored: Mapping[str, Stored]) -> list[Run]:
    """Return when handlers of a type began and ended. A lost one counts for as long as it was promised to."""
    begins: dict[tuple[str, int], float] = {}
    ends: dict[tuple[str, int], float] = {}
    for entry in entries:
        if entry.job_type == job_type and entry.kind is Kind.BEGIN:
            begins[entry.job, entry.attempt] = entry.at
        elif entry.job_type == job_type and entry.kind in _ENDS:
            ends[entry.job, entry.attempt] = entry.at
    for job, one in stored.items():
        for loss in one.losses:
            ends[job, loss.attempt] = min(loss.ended, ends.get((job, loss.attempt), loss.ended))
    return [(at, ends[attempt]) for attempt, at in begins.items() if at < ends.get(attempt, at)]


def most_at_once(runs: Iterable[Run]) -> int:
    """Return how many ran at the moment when most did; a begin at the moment of an end comes after it."""
    steps = sorted((at, step) for began, ended in runs for at, step in ((began, 1), (ended, -1)))
    running = most = 0
    for _, step in steps:
        running += step
        most = max(most, running)
    return most


def beyond(limit: int, job_type: str, counted: Iterable[int]) -> list[Finding]:
    """Return a finding for each count beyond a limit."""
    return [Finding("broken", f"of {job_type}", f"ran {most} at once, of {limit}") for most in counted if most > limit]
