"""Judge the jobs of a storm: a pure function of what was submitted, done, injected and stored.

*Lost*: a job that was to take effect and did not, or that has not ended as it was to. *Duplicate*: each effect of a job
beyond its first. *Zombie*: an effect under a lease that had been lost, or a write that the engine took under an old
lease. *Taken*: a job that a rescuer took from its worker. A duplicate, a late effect and a
rescue are explained by a fault that was injected into the very worker of the attempt, as `explain` says; the engine's
own writes nothing explains. *Buried*: a job that is a dead letter, as is promised, as it was lost with its worker three
times, each time by such a fault.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from fairlane.domain.poison import SUSPECT_AT
from fairlane.domain.statuses import TERMINAL, JobStatus
from tests.storm.explain import Faults, Loss
from tests.storm.faults import Fault, Injection
from tests.storm.handlers import IN_PROCESS
from tests.storm.ledger import Entry, Kind


class Expected(StrEnum):
    """The planned end of a job."""

    COMPLETED = "with its effect"
    CANCELED = "canceled, without an effect"
    DEAD = "as a dead letter, without an effect"
    EITHER = "with its effect, or canceled"
    STOPPED = "canceled, as was answered to who asked for it"


# Not what SQLite meets: a worker that is stopped amid a write keeps its lock, and may do so when another gives it up.
_UNREACHABLE: Final = frozenset({Fault.RESTART, Fault.SILENCE, Fault.OUTAGE})
CLAIMED_WITHIN: Final = 2.0  # seconds of the database's being back
_CANCELS: Final = frozenset({Expected.EITHER, Expected.STOPPED})  # of what may have run before
_STATUSES: Final[Mapping[Expected, frozenset[JobStatus]]] = {
    Expected.COMPLETED: frozenset({JobStatus.COMPLETED}),
    Expected.CANCELED: frozenset({JobStatus.CANCELED}),
    Expected.DEAD: frozenset({JobStatus.DEAD_LETTER}),
    Expected.EITHER: frozenset({JobStatus.COMPLETED, JobStatus.CANCELED}),
    Expected.STOPPED: frozenset({JobStatus.CANCELED}),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A job as the database has it in the end.

    `attempt`: the number of its last one; `result_attempt`, `result_lease`: of the one that its result is from.
    `losses`: each time that it was taken from its worker; `is_blamed`: that it ended as it was lost too often. `ended`:
    when (monotonic seconds); None: it has not.
    """

    status: JobStatus
    organization: str = ""
    attempt: int = 0
    result_attempt: int | None = None
    result_lease: str | None = None
    losses: tuple[Loss, ...] = ()
    is_blamed: bool = False
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    what: str
    job: str
    why: str


@dataclass(slots=True)
class Verdict:
    """`lost`, `duplicates`, `zombies`, `taken`, `broken`: what nothing explains.

    `explained`: duplicates by the kind of fault, and `gaps`: how many seconds after their effect it came; `rescued`:
    losses.
    """

    lost: list[Finding] = field(default_factory=list)
    duplicates: list[Finding] = field(default_factory=list)
    zombies: list[Finding] = field(default_factory=list)
    taken: list[Finding] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)  # other promises
    explained: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    gaps: list[float] = field(default_factory=list)
    rescued: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    late_effects: int = 0  # explained ones
    buried: set[str] = field(default_factory=set)  # explained ones

    @property
    def findings(self) -> list[Finding]:
        """Return everything that must not be."""
        return [*self.lost, *self.duplicates, *self.zombies, *self.taken, *self.broken]


