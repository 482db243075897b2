"""R13: counts by status under the filters of a list, and the ids to work through."""

from typing import Any
from uuid import UUID

import pytest

from fairlane.domain.errors import InvalidParameters
from fairlane.domain.statuses import PASSING, JobStatus
from fairlane.reads import jobs as asked
from fairlane.reads.service import Reads
from tests.reads.world import World


def counted(reads: Reads, **filters: Any) -> dict[str, int]:
    """Return the counts that are not 0."""
    return {status: size for status, size in reads.matching.counts("acme", **filters).by_status.items() if size}


def test_r13_counts_are_by_status_and_of_one_organization(world: World, reads: Reads) -> None:
    world.submit()
    world.claim(world.start_worker())
    world.submit()
    world.submit(delay=60.0)
    world.submit("rival")

    assert counted(reads) == {"running": 1, "queued": 1, "pending": 1}
    assert reads.matching.counts("acme").by_status.keys() == set(JobStatus) - PASSING


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"job_type": "fax"}, 1),
        ({"user": "bea"}, 1),
        ({"queue": "slow"}, 1),
        ({"label": ("doc", "42")}, 1),
        ({"text": "FAX"}, 1),
        ({"job_type": "fax", "user": "ana"}, 0),
        ({}, 2),
    ],
    ids=str,
)
def test_r13_counts_follow_the_filters(world: World, reads: Reads, filters: dict[str, Any], expected: int) -> None:
    world.submit(user="ana")
    world.submit(job_type="fax", user="bea", queue="slow", labels={"doc": "42"})

    assert counted(reads, **filters).get("queued", 0) == expected


def test_r13_only_the_statuses_asked_for_are_counted(world: World, reads: Reads) -> None:
    world.submit()

    assert reads.matching.counts("acme", status="pending").by_status == {JobStatus.PENDING: 0}


def test_r13_a_count_stops_at_its_cap(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "TOTAL_CAP", 2)
    for _ in range(3):
        world.submit()
    for _ in range(2):
        world.submit(delay=60.0)

    counts = reads.matching.counts("acme")

    assert (counts.by_status[JobStatus.QUEUED], counts.by_status[JobStatus.PENDING]) == (2, 2)
    assert counts.capped == (JobStatus.QUEUED,)


@pytest.mark.parametrize("filters", [{"text": "report"}, {"label": {"doc": "42", "kind": "test"}}], ids=str)
@pytest.mark.parametrize("cap", [2, 3])
def test_r13_what_no_index_knows_the_status_of_is_counted_by_status_all_the_same(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch, cap: int, filters: dict[str, Any]
) -> None:
    monkeypatch.setattr(asked, "TOTAL_CAP", cap)
    labels = {"doc": "42", "kind": "test"}
    world.submit(labels=labels)
    for _ in range(2):
        world.submit(delay=60.0, labels=labels)
    world.submit(job_type="fax", labels={"doc": "42"})

    assert counted(reads, **filters) == {"queued": 1, "pending": 2}
    assert reads.matching.counts("acme", **filters).capped == ()
    assert counted(reads, status="pending", **filters) == {"pending": 2}


def test_what_a_retry_takes_is_counted_without_what_follows_a_parent(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = world.submit()
    for _ in range(3):
        world.submit(parents=(parent,))
    world.fail(world.claim(world.start_worker()), permanent=True)

    counts = reads.matching.counts("acme", undecided=True)
    assert (counts.by_status, counts.capped) == ({JobStatus.DEAD_LETTER: 1}, ())

    monkeypatch.setattr(asked, "TOTAL_CAP", 2)
    counts = reads.matching.counts("acme", undecided=True)
    assert counts.capped == (JobStatus.DEAD_LETTER,)
    assert reads.matching.counts("acme", status="queued", undecided=True).by_status == {JobStatus.DEAD_LETTER: 0}


def test_r13_counts_say_how_far_words_were_looked_for(world: World, reads: Reads) -> None:
    world.submit()

    assert reads.matching.counts("acme", text="report").searched_newest == 10_000
    assert reads.matching.counts("acme").searched_newest is None


def test_r13_a_filter_that_makes_no_sense_is_refused(world: World, reads: Reads) -> None:
    with pytest.raises(InvalidParameters, match="status"):
        reads.matching.counts("acme", status="lost")


def test_ids_come_newest_first_from_where_they_were_left(world: World, reads: Reads) -> None:
    ids = [world.submit() for _ in range(3)]
    world.submit(job_type="fax")
    world.submit("rival")

    wanted = reads.matching.resolved("acme", job_type="report.pdf")
    first = reads.matching.places("acme", wanted, limit=2)
    rest = reads.matching.places("acme", wanted, before=first[-1])

    assert [place.id for place in (*first, *rest)] == ids[::-1]
    assert len(first) == 2


def test_ids_can_be_the_beginning_of_one(world: World, reads: Reads) -> None:
    first, _ = world.submit(id=UUID(int=1)), world.submit(id=UUID(int=2**127))

    found = reads.matching.places("acme", reads.matching.resolved("acme", text=str(first)))
    assert [place.id for place in found] == [first]
