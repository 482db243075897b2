"""The graph of a job and the jobs around it, by their dependencies (R9)."""

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
    """The graph around a job.

    Attributes:
        job: the job in the middle.
        nodes: the jobs, the nearest first, itself included.
        edges: those between two of the nodes.
        first_failed: the first of its ancestors that failed; None: none of them failed.
        is_capped: whether there are more.
    """

    job: UUID
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    first_failed: UUID | None
    is_capped: bool


def first_failed(job: UUID, nodes: Mapping[UUID, Node], edges: Iterable[Edge]) -> UUID | None:
    """Return the ancestor that ended without completing and took others down.

    None of its own ancestors has failed. If there are several such ancestors, it is the one that ended first.
    """
    parents: dict[UUID, list[UUID]] = defaultdict(list)
    children: dict[UUID, list[UUID]] = defaultdict(list)
    for edge in edges:
        parents[edge.child].append(edge.parent)
        children[edge.parent].append(edge.child)
    failed = {one for one in _from(parents[job], parents) if one in nodes and nodes[one].status in ENDED_BADLY}
    taken_down = _from([child for one in failed for child in children[one]], children)
    first = [nodes[one] for one in failed - taken_down]
    ended = min(first, key=lambda one: (one.finished_at or one.created_at, one.id), default=None)
    return ended.id if ended is not None else None


def _from(begin: Iterable[UUID], step: Mapping[UUID, Collection[UUID]]) -> set[UUID]:
    """Return all jobs that can be reached from these, themselves included."""
    found, fresh = set[UUID](), set(begin)
    while fresh:
        found |= fresh
        fresh = {further for one in fresh for further in step.get(one, ())} - found
    return found
