"""What stands in the paths of routes.

A server has turned `%2F` into a slash by the time a route is looked for. So where a name may have slashes its route
says `{user:name}`, and stands behind those that go on after the name.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from starlette.convertors import PathConvertor, register_url_convertor

from fairlane.api.representations import EXAMPLE_ID
from fairlane.api.values import JobTypeName, PathName, ScheduleName


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
