"""Half a batch, a second job under a living key, a child before its parent and one too many at once are seen."""

import signal
from dataclasses import replace

import pytest

from fairlane.domain.statuses import JobStatus
from fairlane.engine.supervisor import EXIT_REPLACE
from tests.storm import promises
from tests.storm.explain import Loss
from tests.storm.faults import Fault, Injection
from tests.storm.ledger import Entry, Kind
from tests.storm.promises import Exit, Twin
from tests.storm.verdict import Stored

THERE = Stored(JobStatus.COMPLETED, result_lease="lease 2", ended=10.0)


def entry(kind: Kind, job: str, at: float, attempt: int = 1, job_type: str = "limited") -> Entry:
    return Entry(kind, job_type, job, attempt, f"lease {attempt}", "one", at)


class TestBatches:
    """Two batches that nobody answered for."""

    def test_each_is_there_whole_or_not_at_all(self) -> None:
        assert promises.halves([["a", "b"], ["c", "d"]], {"a": THERE, "b": THERE}) == []

    def test_what_is_missing_in_half_a_one_is_lost(self) -> None:
        found = promises.halves([["a", "b"], ["c", "d"]], {"a": THERE, "c": THERE, "d": THERE})
        assert [(one.what, one.job) for one in found] == [("lost", "b")]


class TestTwins:
    """A job under the key of one that ended at 10 s."""

    def test_is_in_order_if_it_was_refused_or_came_afterwards(self) -> None:
        stored = {"original": THERE, "late": THERE}
        twins = [Twin("refused", "original", 5.0), Twin("late", "original", 10.1)]
        assert promises.double(twins, stored) == []

    @pytest.mark.parametrize("original", [{}, {"original": Stored(JobStatus.RUNNING)}, {"original": THERE}])
    def test_is_one_too_many_before(self, original: dict[str, Stored]) -> None:
        found = promises.double([Twin("early", "original", 9.9)], {"early": THERE, **original})
        assert [(one.what, one.job) for one in found] == [("duplicate", "early")]


class TestTime:
    """A job that was to wait until 10 s, and one that failed at 3 s and was to rest for half a second."""

    def found(self, *entries: Entry, losses: tuple[Loss, ...] = ()) -> list[str]:
        all_of_them = [entry(Kind.FAIL, "failed", 3.0), *entries]
        stored = {"failed": Stored(JobStatus.COMPLETED, losses=losses)}
        return [one.job for one in promises.before_time({"late": 10.0}, all_of_them, stored, backoff=0.5)]

    def test_is_kept_by_who_begins_then_or_later(self) -> None:
        assert self.found(entry(Kind.BEGIN, "late", 10.0), entry(Kind.BEGIN, "failed", 3.5, attempt=2)) == []
        assert self.found(entry(Kind.BEGIN, "failed", 2.0), entry(Kind.BEGIN, "other", 0.0)) == []

    def test_is_not_kept_by_who_begins_before(self) -> None:
        assert self.found(entry(Kind.BEGIN, "late", 9.8)) == ["late"]
        assert self.found(entry(Kind.BEGIN, "failed", 3.3, attempt=2)) == ["failed"]

    def test_is_not_that_of_a_failure_when_the_job_was_another_workers(self) -> None:
        assert self.found(entry(Kind.BEGIN, "failed", 2.9, attempt=2), losses=(Loss(1, "one", 1.0, 2.5),)) == []


class TestOwn:
    """The inputs with which a handler was called."""

    def found(self, organization: str = "acme", *, is_own: bool = True) -> list[str]:
        called = replace(entry(Kind.BEGIN, "job", 1.0), organization=organization, is_own=is_own)
        return [one.job for one in promises.mistaken([called], {"job": Stored(JobStatus.RUNNING, "acme")})]

    def test_is_its_jobs(self) -> None:
        assert self.found() == []

    def test_is_told_where_it_is_another_jobs_or_organizations(self) -> None:
        assert self.found(is_own=False) == ["job"]
        assert self.found(organization="brook") == ["job"]


