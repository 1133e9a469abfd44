"""72 hours without uplink, and the time after: 100 meters, half-hour slots, a clock that is ruled.

What arrives late arrives once and in full, and what is new does not wait behind it.
"""

import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml

from collector.readings.duckdb_store import DuckDbStore
from contract.messages import decode_batch
from tests.endurance.cable import Cable
from tests.endurance.station import NAME, START, Station, check_scan, standing
from tests.gateway_delivery.collecting import Collecting, until
from tests.services import Mosquitto, ServerProcess, free_port

OUTAGE = timedelta(hours=72)
BEFORE = timedelta(hours=2)
WINDOW = 20  # the default, which this rests on
# As slow as a collector can be for the drain to be ten times real time and new slots besides:
# 144 slots in 14.4 of their intervals, 11 each and the new one.
SLOW_PER_SLOT = 12
DRAIN_SLOTS_MAX = OUTAGE // timedelta(minutes=30) // 10
MEMORY_KB_MAX = 48_000_000 // 1024
# From the beginning of the outage: SQLite's cache, and the batches that are under way.
MEMORY_GROWTH_KB_MAX = 2_000
OUTBOX_BYTES_MAX = 4_000_000  # 144 slots of 100 meters, and what was before
RECONNECT_S_MAX = 45.0  # the uplink tries again after 30 s at the latest
DEADLINE_S = 60.0


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


class SlowCollector:
    """Takes what arrives one by one, in its order, up to so many in each slot's interval."""

    def __init__(self, station: Station, collecting: Collecting) -> None:
        self._station = station
        self._collecting = collecting
        self.taken = 0
        self.late_by_slots: dict[datetime, int] = {}

    @property
    def kept(self) -> int:
        """How many batches there are: one for each slot so far."""
        return len(self._station.slots(self._station.clock.now))

    async def take(self, count: int) -> None:
        """Take up to `count`, waiting for what is still to come."""
        for _ in range(min(count, self.kept - self.taken)):
            await until(self._has_next, f"batch {self.taken + 1} of {self.kept}")
            key = self._collecting.arrived[self.taken]
            self.taken += 1
            scan = decode_batch(self._collecting.payloads[key]).scan
            assert scan is not None
            late = (self._station.clock.now - scan.slot) // self._station.interval
            self.late_by_slots[scan.slot] = late
            self._collecting.take(key)

    def _has_next(self) -> bool:
        return len(self._collecting.arrived) > self.taken


@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_after_72_hours_all_arrives_once_and_nothing_new_waits_for_it(
    tmp_path: Path, broker: Mosquitto
) -> None:
    # Nothing is sent again by the real time that the test happens to take: so it is sent once.
    async with cabled(tmp_path, broker, resend_after_s=600) as (station, cable):
        with Collecting(broker.port, NAME, acks=False) as collecting:
            collector = SlowCollector(station, collecting)
            station.start()
            await station.run_to(START + BEFORE, DEADLINE_S)
            await collector.take(collector.kept)
            await until(lambda: station.waiting() == 0, "everything is known to be delivered")
            begun_kb = station.rss_kb()

            await cable.cut()
            mended_at = START + BEFORE + OUTAGE
            await station.run_to(mended_at, DEADLINE_S)
            assert collector.taken == len(collecting.arrived) == 5
            assert station.rss_kb() - begun_kb <= MEMORY_GROWTH_KB_MAX
            assert outbox_bytes(station) <= OUTBOX_BYTES_MAX

            await cable.mend()
            await until(lambda: len(collecting.arrived) > 5, "the connection", RECONNECT_S_MAX)
            drained_at = mended_at
            while collector.taken < collector.kept:
                drained_at += station.interval
                await station.run_to(drained_at, DEADLINE_S)
                await collector.take(SLOW_PER_SLOT)
            await station.run_to(drained_at + station.interval, DEADLINE_S)
            await collector.take(1)
            peak_kb = station.rss_kb("VmHWM")
            await station.stop()

    assert (drained_at - mended_at) // station.interval <= DRAIN_SLOTS_MAX
    late = {slot: n for slot, n in collector.late_by_slots.items() if slot > mended_at}
    assert max(late.values()) <= 1, late
    assert peak_kb <= MEMORY_KB_MAX
    assert peak_kb - begun_kb <= MEMORY_GROWTH_KB_MAX
    batches = [decode_batch(collecting.payloads[key]) for key in collecting.arrived]
    scans = [batch.scan for batch in batches if batch.scan is not None]
    assert sorted(scan.slot for scan in scans) == station.slots(drained_at + station.interval)
    for scan in scans:
        check_scan(station, scan)


