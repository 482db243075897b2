"""Bodies of submissions, and their submission, once for each idempotency key."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from fairlane.api.problems import Problem
from fairlane.api.scope import Scope
from fairlane.api.values import JobTypeName, Labels, ListOf, Moment, Name, Number, PathName, Whole
from fairlane.domain.arguments import INHERIT, LARGEST_COUNT
from fairlane.domain.jobs import Job
from fairlane.domain.numbers import long_numbers
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import ParentPolicy, Priority
from fairlane.domain.timing import CENTURY
from fairlane.engine.batch import Sent, Submission
from fairlane.engine.idempotency import Key
from fairlane.engine.open_transactions import OWN
from fairlane.jobtypes.options import OnDuplicate

LARGEST_BATCH = 1000
# Each parent is a row and a lock in one transaction. On SQLite all other writers wait for it. The library has no bound.
MOST_PARENTS = 1000  # of one job
MOST_PARENTS_OF_BATCH = 10_000  # of all jobs of a batch together
IdempotencyKey = Annotated[
    Name | None,
    Header(
        description="Choose a new key for each request. A second request with the same key and body within 24 hours "
        "gets the same jobs and submits nothing.",
        examples=["5f0c6a52-0d7e-4a55-9d6e-1d3f0c2b9a11"],
    ),
]


class NewJob(BaseModel):
    """A job to submit. Omitted fields are inherited from the job type."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"job_type": "report.pdf", "parameters": {"month": "2026-11-01"}, "priority": "high"}]
        },
    )

    job_type: JobTypeName = Field(examples=["report.pdf"])
    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"month": "2026-11-01"}])
    priority: Priority | None = None
    queue: PathName | None = None
    depends_on: ListOf[str] = Field(
        default_factory=list,
        max_length=MOST_PARENTS,
        description="Ids of jobs that have to complete first, and hand their results and files to this one. You must "
        "be allowed to see their payload: your own jobs, or with the right `payload:read` those of others.",
    )
    on_parent_failure: ParentPolicy = ParentPolicy.DEAD_LETTER
    delay: Number | None = Field(
        default=None, ge=0, le=CENTURY, description="Start no earlier, in seconds from now; this or `run_at`."
    )
    run_at: Moment | None = Field(
        default=None, description="Start no earlier; with a time zone, in the years 1970 to 2199."
    )
    dedup_key: Name | None = None
    on_duplicate: OnDuplicate = Field(
        default="reject", description="`return` needs the right `jobs:read`, `replace` the right `jobs:change`."
    )
    dedup_window: Number | None = Field(default=None, ge=0, description="In seconds; 0: off; null: the type's.")
    max_retries: Whole | None = Field(
        default=None, ge=0, le=LARGEST_COUNT, description="Null: unlimited; omitted: the type's."
    )
    timeout: Number | None = Field(
        default=None,
        gt=0,
        le=CENTURY,
        description="In seconds, at most the job type's; omitted: the type's. Null, which is unlimited, is allowed "
        "only if the type has no timeout.",
    )
    labels: Labels = Field(default_factory=dict, max_length=50, examples=[{"document": "42"}])

    def submission(self, scope: Scope) -> Submission:
        """Return the submission, by the scope's user in its organization.

        Raises:
            Problem: the user may not replace jobs, or may not see them.
        """
        if self.on_duplicate == "return":
            scope.require(Right.JOBS_READ, "To get the existing job")
        if self.on_duplicate == "replace":
            scope.require(Right.JOBS_CHANGE, "To replace a job, which cancels it,")
        given = self.model_fields_set
        run_at: datetime | None = self.run_at
        return Sent(
            self.job_type,
            access=scope.access,
            organization=scope.organization,
            user=scope.user,
            parameters=self.parameters,
            priority=self.priority,
            depends_on=list(self.depends_on),
            on_parent_failure=self.on_parent_failure,
            delay=self.delay,
            run_at=run_at,
            queue=self.queue,
            dedup_key=self.dedup_key,
            on_duplicate=self.on_duplicate,
            dedup_window=self.dedup_window if self.dedup_window is not None else INHERIT,
            max_retries=self.max_retries if "max_retries" in given else INHERIT,
            timeout=self.timeout if "timeout" in given else INHERIT,
            labels=self.labels,
        )


class BatchMember(NewJob):
    """A job of a batch, which may depend on other jobs of the batch."""

    depends_on_members: ListOf[Whole] = Field(
        default_factory=list,
        max_length=LARGEST_BATCH,
        description="Positions, from 0, of jobs of this batch that have to complete first. If `on_duplicate` returns "
        "another user's job for one of them, this needs the right `payload:read`. Together with `depends_on` a job "
        f"has at most {MOST_PARENTS} parents, and all jobs of a batch {MOST_PARENTS_OF_BATCH:,}.",
    )


class Batch(BaseModel):
    """Jobs to submit in one transaction, all or none."""

    model_config = ConfigDict(extra="forbid")

    jobs: list[BatchMember] = Field(min_length=1, max_length=LARGEST_BATCH)

    def submissions(self, scope: Scope) -> list[Submission]:
        """Return the submissions, by the scope's user in its organization.

        Raises:
            Problem: a position is out of range, or there are too many parents.
        """
        _refuse_many_parents([len(one.depends_on) + len(one.depends_on_members) for one in self.jobs])
        made = [one.submission(scope) for one in self.jobs]
        found = []
        for index, (member, own) in enumerate(zip(self.jobs, made, strict=True)):
            outside = [one for one in member.depends_on_members if not 0 <= one < len(made)]
            if outside:
                detail = f"depends_on_members names positions from 0 to {len(made) - 1}, not {outside[0]}."
                raise Problem(422, "parent-not-found", detail, index=index)
            parents: list[UUID | str] = [*member.depends_on, *(made[one].id for one in member.depends_on_members)]
            found.append(replace(own, depends_on=parents))
        return found


def _refuse_many_parents(counts: Sequence[int]) -> None:
    index = next((index for index, count in enumerate(counts) if count > MOST_PARENTS), None)
    if index is not None:
        detail = f"A job has at most {MOST_PARENTS} parents; let a job in between wait for some of them."
        raise Problem(422, "too-many-parents", detail, index=index)
    if sum(counts) > MOST_PARENTS_OF_BATCH:
        detail = (
            f"The jobs of a batch name at most {MOST_PARENTS_OF_BATCH} parents together, not {sum(counts)}; send the "
            "graph in several batches, or let jobs in between wait for many."
        )
        raise Problem(422, "too-many-parents", detail)


def submit(scope: Scope, key: str | None, body: BaseModel, submissions: Sequence[Submission]) -> tuple[list[Job], bool]:
    """Submit all jobs or none; return the jobs, and True if an earlier request has submitted them.

    Raises:
        IdempotencyConflict, SubmissionError, StorageUnavailable
    """
    if key is None:
        # The answer says that the jobs exist, so their commit must not depend on a transaction of the application.
        return scope.fl.submit_many(submissions, connection=OWN), False
    # The digest is of the parsed body: white space and the order of names do not matter.
    understood = [type(body).__name__, body.model_dump(mode="json", exclude_unset=True)]
    text = json.dumps([*understood, *long_numbers(body.model_dump(exclude_unset=True))], sort_keys=True)
    digest = sha256(text.encode(errors="backslashreplace")).hexdigest()
    return scope.fl.idempotency.submit(Key(scope.organization, scope.user, key), digest, submissions)
