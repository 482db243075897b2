"""The jobs around a job, as they depend on each other (R9)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fairlane.domain.statuses import ENDED_BADLY, JobStatus


@dataclass(frozen=True, slots=True)
class Node:
    """A job of the graph."""

    id: UUID
    job_type: str
    status: JobStatus
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` waits for `parent`."""

    parent: UUID
    child: UUID


@dataclass(frozen=True, slots=True)
class Graph:
    """The jobs around a job.

    Attributes:
        job: the one in the middle.
        nodes: the nearest first, itself included.
        edges: those between two of the nodes.
        first_failed: of the jobs that it depends on, where it began to go wrong; None: none of them failed.
        is_capped: whether there are more.
    """

    job: UUID
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    first_failed: UUID | None
    is_capped: bool


def first_failed(job: UUID, nodes: Mapping[UUID, Node], edges: Iterable[Edge]) -> UUID | None:
    """Return the ancestor that ended without completing and took others down.

    None of its own ancestors has failed.

    Of several it is the one that ended first.
    """
    parents: dict[UUID, set[UUID]] = defaultdict(set)
    for edge in edges:
        parents[edge.child].add(edge.parent)
    failed = {one for one in _above(job, parents) if one in nodes and nodes[one].status in ENDED_BADLY}
    first = [nodes[one] for one in failed if not failed & _above(one, parents)]
    ended = min(first, key=lambda one: (one.finished_at or one.created_at, one.id), default=None)
    return ended.id if ended is not None else None


def _above(job: UUID, parents: Mapping[UUID, Collection[UUID]]) -> set[UUID]:
    """Return all ancestors of a job; not the job itself."""
    found: set[UUID] = set()
    fresh = set(parents.get(job, ()))
    while fresh:
        found |= fresh
        fresh = {parent for one in fresh for parent in parents.get(one, ())} - found
    return found - {job}
