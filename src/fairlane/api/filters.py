"""The filters that select jobs, for lists, counts and bulk actions alike."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query

from fairlane.api.problems import Problem
from fairlane.api.scope import Scope
from fairlane.api.values import Moment, Pair, Text
from fairlane.domain.permissions import Right
from fairlane.domain.statuses import JobStatus
from fairlane.reads.jobs import Filters as Given


@dataclass(frozen=True, slots=True)
class Filters:
    """The query of a list. A job has to match every filter that is given."""

    status: Annotated[list[JobStatus] | None, Query(description="One or several.")] = None
    job_type: Annotated[Text | None, Query(max_length=200)] = None
    user: Annotated[Text | None, Query(max_length=200, description="Who submitted it.")] = None
    queue: Annotated[Text | None, Query(max_length=200)] = None
    label: Annotated[list[Pair] | None, Query(max_length=50, description="name=value; several: all of them.")] = None
    created_after: Annotated[Moment | None, Query(description="Included; with a time zone.")] = None
    created_before: Annotated[Moment | None, Query(description="Not included; with a time zone.")] = None
    waiting_for: Annotated[
        Literal["retry"] | None,
        Query(
            description="retry: queued jobs whose next attempt has a time that has not come: `next_retry_at`. "
            "With `status`, queued must be among it."
        ),
    ] = None
    text: Annotated[
        Text | None,
        Query(
            max_length=1000,
            description="The start of an id, or its last 8 digits; or a part of the type, or of an error that you may "
            "see.",
        ),
    ] = None

    def given(self, scope: Scope) -> Given:
        """Return the filters in the form that the read service takes.

        Raises:
            Problem: a label is not name=value.
        """
        return Given(
            status=self.status,
            job_type=self.job_type,
            user=self.user,
            queue=self.queue,
            label=_labels(self.label),
            created_after=self.created_after,
            created_before=self.created_before,
            waiting_for=self.waiting_for,
            text=self.text,
            in_errors=Right.PAYLOAD_READ in scope.access.rights,
        )


def _labels(given: list[str] | None) -> dict[str, str] | None:
    if given is None:
        return None
    pairs = [one.partition("=") for one in given]
    wrong = next((name for name, equals, _ in pairs if not equals), None)
    if wrong is not None:
        raise Problem(422, "invalid-request", "A label is name=value, such as document=42.")
    return {name: value for name, _, value in pairs}
