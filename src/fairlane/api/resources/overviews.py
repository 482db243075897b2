"""Overviews of an organization's jobs for a dashboard: counts, a timeline, the graph around a job."""

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from fairlane.api.authentication import ROOT
from fairlane.api.filters import Filters
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import JobPath
from fairlane.domain.graph import Graph
from fairlane.domain.metrics import JobCounts, Metrics
from fairlane.domain.permissions import Right
from fairlane.domain.timeline import Timeline

router = APIRouter(prefix=ROOT + "/organizations/{organization}")

_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.JOBS_READ))]
_Measuring = Annotated[Scope, Depends(InOrganization(Rate.METRICS, Right.METRICS_READ))]
Minutes = Annotated[int, Query(ge=1, le=1440, description="How far back.")]
StepLength = Annotated[
    int | None,
    Query(
        ge=1,
        le=1440,
        description="The minutes of a step; there are 240 steps at most. Omitted: the shortest step that fits.",
    ),
]


def seen_with(rights: Collection[Right], metrics: Metrics) -> Metrics:
    """Return the metrics as a user with these rights may see them: single jobs need the right to read jobs."""
    return metrics if Right.JOBS_READ in rights else replace(metrics, slowest=())


@router.get("/job-counts", tags=["jobs"], operation_id="countJobs")
def count_jobs(scope: _Listing, filters: Annotated[Filters, Depends()]) -> JobCounts:
    """Count the jobs that match every filter, by status, up to 10,000 in each."""
    return scope.fl.reads.matching.counts(scope.organization, **filters.given(scope))


@router.get("/timeline", tags=["metrics"], operation_id="getTimeline")
def get_timeline(scope: _Measuring, minutes: Minutes = 60, step: StepLength = None) -> Timeline:
    """Say step by step how many jobs were submitted, started and ended, and for how long they waited and ran."""
    return scope.fl.reads.charts.timeline(scope.organization, minutes=minutes, step=step)


@router.get("/jobs/{job}/graph", tags=["jobs"], operation_id="getGraph")
def get_graph(scope: _Looking, job: JobPath) -> Graph:
    """Get the jobs that a job depends on and those that depend on it, the nearest first, 500 at most."""
    return scope.fl.reads.graph(job, scope.organization)
