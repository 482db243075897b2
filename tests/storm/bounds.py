"""The bounds that a storm has to keep and to put to the test before it passes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.storm import memory
from tests.storm.faults import DISTURBING, Fault, Injection
from tests.storm.handlers import JOB_TYPES, MOST_LIMITED
from tests.storm.storm import Profile, Report
from tests.storm.verdict import CLAIMED_WITHIN, Recovery

# Leases until a killed worker's jobs run again with nothing else in the way: for 99 in a hundred, and for each.
SOON: Final = 2.0
LATEST: Final = 4.0
_GROWTH: Final = 0.1  # of memory, in half an hour
# Kills from which on something has to come: each of fewer may meet a worker that has nothing to do.
SOME: Final = 3
MORE: Final = 10
MANY: Final = 100
# Kills with nothing else in the way from which on a hundredth of their jobs says something: those of one come together.
ENOUGH: Final = 50


def failed(report: Report) -> bool:
    """Return True if the report has a finding, a missed bound, or an unproved promise."""
    is_wrong = report.verdict.findings or report.crashes or any(report.outage.values())
    return bool(is_wrong or list(missed(report)) or list(unproved(report)))


def missed(report: Report) -> Iterator[str]:
    """Yield each bound of time or amount that was missed."""
    lease, kills = report.profile.lease, report.counts[Fault.KILL]
    alone = undisturbed(report.recoveries, report.injections, lease)
    if too_late := sum(one.seconds > LATEST * lease for one in alone):
        yield f"Too late with no other fault in the way, after more than {LATEST:g} leases: {too_late} jobs."
    late = sum(one.seconds > SOON * lease for one in alone)
    if len(kills_of(alone)) >= ENOUGH and late > len(alone) / 100:
        yield f"With no other fault in the way {late} of {len(alone)} jobs took more than {SOON:g} leases."
    if kills >= MORE and (slow := sum(one > CLAIMED_WITHIN for one in report.first_claims)):
        yield f"No handler was called within {CLAIMED_WITHIN:g} s of the database's being back: {slow} times."
    grown = memory.growths(report.memory)
    if grown is not None and max(grown) > _GROWTH:
        yield f"The spared worker's memory grew by more than {_GROWTH:.0%} in half an hour."


def unproved(report: Report) -> Iterator[str]:
    """Yield each promise that the storm did not put to the test."""
    kills, rescued = report.counts[Fault.KILL], report.verdict.rescued
    alone = undisturbed(report.recoveries, report.injections, report.profile.lease)
    as_planned = report.counts == {fault: count for fault, count in planned(report.profile).items() if count}
    is_watched = not report.profile.spared or memory.growths(report.memory) is not None
    for is_proved, lack in (
        (as_planned, "Not every fault was injected as often as planned."),
        (report.rejected, "No duplicate was refused."),
        (report.limited >= MOST_LIMITED, "The limit of a type was never reached."),
        (report.looks, "Nobody looked for a job amid the storm."),
        (kills < SOME or rescued, "No job was rescued."),
        (kills < MORE or rescued.get(Fault.KILL), "No job was rescued after a kill."),
        (kills < MORE or report.stopped * 2 > report.asked, "Of the running jobs that were to be canceled few were."),
        (kills < MANY or report.interrupted, "No handler was interrupted and its job given back at SIGTERM."),
        (kills < MANY or report.verdict.late_effects, "No job took effect under a lost lease."),
        (kills < MANY or len(kills_of(alone)) >= MORE, "Hardly any kill had no other fault in the way."),
        (is_watched, "The spared worker's memory was not looked at for long enough."),
        *((report.effects.get(one), f"No job of {one} took effect.") for one in JOB_TYPES),
    ):
        if not is_proved:
            yield lack


def kills_of(recoveries: Iterable[Recovery]) -> set[Injection]:
    """Return the kills after which these jobs ran again."""
    return {one.kill for one in recoveries}


def planned(profile: Profile) -> Mapping[Fault, int]:
    """Return how often each fault is to be injected, with the long outage at the end."""
    return {**profile.faults, Fault.OUTAGE: int(profile.outage > 0)}


def undisturbed(recoveries: Iterable[Recovery], injections: Iterable[Injection], lease: float) -> list[Recovery]:
    """Return the recoveries from kills with no other fault in the way: a rescuer needs a steady database.

    A fault later than two leases after the kill excuses nothing: all jobs are to run again by then.
    """
    others = [one for one in injections if one.kind in DISTURBING]

    def is_alone(kill: Injection) -> bool:
        return not any(one.meets(kill.began - lease, kill.began + SOON * lease) for one in others)

    return [one for one in recoveries if not one.is_suspect and is_alone(one.kill)]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not pass."""
    return values[min(len(values) - 1, int(len(values) * share))]
