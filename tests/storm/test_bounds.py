"""Recoveries that took long are reported, and the storm has to prove each of its bounds."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from tests.storm.bounds import ENOUGH, LATEST, MANY, MORE, SOME, SOON, failed, missed, undisturbed, unproved
from tests.storm.faults import Fault, Injection
from tests.storm.handlers import JOB_TYPES, MOST_LIMITED
from tests.storm.memory import Memory
from tests.storm.storm import Profile, Report
from tests.storm.verdict import CLAIMED_WITHIN, Finding, Recovery, Verdict

LEASE = 5.0
KILL = Injection(Fault.KILL, "one", 100.0, 100.1)
RECOVERIES = [Recovery(KILL, 60.0), Recovery(KILL, 6.0), Recovery(KILL, 99.0, is_suspect=True)]


def test_a_fault_within_a_lease_before_the_kill_or_two_after_it_is_in_the_way() -> None:
    for began, ended in ((94.0, 95.0), (101.0, 102.0), (110.0, 111.0)):
        assert undisturbed(RECOVERIES, [Injection(Fault.SILENCE, "", began, ended)], LEASE) == []


def test_one_that_comes_when_the_job_was_to_run_again_excuses_nothing() -> None:
    for began, ended in ((93.0, 94.9), (110.1, 111.0), (130.0, 170.0)):
        assert undisturbed(RECOVERIES, [Injection(Fault.SILENCE, "", began, ended)], LEASE) == RECOVERIES[:2]


def test_a_fault_that_leaves_rescuers_and_others_alone_is_none_in_the_way() -> None:
    assert undisturbed(RECOVERIES, [KILL, Injection(Fault.TERM, "two", 101.0, 102.0)], LEASE) == RECOVERIES[:2]


Change = Callable[[Report], Report]


def report(kills: int = MANY) -> Report:
    """Return the report of a storm in which all went as it was to."""
    injections = [Injection(Fault.KILL, f"worker {number}", 1.0, 1.1) for number in range(kills)]
    verdict = Verdict(late_effects=1)
    verdict.rescued[Fault.KILL] = 1
    return Report(
        seed=1,
        profile=Profile(jobs=10, seconds=1.0, faults={Fault.KILL: kills, Fault.CLOCK: 0}),
        submitted=10,
        ticks=1,
        rejected=1,
        twins=0,
        limited=MOST_LIMITED,
        released=1,
        interrupted=1,
        asked=3,
        stopped=2,
        effects=dict.fromkeys(JOB_TYPES, 1),
        seconds=1.0,
        injections=injections,
        verdict=verdict,
        recoveries=[Recovery(kill, 6.0) for kill in injections],
        first_claims=[0.1],
        crashes=[],
        looks=1,
    )


def test_a_storm_in_which_all_went_as_it_was_to_has_not_failed() -> None:
    assert not failed(report())


def rescued(**counts: int) -> Change:
    """Set how many jobs were rescued after each kind of fault."""
    kinds: dict[str, int] = {Fault[kind]: count for kind, count in counts.items()}
    return lambda one: replace(one, verdict=replace(one.verdict, rescued=kinds))


def alone(kills: int) -> Change:
    """Keep so many recoveries with no other fault in the way."""
    return lambda one: replace(one, recoveries=one.recoveries[:kills])


def watched(resident: float, anonymous: float, looks: int = 330) -> Change:
    """A spared worker's memory, which grows by so much in the half hour after it is warm."""
    each = [Memory(50.0, 50.0)] * 60 + [Memory(100.0, 100.0)] * 100 + [Memory(100 + resident, 100 + anonymous)] * 170
    return lambda one: replace(one, memory=each[:looks], profile=replace(one.profile, spared=1))


