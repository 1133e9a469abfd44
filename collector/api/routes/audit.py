"""The audit trail, for whoever checks the collector from elsewhere.

Reads only; following the trail row by row is `songlo collector audit verify`.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Security

from collector.api.auth import needs
from collector.api.models import AuditHeadView, AuditList, AuditRowView
from collector.operations import audit
from collector.operations.keys import Scope
from collector.web.context import ContextParameter

LIST_LIMIT_DEFAULT = 100

router = APIRouter(prefix="/audit", tags=["audit"], dependencies=[Security(needs(Scope.ADMIN))])


@router.get("", summary="Who did what")
def rows(
    context: ContextParameter,
    limit: Annotated[int, Query(ge=1, le=audit.LIST_MAX - 1)] = LIST_LIMIT_DEFAULT,
    before: Annotated[
        int | None, Query(ge=1, lt=2**63, description="`next` of the page before")
    ] = None,
    action: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> AuditList:
    """The newest first."""
    found = audit.list_audit(context.ledger, limit=limit + 1, before=before, action=action)
    views = [AuditRowView.model_validate(row) for row in found[:limit]]
    return AuditList(rows=views, next=views[-1].sequence if len(found) > limit else None)


@router.get("/head", summary="The trail's last row, to be written down elsewhere")
def head(context: ContextParameter) -> AuditHeadView:
    """Its number and hash; `songlo collector audit verify --head NUMBER:SHA256` asks for it."""
    return AuditHeadView.model_validate(audit.audit_head(context.ledger))
