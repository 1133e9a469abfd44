"""What a district's points really take: power flows of each station, summed to energies.

Exact integers of thousandths of a watt-hour at the instants of a cadence, before any meter rounds
them. It must not know serials, indices or files.
"""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from simulator.district.lines import rural
from simulator.district.plan import QUARTERS_PER_DAY, Column, PlannedStation
from simulator.errors import SimulatorError
from simulator.grid import LOAD_UNITS, Grid, Load, LoadYear
from simulator.powerflow import Flow, Network
from simulator.truth import load_rows

# Quarter hours given to one power flow, so that memory stays small.
SOLVED_AT_ONCE = 16 * QUARTERS_PER_DAY
SAMPLE_EVERY = 37  # quarter hours: all times of day come up

# Where the network cannot carry its load over such lines, better ones are tried.
RELAXED = 0.9
LOSS_PERCENT_LEAST = 1.0

RATES = 3
MWH_PER_W_QUARTER = 250  # a quarter hour at one watt
_POWER_FACTOR_TAN = 0.33

_Floats = npt.NDArray[np.float64]
_Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Of each quarter hour: the load year's row, the rate (0, 1, 2) and the sun (0 to 1)."""

    rows: npt.NDArray[np.intp]
    rates: npt.NDArray[np.int8]
    sun: _Floats


@dataclass(frozen=True, slots=True)
class StationEnergy:
    """A station's energies since the start, at each slot: slots × columns, the head last.

    `export_mwh` is of the columns in `solar_columns` and the head; `rates_mwh` (first by rate) is
    of those in `rated_columns`, `reactive_mvarh` of these and the head; `voltage_dv` is in tenths
    of a volt. `technical_mwh` is what the lines lost, `stolen_mwh` what passed no meter.
    """

    import_mwh: _Longs
    solar_columns: tuple[int, ...]
    export_mwh: _Longs
    rated_columns: tuple[int, ...]
    rates_mwh: _Longs
    reactive_mvarh: _Longs
    voltage_dv: npt.NDArray[np.int16]
    technical_mwh: _Longs
    stolen_mwh: _Longs


