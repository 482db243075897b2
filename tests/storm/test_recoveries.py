"""After how long a killed worker's jobs ran again, and handlers were called when the database was back."""

from dataclasses import replace
from math import inf

from fairlane.domain.statuses import JobStatus
from tests.storm.explain import Loss
from tests.storm.faults import Fault, Injection
from tests.storm.handlers import IN_PROCESS
from tests.storm.test_verdict import JOB, LOSS, RESCUED, TWICE, ran
from tests.storm.verdict import CLAIMED_WITHIN, Stored, first_claims, recoveries


def test_a_killed_workers_job_has_recovered_when_its_handler_is_called_again() -> None:
    kill = Injection(Fault.KILL, "one", 2.5, 2.6)
    assert recoveries(TWICE, [kill], RESCUED) == [(kill, 2.5, False)]


def test_one_that_was_lost_for_the_third_time_is_told_apart_as_it_may_have_had_to_wait() -> None:
    kill = Injection(Fault.KILL, "one", 2.5, 2.6)
    (only,) = RESCUED[JOB].losses
    before = (replace(only, attempt=-1, worker="zero"), replace(only, attempt=0, worker="zero"))
    often = {JOB: replace(RESCUED[JOB], losses=(*before, only))}
    assert recoveries(TWICE, [kill], often) == [(kill, 2.5, True)]


def test_an_attempt_that_ended_otherwise_before_the_kill_was_not_killed() -> None:
    kill = Injection(Fault.KILL, "one", 2.5, 2.6)
    assert recoveries(TWICE, [kill], {JOB: replace(RESCUED[JOB], losses=())}) == []
    assert recoveries(TWICE, [kill], {JOB: replace(RESCUED[JOB], losses=(replace(LOSS, ended=2.4),))}) == []


def test_one_whose_next_worker_was_lost_before_it_called_the_handler_has_waited_all_that_time() -> None:
    kill = Injection(Fault.KILL, "one", 2.5, 2.6)
    losses = (LOSS, Loss(2, "two", 5.0, 61.0))
    again = ran(62.5, 63.0, attempt=3, worker="three")
    for entries in ([*ran(1.0, 2.0), *again], again):  # nor need the one that was killed have called it
        found = recoveries(entries, [kill], {JOB: replace(RESCUED[JOB], losses=losses)})
        assert found == [(kill, 60.0, False)]


def test_one_that_was_canceled_before_it_ran_again_has_no_time() -> None:
    kill = Injection(Fault.KILL, "one", 2.5, 2.6)
    assert recoveries(ran(1.0, 2.0), [kill], {JOB: Stored(JobStatus.CANCELED, losses=(LOSS,))}) == []


def test_the_first_claim_is_the_first_handler_after_the_database_was_back() -> None:
    restart, kill = Injection(Fault.RESTART, "", 1.5, 4.0), Injection(Fault.KILL, "one", 1.5, 1.6)
    assert first_claims(TWICE, [restart, kill]) == [1.0]


def test_the_database_is_not_back_where_it_goes_away_again_before_a_handler_is_called() -> None:
    restarts = [Injection(Fault.RESTART, "", 1.5, 4.0), Injection(Fault.RESTART, "", 4.1, 4.2)]
    silence, late = Injection(Fault.SILENCE, "", 4.3, 9.0), ran(9.5, 10.0)
    assert first_claims(late, [silence, *restarts]) == [0.5]
    assert first_claims(late, [silence]) == [0.5]


def test_no_handler_in_a_process_is_the_first_as_it_may_have_been_claimed_before() -> None:
    restart = Injection(Fault.RESTART, "", 1.5, 4.0)
    early = [replace(one, job_type=IN_PROCESS) for one in ran(4.5, 5.0)]
    assert first_claims([*early, *ran(5.5, 6.0)], [restart]) == [1.5]


def test_where_no_handler_is_called_any_more_the_database_is_never_back() -> None:
    assert first_claims(ran(1.0, 2.0), [Injection(Fault.RESTART, "", 1.5, 4.0)]) == [inf]


def test_an_absence_that_comes_later_than_a_claim_is_to_excuses_nothing() -> None:
    restart = Injection(Fault.RESTART, "", 1.5, 4.0)
    again = Injection(Fault.RESTART, "", 4.1 + CLAIMED_WITHIN, 9.0)
    assert first_claims(ran(9.5, 10.0), [restart, again]) == [5.5, 0.5]
