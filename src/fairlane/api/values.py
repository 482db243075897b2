"""What bodies and paths are made of.

Bodies are taken as JSON has it: false is no 0, "5" is no 5, 1e999 is no number, and 5 is no moment.

A server has turned `%2F` into a slash by the time a route is looked for. So where a name may have slashes its route
says `{user:name}`, and stands behind those that go on after the name.
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
    """Refuse the seconds since 1970, as a number or as text, which pydantic would take."""
    if value is not None and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise ValueError("a time is written out, with a time zone, such as 2026-11-01T08:00:00Z")
    return value


def _shown(pattern: str, **more: int) -> Any:
    """Show a pattern in the OpenAPI document alone: what it refuses, the verbs refuse in a sentence."""
    return Field(json_schema_extra={"pattern": pattern, **more})


def _named(names: Names) -> Any:
    return Field(min_length=1, max_length=names.longest, json_schema_extra={"pattern": names.pattern})


# Of which the first wrong item is told: a body holds a quarter of a million, and each error takes as long as a job.
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
    """Whatever it holds, line breaks too: those are refused in a sentence, and not as an address that is not there."""

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
