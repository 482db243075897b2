"""What is told of recoveries: what took long is not left out because it took long. And what a storm has to prove."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.storm.bounds import LATEST, PROMISED, failed, missed, undisturbed, unproved
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


def report() -> Report:
    """Of a storm in which all went as it was to."""
    kills = [Injection(Fault.KILL, f"worker {number}", 1.0, 1.1) for number in range(100)]
    verdict = Verdict(late_effects=1)
    verdict.rescued[Fault.KILL] = 1
    return Report(
        seed=1,
        profile=Profile(jobs=10, seconds=1.0, faults={Fault.KILL: 100, Fault.CLOCK: 0}),
        submitted=10,
        ticks=1,
        rejected=1,
        twins=0,
        limited=MOST_LIMITED,
        released=1,
        stopped=1,
        effects=dict.fromkeys(JOB_TYPES, 1),
        seconds=1.0,
        injections=kills,
        verdict=verdict,
        recoveries=[Recovery(kills[0], 6.0)],
        first_claims=[],
        crashes=[],
    )


def test_a_storm_in_which_all_went_as_it_was_to_has_not_failed() -> None:
    assert not failed(report())


Change = Callable[[Report], Report]
LACKS: dict[str, Change] = {
    "a fault": lambda one: replace(one, injections=one.injections[1:]),
    "a whole fault": lambda one: replace(
        one, injections=[*one.injections[1:], replace(one.injections[0], is_cut=True)]
    ),
    "the outage": lambda one: replace(one, profile=replace(one.profile, outage=60.0)),
    "a rescue": lambda one: replace(one, verdict=replace(one.verdict, rescued=defaultdict(int, {Fault.STOP: 1}))),
    "a rescue with nothing in the way": lambda one: replace(one, recoveries=[]),
    "a late effect": lambda one: replace(one, verdict=replace(one.verdict, late_effects=0)),
    "a job that is given back": lambda one: replace(one, released=0),
    "a running job that is canceled": lambda one: replace(one, stopped=0),
    "a refused duplicate": lambda one: replace(one, rejected=0),
    "as many at once as may be": lambda one: replace(one, limited=MOST_LIMITED - 1),
    "a type": lambda one: replace(one, effects=dict.fromkeys(JOB_TYPES[1:], 1)),
}
HAS: dict[str, Change] = {
    "a crash": lambda one: replace(one, crashes=["worker1-2 has a traceback in its log"]),
    "a rescue in the outage": lambda one: replace(one, outage={"rescued": 1, "buried": 0}),
    "a finding": lambda one: replace(one, verdict=replace(one.verdict, broken=[Finding("broken", "job", "too soon")])),
}


@pytest.mark.parametrize("what", LACKS)
def test_one_that_did_not_put_something_to_the_test_has(what: str) -> None:
    changed = LACKS[what](report())
    assert len(list(unproved(changed))) == 1
    assert failed(changed)


def test_what_was_cut_short_and_came_once_more_counts_once() -> None:
    one = report()
    again = replace(one, injections=[*one.injections, replace(one.injections[0], is_cut=True)])
    assert again.counts == {Fault.KILL: 100}
    assert not failed(again)


@pytest.mark.parametrize("what", HAS)
def test_one_in_which_something_is_that_must_not_be_has_failed(what: str) -> None:
    assert failed(HAS[what](report()))


def after(*seconds: float) -> Change:
    """Jobs of a killed worker that ran again, with nothing in the way."""
    return lambda one: replace(one, recoveries=[Recovery(one.injections[0], each) for each in seconds])


def grown(mib: float) -> Change:
    """Memory that grew by so much in the half hour after it was warm, which took the usual time."""
    looks = [*[50.0] * 60, *[100.0] * 100, *[100.0 + mib] * 170]
    return lambda one: replace(one, memory=[Memory(each, each) for each in looks])


MISSES: dict[str, tuple[Change, Change]] = {
    "one job": (after(*[1.0] * 200, LATEST * LEASE), after(*[1.0] * 200, LATEST * LEASE + 0.1)),
    "one in a hundred": (after(*[1.0] * 198, *[11.0] * 1), after(*[1.0] * 198, *[PROMISED * LEASE + 1.0] * 3)),
    "a claim": (
        lambda one: replace(one, first_claims=[0.1, CLAIMED_WITHIN]),
        lambda one: replace(one, first_claims=[CLAIMED_WITHIN + 0.1, 0.1]),
    ),
    "memory": (grown(9.0), grown(11.0)),
}


@pytest.mark.parametrize("what", MISSES)
def test_one_in_which_something_takes_more_than_is_promised_has_failed(what: str) -> None:
    kept, missing = (change(report()) for change in MISSES[what])
    assert not failed(kept)
    assert len(list(missed(missing))) == 1
    assert failed(missing)


def test_of_few_kills_a_hundredth_says_nothing() -> None:
    few = replace(report(), profile=Profile(jobs=10, seconds=1.0, faults={Fault.KILL: 99}))
    late = after(*[PROMISED * LEASE + 1.0] * 3)(replace(few, injections=few.injections[1:]))
    assert not failed(late)
