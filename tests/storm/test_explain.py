"""The faults that explain why a job was taken from its worker, or took effect once more."""

import pytest

from tests.storm.explain import PROMPT, Faults, Loss
from tests.storm.faults import EXPLAINING, Fault, Injection

LEASE = 6.0
BEAT = LEASE / 3
NEXT_TRY = 1.0
LOSS = Loss(1, "one", 10.0, 20.0)
LASTING = sorted(EXPLAINING - {Fault.KILL})


def faults(*injections: Injection) -> Faults:
    return Faults(injections, LEASE)


class TestLosses:
    """Worker one had a job from 10 to 20 s."""

    def test_a_kill_explains_it_however_long_the_rescuers_needed(self) -> None:
        kill = Injection(Fault.KILL, "one", 10.5, 10.6)
        assert faults(kill).of_loss(LOSS) is kill

    def test_a_kill_that_came_when_the_worker_was_ending_by_itself_explains_nothing(self) -> None:
        assert faults(Injection(Fault.KILL, "one", 10.5, 10.6, is_cut=True)).of_loss(LOSS) is None

    @pytest.mark.parametrize("kind", LASTING)
    def test_a_worker_that_was_away_until_then_explains_it(self, kind: Fault) -> None:
        away = Injection(kind, "one", 12.0, 19.0)
        assert faults(away).of_loss(LOSS) is away

    def test_without_a_fault_the_worker_lived(self) -> None:
        assert faults().of_loss(LOSS) is None

    @pytest.mark.parametrize("kind", LASTING)
    def test_a_worker_that_was_back_and_had_the_time_to_beat_lived(self, kind: Fault) -> None:
        back = 20.0 - NEXT_TRY - BEAT
        assert faults(Injection(kind, "one", 12.0, back - 0.1)).of_loss(LOSS) is None
        away = Injection(kind, "one", 12.0, back)
        assert faults(away).of_loss(LOSS) is away

    @pytest.mark.parametrize("kind", LASTING)
    def test_one_that_is_back_is_not_heard_of_while_nobody_can_write(self, kind: Fault) -> None:
        away = Injection(kind, "one", 11.0, 14.0)
        assert faults(away, Injection(Fault.LOCK, "", 13.0, 18.0 - NEXT_TRY)).of_loss(LOSS) is away
        assert faults(away, Injection(Fault.LOCK, "", 13.0, 17.9 - NEXT_TRY)).of_loss(LOSS) is None
        assert faults(away, Injection(Fault.LOCK, "", 17.1, 19.0)).of_loss(LOSS) is None

    def test_a_lease_runs_out_sooner_after_a_kill_where_the_worker_could_not_beat_before(self) -> None:
        kill = Injection(Fault.KILL, "one", 19.0, 19.1)
        assert faults(kill).of_loss(LOSS) is None
        assert faults(Injection(Fault.LOCK, "", 17.0, 18.5), kill).of_loss(LOSS) is kill
        assert faults(Injection(Fault.LOCK, "", 15.0, 16.9), kill).of_loss(LOSS) is None

    @pytest.mark.parametrize("kind", sorted(EXPLAINING))
    def test_what_came_before_it_had_the_job_or_when_its_lease_can_not_have_run_out_does_not(self, kind: Fault) -> None:
        assert faults(Injection(kind, "one", 2.0, 9.9)).of_loss(LOSS) is None
        assert faults(Injection(kind, "one", 20.0 - BEAT + 0.1, 25.0)).of_loss(LOSS) is None

    @pytest.mark.parametrize("kind", sorted(EXPLAINING))
    def test_nor_does_what_came_when_it_had_been_taken_though_nobody_could_beat_before(self, kind: Fault) -> None:
        silence = Injection(Fault.SILENCE, "", 10.5, 19.0)
        assert faults(silence, Injection(kind, "one", 20.1, 25.0)).of_loss(LOSS) is None
        at_last = Injection(kind, "one", 20.0, 25.0)
        assert faults(silence, at_last).of_loss(LOSS) is at_last

    @pytest.mark.parametrize("kind", sorted(set(Fault) - EXPLAINING))
    def test_no_other_fault_does_nor_another_workers(self, kind: Fault) -> None:
        for worker in ("one", ""):
            assert faults(Injection(kind, worker, 12.0, 19.0)).of_loss(LOSS) is None
        assert faults(Injection(Fault.KILL, "two", 12.0, 12.1)).of_loss(LOSS) is None


