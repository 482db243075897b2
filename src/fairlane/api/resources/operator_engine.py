"""For operators: queues, job types, circuit breakers, workers, metrics and the audit, over all organizations."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fairlane.api import exposition
from fairlane.api.authentication import ROOT
from fairlane.api.downloads import Export
from fairlane.api.pages import (
    LARGEST_OF_QUEUES,
    Before,
    Counted,
    Cursor,
    Items,
    Limit,
    QueueLimit,
    after_of,
    page_from,
)
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.representations import shown_group
from fairlane.api.resources.audit import EXPORT, Subject, exported, page_of_audit
from fairlane.api.resources.operator_organizations import Pause
from fairlane.api.resources.overviews import Minutes, StepLength, seen_with
from fairlane.api.scope import ByOperator, Operation, OrganizationPath, web_of
from fairlane.api.values import Flag, JobTypePath, Number, OrganizationId, QueuePath, Text, Whole, WorkerPath
from fairlane.domain.accounts import AuditEntry
from fairlane.domain.arguments import LARGEST_COUNT
from fairlane.domain.breaker import Breaker
from fairlane.domain.jobs import DeadLetterGroup
from fairlane.domain.metrics import Metrics, QueueView, RunningJob, Stranded, WorkerView
from fairlane.domain.permissions import Right
from fairlane.domain.shares import Shares
from fairlane.domain.timeline import Timeline
from fairlane.domain.timing import LONGEST_RATE_WINDOW
from fairlane.jobtypes.verbs import JobTypeLimit, JobTypeView

router = APIRouter(prefix=ROOT + "/operator", tags=["operator"])

_Listing = Annotated[Operation, Depends(ByOperator(Rate.LIST, Right.JOBS_READ))]
_Measuring = Annotated[Operation, Depends(ByOperator(Rate.METRICS, Right.METRICS_READ))]
_Auditing = Annotated[Operation, Depends(ByOperator(Rate.LIST, Right.AUDIT_READ))]
_Changing = Annotated[Operation, Depends(ByOperator(Rate.CANCEL, Right.ORGANIZATION_CHANGE))]
_Whose = Annotated[
    OrganizationId | None,
    Query(description="Of this organization; omitted: of all together.", examples=["acme"]),
]
_Of = Annotated[Text | None, Query(max_length=140, description="Of this organization; omitted: of all.")]


class JobTypeChange(BaseModel):
    """A change of whether a job type may be submitted."""

    model_config = ConfigDict(extra="forbid")

    enabled: Flag


class LimitChange(BaseModel):
    """A change of a job type's limits; null: unlimited, 0: none; omitted fields stay as they are."""

    model_config = ConfigDict(extra="forbid")

    max_running: Whole | None = Field(default=None, ge=0, le=LARGEST_COUNT, description="At once.")
    execution_rate: Whole | None = Field(default=None, ge=0, le=LARGEST_COUNT, description="Starts within the window.")
    execution_rate_window: Number = Field(default=60.0, gt=0, le=LONGEST_RATE_WINDOW, description="In seconds.")

    def given(self) -> dict[str, Any]:
        """Return the fields that were given."""
        return self.model_dump(exclude_unset=True)


@router.get("/metrics", operation_id="getMetricsOfAll")
def get_metrics(operation: _Measuring, minutes: Minutes = 60) -> Metrics:
    """Count the current jobs and dead letters of all organizations, and say how jobs went within the last minutes."""
    return seen_with(operation.rights, operation.fl.metrics(minutes=minutes))


@router.get("/timeline", operation_id="getTimelineOfAll")
def get_timeline(operation: _Measuring, minutes: Minutes = 60, step: StepLength = None) -> Timeline:
    """Say step by step how attempts of all organizations ended; submissions are counted for one organization only."""
    return operation.fl.reads.charts.timeline(None, minutes=minutes, step=step)


