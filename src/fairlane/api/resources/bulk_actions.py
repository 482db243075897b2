"""Bulk actions: cancel, retry or delete all jobs that match filters. Workers carry them on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from fairlane.api.authentication import ROOT
from fairlane.api.filters import Filters
from fairlane.api.pages import Before, Items, Limit
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.representations import EXAMPLE_TIME
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import BulkActionPath, ListOf, Moment, Number, Pair, SomeText
from fairlane.domain import bulk as domain
from fairlane.domain.bulk import BulkState, BulkVerb
from fairlane.domain.errors import JobTypeNotFound
from fairlane.domain.permissions import Access, CredentialKind, Right
from fairlane.domain.statuses import JobStatus

router = APIRouter(prefix=ROOT + "/organizations/{organization}/bulk-actions", tags=["jobs"])

_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_CHANGE))]
_Looking = Annotated[Scope, Depends(InOrganization(Rate.STATUS, Right.JOBS_READ))]
_Null = SkipJsonSchema[None]  # it is taken to be refused in a sentence, and so no document offers it
_Text = Annotated[SomeText, Field(max_length=1000)] | _Null
_SOME = Field(json_schema_extra={"minItems": 1})  # none are refused in the same sentence


def _drop_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class BulkFilter(BaseModel):
    """The filters that select the jobs. A job has to match every filter that is given, as in a list."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_drop_defaults)

    status: Annotated[ListOf[JobStatus], _SOME] | _Null = Field(default=None, examples=[[JobStatus.QUEUED.value]])
    job_type: _Text = Field(default=None, examples=["report.pdf"])
    user: _Text = None
    queue: _Text = None
    label: Annotated[list[Pair], Field(max_length=50), _SOME] | _Null = Field(
        default=None, description="name=value; several: all of them."
    )
    created_after: Moment | _Null = None
    created_before: Moment | _Null = None
    waiting_for: Literal["retry"] | _Null = None
    text: _Text = None
    fingerprint: Annotated[SomeText, Field(max_length=200)] | _Null = Field(
        default=None, description="Unresolved dead letters with this error."
    )


