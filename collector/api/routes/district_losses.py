"""Losses of all stations over a period: ranked, and by commune, unit and wholesale master.

Computed from the ledger's indices when asked; an `ETag` says whether a caller has them already.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, Security, status

from collector.api.auth import needs
from collector.api.models import (
    AreaLossList,
    AreaLossView,
    CauseView,
    LossList,
    LossView,
    MasterLossView,
    NoteView,
    View,
)
from collector.api.paging import PAGE_LIMIT_DEFAULT, AfterQuery, LimitQuery
from collector.balance.causes import Cause
from collector.balance.losses import Order, StationLoss
from collector.balance.texts import CAUSES
from collector.errors import InvalidRequest
from collector.operations import losses
from collector.operations.keys import Scope
from collector.operations.losses import LossReport
from collector.web.context import Context, ContextParameter
from collector.web.etags import is_held
from collector.web.parameters import FromQuery, NamePath, ToQuery, check_range
from collector.web.problems import responses

router = APIRouter(tags=["balance"], dependencies=[Security(needs(Scope.READ))])

NOT_MODIFIED: dict[int | str, dict[str, object]] = {304: {"description": "Held already"}}

OrderQuery = Annotated[Order, Query(description="what the ranking goes by")]


@router.get(
    "/losses",
    summary="Losses of all stations, ranked",
    response_model=LossList,
    responses=NOT_MODIFIED,
)
def station_losses(  # noqa: PLR0913  each is one parameter of the URL
    request: Request,
    context: ContextParameter,
    from_at: FromQuery,
    to_at: ToQuery,
    order: OrderQuery = Order.ENERGY,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: AfterQuery = None,
) -> Response:
    """The largest unexplained loss first, compared with the period before, with what to check."""
    report = _report(context, from_at, to_at, order=order)
    ranked = {loss.station.station for loss in report.ranking}
    ordered = [
        *report.ranking,
        *(loss for loss in report.stations if loss.station.station not in ranked),
    ]
    first = 0
    if after is not None:
        names = [loss.station.station for loss in ordered]
        if after not in names:
            raise InvalidRequest(
                f"there is no station {after!r} in this list", hint="use the `next` of a page"
            )
        first = names.index(after) + 1
    page = ordered[first : first + limit]
    has_more = first + limit < len(ordered)
    return _answer(
        request,
        LossList(
            from_at=from_at,
            to_at=to_at,
            stations=[loss_view(loss, report) for loss in page],
            next=page[-1].station.station if has_more else None,
        ),
    )


@router.get(
    "/losses/areas",
    summary="Losses of communes and units, and wholesale masters",
    response_model=AreaLossList,
    responses=NOT_MODIFIED,
)
def area_losses(
    request: Request, context: ContextParameter, from_at: FromQuery, to_at: ToQuery
) -> Response:
    """Sums over the stations whose loss is known; units also against their boundary meters."""
    report = _report(context, from_at, to_at)
    return _answer(
        request,
        AreaLossList(
            from_at=from_at,
            to_at=to_at,
            communes=[AreaLossView.model_validate(area) for area in report.communes],
            units=[AreaLossView.model_validate(area) for area in report.units],
            masters=[MasterLossView.model_validate(master) for master in report.masters],
        ),
    )


@router.get(
    "/stations/{station}/loss",
    summary="One station's loss",
    response_model=LossView,
    responses=responses(404) | NOT_MODIFIED,
)
def station_loss(
    request: Request,
    station: NamePath,
    context: ContextParameter,
    from_at: FromQuery,
    to_at: ToQuery,
) -> Response:
    """One station of the ranking; a transfer that nobody recorded shows in the whole list only."""
    report = _report(context, from_at, to_at, station=station)
    return _answer(request, loss_view(report.stations[0], report))


def loss_view(loss: StationLoss, report: LossReport) -> LossView:
    """A station as it is answered."""
    balance, previous = loss.balance, loss.previous
    return LossView(
        station=loss.station.station,
        name=loss.station.name,
        commune=loss.station.commune,
        unit=loss.station.unit,
        from_at=balance.from_at,
        to_at=balance.to_at,
        received_wh=balance.received_wh,
        sold_wh=balance.customers_wh,
        loss_wh=balance.loss_wh,
        loss_percent=balance.loss_percent,
        technical_wh=loss.technical.energy_wh,
        technical_note=loss.technical.note,
        unexplained_wh=loss.unexplained_wh,
        unexplained_percent=loss.unexplained_percent,
        points=balance.points,
        points_complete=balance.points_complete,
        complete=balance.complete,
        error_max_wh=balance.error_max_wh,
        lacking=list(balance.lacking),
        standing=loss.standing,
        band=loss.band,
        previous_loss_wh=None if previous is None else previous.loss_wh,
        previous_loss_percent=None if previous is None else previous.loss_percent,
        sudden=loss.is_sudden,
        notes=[
            NoteView(
                point=note.point,
                meter=note.meter,
                obis=note.register,
                at=note.at,
                doubt=note.doubt,
                off_s=note.off_s,
                error_max_wh=note.error_max_wh,
            )
            for note in balance.notes
        ],
        causes=_causes(report.causes.get(loss.station.station, ())),
    )


def _causes(found: Sequence[Cause]) -> list[CauseView]:
    return [
        CauseView(
            kind=cause.kind,
            likely=cause.likely,
            points=cause.points,
            stations=cause.stations,
            energy_wh=cause.energy_wh,
            title=CAUSES[cause.kind].en,
            title_vi=CAUSES[cause.kind].vi,
        )
        for cause in found
    ]


def _report(
    context: Context,
    from_at: datetime,
    to_at: datetime,
    *,
    station: str | None = None,
    order: Order = Order.ENERGY,
) -> LossReport:
    check_range(from_at, to_at)
    return losses.district_losses(
        context.ledger,
        losses.range_period(from_at, to_at, context.zone),
        context.loss_settings,
        station=station,
        order=order,
    )


def _answer(request: Request, view: View) -> Response:
    """The view as JSON under the hash of its bytes; 304 to who holds it."""
    body = view.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_held(request, tag):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
