"""Daily indices, indices that people enter, and how well both are collected.

It must not know which read stands for a day.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Security, status

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.paging import AfterQuery
from collector.api.routes.findings import manual_view
from collector.api.vee_models import (
    DayIndexList,
    DayIndexView,
    IndexRequest,
    ManualIndexView,
    RateList,
    RateView,
)
from collector.errors import InvalidRequest
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations import collection_rates, day_indices, findings
from collector.operations.collection_rates import Dimension
from collector.operations.day_indices import DayIndex
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.parameters import Day, NameQuery
from collector.web.problems import responses

POINTS_MAX = 100

router = APIRouter(tags=["indices"])


@router.get(
    "/daily-indices",
    summary="The index of each day",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_daily_indices(  # noqa: PLR0913  one parameter per query
    context: ContextParameter,
    first_day: Day,
    last_day: Day,
    point: NameQuery = None,
    station: NameQuery = None,
    limit: Annotated[int, Query(ge=1, le=POINTS_MAX, description="points of a page")] = 20,
    after: AfterQuery = None,
) -> DayIndexList:
    """What stands for each day's start, when it was really read, and what a person put there.

    Of a point, or of the points of a station in pages; up to 31 days.
    """
    for name in (point, station, after):
        if name is not None and "\0" in name:
            raise InvalidRequest("a name has no NUL in it", hint="see GET /v1/points")
    page = day_indices.day_indices(
        context.ledger,
        (first_day, last_day, context.zone),
        context.limits(),
        point=point,
        station=station,
        turn=(after, limit),
    )
    return DayIndexList(indices=[_view(one) for one in page.indices], next=page.next)


@router.post(
    "/indices",
    status_code=status.HTTP_201_CREATED,
    summary="Enter an index by hand",
    responses=responses(400, 404, 409, 413, 422),
)
def enter_index(
    wanted: IndexRequest,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.VEE))],
    idempotency_key: IdempotencyHeader = None,
) -> ManualIndexView:
    """What was read from a display, with the reading's instant and a reference to its photo.

    It stands for a day where it is the nearest read. With an `Idempotency-Key` the same request
    again answers with the index of the first.
    """
    now = context.now()
    new = ManualIndex(
        ManualKind.HAND,
        wanted.point,
        wanted.meter,
        wanted.of_register,
        wanted.at,
        wanted.value,
        key.name,
        now,
        wanted.reason,
        photo=wanted.photo,
    )
    token = once(key.name, idempotency_key, "index", wanted)
    number = findings.enter_index(context.ledger, new, now, token)
    with context.ledger.read() as uow:
        kept = uow.manual_indices.get(number)
    return manual_view(new if kept is None else kept, number)


@router.get(
    "/collection/rates",
    summary="How many daily indices came",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_rates(
    context: ContextParameter,
    first_day: Day,
    last_day: Day,
    by: Annotated[list[Dimension] | None, Query(description="station, if none")] = None,
    station: NameQuery = None,
) -> RateList:
    """Due, had, late, by hand, estimated, missing; the ratios khai thác and thu thập."""
    if station is not None and "\0" in station:
        raise InvalidRequest("a name has no NUL in it", hint="see GET /v1/stations")
    found = collection_rates.collection_rates(
        context.ledger,
        (first_day, last_day, context.zone),
        set(by or [Dimension.STATION]),
        station=station,
    )
    return RateList(rates=[RateView.model_validate(one) for one in found])


def _view(one: DayIndex) -> DayIndexView:
    index, manual = one.index, one.manual
    return DayIndexView(
        point=one.point,
        meter=one.meter,
        register=one.register,
        day=one.day,
        value=None if index is None else index.value,
        read_at=None if index is None else index.read_at,
        distance_s=None if index is None else round(index.distance.total_seconds()),
        window_min=None if index is None else index.window_min,
        origin=None if index is None else index.origin.value,
        manual=None if manual is None else manual_view(manual[1], manual[0]),
    )
