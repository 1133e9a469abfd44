"""Reads after their slot: indices that were missed, and meters that come back.

Owns who is asked again between slots and when. It must not know how slots fall due or how meters
are read.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from contract.messages import ScanKind
from gateway.batches import MeterRow, scan_drafts
from gateway.health_book import HealthBook
from gateway.keeping import Keeper
from gateway.outbox_values import Late, SlotDone
from gateway.ports import Clock
from gateway.scan import LATE_MARGIN, Scanner
from gateway.schedule import Schedule, Slot, off_grid

# Shortly before an index can be had no more, everyone who lacks it is asked, resting or not.
FINAL_BEFORE = timedelta(seconds=30)

log = structlog.get_logger("gateway.polling")


class LateReads:
    """What is still wanted of the slots that are done."""

    def __init__(self, schedule: Schedule, scanner: Scanner, keeper: Keeper, clock: Clock) -> None:
        self._schedule = schedule
        self._scanner = scanner
        self._health: HealthBook = scanner.health
        self._keeper = keeper
        self._clock = clock
        self._wanted: dict[datetime, SlotDone] = {}
        self._retry_at: dict[datetime, datetime] = {}
        self._missed: set[str] = set()

    def want(self, marks: Mapping[datetime, SlotDone], now: datetime) -> None:
        """Ask again for the meters of `marks` whose window is open: those of long ago at once."""
        for slot_at, mark in marks.items():
            if mark.retry and mark.until_at is not None and mark.until_at > now:
                self._wanted[slot_at] = mark
                self._retry_at[slot_at] = max(now, slot_at + self._schedule.index_retry)

    def missed(self, serials: Sequence[str]) -> None:
        """These were missing in the slot just done: what they say when they are back is kept."""
        self._missed = set(serials)

    def clear(self) -> None:
        """Nothing is wanted any more."""
        self._wanted.clear()
        self._retry_at.clear()

    def next_at(self, now: datetime, slot_at: datetime) -> datetime | None:
        """When there is something to read before the slot that comes next; None: nothing."""
        times = [self._retry_at[at] for at in self._wanted]
        due_s = self._health.next_due_s() if self._health.probing else None
        if due_s is not None:
            # Rounded up: what is waited for must have come when the wait is over.
            left_ms = math.ceil(1000 * (due_s - self._clock.monotonic_s())) + 1
            probe_at = now + timedelta(milliseconds=max(0, left_ms))
            if probe_at + LATE_MARGIN < slot_at:
                times.append(probe_at)
        return min(times, default=None)

    async def read(self, deadline: datetime) -> None:
        """Read what is due, until a little before `deadline`."""
        now = self._clock.now()
        due = [(self._retry_at[at], at) for at in self._wanted if self._retry_at[at] <= now]
        if due:
            await self._retry(self._wanted[min(due)[1]], now, deadline)
        else:
            await self._probe(deadline)
        # A change of a meter's state is told even where nothing was read.
        await self._keeper.keep()

    async def _retry(self, mark: SlotDone, now: datetime, deadline: datetime) -> None:
        is_final = now >= self._final_at(mark)
        asked = [
            serial
            for serial in mark.retry
            if is_final or not self._health.probing or not self._health.is_resting(serial)
        ]
        rows = await self._scanner.read_late(asked, deadline)
        assert mark.until_at is not None
        again_at = self._clock.now() + self._schedule.index_retry
        if again_at >= self._final_at(mark):
            again_at = mark.until_at if is_final else self._final_at(mark)
        self._retry_at[mark.slot_at] = again_at
        await self._keep_index(mark, rows)

    async def _probe(self, deadline: datetime) -> None:
        rows = await self._scanner.read_late(self._health.due(), deadline)
        for mark in sorted(self._wanted.values(), key=lambda mark: mark.slot_at, reverse=True):
            mine = [row for row in rows if row.serial in mark.retry]
            rows = [row for row in rows if row.serial not in mark.retry]
            await self._keep_index(mark, mine)
        returned = [row for row in rows if row.serial in self._missed]
        if returned:
            slot_at = off_grid(self._schedule, min(row.arrived_at for row in returned))
            slot = Slot(slot_at, ScanKind.ON_DEMAND)
            await self._keeper.keep(scan_drafts(self._keeper.origin(), slot, returned))
        self._missed -= {row.serial for row in returned}

    async def _keep_index(self, mark: SlotDone, rows: Sequence[MeterRow]) -> None:
        if not rows:
            return
        had = tuple(row.serial for row in rows)
        slot = Slot(mark.slot_at, ScanKind.INDEX)
        drafts = scan_drafts(self._keeper.origin(), slot, rows)
        if await self._keeper.keep(drafts, (), Late(slot.at, had)):
            left = tuple(serial for serial in mark.retry if serial not in had)
            self._missed.difference_update(had)
            if left:
                self._wanted[slot.at] = SlotDone(slot.at, left, mark.until_at)
            else:
                del self._wanted[slot.at], self._retry_at[slot.at]

    def expire(self, now: datetime) -> None:
        """Give up what can be had no more."""
        for slot_at, mark in list(self._wanted.items()):
            if mark.until_at is None or mark.until_at <= now:
                del self._wanted[slot_at], self._retry_at[slot_at]
                log.warning(
                    "indices were not had within their window",
                    slot=slot_at.isoformat(),
                    meters=list(mark.retry),
                )

    def _final_at(self, mark: SlotDone) -> datetime:
        assert mark.until_at is not None
        return mark.until_at - FINAL_BEFORE
