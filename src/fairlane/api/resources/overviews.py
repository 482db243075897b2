"""What a dashboard shows of an organization's jobs together: counts, a timeline, the graph around a job."""

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
        description="How many minutes a step has, of which there are 240 at most; left out: the fewest that fit.",
    ),
]


def seen_with(rights: Collection[Right], metrics: Metrics) -> Metrics:
    """Return the numbers as these rights let somebody see them: single jobs take the right to read jobs."""
    return metrics if Right.JOBS_READ in rights else replace(metrics, slowest=())


@router.get("/job-counts", tags=["jobs"], operation_id="countJobs")
def count_jobs(scope: _Listing, filters: Annotated[Filters, Depends()]) -> JobCounts:
    """Count the jobs that fit all that is given, in each status, or in those given; each to 10,000 and no further."""
    return scope.fl.reads.matching.counts(scope.organization, **filters.given(scope))


@router.get("/timeline", tags=["metrics"], operation_id="getTimeline")
def get_timeline(scope: _Measuring, minutes: Minutes = 60, step: StepLength = None) -> Timeline:
    """Say step by step what came in, started and ended, and for how long jobs waited and ran."""
    return scope.fl.reads.charts.timeline(scope.organization, minutes=minutes, step=step)


@router.get("/jobs/{job}/graph", tags=["jobs"], operation_id="getGraph")
def get_graph(scope: _Looking, job: JobPath) -> Graph:
    """Get the jobs around a job that it depends on or that depend on it, the nearest first, 500 at most."""
    return scope.fl.reads.graph(job, scope.organization)
