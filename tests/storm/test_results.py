"""What is told of recoveries: what took long is not left out because it took long."""

from tests.storm.faults import Fault, Injection
from tests.storm.results import LATEST, late, undisturbed
from tests.storm.verdict import Recovery

LEASE = 5.0
KILL = Injection(Fault.KILL, "one", 100.0, 100.1)
RECOVERIES = [Recovery(KILL, 60.0), Recovery(KILL, 6.0), Recovery(KILL, 99.0, is_suspect=True)]


def test_a_fault_within_a_lease_before_the_kill_or_two_after_it_is_in_the_way() -> None:
    for began, ended in ((94.0, 95.0), (101.0, 102.0), (110.0, 111.0)):
        assert undisturbed(RECOVERIES, [Injection(Fault.SILENCE, "", began, ended)], LEASE) == []


def test_one_that_comes_when_the_job_was_to_run_again_excuses_nothing() -> None:
    for began, ended in ((93.0, 94.9), (110.1, 111.0), (130.0, 170.0)):
        assert undisturbed(RECOVERIES, [Injection(Fault.SILENCE, "", began, ended)], LEASE) == [6.0, 60.0]


def test_a_fault_that_leaves_rescuers_and_others_alone_is_none_in_the_way() -> None:
    assert undisturbed(RECOVERIES, [KILL, Injection(Fault.TERM, "two", 101.0, 102.0)], LEASE) == [6.0, 60.0]


def test_one_that_takes_too_long_with_nothing_in_the_way_is_told_apart() -> None:
    assert late([*RECOVERIES, Recovery(KILL, LATEST * LEASE)], [KILL], LEASE) == [60.0]
    assert late(RECOVERIES, [Injection(Fault.SILENCE, "", 101.0, 102.0)], LEASE) == []
