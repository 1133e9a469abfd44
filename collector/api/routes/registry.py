"""Stations, points and meters: what the registry knows of them.

Reads only; the registry is changed by importing its files.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Security

from collector.api.auth import needs
from collector.api.models import (
    InstallationView,
    MeterList,
    MeterView,
    PointList,
    PointView,
    StationList,
    StationView,
)
from collector.api.paging import PAGE_LIMIT_DEFAULT, AfterQuery, LimitQuery
from collector.ledger.registry_pages import StationRow
from collector.operations import registry, registry_pages
from collector.operations.keys import Scope
from collector.operations.registry_pages import MeterPlaces, PointAt, Turn
from collector.registry.values import Role
from collector.web.context import ContextParameter
from collector.web.parameters import Instant, NamePath, NameQuery
from collector.web.problems import responses

router = APIRouter(tags=["registry"], dependencies=[Security(needs(Scope.READ))])


def _station(view: registry.StationView | StationRow) -> StationView:
    return StationView(
        station=view.station.station,
        name=view.station.name,
        commune=view.station.commune,
        capacity_kva=view.station.capacity_kva,
        heads=view.heads,
        points=view.points,
    )


def _point(view: PointAt) -> PointView:
    return PointView(
        point=view.point.point,
        station=view.point.station,
        role=view.point.role.value,
        name=view.point.name,
        meter=view.place.meter if view.place else None,
        installed_at=view.place.installed_at if view.place else None,
        multiplier=view.ratio,
    )


def _meter(view: MeterPlaces) -> MeterView:
    return MeterView(
        meter=view.meter.meter,
        model=view.meter.model,
        resolution_wh=view.meter.resolution_wh,
        roll_over_wh=view.meter.roll_over_wh,
        installations=[InstallationView.model_validate(row) for row in view.places],
    )


@router.get("/stations", summary="List stations")
def stations(
    context: ContextParameter, limit: LimitQuery = PAGE_LIMIT_DEFAULT, after: AfterQuery = None
) -> StationList:
    """All stations of the registry, by code."""
    page = registry_pages.station_page(context.ledger, Turn(after, limit))
    return StationList(stations=[_station(view) for view in page.rows], next=page.next)


@router.get("/stations/{station}", summary="One station", responses=responses(404))
def station(station: NamePath, context: ContextParameter) -> StationView:
    """A station with its counts of points."""
    return _station(registry.station(context.ledger, station))


@router.get("/points", summary="List points", responses=responses(404))
def points(
    context: ContextParameter,
    station: NameQuery = None,
    role: Role | None = None,
    at: Annotated[Instant | None, Query(description="the meters of this instant; now")] = None,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: AfterQuery = None,
) -> PointList:
    """Points by code, of one station or of all, with the meter that is there at an instant."""
    at = at or context.now()
    page = registry_pages.point_page(context.ledger, Turn(after, limit), at, station, role)
    return PointList(at=at, points=[_point(view) for view in page.rows], next=page.next)


@router.get("/meters", summary="List meters", responses=responses(404))
def meters(
    context: ContextParameter,
    station: NameQuery = None,
    limit: LimitQuery = PAGE_LIMIT_DEFAULT,
    after: AfterQuery = None,
) -> MeterList:
    """Meters by serial, all or those ever installed at a station, with where they were."""
    page = registry_pages.meter_page(context.ledger, Turn(after, limit), station)
    return MeterList(meters=[_meter(view) for view in page.rows], next=page.next)
