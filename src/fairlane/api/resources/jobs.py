"""Jobs: submit, get, list and change them. A change of a job, for example its cancellation, is a resource below it."""

from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.filters import Filters
from fairlane.api.headers import headers_told, is_same
from fairlane.api.json_text import ExactRoute
from fairlane.api.pages import Counted, Cursor, Limit
from fairlane.api.rates import Rate
from fairlane.api.representations import Job, ListedJob
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.submissions import Batch, IdempotencyKey, NewJob, submit
from fairlane.api.values import JobPath, Moment, Text
from fairlane.domain.permissions import Right
from fairlane.domain.reasons import Holds
from fairlane.domain.statuses import WAITING, Priority
from fairlane.engine.batch import alone

router = APIRouter(prefix=ROOT + "/organizations/{organization}/jobs", tags=["jobs"], route_class=ExactRoute)

_Submitting = Annotated[Scope, Depends(InOrganization(Rate.SUBMIT, Right.JOBS_SUBMIT))]
_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.JOBS_READ))]
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_CHANGE))]
_Deleting = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_DELETE))]

_REPLAYED: Final[dict[str, Any]] = {
    "description": "Submitted before with this idempotency key: the same jobs again.",
    **headers_told("Idempotent-Replayed"),
}


class Cancellation(BaseModel):
    """A request to cancel a job, with a reason."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = Field(default="", max_length=1000, examples=["The month was wrong."])


class NewTime(BaseModel):
    """A new start time for a job."""

    model_config = ConfigDict(extra="forbid")

    run_at: Moment = Field(
        description="Start no earlier; with a time zone, in the years 1970 to 2199. A past time means now.",
        examples=["2026-11-01T08:00:00Z"],
    )


class NewPriority(BaseModel):
    """A new priority for a job."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority


class Retry(BaseModel):
    """The parameters with which a dead letter runs again; omitted: its own."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] | None = Field(default=None, examples=[{"month": "2026-10-01"}])

    def of(self, scope: Scope, job: str) -> Job:
        """Queue the dead letter again.

        Raises:
            Problem, FairlaneError
        """
        if self.parameters is not None:
            # With other parameters it is another job.
            scope.require(Right.JOBS_SUBMIT, "To run with other parameters")
        made = scope.fl.retry(job, organization=scope.organization, user=scope.user, parameters=self.parameters)
        return Job.of(made, scope.access)


class Jobs(BaseModel):
    """Jobs in the order in which they were submitted."""

    items: list[Job]


@router.post(
    "", status_code=201, operation_id="submitJob", response_model=Job, responses={200: _REPLAYED | {"model": Job}}
)
def submit_job(scope: _Submitting, body: NewJob, response: Response, idempotency_key: IdempotencyKey = None) -> Job:
    """Submit a job. Once this has answered, the job will not be lost.

    An identical job that is still live makes it a conflict, unless `on_duplicate` says otherwise.
    """
    with alone():
        (made,), is_replayed = submit(scope, idempotency_key, body, [body.submission(scope)])
    _mark(response, is_replayed=is_replayed)
    return Job.of(made, scope.access)


@router.post(
    "/batch",
    status_code=201,
    operation_id="submitJobs",
    response_model=Jobs,
    responses={200: _REPLAYED | {"model": Jobs}},
)
def submit_jobs(scope: _Submitting, body: Batch, response: Response, idempotency_key: IdempotencyKey = None) -> Jobs:
    """Submit up to 1,000 jobs in one transaction, all or none; a problem's `index` names the wrong job."""
    made, is_replayed = submit(scope, idempotency_key, body, body.submissions(scope))
    _mark(response, is_replayed=is_replayed)
    return Jobs(items=[Job.of(one, scope.access) for one in made])


