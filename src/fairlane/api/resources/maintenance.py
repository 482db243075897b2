"""Maintenance mode: every user may see it, operators turn it on and off."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from fairlane.api.authentication import ROOT
from fairlane.api.rates import Rate, rate_key
from fairlane.api.representations import EXAMPLE_TIME
from fairlane.api.resources.operator_organizations import Pause
from fairlane.api.scope import ByOperator, Operation, principal_of, web_of
from fairlane.app import Fairlane
from fairlane.domain.permissions import Right

router = APIRouter(prefix=ROOT)

_Changing = Annotated[Operation, Depends(ByOperator(Rate.CANCEL, Right.ORGANIZATION_CHANGE))]


class MaintenanceMode(BaseModel):
    """The state of maintenance mode, which keeps all jobs from starting. The other fields are null while it is off."""

    is_on: bool
    since: datetime | None = Field(default=None, examples=[EXAMPLE_TIME])
    by: str | None = Field(default=None, description="Who turned it on.", examples=["ops"])
    reason: str | None = Field(default=None, examples=["a new release"])

    @classmethod
    def of(cls, fl: Fairlane) -> Self:
        """Return the current state."""
        found = fl.maintenance.get()
        if found is None:
            return cls(is_on=False)
        return cls(is_on=True, since=found.since, by=found.by, reason=found.reason)


@router.get("/maintenance", tags=["health"], operation_id="getMaintenance")
def get_maintenance(request: Request) -> MaintenanceMode:
    """Say whether maintenance mode is on, since when, by whom and why."""
    web = web_of(request)
    web.rates.count(Rate.STATUS, rate_key(principal_of(request)))
    return MaintenanceMode.of(web.fl)


@router.put("/operator/maintenance", tags=["operator"], operation_id="turnMaintenanceOn")
def turn_on(operation: _Changing, body: Pause | None = None) -> MaintenanceMode:
    """Start no job of any organization; running jobs finish, submissions go on."""
    operation.fl.maintenance.on(reason=body.reason if body is not None else "", user=operation.user)
    return MaintenanceMode.of(operation.fl)


@router.delete("/operator/maintenance", tags=["operator"], operation_id="turnMaintenanceOff")
def turn_off(operation: _Changing) -> MaintenanceMode:
    """Let jobs start again."""
    operation.fl.maintenance.off(user=operation.user)
    return MaintenanceMode.of(operation.fl)
