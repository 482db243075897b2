"""Schedules of an organization: members may read them, admins change them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.authentication import ROOT
from fairlane.api.json_text import ExactRoute
from fairlane.api.pages import Cursor, Items, Limit, after_of, page_from
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.representations import EXAMPLE_TIME, Job
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import JobTypeName, Labels, Moment, Number, PathName, SchedulePath
from fairlane.domain import schedules as domain
from fairlane.domain.permissions import Access, Right
from fairlane.domain.schedules import LONGEST, SHORTEST, Missed
from fairlane.domain.statuses import Priority

router = APIRouter(prefix=ROOT + "/organizations/{organization}/schedules", tags=["schedules"], route_class=ExactRoute)

_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.JOBS_READ))]
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.SCHEDULES_CHANGE))]
_Submitting = Annotated[Scope, Depends(InOrganization(Rate.SUBMIT, Right.SCHEDULES_CHANGE))]


class NewSchedule(BaseModel):
    """A schedule to create or replace. `cron` or `every` gives the times of its ticks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"job_type": "report.pdf", "cron": "30 6 * * MON-FRI", "time_zone": "Europe/Zurich"}]
        },
    )

    job_type: JobTypeName = Field(examples=["report.pdf"])
    cron: str | None = Field(
        default=None,
        max_length=domain.LONGEST_CRON,
        description="Minute, hour, day of month, month, day of week; or an alias, for example @daily.",
        examples=["30 6 * * MON-FRI"],
    )
    every: Number | None = Field(default=None, ge=SHORTEST, le=LONGEST, description="In seconds.")
    time_zone: str = Field(default="UTC", max_length=100, description="Of `cron`.", examples=["Europe/Zurich"])
    start: Moment | None = Field(default=None, description="The first tick of `every`; omitted: as it was, or now.")
    missed: Missed = Field(
        default=Missed.ONE, description="What happens to ticks that were missed because no worker was running."
    )
    user: PathName | None = Field(default=None, description="The user who submits its jobs; null: yourself.")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="The parameters of its jobs; omitted: those that it has.",
        examples=[{"month": "2026-11-01"}],
    )
    priority: Priority | None = Field(default=None, description="Null: the job type's.")
    queue: PathName | None = Field(default=None, description="Null: the job type's.")
    labels: Labels = Field(
        default_factory=dict, max_length=48, description="Labels of its jobs, in addition to `schedule` and `tick`."
    )


class Schedule(BaseModel):
    """A schedule and its state."""

    name: str = Field(examples=["monthly"])
    job_type: str = Field(examples=["report.pdf"])
    user: str | None = Field(description="The user who submits its jobs; null: the system.", examples=["ana"])
    cron: str | None = Field(examples=["30 6 * * MON-FRI"])
    every: float | None = Field(description="In seconds.")
    time_zone: str = Field(examples=["Europe/Zurich"])
    start: datetime
    missed: Missed
    priority: Priority | None
    queue: str | None
    labels: dict[str, str]
    parameters: dict[str, Any] | None = Field(description="Payload.", examples=[{"month": "2026-11-01"}])
    payload_hidden: bool = Field(description="Whether payload was omitted, because you may not see it.")
    next_ticks: list[datetime] = Field(
        description="The next five ticks; none while it is paused.", examples=[[EXAMPLE_TIME]]
    )
    paused_at: datetime | None
    paused_by: str | None
    last_tick: datetime | None
    last_job: UUID | None = Field(description="The job of that tick.")
    problem: str | None = Field(
        description="Why a tick was refused, or why the next one will be, as the parameters do not fit the job type, "
        "which a list does not say of more than 10,000 characters; a tick that is due is tried again by itself, within "
        "a minute."
    )
    created_at: datetime

    @classmethod
    def of(cls, schedule: domain.Schedule, access: Access) -> Self:
        """Return the schedule as the reader may see it."""
        sees = access.sees_payload(schedule.user)
        times = schedule.timetable
        own = ("name", "job_type", "user", "missed", "priority", "queue", "labels", "paused_at", "paused_by")
        come = ("last_tick", "last_job", "problem", "created_at")
        fields: Mapping[str, Any] = {name: getattr(schedule, name) for name in (*own, *come)}
        return cls(
            **fields,
            cron=times.cron,
            every=times.every,
            time_zone=times.time_zone,
            start=times.start,
            parameters=dict(schedule.parameters) if sees else None,
            payload_hidden=not sees,
            next_ticks=list(schedule.next_ticks),
        )


