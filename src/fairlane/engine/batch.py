"""Submissions, and the graph of a batch of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from fairlane.domain.arguments import INHERIT, Inheriting, Seconds
from fairlane.domain.errors import (
    ConfigurationError,
    CyclicDependency,
    InvalidParameters,
    ParentNotFound,
    SubmissionError,
)
from fairlane.domain.jobs import Job
from fairlane.domain.permissions import Access
from fairlane.domain.statuses import ParentPolicy, Priority
from fairlane.domain.texts import require_organization
from fairlane.jobtypes.job_type import JobType
from fairlane.jobtypes.options import OnDuplicate
from fairlane.store.statements.drafts import at

# The bits of a UUIDv7 that hold the version and the variant.
_OF_VERSION: Final = 15 << 76 | 3 << 62
_VERSION: Final = 7 << 76 | 2 << 62
_ALIKE: Final = 50  # ids with the same hash; honest ids have none in common


def new_id() -> UUID:
    """Draw an id for a new job, for `Submission(…, id=…)`."""
    return uuid7()


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to submit. `Fairlane.submit` says what each field means.

    `depends_on` may name jobs, their ids, and other submissions of the same batch; one of them, or a list. `id` becomes
    the job's id. Give your own, drawn by `new_id`, only if you need to know it before.
    """

    job_type: str
    _: KW_ONLY
    organization: str
    user: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority | str | None = None
    depends_on: "Job | Submission | UUID | str | Sequence[Job | Submission | UUID | str]" = ()
    on_parent_failure: ParentPolicy | str = ParentPolicy.DEAD_LETTER
    delay: Seconds | None = None
    run_at: datetime | None = None
    queue: str | None = None
    dedup_key: str | None = None
    on_duplicate: OnDuplicate = "reject"
    dedup_window: Seconds | Inheriting = INHERIT
    max_retries: int | Inheriting | None = INHERIT
    timeout: Seconds | Inheriting | None = INHERIT
    labels: Mapping[str, str] = field(default_factory=dict)
    headers: MutableMapping[str, str] = field(default_factory=dict)
    id: UUID = field(default_factory=new_id)

    def __post_init__(self) -> None:
        if isinstance(self.id, str):
            with suppress(ValueError):
                object.__setattr__(self, "id", UUID(self.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Submission):
    """A submission that a user sent, for example over HTTP. It does only what their `access` allows.

    All other submissions are the application's own: they may name any parent of the organization, and have any timeout.
    """

    access: Access


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, refuse a job without naming its place in a batch: it is submitted by itself."""
    try:
        yield
    except SubmissionError as error:
        error.index = None
        raise


def refuse_misfits(submissions: Sequence[Submission]) -> None:
    """Refuse submissions that no database could take, before the first query. An error's `index` is its submission's.

    Raises:
        InvalidParameters: it is not a list of submissions, or a name is not text.
        CyclicDependency, ParentNotFound, ConfigurationError: they do not form a graph.
    """
    with at(None):
        _refuse_strangers(submissions)
        _refuse_cycles(submissions)


def _refuse_strangers(submissions: Sequence[Submission]) -> None:
    if not isinstance(submissions, Sequence):
        raise InvalidParameters(
            f"submit_many takes a list of submissions, not a {type(submissions).__name__}; write submit_many([…])."
        )
    with at() as position:
        for position.index, one in enumerate(submissions):
            if not isinstance(one, Submission):
                raise InvalidParameters(f"A batch has submissions; write Submission(…) in place of {one!r:.80}.")
            if isinstance(one.job_type, JobType):
                name, handle = one.job_type.name, one.job_type.__name__
                raise InvalidParameters(f"job_type must be a name: write {name!r}, or {handle}.submit(…)(…).")
            if not isinstance(one.job_type, str):
                raise InvalidParameters(f"job_type must be a name, not {one.job_type!r:.80}.")
            require_organization(one.organization)
            _check_id(one.id)


def _check_id(given: object) -> None:
    # With random ids each insert would read and write another page of the primary key.
    if not isinstance(given, UUID) or given.int & _OF_VERSION != _VERSION:
        raise InvalidParameters(
            f"The id of a job is a UUIDv7, not {given!r:.80}: leave id out, or draw it with fairlane.new_id()."
        )


def _refuse_cycles(submissions: Sequence[Submission]) -> None:
    """Refuse dependencies that have a cycle within the batch; jobs outside can't depend on it.

    Raises:
        CyclicDependency: its `index` is that of a submission in the cycle.
        ParentNotFound: `depends_on` names a value that is not a job; its `index` is that of the submission.
        ConfigurationError: two submissions have the same id.
    """
    if len({one.id for one in submissions}) < len(submissions):
        if len(set(map(id, submissions))) < len(submissions):
            raise ConfigurationError("The same Submission stands twice in the batch; make one for each job.")
        raise ConfigurationError(
            "Two submissions of the batch have the same id; leave the id out, or give each its own."
        )
    if not any(one.depends_on for one in submissions):
        return
    graph = {}
    for index, one in enumerate(submissions):
        try:
            graph[one.id] = parent_ids(one)
        except ParentNotFound as error:
            error.index = index
            raise
    _refuse_chosen(list(graph.values()))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1]
        position = {one.id: index for index, one in enumerate(submissions)}
        refused = CyclicDependency("Jobs of the batch wait for each other: " + " → ".join(map(str, cycle)) + ".")
        refused.index = next(position[one] for one in cycle if one in position)
        raise refused from None


def _refuse_chosen(parents: Sequence[Sequence[UUID | str]]) -> None:
    """Refuse ids that were chosen to have the same hash: a set of 10,000 such ids would take seconds."""
    named = {one.bytes: one for each in parents for one in each if isinstance(one, UUID)}
    hashes = Counter(str(hash(one)) for one in named.values())  # Python salts the hashes of texts
    if max(hashes.values(), default=0) > _ALIKE:
        error = ParentNotFound("depends_on names ids that were chosen to have the same hash; no jobs have such ids.")
        error.index = next(index for index, each in enumerate(parents) if each)
        raise error


def parent_ids(submission: Submission) -> list[UUID | str]:
    """Return the ids of a submission's parents. Text that is not an id stays in the list, to be refused later.

    Raises:
        ParentNotFound: a value is neither a job nor an id.
    """
    named = submission.depends_on
    if isinstance(named, Job | Submission | UUID | str):
        named = (named,)
    try:
        return [_parent_id(parent) for parent in named]
    except TypeError:
        raise ParentNotFound(
            f"depends_on names jobs or their ids, for example [job.id], not {type(named).__name__} {named!r:.100}."
        ) from None


def _parent_id(parent: object) -> UUID | str:
    if isinstance(parent, Job | Submission):
        return parent.id
    if isinstance(parent, UUID):
        return parent
    if not isinstance(parent, str):
        raise TypeError
    try:
        return UUID(parent)
    except ValueError:
        return parent
