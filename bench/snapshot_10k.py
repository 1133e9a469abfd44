"""Figure `snapshot_10k`: a billing snapshot of 10,000 meters, their ledger holding a year."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.operations.registry import import_registry
from collector.operations.snapshots import create_snapshot
from contract.messages import MeterRead, ScanKind

STATIONS = 100
METERS = 100
DAYS = 365
DAYS_AT_ONCE = 30  # the ledger fills several times faster than day by day
REGISTERS = ("1-0:1.8.0",)
EPOCH = f"{7:032x}"
ACTOR = "bench"
RUNS = 5

# Midnight in Vietnam.
FIRST = datetime(2025, 2, 28, 17, 0, tzinfo=UTC)
NOW = FIRST + timedelta(days=DAYS + 1)
PERIODS = ((200, 230), (100, 131), (30, 60), (330, 360), (1, 31))


def measure() -> Figure:
    """The figure: the median over different months."""
    seconds, lines, fill_s = run_isolated(_snapshots)
    return Figure(
        "snapshot_10k",
        statistics.median(seconds),
        "s",
        requirement=Requirement("value", "<=", 1.0),
        detail={
            "runs": [round(value, 3) for value in seconds],
            "lines": lines,
            "index_reads": STATIONS * METERS * DAYS * len(REGISTERS),
            "registers": len(REGISTERS),
            "ledger": "SQLite",
            "filling_s": round(fill_s, 1),
        },
    )


def _snapshots() -> tuple[list[float], int, float]:
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        ledger.migrate()
        started = time.perf_counter()
        write_registry(folder)
        report = import_registry(ledger, folder, ACTOR, NOW)
        assert report.written, report.errors[:3]
        for first_day in range(0, DAYS, DAYS_AT_ONCE):
            days = range(first_day, min(first_day + DAYS_AT_ONCE, DAYS))
            with ledger.begin() as uow:
                uow.index_reads.insert_many((b for day in days for b in index_day(day)), NOW)
        fill_s = time.perf_counter() - started
        seconds = []
        lines = 0
        for first, last in PERIODS[:RUNS]:
            from_at, to_at = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
            started = time.perf_counter()
            head = create_snapshot(
                ledger, station=None, from_at=from_at, to_at=to_at, actor=ACTOR, now=NOW
            )
            seconds.append(time.perf_counter() - started)
            lines = head.line_count
            assert lines == STATIONS * METERS * len(REGISTERS)
        ledger.close()
        return seconds, lines, fill_s


def index_day(day: int) -> Iterator[IndexBlock]:
    """The index reads of one day, of all stations."""
    slot = FIRST + timedelta(days=day)
    for station in range(STATIONS):
        reads: list[MeterRead] = [
            (serial_of(station, meter), 40 * meter, [1_000_000 * meter + 9_000 * day], 0)
            for meter in range(METERS)
        ]
        yield IndexBlock(
            station_of(station), EPOCH, day + 1, ScanKind.INDEX, slot, REGISTERS, reads
        )


def write_registry(folder: Path) -> None:
    """One head and 99 households a station, all meters there for the whole year."""
    stations = ["station,name,commune,capacity_kva"]
    points = ["point,station,role,name"]
    meters = ["meter,model,resolution_wh,roll_over_wh"]
    installed = ["point,meter,installed_at,removed_at,install_index_wh,removal_index_wh"]
    since = (FIRST - timedelta(days=1)).isoformat()
    for station in range(STATIONS):
        stations.append(f"{station_of(station)},{station_of(station)},,400")
        for meter in range(METERS):
            serial = serial_of(station, meter)
            role = "household" if meter else "head"
            points.append(f"P{serial},{station_of(station)},{role},{serial}")
            meters.append(f"{serial},eastron-sdm120,1,")
            installed.append(f"P{serial},{serial},{since},,,")
    for name, rows in (
        ("stations", stations),
        ("points", points),
        ("meters", meters),
        ("installations", installed),
    ):
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def station_of(number: int) -> str:
    """A station's code."""
    return f"PA25SL-T{number:03}"


def serial_of(station: int, meter: int) -> str:
    """A meter's serial number."""
    return f"2026{station:03}{meter:03}"