class TestChildren:
    """The child of a parent whose second attempt completed it, at 4 s."""

    def found(self, *begins: float, ended: float | None = 4.0) -> list[str]:
        parent = (entry(Kind.EFFECT, "parent", 2.0), entry(Kind.EFFECT, "parent", 4.0, attempt=2))
        entries = [*parent, *(entry(Kind.BEGIN, "child", at) for at in begins)]
        stored = {"parent": replace(THERE, ended=ended)}
        return [one.job for one in promises.too_early({"child": ["parent"]}, entries, stored)]

    def test_begins_after_it_or_never(self) -> None:
        assert self.found(4.1) == []
        assert self.found() == []

    def test_is_told_if_any_of_its_attempts_began_before(self) -> None:
        assert self.found(5.0, 3.0) == ["child"]

    def test_is_told_if_the_parent_had_taken_effect_and_not_ended(self) -> None:
        assert self.found(4.5, ended=5.0) == ["child"]
        assert self.found(4.5, ended=None) == ["child"]

    def test_is_told_if_the_parent_never_completed(self) -> None:
        entries = [entry(Kind.EFFECT, "parent", 2.0), entry(Kind.BEGIN, "child", 3.0)]
        for stored in ({}, {"parent": Stored(JobStatus.DEAD_LETTER)}):
            assert [one.job for one in promises.too_early({"child": ["parent"]}, entries, stored)] == ["child"]


class TestLimits:
    """The number of jobs that ran at once."""

    def test_one_that_begins_as_another_ends_comes_after_it(self) -> None:
        assert promises.most_at_once([(1.0, 2.0), (2.0, 3.0)]) == 1
        assert promises.most_at_once([(1.0, 2.1), (2.0, 3.0), (2.0, 2.1)]) == 3
        assert promises.most_at_once([]) == 0

    def test_one_more_than_the_limit_is_told(self) -> None:
        assert promises.beyond(4, "limited", [3, 4]) == []
        assert [one.why for one in promises.beyond(4, "limited", [4, 5])] == ["ran 5 at once, of 4"]

    def test_the_ledger_tells_how_long_each_ran_and_a_lost_one_no_longer_than_its_lease(self) -> None:
        lost = Stored(JobStatus.COMPLETED, losses=(Loss(1, "one", 0.5, 6.0),))
        entries = [
            *(entry(Kind.BEGIN, "a", 1.0), entry(Kind.EFFECT, "a", 2.0)),
            *(entry(Kind.BEGIN, "b", 1.0), entry(Kind.GIVE_UP, "b", 3.0)),
            *(entry(Kind.BEGIN, "killed", 1.0), entry(Kind.BEGIN, "late", 1.0), entry(Kind.EFFECT, "late", 9.0)),
            *(entry(Kind.BEGIN, "other", 1.0, job_type="plain"), entry(Kind.EFFECT, "other", 2.0, job_type="plain")),
        ]
        runs = promises.of_ledger(entries, "limited", {"killed": lost, "late": lost, "a": THERE})
        assert runs == [(1.0, 2.0), (1.0, 3.0), (1.0, 6.0), (1.0, 6.0)]


class TestExits:
    """A worker's process has ended."""

    def found(self, code: int, *kinds: Fault, worker: str = "one", was_asked: bool = False) -> int:
        injections = [Injection(kind, "one", 1.0, 2.0) for kind in kinds]
        return len(promises.crashes([Exit(worker, code, was_asked)], injections))

    @pytest.mark.parametrize(
        ("code", "kind"), [(0, Fault.TERM), (-signal.SIGKILL, Fault.KILL), (EXIT_REPLACE, Fault.STOP)]
    )
    def test_is_in_order_where_a_fault_of_its_own_explains_it(self, code: int, kind: Fault) -> None:
        assert self.found(code, kind) == 0
        assert self.found(code, kind, worker="two") == 1
        assert self.found(code) == 1

    def test_at_the_storms_end_is_in_order_if_it_went_as_it_was_asked_to(self) -> None:
        assert self.found(0, was_asked=True) == 0
        assert self.found(-signal.SIGKILL, was_asked=True) == 1

    def test_with_another_code_is_a_crash_whatever_was_done_to_it(self) -> None:
        assert self.found(1, *Fault, was_asked=True) == 1
