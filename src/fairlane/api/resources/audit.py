"""The audit of an organization, as pages and as an export."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic_core import to_jsonable_python

from fairlane.api.authentication import ROOT
from fairlane.api.downloads import Export
from fairlane.api.headers import headers_told
from fairlane.api.pages import Before, Items, Limit
from fairlane.api.problems import Problem
from fairlane.api.rates import Rate
from fairlane.api.scope import InOrganization, Scope
from fairlane.api.values import Text
from fairlane.app import Fairlane
from fairlane.domain.accounts import AuditEntry
from fairlane.domain.permissions import Principal, Right
from fairlane.tenancy.directory import access_of

router = APIRouter(prefix=ROOT + "/organizations/{organization}/audit", tags=["audit"])

_Listing = Annotated[Scope, Depends(InOrganization(Rate.LIST, Right.AUDIT_READ))]
Subject = Annotated[
    Text | None, Query(min_length=1, max_length=200, description="The id of what was changed, for example a job's.")
]
_LOOK_AGAIN: Final = 1000  # entries
EXPORT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, **headers_told("Content-Disposition")}
}


@router.get("", operation_id="listAudit")
def list_audit(
    scope: _Listing, subject: Subject = None, limit: Limit = 100, before: Before = None
) -> Items[AuditEntry]:
    """List who did what, newest first."""
    found = scope.fl.audit.list(organization=scope.organization, subject=subject, before=before, limit=limit)
    return page_of_audit(found, limit)


@router.get("/export", operation_id="exportAudit", response_class=Export, responses=EXPORT)
def export_audit(scope: _Listing) -> Export:
    """Get all entries, newest first, one JSON object on each line."""

    def is_open() -> bool:
        found = access_of(scope.fl.directory, scope.principal, scope.organization)
        return found is not None and Right.AUDIT_READ in found.rights

    return exported(scope.fl, scope.organization, scope.principal, is_open)


def _is_good(fl: Fairlane, principal: Principal) -> bool:
    credential = principal.credential
    found = fl.tickets.principals([credential]).get(credential) if credential is not None else None
    return found is not None and found.operator_rights == principal.operator_rights


def page_of_audit(found: tuple[AuditEntry, ...], limit: int) -> Items[AuditEntry]:
    """Return a page of entries; a full page may have another one after it."""
    return Items[AuditEntry](items=list(found), next_cursor=str(found[-1].id) if len(found) == limit else None)


def exported(
    fl: Fairlane, organization: str | None, principal: Principal, is_open: Callable[[], bool] = lambda: True
) -> Export:
    """Yield entries as lines of JSON, read while they are sent, as long as the reader may see them.

    Args:
        is_open: returns True if the principal, whose credential is still valid, may see the audit.
    """

    def lines() -> Iterator[str]:
        for number, one in enumerate(fl.audit.export(organization=organization)):
            if number and number % _LOOK_AGAIN == 0 and not (_is_good(fl, principal) and is_open()):
                refused = Problem(
                    403, "permission-denied", "You may no longer see the audit; this export is incomplete."
                )
                yield json.dumps(refused.document()) + "\n"
                return
            yield json.dumps(to_jsonable_python(one), ensure_ascii=True) + "\n"

    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Export(lines(), media_type="application/x-ndjson", headers=headers)
