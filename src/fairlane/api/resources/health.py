"""The health check, for load balancers: it tells everybody whether the server and its database answer, and no more."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from fairlane.api.authentication import ROOT
from fairlane.api.scope import web_of

router = APIRouter(prefix=ROOT, tags=["health"])


class Health(BaseModel):
    """The answer of a healthy server. An unhealthy one answers with a problem of status 503."""

    status: str = Field(examples=["ok"])


@router.get("/health", operation_id="getHealth")
async def health(request: Request) -> Health:
    """Say whether the server and its database answer."""
    await web_of(request).pulse.check()
    return Health(status="ok")