@router.get("", operation_id="listSchedules")
def list_schedules(scope: _Listing, limit: Limit = 100, cursor: Cursor = None) -> Items[Schedule]:
    """List the organization's schedules by name."""
    found = scope.fl.schedules.list(organization=scope.organization, after=after_of(cursor), limit=limit + 1)
    page = page_from(found, lambda one: one.name, limit)
    return Items[Schedule](items=[Schedule.of(one, scope.access) for one in page.items], next_cursor=page.next_cursor)


@router.get("/{schedule}", operation_id="getSchedule")
def get_schedule(scope: _Looking, schedule: SchedulePath) -> Schedule:
    """Get a schedule."""
    return Schedule.of(scope.fl.schedules.get(schedule, organization=scope.organization), scope.access)


@router.put("/{schedule}", operation_id="putSchedule")
def put_schedule(scope: _Changing, schedule: SchedulePath, body: NewSchedule) -> Schedule:
    """Create a schedule, or replace the one of this name."""
    scope.require(Right.JOBS_SUBMIT, "To have jobs submitted")
    user = body.user if body.user is not None else scope.user
    _refuse_to_act_for(scope, user)
    made = scope.fl.schedules.put(
        schedule,
        body.job_type,
        organization=scope.organization,
        cron=body.cron,
        every=body.every,
        time_zone=body.time_zone,
        start=body.start,
        missed=body.missed,
        as_user=user,
        parameters=body.parameters,
        priority=body.priority,
        queue=body.queue,
        labels=body.labels,
        user=scope.user,
        sees_payload=Right.PAYLOAD_READ in scope.access.rights,
    )
    return Schedule.of(made, scope.access)


@router.delete("/{schedule}", status_code=204, operation_id="deleteSchedule")
def delete_schedule(scope: _Changing, schedule: SchedulePath) -> None:
    """Delete a schedule; its existing jobs stay."""
    scope.fl.schedules.delete(schedule, organization=scope.organization, user=scope.user)


@router.post("/{schedule}/pause", operation_id="pauseSchedule")
def pause_schedule(scope: _Changing, schedule: SchedulePath) -> Schedule:
    """Pause a schedule: its ticks submit nothing until it is resumed."""
    made = scope.fl.schedules.pause(schedule, organization=scope.organization, user=scope.user)
    return Schedule.of(made, scope.access)


@router.post("/{schedule}/resumption", operation_id="resumeSchedule")
def resume_schedule(scope: _Changing, schedule: SchedulePath) -> Schedule:
    """Resume a schedule: it goes on with the next tick from now."""
    made = scope.fl.schedules.resume(schedule, organization=scope.organization, user=scope.user)
    return Schedule.of(made, scope.access)


@router.post("/{schedule}/submission", status_code=201, operation_id="submitScheduledJob")
def submit_scheduled_job(scope: _Submitting, schedule: SchedulePath) -> Job:
    """Submit a job of the schedule now, as its user, in addition to those of its ticks."""
    scope.require(Right.JOBS_SUBMIT, "To submit a job")
    _refuse_to_act_for(scope, scope.fl.schedules.get(schedule, organization=scope.organization).user)
    made = scope.fl.schedules.submit(schedule, organization=scope.organization, user=scope.user)
    return Job.of(made, scope.access)


def _refuse_to_act_for(scope: Scope, user: str | None) -> None:
    """Refuse a schedule that acts for another user.

    Operators are no admins here: an operator who is a member may create schedules for themselves.

    Raises:
        Problem
    """
    if user != scope.user and scope.access.is_operator:
        raise Problem(403, "permission-denied", "Schedules that act for others are for admins of the organization.")