def judge(
    expected: Mapping[str, Expected],
    entries: Iterable[Entry],
    faults: Faults,
    stored: Mapping[str, Stored],
) -> Verdict:
    """The verdict on a run.

    Args:
        expected: all jobs that were submitted, by id.
        stored: all jobs in the database, by id.
    """
    verdict = Verdict()
    by_job: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_job[entry.job].append(entry)
    for job, end in expected.items():
        if end is not Expected.DEAD and _is_buried(stored.get(job), faults):
            verdict.buried.add(job)
        else:
            _judge_end(verdict, job, end, by_job.get(job, []), stored.get(job))
    for job, one in stored.items():
        _judge_losses(verdict, job, one.losses, faults)
    for job, mine in by_job.items():
        found = stored.get(job)
        is_canceled = found is not None and found.status is JobStatus.CANCELED and expected.get(job) in _CANCELS
        due = 0 if is_canceled or job in verdict.buried else 1
        _judge_effects(verdict, job, mine, found.losses if found is not None else (), faults, due=due)
        _judge_checkpoints(verdict, job, mine)
    for job in by_job.keys() - stored.keys() - expected.keys():
        verdict.lost.append(Finding("lost", job, "has run, and is not in the database"))
    for job in stored.keys() - expected.keys():
        verdict.zombies.append(Finding("zombie", job, "is there though its submission was refused"))
    return verdict


def _is_buried(stored: Stored | None, faults: Faults) -> bool:
    """Return True if injected faults explain each loss of a job that was dead-lettered for them."""
    if stored is None or stored.status is not JobStatus.DEAD_LETTER or not stored.is_blamed:
        return False
    return len(stored.losses) >= SUSPECT_AT and all(faults.of_loss(loss) for loss in stored.losses)


def _judge_losses(verdict: Verdict, job: str, losses: Iterable[Loss], faults: Faults) -> None:
    for loss in losses:
        fault = faults.of_loss(loss)
        if fault is not None:
            verdict.rescued[fault.kind] += 1
            continue
        told = f"attempt {loss.attempt} on worker {loss.worker}, which had it from {loss.began:.3f} to {loss.ended:.3f}"
        verdict.taken.append(Finding("taken", job, f"was taken from a healthy worker: {told}"))


def _judge_end(verdict: Verdict, job: str, expected: Expected, mine: Sequence[Entry], stored: Stored | None) -> None:
    effects = [entry for entry in mine if entry.kind is Kind.EFFECT]
    if stored is None:
        verdict.lost.append(Finding("lost", job, "is not in the database"))
        return
    if stored.status not in TERMINAL or stored.status not in _STATUSES[expected]:
        verdict.lost.append(Finding("lost", job, f"was to end {expected}, and is {stored.status}"))
    if stored.status is JobStatus.COMPLETED and not effects:
        verdict.lost.append(Finding("lost", job, "is completed, and has taken no effect"))
    if stored.status is JobStatus.COMPLETED and stored.result_lease is None:
        verdict.lost.append(Finding("lost", job, "is completed, and its result is gone"))
    if effects and expected in (Expected.CANCELED, Expected.DEAD):
        verdict.duplicates.append(Finding("duplicate", job, f"took effect, and was to end {expected}"))
    if stored.result_lease is not None:
        is_told = any((one.attempt, one.lease) == (stored.result_attempt, stored.result_lease) for one in mine)
        is_lost = any(loss.attempt == stored.result_attempt for loss in stored.losses)
        # The last attempt by the engine's count: it may have been lost before its handler was called.
        if not is_told or is_lost or stored.result_attempt != stored.attempt:
            verdict.zombies.append(Finding("zombie", job, "its result is of an attempt under an old lease"))