class TestSlowOnes:
    """Worker one had a job from 10 to 20 s, and each of its words took its time."""

    SLOW = Injection(Fault.LATENCY, "one", 12.0, 19.0)

    def test_it_keeps_its_jobs(self) -> None:
        assert faults(self.SLOW).of_loss(LOSS) is None
        assert faults(self.SLOW, Injection(Fault.RESTART, "", 12.5, 13.9)).of_loss(LOSS) is None

    def test_it_may_lose_them_where_an_outage_was_in_the_same_lease(self) -> None:
        outage = Injection(Fault.RESTART, "", 13.5, 14.1)
        assert faults(self.SLOW, outage).of_loss(LOSS) is self.SLOW
        assert faults(Injection(Fault.LATENCY, "two", 12.0, 19.0), outage).of_loss(LOSS) is None

    def test_it_may_not_where_it_was_slow_only_later(self) -> None:
        outage = Injection(Fault.RESTART, "", 17.5, 18.1)
        slow, later = (Injection(Fault.LATENCY, "one", began, began + 5.0) for began in (18.2, 20.1))
        assert faults(slow, outage).of_loss(LOSS) is slow
        assert faults(later, outage).of_loss(LOSS) is None

    def test_the_next_worker_in_its_place_is_as_slow(self) -> None:
        slow = Injection(Fault.LATENCY, "worker0-1", 12.0, 19.0)
        outage = Injection(Fault.RESTART, "", 13.5, 14.1)
        assert faults(slow, outage).of_loss(Loss(1, "worker0-2", 10.0, 20.0)) is slow
        assert faults(slow, outage).of_loss(Loss(1, "worker1-2", 10.0, 20.0)) is None


class TestLeaving:
    """Worker one had a job from 10 to 20 s, and was told to stop."""

    TERM = Injection(Fault.TERM, "one", 12.0, 18.0)

    def test_it_gives_its_jobs_back(self) -> None:
        assert faults(self.TERM).of_loss(LOSS) is None

    @pytest.mark.parametrize("worker", ["", "one"])
    def test_it_may_leave_them_if_it_could_not_write_in_that_time(self, worker: str) -> None:
        kind = Fault.HALF_OPEN if worker else Fault.LOCK
        assert faults(self.TERM, Injection(kind, worker, 13.0, 17.0)).of_loss(LOSS) is self.TERM
        assert faults(self.TERM, Injection(kind, worker, 10.5, 11.0)).of_loss(LOSS) is None

    def test_it_may_not_if_it_could_write_again_before_it_had_to_end(self) -> None:
        too_soon = self.TERM.ended - NEXT_TRY - PROMPT
        for ended, excuse in ((too_soon, self.TERM), (too_soon - 0.1, None)):
            assert faults(self.TERM, Injection(Fault.LOCK, "", 13.0, ended)).of_loss(LOSS) is excuse

    def test_a_slow_network_is_no_reason_to_leave_them(self) -> None:
        assert faults(self.TERM, Injection(Fault.LATENCY, "one", 13.0, 18.0)).of_loss(LOSS) is None

    def test_what_it_left_as_it_was_killed_meanwhile_is_the_kills(self) -> None:
        away, kill = Injection(Fault.LOCK, "", 13.0, 17.0), Injection(Fault.KILL, "one", 17.9, 18.0)
        cut = Injection(Fault.TERM, "one", 12.0, 18.0, is_cut=True)
        assert faults(cut, away).of_loss(LOSS) is None
        assert faults(cut, away, kill).of_loss(LOSS) is kill

    def test_nobody_takes_them_before_it_has_gone(self) -> None:
        away = Injection(Fault.LOCK, "", 13.0, 17.0)
        assert faults(Injection(Fault.TERM, "one", 12.0, 20.1), away).of_loss(LOSS) is None


