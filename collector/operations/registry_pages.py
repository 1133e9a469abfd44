"""The registry for programs that read all of it: page after page, each a short transaction.

What a page shows is that of `collector.operations.registry`; it must not load more than a page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Generic, TypeVar

from collector.ledger import Ledger
from collector.ledger.registry_pages import Place, StationRow
from collector.operations.registry import unknown_station
from collector.registry.values import Meter, Point, Role

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in their order; `next` is the `after` of the next page, None at the end."""

    rows: Sequence[Row]
    next: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Which page is wanted: at most `limit` rows after the name `after`."""

    after: str | None
    limit: int


@dataclass(frozen=True, slots=True)
class PointAt:
    """A point with the meter that is there at the instant asked for, if any."""

    point: Point
    place: Place | None
    ratio: Fraction


@dataclass(frozen=True, slots=True)
class MeterPlaces:
    """A meter with where it was ever installed, oldest first."""

    meter: Meter
    places: tuple[Place, ...]


def station_page(ledger: Ledger, turn: Turn) -> Page[StationRow]:
    """Stations by code, with their counts of points."""
    with ledger.read() as uow:
        found = uow.registry_pages.stations(turn.after, turn.limit + 1)
    return _page(found, turn, lambda row: row.station.station)


def point_page(
    ledger: Ledger, turn: Turn, at: datetime, station: str | None, role: Role | None
) -> Page[PointAt]:
    """Points by code, with what is installed there at `at`. Raises NotFound for the station."""
    with ledger.read() as uow:
        pages = uow.registry_pages
        if station is not None and not pages.has_station(station):
            raise unknown_station(station)
        found = pages.points(turn.after, turn.limit + 1, station, role)
        names = [point.point for point in found]
        places = {place.point: place for place in pages.places_at(names, at)}
        ratios = pages.ratios_at(names, at)
    one = Fraction(1)
    rows = [PointAt(row, places.get(row.point), ratios.get(row.point, one)) for row in found]
    return _page(rows, turn, lambda row: row.point.point)


def meter_page(ledger: Ledger, turn: Turn, station: str | None) -> Page[MeterPlaces]:
    """Meters by serial: all, or those ever installed at the station, with where they were there."""
    with ledger.read() as uow:
        pages = uow.registry_pages
        if station is not None and not pages.has_station(station):
            raise unknown_station(station)
        found = pages.meters(turn.after, turn.limit + 1, station)
        places: dict[str, list[Place]] = {meter.meter: [] for meter in found}
        for place in pages.places_of(list(places), station):
            places[place.meter].append(place)
    rows = [MeterPlaces(meter, tuple(places[meter.meter])) for meter in found]
    return _page(rows, turn, lambda row: row.meter.meter)


def knows_meter(ledger: Ledger, meter: str) -> bool:
    """Whether the registry has this meter."""
    with ledger.read() as uow:
        return uow.registry_pages.has_meter(meter)


def _page(found: Sequence[Row], turn: Turn, name: Callable[[Row], str]) -> Page[Row]:
    # One more than was asked for was fetched: it says whether there is a next page.
    rows = found[: turn.limit]
    return Page(rows, name(rows[-1]) if len(found) > turn.limit else None)
