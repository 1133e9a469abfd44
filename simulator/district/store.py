"""Energies of all stations, solved side by side and kept in files that are read as needed.

Two months of 10,000 points are some hundred megabytes: they are mapped, not held.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from datetime import datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from simulator.district.energy import StationEnergy, make_calendar, solve_station
from simulator.district.plan import District, PlannedStation
from simulator.grid import load_grid, load_year


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

    def mapped(name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(folder / f"{station}.{name}.npy", mmap_mode="r")
        return array

    return StationEnergy(
        import_mwh=mapped("import_mwh"),
        solar_columns=tuple(mapped("solar_columns").tolist()),
        export_mwh=mapped("export_mwh"),
        rated_columns=tuple(mapped("rated_columns").tolist()),
        rates_mwh=mapped("rates_mwh"),
        reactive_mvarh=mapped("reactive_mvarh"),
        voltage_dv=mapped("voltage_dv"),
        technical_mwh=mapped("technical_mwh"),
        stolen_mwh=mapped("stolen_mwh"),
    )


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
    for one in fields(energy):
        np.save(folder / f"{station.station}.{one.name}.npy", np.asarray(getattr(energy, one.name)))
    return station.station


_year = cache(load_year)
