"""A small utility on real stores: one station with a head and three customers, ten days read.

The figures are simple on purpose: each customer uses 100, 200, 300 Wh per half hour, the head
receives 660, so that 60 Wh of 660 are lost in every interval.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from collector.api.app import create_app
from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations.keys import add_key
from collector.operations.registry import import_registry
from collector.readings.duckdb_store import DuckDbStore
from collector.web.context import Context
from contract.messages import (
    Batch,
    Clock,
    EpochStatus,
    LineStatus,
    MeterRead,
    MissingReason,
    OutboxStatus,
    Scan,
    ScanKind,
    Status,
    Table,
    encode,
)
from contract.topics import BatchTopic, StatusTopic, build
from tests.ledger.template import fill_file

ZONE = "Asia/Ho_Chi_Minh"
STATION = "PA25SL-T012"
GATEWAY = "PA25SL-T012"
EPOCH = "0" * 31 + "1"

# Local midnight of 1 January 2026; "now" is noon of the 11th.
FIRST_AT = datetime(2025, 12, 31, 17, tzinfo=UTC)
NOW = FIRST_AT + timedelta(days=10, hours=12)
STEP = timedelta(minutes=30)
DAYS = 10

HEAD, *CUSTOMERS = ("2026000001", "2026000101", "2026000102", "2026000103")
USE_WH = dict(zip((HEAD, *CUSTOMERS), (660, 100, 200, 300), strict=True))
START_WH = 1_000_000

IMPORT, POWER, VOLTAGE = "1-0:1.8.0", "1-0:16.7.0", "1-0:32.7.0"


@dataclass(slots=True)
class World:
    """The application with what stands behind it, and a key of each scope."""

    app: FastAPI
    ledger: Ledger
    store: DuckDbStore
    keys: dict[str, str]
    now: datetime = NOW

    def headers(self, scope: str = "read") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[scope]}"}


@contextmanager
def world(folder: Path, *, stations: bool = True, reads: bool = True) -> Iterator[World]:
    """A world in `folder`; without stations, or without reads, for the empty states."""
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    fill_file(folder / "ledger.db")
    store = DuckDbStore(folder / "readings.duckdb")
    made = World(FastAPI(), ledger, store, {})
    made.app = create_app(Context(ledger, store, ZONE, lambda: made.now, CollectorRegistry()))
    for scope in ("read", "snapshot", "admin"):
        made.keys[scope] = add_key(ledger, name=f"{scope}-key", scopes=[scope], now=FIRST_AT)
    if stations:
        fill_registry(made, folder / "registry")
    if reads:
        fill_reads(made)
    try:
        yield made
    finally:
        store.close()
        ledger.close()


def fill_registry(made: World, folder: Path) -> None:
    folder.mkdir()
    roles = ("head", "household", "household", "business")
    points = [f"{STATION}/{number}" for number in range(4)]
    (folder / "stations.csv").write_text(
        f"station,name,commune,capacity_kva\n{STATION},Trạm Chiềng Ngần 12,Chiềng Ngần,250\n"
    )
    (folder / "points.csv").write_text(
        "point,station,role,name\n"
        + "".join(
            f"{point},{STATION},{role},Điểm {point[-1]}\n"
            for point, role in zip(points, roles, strict=True)
        )
    )
    (folder / "meters.csv").write_text(
        "meter,model,resolution_wh,roll_over_wh\n"
        + "".join(f"{meter},eastron-sdm120,1,\n" for meter in USE_WH)
    )
    (folder / "installations.csv").write_text(
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        + "".join(
            f"{point},{meter},2025-12-01,,0,\n" for point, meter in zip(points, USE_WH, strict=True)
        )
    )
    report = import_registry(made.ledger, folder, "test", FIRST_AT)
    assert report.errors == (), report.errors


def fill_reads(made: World, days: int = DAYS) -> None:
    """Take half-hourly batches up to noon of the last day as intake does, and a status.

    The last customer's index of the last midnight is missing.
    """
    slots = [FIRST_AT + number * STEP for number in range(days * 48 + 25)]
    pipeline = Pipeline(made.ledger, made.store, lambda: made.now, Metrics())
    messages = [
        Message(build(BatchTopic(GATEWAY, EPOCH, number + 1)), encode(_batch(number, slot, days)))
        for number, slot in enumerate(slots)
    ]
    claim = pipeline.claim(messages)
    refused = pipeline.append(claim.pending)
    pipeline.complete(claim.pending, refused, claim.settled)
    assert len(claim.pending) == len(slots)
    assert not refused
    status = Status(
        v=1,
        online=True,
        station=STATION,
        count=1,
        sent_at=made.now,
        started_at=FIRST_AT,
        clock=Clock.SYNCED,
        version="0.1.0",
        epochs=[EpochStatus(EPOCH, len(slots) + 1, len(slots) + 1)],
        outbox=OutboxStatus(waiting=3, used_bytes=1_000_000, limit_bytes=1_000_000_000),
        lines=[LineStatus("rs485-1", "up", 4, 4)],
    )
    pipeline.take_statuses([Message(build(StatusTopic(GATEWAY)), encode(status))])


def _batch(number: int, slot: datetime, days: int) -> Batch:
    is_index = number % 48 == 0
    absent = CUSTOMERS[-1] if number == days * 48 else None
    reads: list[MeterRead] = [
        (meter, 250, [START_WH + number * use, use * 2.0, 230.5 + number % 3], 0)
        for meter, use in USE_WH.items()
        if meter != absent
    ]
    scan = Scan(
        kind=ScanKind.INDEX if is_index else ScanKind.INTERVAL,
        slot=slot,
        tables=[Table([IMPORT, POWER, VOLTAGE], reads)],
        missing=[(absent, MissingReason.TIMEOUT.value)] if absent else [],
    )
    return Batch(v=1, station=STATION, clock=Clock.SYNCED, scan=scan)