class NewBulkAction(BaseModel):
    """A change to make to all jobs that match."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "action": "retry",
                    "filter": {"job_type": "report.pdf", "created_after": EXAMPLE_TIME},
                    "per_second": 10,
                }
            ]
        },
    )

    action: BulkVerb
    filter: BulkFilter = Field(default_factory=BulkFilter)
    per_second: Number | None = Field(
        default=None,
        ge=0.001,
        le=100_000,
        description="How many retried dead letters become ready each second; null: all at once.",
        examples=[10],
    )


class Fitting(BaseModel):
    """The number of jobs that a bulk action would change."""

    matching: int = Field(description="Counted to 10,000.")
    matching_is_capped: bool


class Refusal(BaseModel):
    """A job that was not changed, and why."""

    id: UUID
    detail: str


class BulkAction(BaseModel):
    """A bulk action, and how far it has come."""

    id: UUID
    action: BulkVerb
    state: BulkState
    user: str | None = Field(
        description="The user who started it, as whom it acts; null: the system.", examples=["ana"]
    )
    filter: dict[str, Any] = Field(description="The filters; `text` is null if you may not see payload.")
    per_second: float | None
    changed: int
    passed_over: int = Field(
        description="Jobs that were deleted, changed or resolved meanwhile, or that follow a parent."
    )
    refused: int
    refusals: list[Refusal] = Field(description="The first refused jobs.")
    is_waiting: bool = Field(description="Whether no worker has worked on it for a while.")
    created_at: datetime
    ended_at: datetime | None
    stopped_by: str | None
    problem: str | None = Field(description="Why Fairlane stopped it.")

    @classmethod
    def of(cls, action: domain.BulkAction, access: Access) -> Self:
        """Return the bulk action and its progress, as the reader may see it."""
        told = [Refusal(id=one.job, detail=one.detail) for one in action.refusals]
        own = ("id", "state", "user", "per_second", "changed", "passed_over", "refused", "is_waiting")
        ends = ("created_at", "ended_at", "stopped_by", "problem")
        fields: Mapping[str, Any] = {name: getattr(action, name) for name in (*own, *ends)}
        filters = dict(action.filters)
        if "text" in filters and not access.sees_payload(action.user):
            filters["text"] = None
        return cls(**fields, action=action.verb, filter=filters, refusals=told)


@router.post("", status_code=201, operation_id="startBulkAction")
def start(scope: _Changing, body: NewBulkAction) -> BulkAction:
    """Cancel, retry or delete all current jobs that match; members cancel and retry their own, admins do all.

    The request works for two seconds, from the newest job to the oldest. Workers do the rest. After a request without
    an answer, list the bulk actions to see whether this one has started.
    """
    return begin(scope, body.action, _filters(scope, body), body.per_second)


@router.post("/count", operation_id="countForBulkAction")
def count(scope: _Changing, body: NewBulkAction) -> Fitting:
    """Count the jobs that match, and change nothing."""
    filters = _filters(scope, body)
    fitting = {**filters, "status": domain.fitting(body.action, filters)}
    counts = scope.fl.reads.matching.counts(scope.organization, undecided=body.action is BulkVerb.RETRY, **fitting)
    return Fitting(matching=sum(counts.by_status.values()), matching_is_capped=bool(counts.capped))


@router.get("", operation_id="listBulkActions")
def list_bulk_actions(scope: _Looking, limit: Limit = 100, before: Before = None) -> Items[BulkAction]:
    """List the bulk actions that are active or ended within a day, newest first."""
    found = scope.fl.bulk.list(organization=scope.organization, before=before, limit=limit)
    next_cursor = str(found[-1].id) if len(found) == limit else None
    return Items[BulkAction](items=[BulkAction.of(one, scope.access) for one in found], next_cursor=next_cursor)


@router.get("/{bulk_action}", operation_id="getBulkAction")
def get(scope: _Looking, bulk_action: BulkActionPath) -> BulkAction:
    """Get a bulk action and its progress."""
    return BulkAction.of(scope.fl.bulk.get(bulk_action, organization=scope.organization), scope.access)


@router.post("/{bulk_action}/stop", operation_id="stopBulkAction")
def stop(scope: _Changing, bulk_action: BulkActionPath) -> BulkAction:
    """Stop a bulk action; its changes stay. Members stop their own, admins all."""
    action = scope.fl.bulk.stop(
        bulk_action, organization=scope.organization, user=scope.user, only_own=not scope.access.is_full
    )
    return BulkAction.of(action, scope.access)


def begin(scope: Scope, verb: BulkVerb, filters: Mapping[str, Any], per_second: float | None) -> BulkAction:
    """Start a bulk action as the user, for as long as the user has the right and their token is valid.

    Raises:
        FairlaneError
        Problem: the user lacks the right that the action needs.
    """
    scope.require(domain.NEEDED[verb], "This")
    credential = scope.principal.credential
    try:
        action = scope.fl.bulk.start(
            verb,
            filters,
            organization=scope.organization,
            user=scope.user,
            per_second=per_second,
            token=credential.key if credential is not None and credential.kind is CredentialKind.TOKEN else None,
        )
    except JobTypeNotFound as error:  # it is wrong in the body, and the address leads somewhere
        raise Problem(422, "job-type-not-found", str(error)) from None
    return BulkAction.of(action, scope.access)


def _filters(scope: Scope, body: NewBulkAction) -> dict[str, Any]:
    """Return the filters in the form that the read service takes. A user without the right for others gets their own.

    Raises:
        InvalidParameters: a filter is empty.
        Problem: the user asks for the jobs of others.
    """
    given = body.filter.model_dump(exclude_unset=True)
    domain.fitting(body.action, given)
    fingerprint = given.pop("fingerprint", None)
    every: Mapping[str, Any] = {**Filters(**given).given(scope), "fingerprint": fingerprint}
    found = {name: value for name, value in every.items() if value is not None}
    if not scope.access.is_full:
        if body.filter.user not in {None, scope.user}:
            raise Problem(403, "permission-denied", "Members change their own jobs; ask an admin to change others'.")
        found["user"] = scope.user
    return found