@router.get("/shares", operation_id="getShares")
def get_shares(operation: _Measuring, minutes: Minutes = 60) -> Shares:
    """Say which organizations use the workers, minute by minute, and which one waits behind which now."""
    return operation.fl.reads.charts.shares(minutes=minutes)


@router.get(
    "/metrics/prometheus",
    operation_id="getMetricsForPrometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics_for_prometheus(operation: _Measuring, request: Request) -> Response:
    """Get all metrics, and live jobs by organization, queue and job type, in Prometheus' text format."""
    return Response(exposition.exposition(operation.fl, web_of(request).live.hub), media_type=exposition.MEDIA_TYPE)


@router.get("/workers", operation_id="listWorkers")
def list_workers(operation: _Listing) -> Items[WorkerView]:
    """List workers by name: live ones, and lost ones until their jobs were taken back."""
    return Items[WorkerView](items=list(operation.fl.reads.workers(lost=True)))


@router.post("/workers/{worker}/drain", status_code=202, operation_id="drainWorker", response_class=Response)
def drain_worker(operation: _Changing, worker: WorkerPath) -> None:
    """Ask a worker to finish its running jobs and end; its supervisor starts another one in its place."""
    operation.fl.workers.drain(worker, user=operation.user)


@router.get("/running-jobs", operation_id="listRunningJobs")
def list_running(operation: _Listing, limit: Limit = 100) -> Items[RunningJob]:
    """List running jobs, the longest-running first."""
    return Items[RunningJob](items=list(operation.fl.reads.running(limit=limit)))


@router.get("/stranded-jobs", operation_id="listStrandedJobs")
def list_stranded(operation: _Listing) -> Items[Stranded]:
    """List queued jobs without a live worker for them, by queue and job type."""
    return Items[Stranded](items=list(operation.fl.reads.stranded()))


@router.get("/dead-letter-groups", operation_id="listDeadLetterGroupsOfAll")
def list_dead_letter_groups(operation: _Listing, limit: Limit = 50, cursor: Cursor = None) -> Counted[DeadLetterGroup]:
    """List unresolved dead letters by organization and error, the newest first; of one organization 1,000 at most.

    `job_type` and `reason` are those of the newest dead letter of a group. `total` counts groups.
    """
    page = operation.fl.dead_letters.groups_of_all(limit=limit, cursor=cursor)
    return Counted[DeadLetterGroup](
        items=[shown_group(one, operation.rights) for one in page.items],
        next_cursor=page.next_cursor,
        total=page.total,
        total_is_capped=page.total_is_capped,
    )


@router.get("/queues", operation_id="listQueuesOfAll")
def list_queues(operation: _Listing, limit: QueueLimit = LARGEST_OF_QUEUES, cursor: Cursor = None) -> Items[QueueView]:
    """List queues that have live jobs or are paused, each with what keeps its jobs from starting."""
    found = operation.fl.reads.queues(after=after_of(cursor), limit=limit + 1)
    return page_from(found, lambda one: one.queue, limit)


@router.post("/queues/{queue:name}/pause", status_code=204, operation_id="pauseQueue")
def pause_queue(operation: _Changing, queue: QueuePath, body: Pause | None = None) -> None:
    """Pause a queue: none of its jobs start until it is resumed; running jobs finish."""
    operation.fl.queues.pause(queue, user=operation.user, reason=_reason(body))


@router.post("/queues/{queue:name}/resumption", status_code=204, operation_id="resumeQueue")
def resume_queue(operation: _Changing, queue: QueuePath) -> None:
    """End a pause, if there is one."""
    operation.fl.queues.resume(queue, user=operation.user)


@router.get("/job-types", operation_id="listJobTypesOfAll")
def list_job_types(operation: _Listing) -> Items[JobTypeView]:
    """List all registered job types, with their limits for all organizations together."""
    return Items[JobTypeView](items=list(operation.fl.job_types.list()))


@router.post("/job-types/{job_type:name}/pause", status_code=204, operation_id="pauseJobType")
def pause_job_type(operation: _Changing, job_type: JobTypePath, body: Pause | None = None) -> None:
    """Pause a job type: none of its jobs start until it is resumed; running jobs finish."""
    operation.fl.job_types.pause(job_type, user=operation.user, reason=_reason(body))


@router.post("/job-types/{job_type:name}/resumption", status_code=204, operation_id="resumeJobType")
def resume_job_type(operation: _Changing, job_type: JobTypePath) -> None:
    """End a pause, if there is one."""
    operation.fl.job_types.resume(job_type, user=operation.user)


@router.get("/job-types/{job_type:name}/limits", operation_id="listLimits")
def list_limits(operation: _Listing, job_type: JobTypePath) -> Items[JobTypeLimit]:
    """List a type's limits: those for all organizations together, then those of each organization that has its own."""
    return Items[JobTypeLimit](items=list(operation.fl.job_types.limits(name=job_type)))


@router.patch("/job-types/{job_type:name}/limits", operation_id="setLimit")
def set_limit(
    operation: _Changing, job_type: JobTypePath, body: LimitChange, organization: _Whose = None
) -> JobTypeLimit:
    """Change the given limits of a type, for one organization or for all together."""
    return operation.fl.job_types.limit(job_type, organization=organization, **body.given(), user=operation.user)


@router.delete("/job-types/{job_type:name}/limits", status_code=204, operation_id="resetLimit")
def reset_limit(operation: _Changing, job_type: JobTypePath, organization: _Whose = None) -> None:
    """Remove the limits that were set, if any: the limits of the type's handler hold again."""
    operation.fl.job_types.reset_limit(job_type, organization=organization, user=operation.user)


# After the addresses below a job type's: a name matches all that follows, with slashes.
@router.patch("/job-types/{job_type:name}", status_code=204, operation_id="updateJobType")
def update_job_type(operation: _Changing, job_type: JobTypePath, body: JobTypeChange) -> None:
    """Enable or disable submissions of a job type; existing jobs run."""
    verb = operation.fl.job_types.enable if body.enabled else operation.fl.job_types.disable
    verb(job_type, user=operation.user)


@router.delete("/job-types/{job_type:name}", status_code=204, operation_id="deleteJobType")
def delete_job_type(operation: _Changing, job_type: JobTypePath) -> None:
    """Delete a job type without jobs."""
    operation.fl.job_types.delete(job_type, user=operation.user)


@router.get("/breakers", operation_id="listBreakersOfAll")
def list_breakers(operation: _Listing) -> Items[Breaker]:
    """List the open circuit breakers."""
    return Items[Breaker](items=list(operation.fl.job_types.breakers()))


@router.delete("/breakers/{organization}/{job_type:name}", status_code=204, operation_id="closeBreaker")
def close_breaker(operation: _Changing, organization: OrganizationPath, job_type: JobTypePath) -> None:
    """Close a circuit breaker: jobs of the type start again in the organization at once."""
    was_open = operation.fl.job_types.close_breaker(job_type, organization=organization, user=operation.user)
    if not was_open:
        raise Problem(404, "breaker-not-found", "No such breaker is open.")


@router.get("/audit", operation_id="listAuditAsOperator")
def list_audit(
    operation: _Auditing,
    organization: _Of = None,
    subject: Subject = None,
    limit: Limit = 100,
    before: Before = None,
) -> Items[AuditEntry]:
    """List who did what, newest first: in one organization, or to the whole installation."""
    found = operation.fl.audit.list(organization=organization, subject=subject, before=before, limit=limit)
    return page_of_audit(found, limit)


@router.get("/audit/export", operation_id="exportAuditAsOperator", response_class=Export, responses=EXPORT)
def export_audit(operation: _Auditing, organization: _Of = None) -> Export:
    """Get all entries, newest first, one JSON object on each line."""
    operation.fl.audit.list(organization=organization, limit=1)  # refuses an invalid id before the answer starts
    return exported(operation.fl, organization, operation.principal)


def _reason(body: Pause | None) -> str:
    return body.reason if body is not None else ""
