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

    `column` is its energy's, `percent` the part that a sub-meter counts of it. `initial_mwh` is
    its import index at `from_slot` by what is metered there.
    """

    stay: Stay
    point: PlannedPoint
    shape: Shape
    column: int
    percent: int
    from_slot: int
    to_slot: int
    initial_mwh: int

    @property
    def serial(self) -> str:
        """The meter's serial."""
        return self.stay.serial


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
        found = {
            IMPORT: self._index(one, self.energy.import_mwh[:, one.column], slots, one.initial_mwh)
        }
        if EXPORT in one.shape.registers:
            place = self._place(self.energy.solar_columns, one)
            found[EXPORT] = self._index(one, self.energy.export_mwh[:, place], slots, 0)
        if RATE_REGISTERS[0] in one.shape.registers:
            place = self.energy.rated_columns.index(one.column)
            for rate in range(RATES):
                # What it showed when it came is shared out: half, a fifth, the rest.
                half, fifth = one.initial_mwh // 2, one.initial_mwh // 5
                initial = (half, fifth, one.initial_mwh - half - fifth)[rate]
                column = self.energy.rates_mwh[rate][:, place]
                found[RATE_REGISTERS[rate]] = self._index(one, column, slots, initial)
        if REACTIVE in one.shape.registers:
            place = self._place(self.energy.rated_columns, one)
            found[REACTIVE] = self._index(one, self.energy.reactive_mvarh[:, place], slots, 0)
        return found

    def voltages(self, one: Seen, slots: slice) -> list[float]:
        """Volts between phase and neutral, to a tenth."""
        return [value / 10 for value in self.energy.voltage_dv[slots, one.column].tolist()]

    def _place(self, columns: tuple[int, ...], one: Seen) -> int:
        return -1 if one.point.place is Place.HEAD else columns.index(one.column)

    def _index(self, one: Seen, column: _Longs, slots: slice | int, initial_mwh: int) -> _Longs:
        since = np.asarray(column[slots], dtype=np.int64) - int(column[one.from_slot])
        counted = since * one.percent // (100 * one.point.multiplier)
        step = one.stay.resolution_wh * MWH_PER_WH
        return (initial_mwh + counted) // step * one.stay.resolution_wh


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
    initial_mwh = stay.initial_wh * MWH_PER_WH
    for begin, end, station, column in parts:
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
            from_slot=first // slot_quarters,
            to_slot=last // slot_quarters,
            initial_mwh=initial_mwh,
        )
        yield station, one
        energy = energies[station].import_mwh
        end_slot = min(one.to_slot, len(energy) - 1)
        passed = int(energy[end_slot, column]) - int(energy[one.from_slot, column])
        initial_mwh += passed * one.percent // (100 * point.multiplier)


def _shape(district: District, point: PlannedPoint) -> Shape:
    if point.place is Place.HEAD:
        return HEAD
    if point.has_rates:
        return RATED
    return SOLAR if point.point in district.solar else PLAIN
