"""What a district's meters show: indices with resolution, roll-over, exchange and transfer.

It owns the way from energy to index; it must not know how indices travel nor what reads them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.district.energy import RATES, StationEnergy
from simulator.district.plan import District, Place, PlannedPoint, Stay

IMPORT = "1-0:1.8.0"
RATE_REGISTERS = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")
EXPORT = "1-0:2.8.0"
REACTIVE = "1-0:3.8.0"
VOLTAGE = "1-0:32.7.0"

MWH_PER_WH = 1000

_Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """Meters that have the same registers are read as one table."""

    registers: tuple[str, ...]


PLAIN = Shape((IMPORT, VOLTAGE))
SOLAR = Shape((IMPORT, EXPORT, VOLTAGE))
RATED = Shape((IMPORT, *RATE_REGISTERS, REACTIVE, VOLTAGE))
HEAD = Shape((IMPORT, EXPORT, REACTIVE, VOLTAGE))


@dataclass(frozen=True, slots=True)
class Seen:
    """A meter as one station's gateway sees it: from one slot up to, not including, another.

    `column` is its energy's, `percent` the part that a sub-meter counts of it, `multiplier` that of
    its current transformers. `initial_mwh` are its indices at `from_slot`, by register.
    """

    stay: Stay
    point: PlannedPoint
    shape: Shape
    column: int
    percent: int
    multiplier: int
    from_slot: int
    to_slot: int
    initial_mwh: Mapping[str, int]

    @property
    def serial(self) -> str:
        """The meter's serial."""
        return self.stay.serial

    def counted(self, energy_mwh: _Longs, column: _Longs) -> _Longs:
        """What it has counted of a column of energies since `from_slot`."""
        since = energy_mwh - int(column[self.from_slot])
        return since * self.percent // (100 * self.multiplier)


class StationMeters:
    """All meters that a station's gateway ever reads, and their indices."""

    def __init__(self, energy: StationEnergy, seen: tuple[Seen, ...]) -> None:
        self.energy = energy
        self.seen = seen

    def shown(self, one: Seen, slots: slice | int) -> Mapping[str, _Longs]:
        """The indices of one meter at these slots, in Wh or varh, as its display has them."""
        raw = self.unbounded(one, slots)
        return {register: values % one.stay.roll_over_wh for register, values in raw.items()}

    def unbounded(self, one: Seen, slots: slice | int) -> Mapping[str, _Longs]:
        """The same as if the meter had digits without end; its resolution counts."""
        step = one.stay.resolution_wh * MWH_PER_WH
        found = {}
        for register, column in _columns(self.energy, one).items():
            counted = one.counted(np.asarray(column[slots], dtype=np.int64), column)
            found[register] = (one.initial_mwh[register] + counted) // step * one.stay.resolution_wh
        return found

    def voltages(self, one: Seen, slots: slice) -> list[float]:
        """Volts between phase and neutral, to a tenth."""
        return [value / 10 for value in self.energy.voltage_dv[slots, one.column].tolist()]


def district_meters(
    district: District, energies: Mapping[str, StationEnergy], *, slot_quarters: int
) -> dict[str, StationMeters]:
    """By station, the meters that its gateway reads. `energies` are of all stations.

    A point that moves is seen by two gateways; its index goes on where it was.
    """
    stays: dict[str, list[Stay]] = {}
    for stay in district.stays:
        stays.setdefault(stay.point, []).append(stay)
    parts: dict[str, list[tuple[int, int, str, int]]] = {}
    for station in district.stations:
        for number, column in enumerate(station.columns):
            if column.point is not None:
                end = (
                    district.quarters + slot_quarters
                    if column.to_quarter is None
                    else column.to_quarter
                )
                parts.setdefault(column.point, []).append(
                    (column.from_quarter, end, station.station, number)
                )
        parts[station.head.point] = [(0, district.quarters + slot_quarters, station.station, -1)]
    found: dict[str, list[Seen]] = {station.station: [] for station in district.stations}
    for name, point in district.points.items():
        source = name if point.parent is None else point.parent
        for stay in stays[name]:
            for name_of, one in _seen(
                district, stay, point, sorted(parts[source]), energies, slot_quarters
            ):
                found[name_of].append(one)
    return {
        station: StationMeters(energies[station], tuple(seen)) for station, seen in found.items()
    }


def _seen(
    district: District,
    stay: Stay,
    point: PlannedPoint,
    parts: list[tuple[int, int, str, int]],
    energies: Mapping[str, StationEnergy],
    slot_quarters: int,
) -> Iterator[tuple[str, Seen]]:
    initial_mwh = _initial(stay)
    for (begin, end, station, column), multiplier in _recabled(point, parts):
        first = max(begin, stay.from_quarter)
        last = end if stay.to_quarter is None else min(end, stay.to_quarter)
        if first >= last:
            continue
        one = Seen(
            stay=stay,
            point=point,
            shape=_shape(district, point),
            column=column,
            percent=point.parent_percent or 100,
            multiplier=multiplier,
            from_slot=first // slot_quarters,
            to_slot=last // slot_quarters,
            initial_mwh=initial_mwh,
        )
        yield station, one
        columns = _columns(energies[station], one)
        initial_mwh = {
            register: index + _counted_to_the_end(one, columns[register])
            for register, index in initial_mwh.items()
            if register in columns
        }


def _counted_to_the_end(one: Seen, column: _Longs) -> int:
    end = np.asarray(column[min(one.to_slot, len(column) - 1)], dtype=np.int64)
    return int(one.counted(end, column))


def _initial(stay: Stay) -> dict[str, int]:
    """What the meter shows when it comes; its rates share it: half, a fifth, the rest."""
    whole = stay.initial_wh * MWH_PER_WH
    half, fifth = whole // 2, whole // 5
    rates = (half, fifth, whole - half - fifth)
    return {IMPORT: whole, EXPORT: 0, REACTIVE: 0, **dict(zip(RATE_REGISTERS, rates, strict=True))}


def _columns(energy: StationEnergy, one: Seen) -> dict[str, _Longs]:
    """The energies that the meter counts, by register."""
    head = one.point.place is Place.HEAD
    found = {IMPORT: energy.import_mwh[:, one.column]}
    if EXPORT in one.shape.registers:
        place = -1 if head else energy.solar_columns.index(one.column)
        found[EXPORT] = energy.export_mwh[:, place]
    if RATE_REGISTERS[0] in one.shape.registers:
        place = energy.rated_columns.index(one.column)
        for rate in range(RATES):
            found[RATE_REGISTERS[rate]] = energy.rates_mwh[rate][:, place]
    if REACTIVE in one.shape.registers:
        place = -1 if head else energy.rated_columns.index(one.column)
        found[REACTIVE] = energy.reactive_mvarh[:, place]
    return found


def _recabled(
    point: PlannedPoint, parts: list[tuple[int, int, str, int]]
) -> Iterator[tuple[tuple[int, int, str, int], int]]:
    """The parts with their multiplier, cut where it changes."""
    change = point.recabled_quarter
    for begin, end, station, column in parts:
        if change is None or point.next_multiplier is None or end <= change:
            yield (begin, end, station, column), point.multiplier
        elif begin >= change:
            yield (begin, end, station, column), point.next_multiplier
        else:
            yield (begin, change, station, column), point.multiplier
            yield (change, end, station, column), point.next_multiplier


def _shape(district: District, point: PlannedPoint) -> Shape:
    if point.place is Place.HEAD:
        return HEAD
    if point.has_rates:
        return RATED
    return SOLAR if point.point in district.solar else PLAIN