@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_after_72_hours_a_real_collector_has_every_read_once(
    tmp_path: Path, broker: Mosquitto
) -> None:
    folder = tmp_path / "collector"
    folder.mkdir()
    ledger = folder / "ledger.sqlite"
    collector = collector_in(folder, broker.port)
    collector.start()
    try:
        async with cabled(tmp_path, broker, resend_after_s=5) as (station, cable):
            station.start()
            await station.run_to(START + BEFORE, DEADLINE_S)
            await until(partial(has_complete, ledger, 5), "the first slots", DEADLINE_S)
            await cable.cut()
            await station.run_to(START + BEFORE + OUTAGE, DEADLINE_S)
            assert has_complete(ledger, 5)
            await cable.mend()
            slots = station.slots(START + BEFORE + OUTAGE + BEFORE)
            await station.run_to(slots[-1], DEADLINE_S)
            await until(partial(has_complete, ledger, len(slots)), "all slots", DEADLINE_S)
            await until(lambda: station.waiting() == 0, "the gateway knows", DEADLINE_S)
            await station.stop()
        collector.stop()
    finally:
        collector.close()
    assert rows(ledger, "SELECT count(*) FROM receipts") == [(len(slots),)]
    assert rows(ledger, "SELECT count(*) FROM quarantine") == [(0,)]
    store = DuckDbStore(folder / "reads.duckdb")
    assert store.count(START, slots[-1] + station.interval) == len(slots) * len(station.serials)
    store.close()
    indices = "SELECT meter, at, value FROM index_reads WHERE register = '1-0:1.8.0'"
    found = rows(ledger, indices)
    days = {slot for slot in slots if (slot - START) % timedelta(days=1) == timedelta(0)}
    assert len(found) == len(station.serials) * len(days) == 400
    assert len({(meter, at) for meter, at, _ in found}) == len(found)


@asynccontextmanager
async def cabled(
    folder: Path, broker: Mosquitto, *, resend_after_s: float
) -> AsyncIterator[tuple[Station, Cable]]:
    """A station of 100 meters, and the way to its broker."""
    more: dict[str, object] = {"uplink": {"window": WINDOW, "resend_after_s": resend_after_s}}
    async with Cable(broker.port) as cable:
        station = Station(folder, cable.port, lines=4, meters_per_line=25, more=more)
        async with standing(station):
            yield station, cable


def outbox_bytes(station: Station) -> int:
    """The file and its log: what it takes of the disk besides the ballast."""
    log = station.outbox.with_name(f"{station.outbox.name}-wal")
    return station.outbox.stat().st_size + log.stat().st_size


def collector_in(folder: Path, port: int) -> ServerProcess:
    """A real collector with embedded stores, migrated, not yet started."""
    config = folder / "collector.yaml"
    content = {
        "ledger": f"sqlite:///{folder / 'ledger.sqlite'}",
        "readings": {"store": "duckdb", "path": str(folder / "reads.duckdb")},
        "broker": {"host": "127.0.0.1", "port": port},
        "api": {"port": free_port()},
    }
    config.write_text(yaml.safe_dump(content))

    def process(word: str) -> ServerProcess:
        command = [sys.executable, "-m", "songlo", "collector", word, "--config", str(config)]
        return ServerProcess(word, command, folder / f"{word}.log", lambda: True)

    migrate = process("migrate")
    migrate.start()
    migrate.wait(DEADLINE_S)
    migrate.close()
    return process("run")


def rows(ledger: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def has_complete(ledger: Path, count: int) -> bool:
    """Whether the ledger has receipts of so many batches, all of them complete."""
    query = "SELECT count(*), count(completed_at) FROM receipts"
    return rows(ledger, query) == [(count, count)]
