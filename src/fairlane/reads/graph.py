"""Gathers the jobs around a job, level by level, so that it costs by what is shown."""

from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from fairlane.domain.graph import Edge, Graph, Node, first_failed
from fairlane.domain.statuses import JobStatus
from fairlane.store.statements import graph as statements

LARGEST: Final = 500  # jobs; more than that nobody overlooks
_FARTHEST: Final = 100  # edges from the job
_EDGES: Final = 5000  # read for one level: a parent may have a million children


def graph_of(connection: Connection, organization: str, job: UUID) -> Graph:
    """Return the graph around a job that the organization has."""
    known, edges = {job: None}, dict[Edge, None]()  # in the order in which they were found
    fresh, is_capped = [job], False
    for _ in range(_FARTHEST):
        found = statements.edges_at(connection, organization, fresh, limit=_EDGES + 1)
        is_capped |= len(found) > _EDGES
        edges |= dict.fromkeys(found)
        beyond = [end for edge in found for end in (edge.parent, edge.child) if end not in known]
        fresh = list(dict.fromkeys(beyond))[: LARGEST - len(known)]
        is_capped |= len(set(beyond)) > len(fresh)
        known |= dict.fromkeys(fresh)
        if not fresh:
            break
    else:
        is_capped = True
    rows = {row.id: row for row in statements.nodes(connection, organization, list(known))}
    nodes = {
        one: Node(
            one, row.job_type, JobStatus(row.status), row.attempt, row.created_at, row.started_at, row.finished_at
        )
        for one in known
        if (row := rows.get(one)) is not None
    }
    between = tuple(edge for edge in edges if edge.parent in nodes and edge.child in nodes)
    return Graph(job, tuple(nodes.values()), between, first_failed(job, nodes, between), is_capped)
