"""The storm's verdict: each way to lose a job, to do it twice or to overwrite a younger attempt is seen."""

from dataclasses import replace

import pytest

from fairlane.domain.statuses import JobStatus
from tests.storm.explain import PROMPT, Faults, Loss
from tests.storm.faults import EXPLAINING, Fault, Injection
from tests.storm.ledger import Entry, Kind
from tests.storm.verdict import Expected, Stored, Verdict, judge

JOB = "job"
LEASE = 1.5
LOSS = Loss(1, "one", 0.5, 4.9)


def completed(attempt: int, *losses: Loss, last: int | None = None) -> Stored:
    """A job with the result of an attempt. `last`: the one that began last, if that is another one."""
    lease = f"lease {attempt}"
    return Stored(JobStatus.COMPLETED, "acme", last or attempt, attempt, lease, losses=losses)


RESCUED = {JOB: completed(2, LOSS)}


def entry(kind: Kind, at: float, attempt: int = 1, worker: str = "one", lease: str | None = None) -> Entry:
    return Entry(kind, "acme", JOB, attempt, lease or f"lease {attempt}", worker, at)


def ran(begin: float, effect: float, attempt: int = 1, worker: str = "one") -> list[Entry]:
    return [entry(Kind.BEGIN, begin, attempt, worker), entry(Kind.EFFECT, effect, attempt, worker)]


def verdict(
    entries: list[Entry],
    *injections: Injection,
    expected: Expected = Expected.COMPLETED,
    stored: dict[str, Stored] | None = None,
) -> Verdict:
    if stored is None:
        stored = {JOB: completed(max(one.attempt for one in entries))}
    return judge({JOB: expected}, entries, Faults(injections, LEASE), stored)


def counts(found: Verdict) -> tuple[int, int, int]:
    return len(found.lost), len(found.duplicates), len(found.zombies)


TWICE = [*ran(1.0, 2.0), *ran(5.0, 6.0, attempt=2, worker="two")]
LATE = [entry(Kind.BEGIN, 1.0), *ran(5.0, 6.0, attempt=2, worker="two"), entry(Kind.EFFECT, 7.0)]


def test_a_job_that_took_effect_once_is_in_order() -> None:
    assert counts(verdict(ran(1.0, 2.0))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        (Expected.CANCELED, JobStatus.CANCELED),
        (Expected.DEAD, JobStatus.DEAD_LETTER),
        (Expected.EITHER, JobStatus.CANCELED),
    ],
)
def test_a_job_that_was_not_to_take_effect_is_in_order(expected: Expected, status: JobStatus) -> None:
    assert counts(verdict([], expected=expected, stored={JOB: Stored(status)})) == (0, 0, 0)


def test_a_job_that_is_not_in_the_database_is_lost() -> None:
    assert counts(verdict([], stored={})) == (1, 0, 0)


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.DEAD_LETTER, JobStatus.CANCELED])
def test_a_job_that_ended_otherwise_or_not_at_all_is_lost(status: JobStatus) -> None:
    assert counts(verdict(ran(1.0, 2.0), stored={JOB: Stored(status)})) == (1, 0, 0)


def test_a_job_that_is_completed_without_an_effect_is_lost() -> None:
    assert counts(verdict([entry(Kind.BEGIN, 1.0)])) == (1, 0, 0)


def test_a_job_that_is_completed_without_its_result_is_lost() -> None:
    assert counts(verdict(ran(1.0, 2.0), stored={JOB: Stored(JobStatus.COMPLETED)})) == (1, 0, 0)


def test_a_canceled_job_that_took_effect_is_done_too_often() -> None:
    found = verdict(ran(1.0, 2.0), expected=Expected.CANCELED, stored={JOB: Stored(JobStatus.CANCELED)})
    assert counts(found) == (0, 1, 0)


def test_one_that_was_canceled_while_it_ran_may_have_taken_effect_only_if_its_worker_was_lost_then() -> None:
    kill = Injection(Fault.KILL, "one", 2.1, 2.2)
    for losses, injections, duplicates in (((), [], 1), ((LOSS,), [kill], 0), ((), [kill], 1)):
        stored = {JOB: Stored(JobStatus.CANCELED, losses=losses)}
        found = verdict(ran(1.0, 2.0), *injections, expected=Expected.EITHER, stored=stored)
        assert counts(found) == (0, duplicates, 0)


