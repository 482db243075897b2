"""R9: the jobs around a job."""

from uuid import UUID, uuid4

import pytest

from fairlane.domain.errors import JobNotFound
from fairlane.domain.graph import Edge
from fairlane.domain.statuses import JobStatus
from fairlane.reads import service
from fairlane.reads.service import Reads
from tests.reads.world import World


def chain(world: World, length: int) -> list[UUID]:
    """Submit jobs that each wait for the one before."""
    ids = [world.submit()]
    while len(ids) < length:
        ids.append(world.submit(parents=(ids[-1],)))
    return ids


def test_r9_a_job_alone_is_all_there_is(world: World, reads: Reads) -> None:
    job = world.submit()

    found = reads.graph(job, "acme")

    assert ([one.id for one in found.nodes], found.edges) == ([job], ())
    assert (found.job, found.first_failed, found.is_capped) == (job, None, False)


def test_r9_ancestors_descendants_and_what_hangs_on_these(world: World, reads: Reads) -> None:
    parent, other_parent, alone = world.submit(), world.submit(), world.submit()
    child = world.submit(parents=(parent,))
    grandchild = world.submit(parents=(child, other_parent))

    found = reads.graph(child, "acme")

    assert found.nodes[0].id == child
    assert {one.id for one in found.nodes} == {parent, other_parent, child, grandchild} != alone
    assert set(found.edges) == {Edge(parent, child), Edge(child, grandchild), Edge(other_parent, grandchild)}
    assert {one.id: one.status for one in found.nodes}[grandchild] == JobStatus.PENDING


def test_r9_nothing_of_another_organization(world: World, reads: Reads) -> None:
    parent = world.submit("rival")
    world.submit("rival", parents=(parent,))

    for unknown in (parent, uuid4()):
        with pytest.raises(JobNotFound):
            reads.graph(unknown, "acme")


def test_r9_the_first_that_failed_is_marked(world: World, reads: Reads) -> None:
    first, second, third = chain(world, 3)
    world.fail(world.claim(world.start_worker()), permanent=True)

    found = reads.graph(third, "acme")

    assert found.first_failed == first
    assert {one.status for one in found.nodes} == {JobStatus.DEAD_LETTER}
    assert reads.graph(first, "acme").first_failed is None
    assert reads.graph(second, "acme").first_failed == first


def test_r9_a_large_graph_is_cut_where_it_is_farthest(
    world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LARGEST_GRAPH", 5)
    ids = chain(world, 9)

    found = reads.graph(ids[4], "acme")

    assert {one.id for one in found.nodes} == set(ids[2:7])
    assert len(found.edges) == 4
    assert found.is_capped


def test_r9_a_parent_of_many_shows_some_of_them(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_EDGES", 3)
    parent = world.submit()
    for _ in range(5):
        world.submit(parents=(parent,))

    found = reads.graph(parent, "acme")

    assert 3 <= len(found.nodes) <= 5
    assert found.is_capped


def test_r9_a_graph_that_fits_is_whole(world: World, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LARGEST_GRAPH", 3)
    ids = chain(world, 3)

    assert not reads.graph(ids[0], "acme").is_capped