class TestEffects:
    """The job that worker one had from 10 to 60 s took effect at 11."""

    LOSS = Loss(1, "one", 10.0, 60.0)

    def found(self, *injections: Injection, loss: Loss | None = LOSS) -> Injection | None:
        return faults(*injections).of_effect(11.0, loss)

    def killed(self, at: float) -> Injection:
        return Injection(Fault.KILL, "one", at, at + 0.1)

    def test_a_fault_at_once_explains_that_there_is_no_end(self) -> None:
        kill = self.killed(11.0 + PROMPT)
        assert self.found(kill) is kill

    def test_a_later_one_does_not_nor_does_any_where_the_attempt_was_not_lost(self) -> None:
        assert self.found(self.killed(11.1 + PROMPT)) is None
        assert self.found(self.killed(11.5), loss=None) is None

    def test_while_the_database_was_away_no_end_could_be_written_nor_before_the_wait_for_the_next_try_was_over(
        self,
    ) -> None:
        away, kill = Injection(Fault.RESTART, "", 13.5, 14.0), self.killed(14.5 + PROMPT)
        assert self.found(away, kill) is kill
        assert self.found(away, self.killed(14.6 + PROMPT)) is None
        before, kill = Injection(Fault.RESTART, "", 9.0, 10.0), self.killed(11.0 + PROMPT)
        assert self.found(before, kill) is kill

    @pytest.mark.parametrize(
        "other",
        [
            Injection(Fault.RESTART, "", 9.0, 9.5),
            Injection(Fault.RESTART, "", 11.1 + PROMPT, 12.0 + PROMPT),
            Injection(Fault.BACKEND, "", 11.5, 14.0),
        ],
    )
    def test_it_was_there_again_or_still(self, other: Injection) -> None:
        assert self.found(other, self.killed(11.5 + PROMPT)) is None

    def test_the_longest_wait_for_the_next_try_was_over(self) -> None:
        away = Injection(Fault.OUTAGE, "", 11.5, 40.0)
        kill = self.killed(40.0 + NEXT_TRY + PROMPT)
        assert self.found(away, kill) is kill
        assert self.found(away, self.killed(40.1 + NEXT_TRY + PROMPT)) is None

    def test_it_was_tried_soon_though_a_connection_was_ended_after_the_database_was_back(self) -> None:
        away, cut = Injection(Fault.RESTART, "", 11.5, 17.0), Injection(Fault.BACKEND, "one", 20.0, 20.0)
        kill = self.killed(20.0 + PROMPT)
        assert self.found(away, cut, kill) is kill
        assert self.found(away, cut, self.killed(20.1 + PROMPT)) is None

    def test_nor_where_each_word_took_its_time(self) -> None:
        kill = self.killed(14.0 + PROMPT)
        assert self.found(Injection(Fault.LATENCY, "one", 11.5, 14.0), kill) is kill
        assert self.found(Injection(Fault.LATENCY, "one", 11.5, 14.0), self.killed(14.1 + PROMPT)) is None

    @pytest.mark.parametrize("kind", LASTING)
    def test_nor_where_that_worker_was_away(self, kind: Fault) -> None:
        kill = self.killed(14.0 + NEXT_TRY + PROMPT)
        assert self.found(Injection(kind, "one", 11.5, 14.0), kill) is kill
        assert self.found(Injection(kind, "two", 11.5, 14.0), kill) is None

    def test_it_is_written_anew_where_the_connection_was_ended_that_did(self) -> None:
        kill = self.killed(13.5 + PROMPT)
        assert self.found(Injection(Fault.BACKEND, "one", 13.5, 13.5), kill) is kill
        assert self.found(Injection(Fault.BACKEND, "one", 13.4, 13.4), kill) is None
        assert self.found(Injection(Fault.BACKEND, "two", 13.5, 13.5), kill) is None

    def test_a_worker_that_is_back_is_told_soon(self) -> None:
        stop = Injection(Fault.STOP, "one", 10.5, 59.0)
        assert faults(stop).of_effect(59.0 + PROMPT, self.LOSS) is stop
        assert faults(stop).of_effect(59.1 + PROMPT, self.LOSS) is None

    def test_but_not_before_it_is_let_go_on_if_it_is_stopped_once_more_just_then(self) -> None:
        """A storm that had stopped a worker twice, a millisecond apart, counted what it did then as zombies' work."""
        stop, again = Injection(Fault.STOP, "one", 10.5, 59.0), Injection(Fault.STOP, "one", 59.001, 69.0)
        assert faults(stop, again).of_effect(69.0 + PROMPT, self.LOSS) is stop
        assert faults(stop, again).of_effect(69.1 + PROMPT, self.LOSS) is None
        for other in (Injection(Fault.STOP, "two", 59.001, 69.0), Injection(Fault.STOP, "one", 59.1 + PROMPT, 69.0)):
            assert faults(stop, other).of_effect(69.0, self.LOSS) is None
