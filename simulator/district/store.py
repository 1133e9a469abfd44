"""Energies of all stations, solved side by side and kept in files that are read as needed.

Two months of 10,000 points are some hundred megabytes: they are mapped, not held.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from simulator.district.energy import StationEnergy, make_calendar, solve_station
from simulator.district.plan import District, PlannedStation
from simulator.grid import load_grid, load_year

_ARRAYS = (
    "import_mwh", "export_mwh", "rates_mwh", "reactive_mvarh",
    "voltage_dv", "technical_mwh", "stolen_mwh",
)  # fmt: skip
_COLUMNS = ("solar_columns", "rated_columns")


def solve_district(
    district: District,
    start_at: datetime,
    zone: ZoneInfo,
    folder: Path,
    *,
    slot_quarters: int,
    processes: int = 2,
) -> Iterator[str]:
    """Solve every station into `folder`; yields each one's name when it is there.

    Raises SimulatorError.
    """
    rated = frozenset(point.point for point in district.points.values() if point.has_rates)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(
                _solve, station, start_at, (district.quarters, zone, district.seed),
                folder, slot_quarters, rated,
            )
            for station in district.stations
        ]  # fmt: skip
        for job in as_completed(jobs):
            yield job.result()


def load_energy(folder: Path, station: str) -> StationEnergy:
    """What `solve_district` put there of one station, mapped from its files."""
    arrays = {name: np.load(folder / f"{station}.{name}.npy", mmap_mode="r") for name in _ARRAYS}
    columns = {name: np.load(folder / f"{station}.{name}.npy") for name in _COLUMNS}
    return StationEnergy(**arrays, **{name: tuple(map(int, row)) for name, row in columns.items()})


def _solve(
    station: PlannedStation,
    start_at: datetime,
    span: tuple[int, ZoneInfo, int],
    folder: Path,
    slot_quarters: int,
    rated: frozenset[str],
) -> str:
    energy = solve_station(
        station,
        load_grid(station.grid),
        _year(),
        make_calendar(start_at, *span),
        slot_quarters=slot_quarters,
        rated_points=rated,
    )
    for name in _ARRAYS:
        np.save(folder / f"{station.station}.{name}.npy", getattr(energy, name))
    for name in _COLUMNS:
        columns = np.array(getattr(energy, name), dtype=np.int64)
        np.save(folder / f"{station.station}.{name}.npy", columns)
    return station.station


_year = cache(load_year)
