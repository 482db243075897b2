"""Drafts: the store's form of submissions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from fairlane.domain.errors import REFUSALS, refusal
from fairlane.domain.permissions import Access
from fairlane.domain.sealing import is_sealed
from fairlane.domain.statuses import JobStatus, ParentPolicy, Role


class Dedup(NamedTuple):
    """The deduplication key of a submission, and for how many seconds it holds.

    `given`: the submitter's text for the key; None = it was made from the parameters.
    """

    key: str
    window: float
    given: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` submissions of the type by the user within `window` seconds."""

    limit: int
    window: float


class Kind(NamedTuple):
    """The common values of drafts that were submitted alike. Most batches have one kind. Times are as in the table.

    `window`: for how many seconds they are deduplicated; 0 = never. `may_replace_all`: may also replace identical jobs
    of other users. `access`: the sender's access; None = the application submits them itself.

    Three values are assumptions, which may have to be checked. `documents`: the registered type's schema and options;
    None = any. `roles`: the roles that may submit it. `is_of_host`: the host's directory was asked before, so
    organization and member need no check.
    """

    organization: str
    job_type: str
    user: str | None
    queue: str
    priority: int
    on_parent_failure: ParentPolicy
    run_at: datetime | None
    delay: float
    max_retries: int | None
    timeout: float | None
    required_permission: str | None
    window: float
    on_duplicate: str  # reject | return | replace
    rate: RateLimit | None
    max_live_jobs: int | None
    may_replace_all: bool = True
    documents: str | None = None
    roles: tuple[Role, ...] = ()
    is_of_host: bool = False
    access: Access | None = None


class Draft(NamedTuple):
    """A submission that has passed all checks except those that need other rows.

    `shown_parameters`: the `parameters` as readers of the job see them, without secrets. `dedup` is None if the kind is
    not deduplicated.
    """

    id: UUID
    kind: Kind
    parameters: str
    shown_parameters: Mapping[str, Any]
    labels: str
    label_items: tuple[tuple[str, str], ...]
    parents: tuple[UUID, ...]
    dedup: Dedup | None
    headers: str = ""  # JSON; empty: none

    @property
    def organization(self) -> str:
        """Return the organization of its kind."""
        return self.kind.organization

    @property
    def job_type(self) -> str:
        """Return the job type of its kind."""
        return self.kind.job_type

    @property
    def user(self) -> str | None:
        """Return the user of its kind."""
        return self.kind.user


def organizations_of_unsealed(drafts: Sequence[Draft]) -> Collection[str]:
    """Return the organizations of drafts with unencrypted parameters: these must have no key."""
    return {draft.organization for draft in drafts if not is_sealed(draft.parameters)}


class Fresh(NamedTuple):
    """A job to insert: its draft, the number of parents that it waits for, and the values that follow."""

    draft: Draft
    unmet_parents: int
    run_at: datetime
    status: JobStatus
    has_children: bool


@dataclass(slots=True)
class at:  # noqa: N801 - used as a function
    """Turn a refusal into a `SubmissionError`, with the index of its draft if it is known here.

    A loop may move the position: `with at() as position: for position.index, draft in enumerate(drafts): …`.
    """

    index: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, REFUSALS):
            refused = refusal(error)
            if self.index is not None:
                refused.index = self.index
            raise refused from error.__cause__
