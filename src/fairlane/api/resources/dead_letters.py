"""Dead letters: list them, group them by error, retry them, and record decisions about them."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api import problems
from fairlane.api.authentication import ROOT
from fairlane.api.json_text import ExactRoute
from fairlane.api.pages import Counted, Cursor, Items, Limit
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.representations import EXAMPLE_ID, Job, shown_group, shown_letter
from fairlane.api.resources.bulk_actions import BulkAction, begin
from fairlane.api.resources.jobs import Retry
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.submissions import LARGEST_BATCH
from fairlane.api.values import JobPath, ListOf, Number, Text
from fairlane.domain.bulk import BulkVerb
from fairlane.domain.errors import FairlaneError, JobNotFound, StorageUnavailable
from fairlane.domain.jobs import DeadLetter, DeadLetterGroup
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import Resolution
from fairlane.domain.texts import storable

router = APIRouter(prefix=ROOT + "/organizations/{organization}", tags=["dead letters"], route_class=ExactRoute)

_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.JOBS_READ))]
_Changing = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_CHANGE))]
_Deleting = Annotated[Scope, Depends(InOrganization(Rate.CANCEL, Right.JOBS_DELETE))]
_Decided = Annotated[Resolution | Literal["any"], Query(description="The decision about them; any: every decision.")]
_Fingerprint = Annotated[str, Path(max_length=200, description="Of the group.")]

_MOST_GROUPS: Final = 1000
_LONGEST: Final = 20.0  # seconds for all that a request names
_NO_GROUP: Final = (
    "This job type has no unresolved dead letters with this error; dead-letter-groups lists the fingerprints."
)


class Decision(BaseModel):
    """A decision about a dead letter."""

    model_config = ConfigDict(extra="forbid")

    resolution: Literal["resolved", "ignored"] = Field(examples=["resolved"])
    note: Text | None = Field(default=None, max_length=1000, examples=["Repaired by hand."])


class GroupRetry(BaseModel):
    """The dead letters of an error to retry, and a pace at which they do not fail all together again."""

    model_config = ConfigDict(extra="forbid")

    job_type: Text | None = Field(
        default=None, max_length=200, description="Of the group; null: all types with this error.", examples=["report"]
    )
    per_second: Number = Field(
        default=10.0, ge=0.001, le=100_000, description="How many jobs become ready each second.", examples=[10]
    )


class Chosen(BaseModel):
    """Dead letters by their ids."""

    model_config = ConfigDict(extra="forbid")

    ids: ListOf[UUID] = Field(min_length=1, max_length=LARGEST_BATCH, examples=[[EXAMPLE_ID]])


class ChosenDecision(Decision, Chosen):
    """A decision about several dead letters."""


class Refused(BaseModel):
    """A dead letter that was not changed, and the reason."""

    id: UUID
    type: str = Field(examples=["urn:fairlane:problem:illegal-transition"])
    detail: str


class RetriedSome(BaseModel):
    """The number of dead letters that were queued again, and those that were not."""

    retried: int
    refused: list[Refused]


class ChangedSome(BaseModel):
    """The number of dead letters that were changed, and those that were not."""

    changed: int
    refused: list[Refused]


@router.get("/dead-letters", operation_id="listDeadLetters")
def list_dead_letters(
    scope: _Listing,
    resolution: _Decided = Resolution.PENDING,
    fingerprint: Annotated[Text | None, Query(max_length=200, description="With one error.")] = None,
    job_type: Annotated[Text | None, Query(max_length=200)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Counted[DeadLetter]:
    """List dead letters, newest first."""
    page = scope.fl.dead_letters.list(
        organization=scope.organization,
        resolution=None if resolution == "any" else resolution,
        fingerprint=fingerprint,
        job_type=job_type,
        limit=limit,
        cursor=cursor,
    )
    items = [shown_letter(one, scope.access) for one in page.items]
    return Counted[DeadLetter](items=items, next_cursor=page.next_cursor, total=page.total)


@router.get("/dead-letter-groups", operation_id="listDeadLetterGroups")
def list_groups(scope: _Listing, resolution: _Decided = Resolution.PENDING) -> Items[DeadLetterGroup]:
    """List dead letters by job type and error, the largest group first; 1,000 groups at most."""
    found = scope.fl.dead_letters.groups(
        organization=scope.organization, resolution=None if resolution == "any" else resolution, limit=_MOST_GROUPS
    )
    return Items[DeadLetterGroup](items=[shown_group(one, scope.access.rights) for one in found])


@router.post("/dead-letter-groups/{fingerprint}/retry", status_code=202, operation_id="retryDeadLetterGroup")
def retry_group(scope: _Changing, fingerprint: _Fingerprint, body: GroupRetry | None = None) -> BulkAction:
    """Queue all unresolved dead letters of a group again, paced, by a bulk action. Workers carry it on after 2 seconds.

    Jobs that the user may not change are refused one by one, and delay no other. Give the whole fingerprint, as the
    list of groups has it.
    """
    given = body or GroupRetry()
    letters = scope.fl.dead_letters
    if not letters.list(
        organization=scope.organization, fingerprint=fingerprint, job_type=given.job_type, limit=1
    ).items:
        raise Problem(404, "dead-letter-group-not-found", _NO_GROUP)
    of_type = {"job_type": given.job_type} if given.job_type is not None else {}
    return begin(scope, BulkVerb.RETRY, {"fingerprint": fingerprint, **of_type}, given.per_second)


@router.post("/dead-letters/retry", status_code=202, operation_id="retryDeadLetters")
def retry_some(scope: _Changing, body: Chosen) -> RetriedSome:
    """Queue up to 1,000 dead letters again, each by itself; refused ones are listed, and delay no other."""
    verb = scope.fl.dead_letters.retry
    refused = _each(scope, body.ids, lambda one: verb(one, organization=scope.organization, user=scope.user))
    return RetriedSome(retried=len(body.ids) - len(refused), refused=refused)


@router.post("/dead-letters/resolution", operation_id="resolveDeadLetters")
def resolve_some(scope: _Changing, body: ChosenDecision) -> ChangedSome:
    """Record a decision about up to 1,000 dead letters, each by itself; refused ones are listed, and delay no other."""
    verb = _verb(scope, body)
    refused = _each(
        scope, body.ids, lambda one: verb(one, organization=scope.organization, user=scope.user, note=body.note)
    )
    return ChangedSome(changed=len(body.ids) - len(refused), refused=refused)


@router.post("/dead-letters/deletion", operation_id="deleteDeadLetters")
def delete_some(scope: _Deleting, body: Chosen) -> ChangedSome:
    """Delete up to 1,000 dead letters, each by itself; refused ones are listed, and delay no other."""
    verb = scope.fl.dead_letters.delete
    refused = _each(scope, body.ids, lambda one: verb(one, organization=scope.organization, user=scope.user))
    return ChangedSome(changed=len(body.ids) - len(refused), refused=refused)


@router.post("/dead-letters/{job}/retry", status_code=202, operation_id="retryDeadLetter")
def retry(scope: _Changing, job: JobPath, body: Retry | None = None) -> Job:
    """Queue a dead letter again, with other parameters if they are given."""
    return (body or Retry()).of(scope, job)


@router.post("/dead-letters/{job}/resolution", status_code=204, operation_id="resolveDeadLetter")
def resolve(scope: _Changing, job: JobPath, body: Decision) -> None:
    """Record that the cause was fixed in another way, or that nothing needs to be done."""
    _verb(scope, body)(job, organization=scope.organization, user=scope.user, note=body.note)


@router.delete("/dead-letters/{job}", status_code=204, operation_id="deleteDeadLetter")
def delete(scope: _Deleting, job: JobPath) -> None:
    """Delete a dead letter with all that is kept of it."""
    scope.fl.dead_letters.delete(job, organization=scope.organization, user=scope.user)


def _verb(scope: Scope, decision: Decision) -> Callable[..., None]:
    """Return the verb that records the decision. Raises InvalidParameters if its note can't be stored."""
    storable(note=decision.note)
    verbs = scope.fl.dead_letters
    return verbs.resolve if decision.resolution == "resolved" else verbs.ignore


def _each(scope: Scope, ids: Sequence[UUID], work: Callable[[UUID], object]) -> list[Refused]:
    """Call the verb for each known dead letter, while the credential is valid and time is left; return those refused.

    One query finds the known ones: else a thousand invented ids would be a thousand transactions.
    """
    refused: list[Refused] = []
    known = scope.fl.reads.matching.known(scope.organization, ids)
    until = monotonic() + _LONGEST
    for one in ids:
        if one not in known:
            refused.append(_refused(one, JobNotFound()))
            continue
        if monotonic() > until:
            refused.append(_refused(one, Problem(503, "not-reached", "There was no time left for it; send it again.")))
            continue
        scope.prove_again()
        try:
            work(one)
        except StorageUnavailable:
            raise
        except FairlaneError as error:
            refused.append(_refused(one, error))
    return refused


def _refused(job: UUID, error: Exception) -> Refused:
    problem = problems.problem_of(error)
    return Refused(id=job, type=problem.type, detail=problem.detail)
