"""What a submission looks like to the store."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from fairlane.domain.errors import REFUSALS, refusal
from fairlane.domain.statuses import JobStatus, ParentPolicy, Role


class Dedup(NamedTuple):
    """The key under which a submission is identical to another, and for how many seconds.

    `given` is the text that the submitter gave for it; None = it was made from the parameters.
    """

    key: str
    window: float
    given: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `limit` submissions of the type by the user within `window` seconds."""

    limit: int
    window: float


class Draft(NamedTuple):
    """A submission that has passed all checks but those that need the rows of others. Times are as in the table.

    `plain_parameters` are what whoever reads the job will see: the `parameters` read back, without secrets.
    `may_replace_all`: others' jobs, too, where it replaces an identical one.
    """

    id: UUID
    organization: str
    job_type: str
    user: str | None
    queue: str
    priority: int
    parameters: str
    plain_parameters: Mapping[str, Any]
    labels: str
    label_items: tuple[tuple[str, str], ...]
    parents: tuple[UUID, ...]
    on_parent_failure: ParentPolicy
    run_at: datetime | None
    delay: float
    max_retries: int | None
    timeout: float | None
    required_permission: str | None
    dedup: Dedup | None
    on_duplicate: str  # reject | return | replace
    rate: RateLimit | None
    max_live_jobs: int | None
    may_replace_all: bool = True


class Fresh(NamedTuple):
    """A job to be inserted: its draft, how many parents it waits for, and what follows from both.

    `run_at` None: at once, whenever that is.
    """

    draft: Draft
    unmet_parents: int
    run_at: datetime | None
    status: JobStatus
    has_children: bool


class Granted(NamedTuple):
    """What was taken for granted of a draft, for the statement to prove.

    `documents` is what the registered type's schema and options must be, None = anything. `roles` may submit it. Where
    the directory `is_host_s`, it was asked before: nothing is to be proved of organization and member.
    """

    documents: str | None
    roles: Collection[Role]
    is_host_s: bool


@dataclass(slots=True)
class Position:
    """Which of the drafts is looked at; None = not known."""

    index: int | None


@contextmanager
def at(index: int | None = None) -> Iterator[Position]:
    """Make a refusal a `SubmissionError`, and let it say which of the drafts it is about, if that is known here.

    A loop may move the position: `with at() as position: for position.index, draft in enumerate(drafts): …`.
    """
    position = Position(index)
    try:
        yield position
    except REFUSALS as error:
        refused = refusal(error)
        if position.index is not None:
            refused.index = position.index
        raise refused from error.__cause__