def test_a_job_that_was_canceled_as_was_answered_is_not_to_complete() -> None:
    assert counts(verdict(ran(1.0, 2.0), expected=Expected.STOPPED)) == (1, 0, 0)
    canceled = {JOB: Stored(JobStatus.CANCELED, losses=(LOSS,))}
    for injections, duplicates in (([], 1), ([Injection(Fault.KILL, "one", 2.1, 2.2)], 0)):
        found = verdict(ran(1.0, 2.0), *injections, expected=Expected.STOPPED, stored=canceled)
        assert counts(found) == (0, duplicates, 0)


def test_a_job_that_ran_and_is_nowhere_is_lost() -> None:
    assert counts(judge({}, ran(1.0, 2.0), Faults([], LEASE), {})) == (1, 0, 0)


def test_a_job_that_nobody_submitted_is_found() -> None:
    found = judge({}, [], Faults([], LEASE), {JOB: Stored(JobStatus.QUEUED)})
    assert counts(found) == (0, 0, 1)


class TestDuplicates:
    """The job took effect on worker one at 2 s, was taken from it at 4.9, and took effect again on worker two."""

    def test_without_a_fault_it_is_a_finding(self) -> None:
        assert counts(verdict(TWICE)) == (0, 1, 0)

    @pytest.mark.parametrize("kind", sorted(EXPLAINING))
    def test_a_fault_of_that_worker_in_that_time_explains_it(self, kind: Fault) -> None:
        found = verdict(TWICE, Injection(kind, "one", 2.1, 4.8), stored=RESCUED)
        assert (counts(found), found.taken) == ((0, 0, 0), [])
        assert (found.explained, found.rescued) == ({kind: 1}, {kind: 1})
        assert found.gaps == [pytest.approx(0.1)]

    @pytest.mark.parametrize(
        "injection",
        [
            Injection(Fault.KILL, "two", 2.1, 2.2),
            Injection(Fault.KILL, "one", 0.1, 0.2),
            Injection(Fault.KILL, "one", 5.1, 5.2),
            *(Injection(kind, "one", 2.1, 4.8) for kind in Fault if kind not in EXPLAINING),
            *(Injection(kind, "", 2.1, 4.8) for kind in Fault),
        ],
    )
    def test_another_worker_another_time_or_another_fault_does_not(self, injection: Injection) -> None:
        found = verdict(TWICE, injection, stored=RESCUED)
        assert (counts(found), len(found.taken)) == ((0, 1, 0), 1)

    def test_nothing_explains_it_where_the_first_attempt_was_not_lost(self) -> None:
        assert counts(verdict(TWICE, Injection(Fault.KILL, "one", 2.1, 2.2))) == (0, 1, 0)

    def test_a_fault_that_came_when_its_end_had_to_be_written_explains_the_loss_alone(self) -> None:
        late = {JOB: replace(RESCUED[JOB], losses=(replace(LOSS, ended=20.0),))}
        found = verdict(TWICE, Injection(Fault.KILL, "one", 2.1 + PROMPT, 10.0), stored=late)
        assert (counts(found), found.taken) == ((0, 1, 0), [])

    def test_nothing_explains_a_second_effect_of_one_attempt(self) -> None:
        twice = [*ran(1.0, 2.0), entry(Kind.EFFECT, 3.0)]
        stored = {JOB: completed(1)}
        assert counts(verdict(twice, Injection(Fault.KILL, "one", 2.1, 2.2), stored=stored)) == (0, 1, 0)


class TestZombies:
    """Worker one began at 1 s and took effect at 7 s; on worker two the job had begun at 5 s."""

    def test_an_effect_under_an_old_lease_is_a_finding(self) -> None:
        assert counts(verdict(LATE, stored=RESCUED)) == (0, 0, 1)

    def test_one_of_a_worker_that_was_stopped_in_that_time_is_not(self) -> None:
        found = verdict(LATE, Injection(Fault.STOP, "one", 1.5, 6.9), stored=RESCUED)
        assert counts(found) == (0, 0, 0)
        assert found.late_effects == 1

    def test_it_is_one_where_the_worker_had_the_time_to_hear_that_it_lost_the_job(self) -> None:
        late = [*LATE[:-1], entry(Kind.EFFECT, 4.9 + PROMPT)]
        for ended, zombies in ((4.8, 1), (4.9, 0)):
            found = verdict(late, Injection(Fault.STOP, "one", 1.5, ended), stored=RESCUED)
            assert counts(found) == (0, 0, zombies)

    def test_it_is_one_also_where_the_worker_was_stopped_between_claim_and_handler(self) -> None:
        late = [*ran(5.0, 6.0, attempt=2, worker="two"), *ran(7.0, 7.1)]
        assert counts(verdict(late, stored=RESCUED)) == (0, 0, 1)
        assert counts(verdict(late, Injection(Fault.STOP, "one", 0.6, 6.9), stored=RESCUED)) == (0, 0, 0)

    def test_nothing_explains_the_result_of_an_older_attempt(self) -> None:
        stored = {JOB: completed(1, LOSS, last=2)}
        assert counts(verdict(TWICE, Injection(Fault.KILL, "one", 2.1, 2.2), stored=stored)) == (0, 0, 1)

    def test_nothing_explains_an_end_after_the_loss_where_no_other_attempt_was_heard_of(self) -> None:
        """The job waited again, or the worker that had it next was killed before it called the handler."""
        stop, late = Injection(Fault.STOP, "one", 1.5, 6.9), ran(1.0, 7.0)
        for stored in (completed(1, LOSS), completed(1, LOSS, last=2), completed(1, last=2)):
            assert counts(verdict(late, stop, stored={JOB: stored}))[2] == 1

    def test_an_effect_after_the_loss_is_late_even_if_no_other_attempt_had_begun(self) -> None:
        late = [*ran(1.0, 5.0), *ran(6.0, 6.1, attempt=2, worker="two")]
        assert verdict(late, Injection(Fault.STOP, "one", 1.5, 4.8), stored=RESCUED).late_effects == 1
        assert counts(verdict(late, stored=RESCUED)) == (0, 0, 1)


