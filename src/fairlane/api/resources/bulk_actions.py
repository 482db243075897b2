"""Many jobs at once: cancel, retry or delete all that fit, a request at a time."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api import problems
from fairlane.api.filters import Filters
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import Flag, Moment, Number
from fairlane.control.bulk import BulkAction, Worked, fitting
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import JobStatus
from fairlane.reads.jobs import Filters as Given

router = APIRouter(prefix="/organizations/{organization}", tags=["jobs"])

_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_CHANGE))]
_Text = Annotated[str | None, Field(max_length=1000)]


class BulkFilter(BaseModel):
    """Which jobs; they have to fit all that is given, as in a list."""

    model_config = ConfigDict(extra="forbid")

    status: list[JobStatus] | None = Field(default=None, examples=[[JobStatus.QUEUED.value]])
    job_type: _Text = Field(default=None, examples=["report.pdf"])
    user: _Text = None
    queue: _Text = None
    label: list[str] | None = Field(default=None, max_length=50, description="name=value; several: all of them.")
    created_after: Moment | None = None
    created_before: Moment | None = None
    text: _Text = None

    def given(self, scope: Scope) -> Given:
        """The filters as the read service takes them; whoever may change only their own asks for these."""
        found = Filters(**self.model_dump()).given(scope)
        if not scope.access.is_full and self.user is None:
            found["user"] = scope.user
        return found


class BulkRequest(BaseModel):
    """What to do with all jobs that fit. `cursor`: where the request before came to."""

    model_config = ConfigDict(extra="forbid")

    action: BulkAction
    filter: BulkFilter = Field(default_factory=BulkFilter)
    dry_run: Flag = Field(default=False, description="Only say how many fit.")
    cursor: str | None = Field(default=None, max_length=100)
    per_second: Number | None = Field(
        default=None,
        ge=0.001,
        le=100_000,
        description="How many retried dead letters become ready each second; null: all at once.",
        examples=[10],
    )


class Refusal(BaseModel):
    """A job that was not changed, and why."""

    id: UUID
    type: str = Field(examples=["urn:fairlane:problem:illegal-transition"])
    detail: str


class BulkAnswer(BaseModel):
    """How many fit, after a dry run; else how far the request came. With a `next_cursor` send it again from there."""

    matching: int | None = Field(default=None, description="Counted to 10,000; null: it was no dry run.")
    matching_is_capped: bool = False
    changed: int = 0
    passed_over: int = Field(default=0, description="They were gone meanwhile.")
    refused: int = 0
    refusals: list[Refusal] = Field(default_factory=list, description="The first of them.")
    next_cursor: str | None = None

    @classmethod
    def of(cls, worked: Worked) -> "BulkAnswer":
        """How far it came."""
        told = [(job, problems.of(error)) for job, error in worked.errors]
        return cls(
            changed=worked.changed,
            passed_over=worked.passed_over,
            refused=worked.refused,
            refusals=[Refusal(id=job, type=one.type, detail=one.detail) for job, one in told],
            next_cursor=worked.next_cursor,
        )


@router.post("/bulk-actions", operation_id="actOnJobs")
def act_on_jobs(scope: _Changing, body: BulkRequest) -> BulkAnswer:
    """Cancel, retry or delete all jobs that fit; members their own, admins all.

    It works for five seconds, from the newest job to the oldest, and answers how far it came. Send it again with the
    cursor until there is none. A request that got no answer may be sent again: what was changed fits no more.
    """
    filters = body.filter.given(scope)
    if body.dry_run:
        counts = scope.fl.reads.matching.counts(scope.organization, **filters)
        fit = fitting(body.action, filters.get("status"))
        return BulkAnswer(
            matching=sum(size for status, size in counts.by_status.items() if status in fit),
            matching_is_capped=any(status in fit for status in counts.capped),
        )
    worked = scope.fl.bulk.run(
        body.action,
        scope.organization,
        filters,
        user=scope.user,
        cursor=body.cursor,
        per_second=body.per_second,
    )
    return BulkAnswer.of(worked)
