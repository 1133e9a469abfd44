"""How well reads are collected: what lacks an index, what nobody knows, what became of each slot.

It joins registry, reads and delivery; it must not know who asks.
"""

from dataclasses import dataclass
from datetime import date, datetime

from collector.civil import day_start
from collector.errors import NotFound
from collector.ledger import Ledger
from collector.ledger.accounting import SlotCounts
from collector.operations.indices import BILLING_WINDOW
from collector.operations.registry import unknown_station
from collector.operations.snapshots import check_period
from collector.registry.asking import station_at
from collector.registry.values import Transfer
from contract.registers import IMPORT_ACTIVE


@dataclass(frozen=True, slots=True)
class MeterWithoutIndex:
    """A meter that is installed and has no index for the instant asked for.

    `last_read_at` is when any index of it was read last; None: never.
    """

    meter: str
    point: str
    station: str
    last_read_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnassignedMeter:
    """A serial that sends reads and was never installed anywhere, as far as is known."""

    meter: str
    first_read_at: datetime
    last_read_at: datetime


@dataclass(frozen=True, slots=True)
class LastIndex:
    """The newest active energy index of a point's present meter; None where it has none."""

    point: str
    meter: str
    value_wh: int | None
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class Accounting:
    """What was due of a station's or a gateway's meters and what became of it."""

    name: str
    gateways: tuple[str, ...]
    from_at: datetime
    to_at: datetime
    counts: SlotCounts


def meters_without_index(
    ledger: Ledger, *, day: date, zone: str, station: str | None = None
) -> list[MeterWithoutIndex]:
    """Meters installed at the first instant of a civil day that lack the index of that instant.

    By station, point, meter. Raises NotFound for the station.
    """
    slot = day_start(day, zone)
    with ledger.read() as uow:
        if station is not None and not uow.registry.stations(station):
            raise unknown_station(station)
        points = {point.point: point for point in uow.registry.points(station)}
        moves: dict[str, list[Transfer]] = {}
        for move in uow.registry.transfers(station):
            moves.setdefault(move.point, []).append(move)
        then = {name: station_at(row, moves.get(name, ()), slot) for name, row in points.items()}
        have = uow.coverage.meters_with_slot(slot, BILLING_WINDOW)
        lacking = [
            row
            for row in uow.registry.installations(station)
            if row.installed_at <= slot
            and (row.removed_at is None or slot < row.removed_at)
            and row.meter not in have
            and station in {None, then[row.point]}
        ]
        last = uow.coverage.last_read({row.meter for row in lacking})
    found = [
        MeterWithoutIndex(row.meter, row.point, then[row.point], last.get(row.meter))
        for row in lacking
    ]
    return sorted(found, key=lambda row: (row.station, row.point, row.meter))


def unassigned_meters(ledger: Ledger) -> list[UnassignedMeter]:
    """Serials with index reads that the registry has never installed, by serial."""
    with ledger.read() as uow:
        return [UnassignedMeter(*row) for row in uow.coverage.unassigned()]


def last_indices(ledger: Ledger, *, station: str, at: datetime) -> list[LastIndex]:
    """Per point of a station with a meter at `at`, that meter's newest index up to `at`.

    Raises NotFound for the station.
    """
    with ledger.read() as uow:
        if not uow.registry.stations(station):
            raise unknown_station(station)
        installed = [
            row
            for row in uow.registry.installations(station)
            if row.installed_at <= at and (row.removed_at is None or at < row.removed_at)
        ]
        last = uow.coverage.last_values({row.meter for row in installed}, IMPORT_ACTIVE, at)
    return [
        LastIndex(row.point, row.meter, *last.get(row.meter, (None, None))) for row in installed
    ]


def accounting(
    ledger: Ledger, *, gateway_or_station: str, from_at: datetime, to_at: datetime
) -> Accounting:
    """What was due in [from_at, to_at) and what became of it.

    Raises NotFound for a name that no gateway has or reports for, InvalidRequest for the period.
    """
    check_period(from_at, to_at)
    with ledger.read() as uow:
        names = uow.accounting.gateways_of(gateway_or_station)
        if not names:
            raise NotFound(
                f"no gateway is named {gateway_or_station!r} or reports for such a station",
                hint="see `GET /v1/gateways` for those that have reported",
            )
        counts = uow.accounting.count(names, from_at, to_at)
    return Accounting(gateway_or_station, tuple(names), from_at, to_at, counts)
