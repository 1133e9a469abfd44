"""Figure `billing_run_10k`: a version of a billing run of 10,000 points that others go before."""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from bench.snapshot_10k import ACTOR, FIRST, METERS, NOW, STATIONS, index_day, write_registry
from collector.billing.gates import Cause
from collector.ledger import Ledger
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
from collector.operations.registry import import_registry
from collector.operations.vee_files import load_limits

ZONE = "Asia/Ho_Chi_Minh"
PERIODS = tuple((first, first + 30) for first in range(0, 330, 30))
LAST = 5


def measure() -> Figure:
    """The figure: the median of the last periods, with half a year or more exported before."""
    seconds = run_isolated(_runs)
    return Figure(
        "billing_run_10k",
        statistics.median(seconds[-LAST:]),
        "s",
        requirement=Requirement("value", "<=", 2.0),
        detail={
            "runs": [round(value, 3) for value in seconds],
            "points": STATIONS * METERS,
            "ledger": "SQLite",
        },
    )


def _runs() -> list[float]:
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        ledger.migrate()
        write_registry(folder)
        report = import_registry(ledger, folder, ACTOR, NOW)
        assert report.written, report.errors[:3]
        # The days around each billing day as well: a read of one may stand for another.
        ends = sorted({day + off for period in PERIODS for day in period for off in (-1, 0, 1)})
        with ledger.begin() as uow:
            uow.index_reads.insert_many((b for day in ends for b in index_day(day)), NOW)
        seconds = [_bill(ledger, *period) for period in PERIODS]
        ledger.close()
        return seconds


def _bill(ledger: Ledger, first: int, last: int) -> float:
    by = BilledBy(load_limits(None), ZONE)
    clerk, manager = (Acting(name, NOW, "a period is over") for name in ("clerk", "manager"))
    head = open_run(
        ledger,
        scope=Scope(),
        from_at=FIRST + timedelta(days=first),
        to_at=FIRST + timedelta(days=last),
        zone=ZONE,
        by_whom=clerk,
    )
    started = time.perf_counter()
    version = make_version(ledger, head.run, by, clerk).version
    seconds = time.perf_counter() - started
    assert version.line_count == STATIONS * METERS
    accept_exceptions(ledger, head.run, Cause.NOT_VALIDATED, clerk)
    accept_exceptions(ledger, head.run, Cause.FIRST, clerk)
    approve_run(ledger, head.run, version.sha256, by, manager)
    export_run(ledger, head.run, by, clerk)
    return seconds
