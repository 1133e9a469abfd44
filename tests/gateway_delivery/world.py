"""One station in a world whose clock tests rule: its lives, and what came of them."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from contract.messages import Batch, Event, Scan, SlotGap, decode_batch
from gateway.health_book import HealthBook
from gateway.keeping import Keeper
from gateway.outbox_thread import OutboxThread
from gateway.polling import Poller
from gateway.scan import Scanner
from gateway.schedule import Schedule
from gateway.undated import Undated
from tests.gateway_delivery.building import MIB, open_outbox
from tests.gateway_delivery.fakes import FakeLine, SteppedClock, meters

MIDNIGHT = datetime(2026, 1, 1, 17, tzinfo=UTC)  # 00:00 in Hanoi
SCHEDULE = Schedule(ZoneInfo("Asia/Ho_Chi_Minh"), 30, (0,), index_window_min=180, index_retry_s=60)
ENERGY = "1-0:1.8.0"


def after(minutes: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minutes)


class World:
    """One station whose outbox lives in `folder`; each `run` is one life of the gateway."""

    def __init__(self, folder: Path, start: datetime, end: datetime) -> None:
        self.folder = folder
        self.clock = SteppedClock(start, end)
        self.line = FakeLine(self.clock, meters(4))
        self.lines = [self.line]
        self.schedule = SCHEDULE
        self.lives = 0
        self.probing = True
        self.boot = "boot-1"
        self.hold = True
        self.kept = 0
        self.before: Callable[[OutboxThread], Awaitable[None]] | None = None

    async def run(self, end: datetime | None = None) -> list[Batch]:
        """Poll until the clock's end; every batch in the outbox, in order."""
        self.lives += 1
        self.clock.end = end or self.clock.end
        self.clock.finished.clear()
        outbox = OutboxThread(open_outbox(self.folder, self.lives, 64 * MIB))
        if self.before is not None:
            await self.before(outbox)
        health = HealthBook(self.lines, self.clock, random.Random(7), probing=self.probing)
        self.scanner = Scanner(self.lines, self.clock, heads={"m001"}, health=health)
        keeper = Keeper("T1", outbox, self.clock, health, kept=self._count)
        undated = Undated(self.scanner, keeper, self.clock, boot=self.boot, hold=self.hold)
        poller = Poller(self.schedule, self.scanner, self.clock, keeper, undated)
        try:
            async with asyncio.timeout(50), asyncio.TaskGroup() as group:
                task = group.create_task(poller.run())
                finished = group.create_task(self.clock.finished.wait())
                await asyncio.wait({task, finished}, return_when=asyncio.FIRST_COMPLETED)
                task.cancel()
                finished.cancel()
            far = datetime.max.replace(tzinfo=UTC)
            rows = await outbox.pending(100_000, live_since=far, except_for=frozenset())
            return [decode_batch(row.payload) for row in rows]
        finally:
            outbox.close()

    def _count(self) -> None:
        self.kept += 1


def scans(batches: list[Batch]) -> list[Scan]:
    return [batch.scan for batch in batches if batch.scan is not None]


def gaps(batches: list[Batch]) -> list[SlotGap]:
    return [gap for batch in batches for gap in batch.gaps or []]


def index_of(scan: Scan, serial: str) -> object:
    """The energy of one meter in one scan, with its offset and quality."""
    for table in scan.tables:
        for read in table.reads:
            if read[0] == serial:
                return read[2][table.registers.index(ENERGY)], read[1], read[3]
    return None


def events(batches: list[Batch]) -> list[Event]:
    return [event for batch in batches for event in batch.events or []]