@router.get("", operation_id="listJobs", response_model=Counted[ListedJob])
def list_jobs(
    scope: _Listing,
    filters: Annotated[Filters, Depends()],
    order: Annotated[Literal["newest", "oldest"], Query(description="Which of them come first.")] = "newest",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Counted[ListedJob]:
    """List the jobs that match every filter, newest first or oldest first."""
    page = scope.fl.reads.list(
        scope.organization,
        **filters.given(scope),
        oldest_first=order == "oldest",
        limit=limit,
        cursor=cursor,
        with_parameters=False,
    )
    waiting = {one.job_type for one in page.items if one.status in WAITING}
    holds = scope.fl.reads.waiting.holds(scope.organization, waiting) if waiting else Holds()
    return Counted[ListedJob](
        items=[ListedJob.of(one, scope.access, held_by=holds.on(one)) for one in page.items],
        next_cursor=page.next_cursor,
        total=page.total,
        total_is_capped=page.total_is_capped,
        searched_newest=page.searched_newest,
    )


@router.get(
    "/{job}",
    operation_id="getJob",
    response_model=Job,
    responses={200: headers_told("ETag"), 304: {"description": "The job is unchanged.", **headers_told("ETag")}},
)
def get_job(
    scope: _Looking,
    job: JobPath,
    if_none_match: Annotated[str | None, Header(description="An earlier `ETag`: 304 if the job is unchanged.")] = None,
) -> Response:
    """Get a job in its current state."""
    text = Job.of(scope.fl.get(job, organization=scope.organization), scope.access).model_dump_json()
    # The tag covers all that this reader sees: progress, a cancel request and rights change it, too.
    tag = f'W/"{sha256(text.encode()).hexdigest()[:32]}"'
    if is_same(tag, if_none_match):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(text, media_type="application/json", headers={"ETag": tag})


@router.post("/{job}/cancellation", status_code=202, operation_id="cancelJob", response_model=Job)
def cancel_job(scope: _Changing, job: JobPath, body: Cancellation | None = None) -> Job:
    """Cancel a waiting job at once, or ask a running one to stop. Members their own, admins all."""
    reason = body.reason if body is not None else ""
    made = scope.fl.cancel(job, organization=scope.organization, user=scope.user, reason=reason)
    return Job.of(made, scope.access)


@router.post("/{job}/run-now", status_code=202, operation_id="runJobNow", response_model=Job)
def run_job_now(scope: _Changing, job: JobPath) -> Job:
    """Let a job that waits for its time, or for its next attempt, start at once. Members their own, admins all."""
    return Job.of(scope.fl.run_now(job, organization=scope.organization, user=scope.user), scope.access)


@router.put("/{job}/run-at", operation_id="rescheduleJob", response_model=Job)
def reschedule_job(scope: _Changing, job: JobPath, body: NewTime) -> Job:
    """Let a job that has not started, or waits for its next attempt, start no earlier than a time.

    Members their own, admins all.
    """
    made = scope.fl.reschedule(job, body.run_at, organization=scope.organization, user=scope.user)
    return Job.of(made, scope.access)


@router.put("/{job}/priority", operation_id="prioritizeJob", response_model=Job)
def prioritize_job(scope: _Changing, job: JobPath, body: NewPriority) -> Job:
    """Give a job that has not started, or waits for its next attempt, another priority.

    Members their own, admins all.
    """
    made = scope.fl.prioritize(job, body.priority, organization=scope.organization, user=scope.user)
    return Job.of(made, scope.access)


@router.post("/{job}/retry", status_code=202, operation_id="retryJob", response_model=Job)
def retry_job(scope: _Changing, job: JobPath, body: Retry | None = None) -> Job:
    """Queue a dead letter again, with a fresh count of retries. Members their own, admins all."""
    return (body or Retry()).of(scope, job)


@router.delete("/{job}", status_code=204, operation_id="deleteJob")
def delete_job(scope: _Deleting, job: JobPath) -> None:
    """Delete a job that has ended, with all its data. For admins and operators."""
    scope.fl.delete(job, organization=scope.organization, user=scope.user)


def _mark(response: Response, *, is_replayed: bool) -> None:
    if is_replayed:
        response.status_code = 200
        response.headers["Idempotent-Replayed"] = "true"
