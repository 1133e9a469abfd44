"""How well reads come in: meters without today's index, serials nobody knows, slots accounted for.

What operators act on in the morning; it must not know how a gap came about.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Security

from collector.api.auth import needs
from collector.api.models import (
    AccountingView,
    UnassignedList,
    UnassignedView,
    WithoutIndexList,
    WithoutIndexView,
)
from collector.api.paging import PAGE_LIMIT_DEFAULT, AfterQuery, LimitQuery, page
from collector.operations import collection
from collector.operations.keys import Scope
from collector.web.context import ContextParameter
from collector.web.parameters import (
    Day,
    FromQuery,
    NamePath,
    NameQuery,
    ToQuery,
    check_range,
)
from collector.web.problems import responses

router = APIRouter(tags=["collection"], dependencies=[Security(needs(Scope.READ))])


@router.get("/meters/without-index", summary="Meters without an index", responses=responses(404))
def without_index(
    context: ContextParameter,
    day: Annotated[Day | None, Query(description="the index of its first instant; today")] = None,
    station: NameQuery = None,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: AfterQuery = None,
) -> WithoutIndexList:
    """Meters that are installed and lack the index of a day's first instant, by serial."""
    day = day or context.today()
    found = collection.meters_without_index(
        context.ledger, day=day, zone=context.zone, station=station
    )
    rows, following = page(found, lambda row: row.meter, after, limit)
    return WithoutIndexList(
        day=day,
        count=len(found),
        meters=[WithoutIndexView.model_validate(row) for row in rows],
        next=following,
    )


@router.get("/meters/unassigned", summary="Meters that the registry does not know")
def unassigned(
    context: ContextParameter, limit: LimitQuery = PAGE_LIMIT_DEFAULT, after: AfterQuery = None
) -> UnassignedList:
    """Serials that send reads and were never installed at a point, by serial."""
    found = collection.unassigned_meters(context.ledger)
    rows, following = page(found, lambda row: row.meter, after, limit)
    return UnassignedList(
        count=len(found),
        meters=[UnassignedView.model_validate(row) for row in rows],
        next=following,
    )


@router.get(
    "/stations/{station}/accounting", summary="What became of each slot", responses=responses(404)
)
def accounting(
    station: NamePath, context: ContextParameter, from_at: FromQuery, to_at: ToQuery
) -> AccountingView:
    """Meter reads that were due of a station (or of one gateway's name) and what became of them."""
    check_range(from_at, to_at)
    found = collection.accounting(
        context.ledger, gateway_or_station=station, from_at=from_at, to_at=to_at
    )
    counts = found.counts
    return AccountingView(
        name=found.name,
        gateways=list(found.gateways),
        from_at=found.from_at,
        to_at=found.to_at,
        slots=counts.slots,
        due=counts.due,
        had=counts.had,
        missing=counts.missing,
        gaps=counts.gaps,
        batches_lost=counts.batches_lost,
        duplicates=counts.duplicates,
    )