def make_calendar(start_at: datetime, quarters: int, zone: ZoneInfo, seed: int) -> Calendar:
    """The calendar of `quarters` quarter hours from a local midnight on.

    Rates are the hours of Circular 16/2014/TT-BCT, article 5, which meters are programmed with.
    The sun is a bow from 6 to 18 o'clock, dimmed by each day's own clouds.
    """
    rows = load_rows(start_at, quarters, zone)
    first_weekday = start_at.astimezone(zone).weekday()
    quarter = np.arange(quarters)
    hour = (quarter % QUARTERS_PER_DAY) / 4
    sunday = (first_weekday + quarter // QUARTERS_PER_DAY) % 7 == 6
    rates = np.zeros(quarters, dtype=np.int8)
    peak = ((hour >= 9.5) & (hour < 11.5)) | ((hour >= 17) & (hour < 20))
    rates[peak & ~sunday] = 1
    rates[(hour < 4) | (hour >= 22)] = 2
    clouds = np.random.default_rng(seed).uniform(0.3, 1.0, quarters // QUARTERS_PER_DAY + 1)
    bow = np.clip(np.sin((hour + 0.125 - 6) / 12 * np.pi), 0, None)
    return Calendar(rows, rates, bow * clouds[quarter // QUARTERS_PER_DAY])


def solve_station(
    station: PlannedStation,
    grid: Grid,
    year: LoadYear,
    calendar: Calendar,
    *,
    slot_quarters: int,
    rated_points: frozenset[str],
) -> StationEnergy:
    """The energies of one station at each `slot_quarters` quarter hours, both ends included.

    Raises SimulatorError where its network cannot carry the load.
    """
    columns = station.columns
    loads = tuple(
        Load(f"column {number}", column.node, year.profiles[0], _peak_kw(column), 0.0)
        for number, column in enumerate(columns)
    )
    planned = msgspec.structs.replace(grid, loads=loads)
    load_w, load_var = _loads(columns, year, calendar)
    flows = _flows(station, planned, year, load_w, load_var)
    head_w, head_var, voltage_v = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (one.head_w, one.head_var, np.column_stack([one.load_v, one.head_v]))
                for one in flows
            ),
            strict=True,
        )
    )
    true = _whole(np.column_stack([load_w, head_w]) * MWH_PER_W_QUARTER)
    counted = _counted(true, columns)
    rated = tuple(number for number, column in enumerate(columns) if column.point in rated_points)
    solar = tuple(number for number, column in enumerate(columns) if column.solar_kw)
    of_rates = np.stack(
        [np.where((calendar.rates == rate)[:, None], counted[:, rated], 0) for rate in range(RATES)]
    )
    reactive = _whole(np.column_stack([load_var[:, rated], head_var]) * MWH_PER_W_QUARTER)
    lost = true[:, -1] - true[:, :-1].sum(axis=1)
    stolen = true[:, :-1].sum(axis=1) - counted[:, :-1].sum(axis=1)
    return StationEnergy(
        import_mwh=_at_slots(np.maximum(counted, 0), slot_quarters),
        solar_columns=solar,
        export_mwh=_at_slots(np.maximum(-counted[:, [*solar, -1]], 0), slot_quarters),
        rated_columns=rated,
        rates_mwh=np.stack([_at_slots(one, slot_quarters) for one in of_rates]),
        reactive_mvarh=_at_slots(np.maximum(reactive, 0), slot_quarters),
        voltage_dv=np.rint(np.vstack([voltage_v, voltage_v[-1:]])[::slot_quarters] * 10).astype(
            np.int16
        ),
        technical_mwh=_at_slots(lost[:, None], slot_quarters)[:, 0],
        stolen_mwh=_at_slots(stolen[:, None], slot_quarters)[:, 0],
    )


def _flows(
    station: PlannedStation, grid: Grid, year: LoadYear, load_w: _Floats, load_var: _Floats
) -> list[Flow]:
    """The flows of all quarter hours, on lines that lose what the station is to lose."""
    sample = slice(0, None, SAMPLE_EVERY)

    def loss_percent(tried: Grid) -> float:
        flow = Network(tried, year).flow(load_w[sample], load_var[sample])
        return float(100 * (1 - load_w[sample].sum() / flow.head_w.sum()))

    wanted_percent = station.loss_percent
    while True:
        network = Network(rural(grid, wanted_percent, loss_percent), year)
        parts = [slice(at, at + SOLVED_AT_ONCE) for at in range(0, len(load_w), SOLVED_AT_ONCE)]
        try:
            return [network.flow(load_w[part], load_var[part]) for part in parts]
        except SimulatorError:
            # A peak that the sample did not have.
            wanted_percent *= RELAXED
            if wanted_percent < LOSS_PERCENT_LEAST:
                raise


def _peak_kw(column: Column) -> float:
    return max(0.1, sum(one.p_kw for one in column.rated) + column.steady_kw)


def _loads(
    columns: tuple[Column, ...], year: LoadYear, calendar: Calendar
) -> tuple[_Floats, _Floats]:
    """Active and reactive power, W and var, quarter hours × columns."""
    places = {profile: place for place, profile in enumerate(year.profiles)}
    count = len(calendar.rows)
    load_w, load_var = np.zeros((count, len(columns))), np.zeros((count, len(columns)))
    for number, column in enumerate(columns):
        for one in column.rated:
            place = places[one.profile]
            load_w[:, number] += one.p_kw * 1000 * year.active[calendar.rows, place] / LOAD_UNITS
            load_var[:, number] += (
                one.q_kvar * 1000 * year.reactive[calendar.rows, place] / LOAD_UNITS
            )
        load_w[:, number] += column.steady_kw * 1000 - column.solar_kw * 1000 * calendar.sun
        load_var[:, number] += column.steady_kw * 1000 * _POWER_FACTOR_TAN
        outside = np.arange(count) < column.from_quarter
        if column.to_quarter is not None:
            outside |= np.arange(count) >= column.to_quarter
        load_w[outside, number] = load_var[outside, number] = 0
    return load_w, load_var


def _counted(true: _Longs, columns: tuple[Column, ...]) -> _Longs:
    """What meters count of it: nothing of a hook, a part of what passes a bypassed meter."""
    counted = true.copy()
    for number, column in enumerate(columns):
        if column.point is None:
            counted[:, number] = 0
        elif column.theft is not None:
            part = counted[column.theft.from_quarter :, number]
            counted[column.theft.from_quarter :, number] = (
                part * column.theft.counted_percent // 100
            )
    return counted


def _at_slots(quarters: _Longs, slot_quarters: int) -> _Longs:
    """Sums since the start, at every slot; the first is zero."""
    total = np.zeros((len(quarters) + 1, *quarters.shape[1:]), dtype=np.int64)
    np.cumsum(quarters, axis=0, out=total[1:])
    return total[::slot_quarters].copy()


def _whole(energies: _Floats) -> _Longs:
    return np.rint(energies).astype(np.int64)
