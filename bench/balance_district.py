"""Figure `balance_district`: a month of losses of 100 stations with 100 points each, ranked.

Compared with the month before, so three midnights of 10,000 meters. In one station a point counts
too little in the second month; in half of them the scans come minutes late and are interpolated.
"""

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.snapshot_10k import write_registry
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.operations.losses import LossReport, Period, district_losses
from collector.operations.registry import import_registry
from contract.messages import MeterRead, ScanKind
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

STATIONS = 100
METERS = 100
DAYS = 30
EPOCH = f"{11:032x}"
FIRST = datetime(2025, 4, 30, 17, 0, tzinfo=UTC)
NOW = FIRST + timedelta(days=2 * DAYS + 2)
LATE_MS = 300_000
THIEF = 42  # the station


def measure() -> Figure:
    """The figure: one report of all stations."""
    seconds, used_s, report, fill_s = run_isolated(_losses)
    assert report.ranking[0].station.station == f"PA25SL-T{THIEF:03}", report.ranking[0]
    return Figure(
        "balance_district",
        seconds,
        "s",
        requirement=Requirement("value", "<=", 10.0),
        detail={
            "processor_s": round(used_s, 1),
            "stations": len(report.stations),
            "points": sum(loss.balance.points for loss in report.stations),
            "complete": sum(loss.balance.complete for loss in report.stations),
            "ledger": "SQLite",
            "filling_s": round(fill_s, 1),
        },
    )


def _losses() -> tuple[float, float, LossReport, float]:
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        ledger.migrate()
        started = time.perf_counter()
        write_registry(folder)
        report = import_registry(ledger, folder, "bench", NOW)
        assert report.written, report.errors[:3]
        for day in range(2 * DAYS + 1):
            with ledger.begin() as uow:
                uow.index_reads.insert_many(_day(day), NOW)
        fill_s = time.perf_counter() - started
        months = (FIRST, FIRST + timedelta(days=DAYS), FIRST + timedelta(days=2 * DAYS))
        started, used_s = time.perf_counter(), time.process_time()
        found = district_losses(ledger, Period(months[1], months[2], months[0]))
        seconds, used_s = time.perf_counter() - started, time.process_time() - used_s
        ledger.close()
        return seconds, used_s, found, fill_s


def _day(day: int) -> Iterator[IndexBlock]:
    slot = FIRST + timedelta(days=day)
    registers = (IMPORT_ACTIVE, EXPORT_ACTIVE)
    for station in range(STATIONS):
        reads: list[MeterRead] = []
        late_ms = LATE_MS if station % 2 else 0
        for meter in range(METERS):
            used_wh = day * (4_000 + 37 * meter)
            if meter == 0:
                used_wh = day * sum(4_200 + 38 * number for number in range(1, METERS))
            elif station == THIEF and meter == METERS - 1 and day > DAYS:
                used_wh -= (day - DAYS) * 5_000
            values: list[int | float | None] = [1_000_000 + used_wh, 0]
            reads.append((f"2026{station:03}{meter:03}", late_ms + 40 * meter, values, 0))
        name = f"PA25SL-T{station:03}"
        yield IndexBlock(name, EPOCH, day + 1, ScanKind.INDEX, slot, registers, reads)