# What a storm lacks, and from how many kills on it has to have it.
LACKS: dict[str, tuple[int, Change]] = {
    "a fault": (0, lambda one: replace(one, injections=[*one.injections, Injection(Fault.STOP, "", 1.0, 1.1)])),
    "a whole fault": (
        1,
        lambda one: replace(one, injections=[*one.injections[1:], replace(one.injections[0], is_cut=True)]),
    ),
    "the outage": (0, lambda one: replace(one, profile=replace(one.profile, outage=60.0))),
    "a look": (0, lambda one: replace(one, looks=0)),
    "a rescue": (SOME, rescued()),
    "a rescue after a kill": (MORE, rescued(STOP=1)),
    "running jobs that are canceled": (MORE, lambda one: replace(one, stopped=1)),
    "a kill with nothing in the way": (MANY, alone(MORE - 1)),
    "a late effect": (MANY, lambda one: replace(one, verdict=replace(one.verdict, late_effects=0))),
    "a handler that is interrupted": (MANY, lambda one: replace(one, interrupted=0)),
    "a refused duplicate": (0, lambda one: replace(one, rejected=0)),
    "as many at once as may be": (0, lambda one: replace(one, limited=MOST_LIMITED - 1)),
    "a type": (0, lambda one: replace(one, effects=dict.fromkeys(JOB_TYPES[1:], 1))),
    "half an hour of memory": (0, watched(0.0, 0.0, looks=200)),
}
HAS: dict[str, Change] = {
    "a crash": lambda one: replace(one, crashes=["worker1-2 has a traceback in its log"]),
    "a rescue in the outage": lambda one: replace(one, outage={"rescued": 1, "buried": 0}),
    "a finding": lambda one: replace(one, verdict=replace(one.verdict, broken=[Finding("broken", "job", "too soon")])),
}


@pytest.mark.parametrize("what", LACKS)
def test_one_that_did_not_put_something_to_the_test_has(what: str) -> None:
    kills, change = LACKS[what]
    changed = change(report(kills))
    assert len(list(unproved(changed))) == 1
    assert failed(changed)
    assert kills <= 1 or not failed(change(report(kills - 1)))


def test_what_was_cut_short_and_came_once_more_counts_once() -> None:
    one = report()
    again = replace(one, injections=[*one.injections, replace(one.injections[0], is_cut=True)])
    assert again.counts == {Fault.KILL: MANY}
    assert not failed(again)


@pytest.mark.parametrize("what", HAS)
def test_one_in_which_something_is_that_must_not_be_has_failed(what: str) -> None:
    assert failed(HAS[what](report()))


def late(jobs: int, seconds: float, kills: int = ENOUGH) -> Change:
    """Let so many of 200 jobs of these kills run again only after that time."""

    def change(one: Report) -> Report:
        of = [one.injections[number % kills] for number in range(200)]
        each = [Recovery(kill, seconds if number < jobs else 1.0) for number, kill in enumerate(of)]
        return replace(one, recoveries=each)

    return change


def called(*seconds: float) -> Change:
    """Set the seconds from the database's return to the first call of a handler."""
    return lambda one: replace(one, first_claims=list(seconds))


MISSES: dict[str, tuple[Change, Change]] = {
    "one job": (late(1, LATEST * LEASE), late(1, LATEST * LEASE + 0.1)),
    "one in a hundred": (late(2, SOON * LEASE + 0.1), late(3, SOON * LEASE + 0.1)),
    "one in a hundred, of enough kills": (late(3, SOON * LEASE + 0.1, ENOUGH - 1), late(3, SOON * LEASE + 0.1)),
    "a claim": (called(0.1, CLAIMED_WITHIN), called(CLAIMED_WITHIN + 0.1, 0.1)),
    "the last claim": (called(), called(0.1, inf)),
    "memory": (watched(9.0, 9.0), watched(11.0, 9.0)),
    "memory with no file behind": (watched(9.0, 9.0), watched(9.0, 11.0)),
}


@pytest.mark.parametrize("what", MISSES)
def test_one_in_which_something_takes_more_than_it_may_has_failed(what: str) -> None:
    kept, missing = (change(report()) for change in MISSES[what])
    assert not failed(kept)
    assert len(list(missed(missing))) == 1
    assert failed(missing)