class TestCheckpoints:
    """The first attempt kept a checkpoint, and so did the second."""

    def found(self, *, third: int) -> int:
        entries = [
            *(entry(Kind.BEGIN, 1.0), entry(Kind.KEEP, 1.1)),
            *(found_at(2, 1), entry(Kind.KEEP, 2.1, 2), found_at(3, third), entry(Kind.EFFECT, 3.1, 3)),
        ]
        return len(verdict(entries).zombies)

    def test_the_third_is_to_find_that_of_the_second(self) -> None:
        assert self.found(third=2) == 0

    @pytest.mark.parametrize("third", [0, 1, 3])
    def test_any_other_is_a_finding(self, third: int) -> None:
        assert self.found(third=third) == 1

    def test_one_that_was_kept_unheard_may_be_found(self) -> None:
        entries = [entry(Kind.BEGIN, 1.0), found_at(2, 1), entry(Kind.EFFECT, 3.1, 2)]
        assert verdict(entries).zombies == []


def found_at(attempt: int, found: int) -> Entry:
    return replace(entry(Kind.BEGIN, float(attempt), attempt), found=found)


LOSSES = tuple(Loss(n + 1, f"worker {n}", 10.0 * n, 10.0 * n + 8) for n in range(3))
KILLS = [Injection(Fault.KILL, one.worker, one.began + 2, one.began + 2.1) for one in LOSSES]


def buried(
    *losses: Loss, faults: list[Injection], status: JobStatus = JobStatus.DEAD_LETTER, is_blamed: bool = True
) -> tuple[int, int]:
    """Return how many jobs are lost, and how many are dead letters as promised."""
    found = verdict([], *faults, stored={JOB: Stored(status, losses=losses, is_blamed=is_blamed)})
    return len(found.lost), len(found.buried)


class TestBuried:
    """A dead letter of a job that was lost with its worker three times, as a poisonous one would be."""

    def test_is_in_order_if_each_time_a_fault_took_the_worker_while_it_had_the_job(self) -> None:
        assert buried(*LOSSES, faults=KILLS) == (0, 1)

    def test_is_lost_if_one_of_them_was_taken_otherwise(self) -> None:
        assert buried(*LOSSES, faults=KILLS[:2]) == (1, 0)
        assert buried(*LOSSES, faults=[*KILLS[:2], Injection(Fault.TERM, "worker 2", 22.0, 22.1)]) == (1, 0)
        assert buried(*LOSSES, Loss(4, "worker 3", 30.0, 38.0), faults=KILLS) == (1, 0)

    def test_is_lost_if_a_fault_came_before_it_had_the_job_or_after(self) -> None:
        for at in (19.0, 29.0):
            assert buried(*LOSSES, faults=[*KILLS[:2], Injection(Fault.KILL, "worker 2", at, at + 0.1)]) == (1, 0)

    def test_is_lost_if_it_happened_twice(self) -> None:
        assert buried(*LOSSES[:2], faults=KILLS) == (1, 0)

    def test_is_nothing_but_a_dead_letter(self) -> None:
        assert buried(*LOSSES, faults=KILLS, status=JobStatus.QUEUED) == (1, 0)

    def test_is_lost_if_it_is_one_for_another_reason(self) -> None:
        assert buried(*LOSSES, faults=KILLS, is_blamed=False) == (1, 0)
