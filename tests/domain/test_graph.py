"""R9: with which of its ancestors a job began to go wrong."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from fairlane.domain.graph import Edge, Node, first_failed
from fairlane.domain.statuses import JobStatus

START = datetime(2026, 11, 1, tzinfo=UTC)
DEAD, CANCELED, DONE, PENDING = JobStatus.DEAD_LETTER, JobStatus.CANCELED, JobStatus.COMPLETED, JobStatus.PENDING


def nodes(statuses: Mapping[int, JobStatus]) -> dict[UUID, Node]:
    """Return nodes by number; each ended as many seconds after the start."""
    return {
        UUID(int=n): Node(UUID(int=n), "report", status, 1, START, START, START + timedelta(seconds=n))
        for n, status in statuses.items()
    }


def edges(*pairs: tuple[int, int]) -> list[Edge]:
    return [Edge(UUID(int=parent), UUID(int=child)) for parent, child in pairs]


def first(job: int, statuses: Mapping[int, JobStatus], *pairs: tuple[int, int]) -> int | None:
    found = first_failed(UUID(int=job), nodes(statuses), edges(*pairs))
    return found.int if found is not None else None


def test_r9_the_one_that_took_the_others_down() -> None:
    assert first(4, {1: DONE, 2: DEAD, 3: DEAD, 4: DEAD}, (1, 2), (2, 3), (3, 4)) == 2


def test_r9_none_where_all_is_well() -> None:
    assert first(3, {1: DONE, 2: PENDING, 3: PENDING}, (1, 2), (2, 3)) is None


def test_r9_the_job_s_own_failure_is_not_its_ancestors() -> None:
    assert first(2, {1: DONE, 2: DEAD, 3: DEAD}, (1, 2), (2, 3)) is None


def test_r9_of_two_that_failed_the_earlier() -> None:
    assert first(9, {3: CANCELED, 5: DEAD, 9: DEAD}, (5, 9), (3, 9)) == 3


def test_r9_what_failed_beside_it_does_not_count() -> None:
    assert first(2, {1: DONE, 2: DONE, 3: DEAD}, (1, 2), (1, 3)) is None


def test_r9_a_parent_that_is_not_shown_is_passed_over() -> None:
    assert first(2, {2: PENDING}, (1, 2)) is None


@given(st.sets(st.tuples(st.integers(0, 8), st.integers(1, 9)).filter(lambda pair: pair[0] < pair[1])), st.data())
def test_r9_it_is_one_that_failed_of_whose_ancestors_none_has(pairs: set[tuple[int, int]], data: st.DataObject) -> None:
    statuses = {n: data.draw(st.sampled_from([DEAD, DONE])) for n in range(10)}

    def above(one: int) -> set[int]:
        return {found for parent, child in pairs if child == one for found in {parent} | above(parent)}

    failed = {one for one in above(9) if statuses[one] is DEAD}
    assert first(9, statuses, *pairs) == min((one for one in failed if not failed & above(one)), default=None)


def test_r9_layers_of_jobs_that_all_failed_take_no_longer_than_their_edges() -> None:
    """The ancestors of each job were gone through anew: a page of such jobs took most of a second."""
    layers = [range(100 * number, 100 * number + 100) for number in range(20)]
    between = [(parent, child) for upper, lower in pairwise(layers) for parent in upper for child in lower]
    assert first(1_999, dict.fromkeys(range(2_000), DEAD), *between) == 0
