"""Whether the server and its database answer, for load balancers: open to all, and says nothing else."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from fairlane.api.authentication import ROOT
from fairlane.api.scope import web_of

router = APIRouter(prefix=ROOT, tags=["health"])


class Health(BaseModel):
    """All is well; else the answer is a problem with status 503."""

    status: str = Field(examples=["ok"])


@router.get("/health", operation_id="getHealth")
async def health(request: Request) -> Health:
    """Say whether the server and its database answer."""
    await web_of(request).pulse.check()
    return Health(status="ok")
