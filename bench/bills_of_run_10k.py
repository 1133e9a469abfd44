"""Figure `bills_of_run_10k`: from an exported run of 10,000 points to its stored bill previews.

A ledger of its own, each point with a contract, terms, prices and a place in the book: lines and
contracts are read, determinants made, rated, hashed and stored. Beside it the most memory that the
process held while it did so.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.snapshot_10k import ACTOR, METERS, STATIONS, serial_of, station_of, write_registry
from collector.billing.gates import Cause
from collector.civil import day_start
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    export_run,
    make_version,
    open_run,
)
from collector.operations.bills import make_bills
from collector.operations.registry import import_registry
from collector.operations.run_rating import RatedBy
from collector.operations.tariffs import load_tariffs
from collector.operations.vee_files import load_limits
from contract.messages import MeterRead, ScanKind

ZONE = "Asia/Ho_Chi_Minh"
RUNS = 5
FIRST_DAY = date(2025, 5, 20)
NOW = datetime.fromisoformat("2026-03-01T00:00:00+00:00")


def measure() -> Figure:
    """The figure: the median over periods that follow each other."""
    seconds, cpu_seconds, bills, before_mb, most_mb = run_isolated(_sets)
    return Figure(
        "bills_of_run_10k",
        statistics.median(seconds),
        "s",
        requirement=Requirement("value", "<=", 5.0),
        detail={
            "runs": [round(value, 3) for value in seconds],
            # Far below the runs where other programs had the processors.
            "cpu_s": round(statistics.median(cpu_seconds), 3),
            "bills": bills,
            "rss_before_mb": before_mb,
            "rss_most_mb": most_mb,
            "ledger": "SQLite",
        },
    )


def _sets() -> tuple[list[float], list[float], int, int, int]:
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        ledger.migrate()
        write_registry(folder)
        _write_contracts(folder)
        report = import_registry(ledger, folder, ACTOR, NOW, zone=ZONE)
        assert report.written, report.errors[:3]
        days = [_month_on(number) for number in range(RUNS + 1)]
        with ledger.begin() as uow:
            uow.index_reads.insert_many(
                (block for number, day in enumerate(days) for block in _index_day(number, day)), NOW
            )
        runs = [_export(ledger, first, last) for first, last in pairwise(days)]
        before = _rss_mb()
        seconds, cpu_seconds = [], []
        count = 0
        by = RatedBy(load_tariffs(), ZONE)
        for run in runs:
            started, cpu_started = time.perf_counter(), time.process_time()
            head = make_bills(ledger, run, by, Acting("clerk", NOW, "the run is exported")).head
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
            count = head.bill_count
            assert head.refused_count == 0
            assert count == STATIONS * (METERS - 1)
        ledger.close()
        return seconds, cpu_seconds, count, before, _rss_mb()


def _export(ledger: Ledger, first: date, last: date) -> str:
    by = BilledBy(load_limits(None), ZONE)
    clerk, manager = (Acting(name, NOW, "a period is over") for name in ("clerk", "manager"))
    head = open_run(
        ledger,
        scope=Scope(book="A"),
        from_at=day_start(first, ZONE),
        to_at=day_start(last, ZONE),
        zone=ZONE,
        by_whom=clerk,
    )
    version = make_version(ledger, head.run, by, clerk).version
    accept_exceptions(ledger, head.run, Cause.NOT_VALIDATED, clerk)
    accept_exceptions(ledger, head.run, Cause.FIRST, clerk)
    approve_run(ledger, head.run, version.sha256, by, manager)
    export_run(ledger, head.run, by, clerk)
    return head.run


def _month_on(number: int) -> date:
    month = FIRST_DAY.month + number
    return date(FIRST_DAY.year + (month - 1) // 12, (month - 1) % 12 + 1, FIRST_DAY.day)


def _index_day(number: int, day: date) -> Iterator[IndexBlock]:
    slot = day_start(day, ZONE)
    for station in range(STATIONS):
        reads: list[MeterRead] = [
            (serial_of(station, meter), 40 * meter, [1_000_000 * meter + 173_000 * number], 0)
            for meter in range(METERS)
        ]
        yield IndexBlock(
            station_of(station),
            f"{7:032x}",
            number + 1,
            ScanKind.INDEX,
            slot,
            ("1-0:1.8.0",),
            reads,
        )


def _write_contracts(folder: Path) -> None:
    since = (FIRST_DAY - timedelta(days=60)).isoformat()
    customers = ["customer,name"]
    contracts = ["contract,point,customer,from_at,to_at"]
    terms = ["contract,from_at,voltage_v,households"]
    prices = ["contract,from_at,register,position,percent,price_group"]
    members = ["point,from_at,book,position"]
    for station in range(STATIONS):
        for meter in range(1, METERS):
            serial = serial_of(station, meter)
            customers.append(f"K{serial},")
            contracts.append(f"H{serial},P{serial},K{serial},{since},")
            terms.append(f"H{serial},{since},220,{1 + meter % 3}")
            if meter % 40 == 0:
                prices.append(f"H{serial},{since},1-0:1.8.0,1,70,household")
                prices.append(f"H{serial},{since},1-0:1.8.0,2,30,business")
            else:
                group = "business" if meter % 20 == 0 else "household"
                prices.append(f"H{serial},{since},1-0:1.8.0,1,100,{group}")
            members.append(f"P{serial},{since},A,{station:03}{meter:03}")
    for name, rows in (
        ("customers", customers),
        ("contracts", contracts),
        ("terms", terms),
        ("allocations", prices),
        ("books", ["book,name", "A,A"]),
        ("reading_days", ["book,from_at,reading_days", f"A,{since},20"]),
        ("memberships", members),
    ):
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def _rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
