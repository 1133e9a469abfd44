"""Figure `vee_month_10k`: validation of a month of daily indices of 10,000 meters.

A thousandth of the indices is missing, some meters stand still, fall or jump; the ledger holds the
month before too, so that consumption has something to be compared with. One process, one core.
"""

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.snapshot_10k import write_registry
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.operations.registry import import_registry
from collector.operations.vee import VeeReport, VeeRun, run_vee
from collector.operations.vee_files import load_limits
from contract.messages import MeterRead, ScanKind

STATIONS = 100
METERS = 100
DAYS = 31
REGISTERS = ("1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")
EPOCH = f"{9:032x}"
ZONE = "Asia/Ho_Chi_Minh"

FIRST_DAY = date(2025, 5, 1)
FIRST = datetime(2025, 4, 30, 17, 0, tzinfo=UTC)
NOW = FIRST + timedelta(days=DAYS + 2)


def measure() -> Figure:
    """The figure: one run over the month, and one again that finds the same."""
    seconds, used_s, again_s, report, fill_s = run_isolated(_validate)
    return Figure(
        "vee_month_10k",
        seconds,
        "s",
        requirement=Requirement("value", "<=", 60.0),
        detail={
            "processor_s": round(used_s, 1),
            "again_s": round(again_s, 1),
            "meters": report.meters,
            "daily_indices": report.days_due * len(REGISTERS),
            "registers": len(REGISTERS),
            "missing": report.days_missing,
            "findings": dict(sorted(report.found.items())),
            "ledger": "SQLite",
            "filling_s": round(fill_s, 1),
        },
    )


def _validate() -> tuple[float, float, float, VeeReport, float]:
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        ledger.migrate()
        started = time.perf_counter()
        write_registry(folder)
        report = import_registry(ledger, folder, "bench", NOW)
        assert report.written, report.errors[:3]
        for day in range(-DAYS, DAYS + 1):
            with ledger.begin() as uow:
                uow.index_reads.insert_many(_day(day), NOW)
        fill_s = time.perf_counter() - started
        run = VeeRun(FIRST_DAY, FIRST_DAY + timedelta(days=DAYS - 1), ZONE, load_limits(None))
        started, used_s = time.perf_counter(), time.process_time()
        found = run_vee(ledger, run, actor="bench", now=NOW)
        seconds, used_s = time.perf_counter() - started, time.process_time() - used_s
        started = time.perf_counter()
        again = run_vee(ledger, run, actor="bench", now=NOW)
        again_s = time.perf_counter() - started
        assert (again.new, again.gone, again.reopened) == (0, 0, 0)
        ledger.close()
        return seconds, used_s, again_s, found, fill_s


def _day(day: int) -> Iterator[IndexBlock]:
    slot = FIRST + timedelta(days=day)
    for station in range(STATIONS):
        reads: list[MeterRead] = []
        for meter in range(METERS):
            number = METERS * station + meter
            if (number * 31 + day * 7) % 1000 == 0:
                continue
            values = _values(number, day)
            reads.append((f"2026{station:03}{meter:03}", 40 * meter, values, 0))
        name = f"GW{station:03}"
        yield IndexBlock(name, EPOCH, day + DAYS + 1, ScanKind.INDEX, slot, REGISTERS, reads)


def _values(number: int, day: int) -> list[int | float | None]:
    since = day + DAYS
    if number % 200 == 3:
        since = min(since, DAYS + 10)  # stands still from the tenth day on
    energy_wh = since * (4_000 + number % 5_000)
    if number % 150 == 7 and day > 0:
        energy_wh += day * 9_000  # much more than in the month before
    rates = [energy_wh // 2, energy_wh // 3, energy_wh - energy_wh // 2 - energy_wh // 3]
    total = energy_wh - 50_000 if number % 1000 == 9 and day == 20 else energy_wh
    return [1_000_000 + max(total, 0), *rates]
