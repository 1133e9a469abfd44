"""A ledger with an approved billing run of 10,000 points, for the figures of exports.

It fills; it must not know which file is measured.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from bench.snapshot_10k import ACTOR, EPOCH, FIRST, METERS, NOW, STATIONS, write_registry
from collector.billing.gates import Cause
from collector.civil import DEFAULT_ZONE
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    make_version,
    open_run,
)
from collector.operations.exports import By
from collector.operations.registry import import_registry
from collector.operations.vee_files import load_limits
from contract.messages import MeterRead, ScanKind
from contract.registers import IMPORT_ACTIVE

POINTS = STATIONS * METERS
DAYS = 31
BY = By(ACTOR, NOW, DEFAULT_ZONE)

# Of each station's hundred meters so many are three-rate, each with four registers.
THREE_RATE = 10
RATES = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")
LINES = POINTS + STATIONS * THREE_RATE * len(RATES)


@contextmanager
def run_of_10k() -> Iterator[tuple[Ledger, str, Path]]:
    """The ledger, the name of its run of a month, and a folder that goes with them."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        folder = Path(name)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        try:
            ledger.migrate()
            write_registry(folder)
            report = import_registry(ledger, folder, ACTOR, NOW)
            assert report.written, report.errors[:3]
            for day in (0, DAYS):
                with ledger.begin() as uow:
                    uow.index_reads.insert_many(_day(day), NOW)
            run, line_count = _approved(ledger)
            assert line_count == LINES
            yield ledger, run, folder
        finally:
            ledger.close()


def _approved(ledger: Ledger) -> tuple[str, int]:
    clerk, manager = (Acting(name, NOW, "a month is over") for name in ("clerk", "manager"))
    billed_by = BilledBy(load_limits(None), DEFAULT_ZONE)
    head = open_run(
        ledger,
        scope=Scope(),
        from_at=FIRST,
        to_at=FIRST + timedelta(days=DAYS),
        zone=DEFAULT_ZONE,
        by_whom=clerk,
    )
    version = make_version(ledger, head.run, billed_by, clerk).version
    accept_exceptions(ledger, head.run, Cause.NOT_VALIDATED, clerk)
    accept_exceptions(ledger, head.run, Cause.FIRST, clerk)
    approve_run(ledger, head.run, version.sha256, billed_by, manager)
    return head.run, version.line_count


def _day(day: int) -> Iterator[IndexBlock]:
    at = FIRST + timedelta(days=day)
    for station in range(STATIONS):
        for part, registers in enumerate(((IMPORT_ACTIVE,), (IMPORT_ACTIVE, *RATES))):
            meters = range(THREE_RATE) if part else range(THREE_RATE, METERS)
            reads = [_read(station, meter, day, len(registers)) for meter in meters]
            station_code = f"PA25SL-T{station:03}"
            seq = 2 * day + part + 1
            yield IndexBlock(station_code, EPOCH, seq, ScanKind.INDEX, at, registers, reads)


def _read(station: int, meter: int, day: int, registers: int) -> MeterRead:
    values: list[int | float | None] = [
        1_000_000 * meter + 9_000 * day * (1 + number % 3) for number in range(registers)
    ]
    return f"2026{station:03}{meter:03}", 40 * meter, values, 0
