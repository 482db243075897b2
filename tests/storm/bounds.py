"""What a storm has to keep to, and to put to the test, to be told as passed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.storm import memory
from tests.storm.faults import DISTURBING, Fault, Injection
from tests.storm.handlers import JOB_TYPES, MOST_LIMITED
from tests.storm.storm import Profile, Report
from tests.storm.verdict import CLAIMED_WITHIN, Recovery

# Leases until a killed worker's jobs run again with nothing else in the way: what is promised of 99 in a hundred, and
# what each has to keep to, as the storm keeps the machine busy.
PROMISED: Final = 2.0
LATEST: Final = 4.0
_GROWTH: Final = 0.1  # of memory, in half an hour
# Kills. With fewer each may meet a worker that has nothing to do; with fewer than many, what only chance brings may not
# come, and a share of a hundred says nothing.
_SOME: Final = 3
_MORE: Final = 10
_MANY: Final = 100


def failed(report: Report) -> bool:
    """Whether there is anything that must not be, or something is not proved."""
    is_wrong = report.verdict.findings or report.crashes or any(report.outage.values())
    return bool(is_wrong or list(missed(report)) or list(unproved(report)))


def missed(report: Report) -> Iterator[str]:
    """What was not in its time, or took too much."""
    lease, kills = report.profile.lease, report.counts[Fault.KILL]
    seconds = sorted(one.seconds for one in undisturbed(report.recoveries, report.injections, lease))
    if too_late := sum(one > LATEST * lease for one in seconds):
        yield f"Too late with no other fault in the way, after more than {LATEST:g} leases: {too_late} jobs."
    if kills >= _MANY and seconds and quantile(seconds, 0.99) > PROMISED * lease:
        yield f"More than one in a hundred ran again only after more than {PROMISED:g} leases, with nothing in the way."
    if kills >= _MORE and max(report.first_claims, default=0.0) > CLAIMED_WITHIN:
        yield f"No handler was called within {CLAIMED_WITHIN:g} s of the database's being back."
    if (memory.growth([one.resident for one in report.memory]) or 0.0) > _GROWTH:
        yield f"The spared worker's memory grew by more than {_GROWTH:.0%} in half an hour."


def unproved(report: Report) -> Iterator[str]:
    """What a storm was to put to the test, and did not come to."""
    kills, verdict = report.counts[Fault.KILL], report.verdict
    alone = undisturbed(report.recoveries, report.injections, report.profile.lease)
    as_planned = report.counts == {fault: count for fault, count in planned(report.profile).items() if count}
    for is_proved, lack in (
        (as_planned, "Not every fault was injected as often as planned."),
        (report.rejected, "No duplicate was refused."),
        (report.limited >= MOST_LIMITED, "The limit of a type was never reached."),
        (kills < _SOME or verdict.rescued, "No job was rescued."),
        (kills < _MORE or verdict.rescued[Fault.KILL], "No job was rescued after a kill."),
        (kills < _MORE or report.stopped, "No running job was canceled."),
        (kills < _MANY or report.released, "No running job was given back at SIGTERM."),
        (kills < _MANY or verdict.late_effects, "No job took effect under a lost lease."),
        (kills < _MANY or alone, "No killed worker's jobs ran again with no other fault in the way."),
        *((report.effects.get(one), f"No job of {one} took effect.") for one in JOB_TYPES),
    ):
        if not is_proved:
            yield lack


def planned(profile: Profile) -> Mapping[Fault, int]:
    """How often each fault is to be injected, with the long outage at the end."""
    return {**profile.faults, Fault.OUTAGE: int(profile.outage > 0)}


def undisturbed(recoveries: Iterable[Recovery], injections: Iterable[Injection], lease: float) -> list[Recovery]:
    """Those from kills with nothing else in the way: a rescuer needs a steady database.

    What comes later than two leases after a kill, by when all is to run again, is not asked: it excuses nothing.
    """
    others = [one for one in injections if one.kind in DISTURBING]

    def is_alone(kill: Injection) -> bool:
        return not any(_meet(kill.began - lease, kill.began + PROMISED * lease, one) for one in others)

    return [one for one in recoveries if not one.is_suspect and is_alone(one.kill)]


def _meet(began: float, ended: float, other: Injection) -> bool:
    return began <= other.ended and other.began <= ended


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not pass."""
    return values[min(len(values) - 1, int(len(values) * share))]