def _judge_effects(
    verdict: Verdict, job: str, mine: Sequence[Entry], losses: Iterable[Loss], faults: Faults, *, due: int
) -> None:
    """Find effects without an explanation: effects beyond the `due` ones of the last attempt, and late effects."""
    effects = sorted((entry for entry in mine if entry.kind is Kind.EFFECT), key=lambda entry: entry.attempt)
    begins = {entry.attempt: entry.at for entry in mine if entry.kind is Kind.BEGIN}
    lost = {loss.attempt: loss for loss in losses}
    for place, effect in enumerate(effects):
        loss = lost.get(effect.attempt)
        is_late = any(at < effect.at for attempt, at in begins.items() if attempt > effect.attempt)
        is_late = is_late or (loss is not None and loss.ended < effect.at)
        is_due = place >= len(effects) - due
        if is_due and not is_late:
            continue
        is_twice = place < len(effects) - 1 and effects[place + 1].lease == effect.lease
        fault = None if is_twice else faults.of_effect(effect.at, loss)
        told = f"attempt {effect.attempt} on worker {effect.worker} at {effect.at:.3f}"
        if fault is not None:
            if not is_due:
                verdict.explained[fault.kind] += 1
                verdict.gaps.append(max(0.0, fault.began - effect.at))
            verdict.late_effects += is_late
        elif is_late:
            verdict.zombies.append(Finding("zombie", job, f"took effect under an old lease: {told}"))
        else:
            what = "took effect again after" if due else "took effect, and did not complete:"
            verdict.duplicates.append(Finding("duplicate", job, f"{what} {told}"))


def _judge_checkpoints(verdict: Verdict, job: str, mine: Sequence[Entry]) -> None:
    """Find attempts that began with another checkpoint than the one that was kept last before them."""
    kept = [entry.attempt for entry in mine if entry.kind is Kind.KEEP]
    for begin in mine:
        last = max((attempt for attempt in kept if attempt < begin.attempt), default=0)
        # What one kept that was killed before it knew is later than that, and in order.
        if begin.kind is Kind.BEGIN and not last <= begin.found < begin.attempt:
            told = f"attempt {begin.attempt} found what attempt {begin.found} had kept"
            verdict.zombies.append(Finding("zombie", job, f"{told}; the last one to keep a checkpoint was {last}"))


class Recovery(NamedTuple):
    """A job ran again so many seconds after its worker was killed.

    `is_suspect`: it had been lost so often that it may have had to wait apart from others (`fairlane.domain.poison`).
    """

    kill: Injection
    seconds: float
    is_suspect: bool = False


def recoveries(entries: Iterable[Entry], kills: Iterable[Injection], stored: Mapping[str, Stored]) -> list[Recovery]:
    """Return for each job of a killed worker after how many seconds its handler was called again.

    That may take several tries: the next worker that had it may be lost before it calls the handler. Jobs that never
    ran again, as somebody canceled them, have none.
    """
    when = {one.worker: one for one in kills}
    begins: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in entries:
        if entry.kind is Kind.BEGIN:
            begins[entry.job][entry.attempt] = entry.at
    found = []
    for job, one in stored.items():
        for loss in one.losses:
            kill = when.get(loss.worker)
            again = min((attempt for attempt in begins[job] if attempt > loss.attempt), default=None)
            if kill is not None and loss.began <= kill.began <= loss.ended and again is not None:
                lost = sum(each.attempt < again for each in one.losses)
                found.append(Recovery(kill, begins[job][again] - kill.began, is_suspect=lost >= SUSPECT_AT))
    return found


def first_claims(entries: Iterable[Entry], injections: Iterable[Injection]) -> list[float]:
    """Return for each outage or silence of PostgreSQL the seconds from its end to the next call of a handler.

    If it went away again before that, and within the time in which a handler is to be called, it was not back.
    Infinite: no handler was called any more. Handlers in processes do not count: they may have been claimed before, and
    start since.
    """
    begins = sorted(entry.at for entry in entries if entry.kind is Kind.BEGIN and entry.job_type != IN_PROCESS)
    returns: list[float] = []
    for one in sorted((one for one in injections if one.kind in _UNREACHABLE), key=lambda one: one.began):
        if returns and one.began <= min(_first(begins, returns[-1]), returns[-1] + CLAIMED_WITHIN):
            returns[-1] = max(returns[-1], one.ended)
        else:
            returns.append(one.ended)
    return [_first(begins, back) - back for back in returns]


def _first(moments: Sequence[float], after: float) -> float:
    place = bisect(moments, after)
    return moments[place] if place < len(moments) else inf
