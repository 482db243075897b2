"""Types of the values in bodies, queries and paths.

Bodies are read strictly as JSON: false is not 0, "5" is not 5, 1e999 is not a number, and 5 is not a time.

The server turns `%2F` into a slash before a route is chosen. So a route with a name that may have slashes says
`{user:name}`, and is registered after the routes that go on after the name.
"""

import re
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from uuid import UUID

from fastapi import Path
from pydantic import AllowInfNan, AwareDatetime, BeforeValidator, Field, Strict
from starlette.convertors import PathConvertor, register_url_convertor

from fairlane.api.representations import EXAMPLE_ID
from fairlane.domain import texts
from fairlane.domain.texts import Names

T = TypeVar("T")

_DATE_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d")


def _written_out(value: Any) -> Any:
    """Refuse seconds since 1970, as a number or as text, which pydantic would accept."""
    if value is not None and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise ValueError("a time is written with a time zone, such as 2026-11-01T08:00:00Z")
    return value


def _shown(pattern: str, **more: int) -> Any:
    """Show a pattern in the OpenAPI document only: the verbs refuse other texts with a sentence."""
    return Field(json_schema_extra={"pattern": pattern, **more})


def _named(names: Names) -> Any:
    return Field(min_length=1, max_length=names.longest, json_schema_extra={"pattern": names.pattern})


# Only the first wrong item is reported: a body may hold 250,000 items, and each error takes as long as a job.
ListOf: TypeAlias = Annotated[list[T], Field(fail_fast=True)]
Text: TypeAlias = Annotated[str, _shown(r"^[^\x00]*$")]
SomeText: TypeAlias = Annotated[str, _shown(r"^[^\x00]*$", minLength=1)]
Name: TypeAlias = Annotated[str, _named(texts.NAMES)]
PathName: TypeAlias = Annotated[str, _named(texts.PATH_NAMES)]  # of a user, a queue
JobTypeName: TypeAlias = Annotated[str, _named(texts.JOB_TYPE_NAMES)]
ScheduleName: TypeAlias = Annotated[str, _named(texts.SCHEDULE_NAMES)]
OrganizationId: TypeAlias = Annotated[str, _named(texts.ORGANIZATION_IDS)]
NewOrganizationId: TypeAlias = Annotated[str, _named(texts.NEW_ORGANIZATION_IDS)]
Pair: TypeAlias = Annotated[str, _shown(r"^[^\x00=]*=[^\x00]*$")]
Whole: TypeAlias = Annotated[int, Strict()]
Number: TypeAlias = Annotated[float, Strict(), AllowInfNan(False)]
Flag: TypeAlias = Annotated[bool, Strict()]
Labels: TypeAlias = dict[Name, Name]
Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_written_out)]


class _Name(PathConvertor):
    """A name with any characters. A line break is refused with a sentence, and not as an unknown address."""

    regex = r"(?s:.*)"


register_url_convertor("name", _Name())

JobPath = Annotated[str, Path(description="The job's id.", examples=[EXAMPLE_ID], max_length=100)]
UserPath = Annotated[PathName, Path(description="The user's id.", examples=["ana"])]
TokenPath = Annotated[UUID, Path(description="The token's id.", examples=[EXAMPLE_ID])]
WorkerPath = Annotated[UUID, Path(description="The worker's id.", examples=[EXAMPLE_ID])]
BulkActionPath = Annotated[str, Path(description="The bulk action's id.", examples=[EXAMPLE_ID], max_length=100)]
SchedulePath = Annotated[ScheduleName, Path(description="The schedule's name.", examples=["monthly"])]
JobTypePath = Annotated[JobTypeName, Path()]
QueuePath = Annotated[PathName, Path()]
