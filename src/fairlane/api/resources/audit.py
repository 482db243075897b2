"""Who did what in an organization: to look at, and to export."""

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic_core import to_jsonable_python
from starlette.responses import StreamingResponse

from fairlane.api.pages import Items, Limit
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.domain.accounts import AuditEntry
from fairlane.domain.permissions import Right

router = APIRouter(prefix="/organizations/{organization}/audit", tags=["audit"])

_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.AUDIT_READ))]
Before = Annotated[
    str | None, Query(alias="cursor", pattern="^[0-9]{1,18}$", description="The page before's `next_cursor`.")
]
EXPORT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
}


@router.get("", operation_id="listAudit")
def list_audit(scope: _Listing, limit: Limit = 100, before: Before = None) -> Items[AuditEntry]:
    """List who did what, newest first."""
    found = scope.fl.audit.list(scope.organization, before=int(before) if before else None, limit=limit)
    return page_of_audit(found, limit)


@router.get("/export", operation_id="exportAudit", response_class=StreamingResponse, responses=EXPORT)
def export_audit(scope: _Listing) -> StreamingResponse:
    """Get all entries, newest first, one JSON object on each line."""
    return exported(scope.fl.audit.export(scope.organization))


def page_of_audit(found: tuple[AuditEntry, ...], limit: int) -> Items[AuditEntry]:
    """A page of entries; a full one may have others behind it."""
    return Items[AuditEntry](items=list(found), next_cursor=str(found[-1].id) if len(found) == limit else None)


def exported(entries: Iterable[AuditEntry]) -> StreamingResponse:
    """Entries as lines of JSON, read while they are sent."""

    def lines() -> Iterator[str]:
        for one in entries:
            yield json.dumps(to_jsonable_python(one), ensure_ascii=True) + "\n"

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)
