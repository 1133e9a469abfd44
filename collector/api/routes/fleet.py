"""Gateways: how long each has been silent and what it still has to deliver.

What the collector knows of them from batches and statuses; it must not talk to them.
"""

from fastapi import APIRouter, Security

from collector.api.auth import needs
from collector.api.models import GatewayList, GatewayView
from collector.api.paging import PAGE_LIMIT_DEFAULT, AfterQuery, LimitQuery
from collector.operations import fleet
from collector.operations.keys import Scope
from collector.web.context import ContextParameter

router = APIRouter(tags=["gateways"], dependencies=[Security(needs(Scope.READ))])


@router.get("/gateways", summary="Gateways and their delivery state")
def gateways(
    context: ContextParameter, limit: LimitQuery = PAGE_LIMIT_DEFAULT, after: AfterQuery = None
) -> GatewayList:
    """Every gateway that was ever heard of, by name."""
    found = fleet.gateways(context.ledger, context.now(), after=after, limit=limit + 1)
    rows = found[:limit]
    return GatewayList(
        gateways=[GatewayView.model_validate(row) for row in rows],
        next=rows[-1].gateway if len(found) > limit else None,
    )
