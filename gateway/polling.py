"""Slots to scans: waits for what is due, has it read, and has it kept before anything else.

Owns which slots are scanned, which are listed as gaps and which meters are asked again. It must
not know how meters are read (`gateway.scan`), how batches look (`gateway.batches`) or how they are
delivered.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic

import structlog

from contract.messages import Event, GapReason, ScanKind
from gateway.batches import MeterMissing, Origin, event_drafts, gap_drafts, scan_drafts
from gateway.clock import PLAUSIBLE_CHECK_S, PLAUSIBLE_YEAR
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import Draft, Late, SlotDone
from gateway.ports import Clock
from gateway.pulse import Pulse
from gateway.scan import Scanner
from gateway.schedule import Schedule, Slot, slot_gaps

# A scan may begin this late, if the regular interval is not shorter: a gateway that restarts
# within it loses nothing. Later, the slot is a gap and the next one is waited for.
START_GRACE_MAX = timedelta(minutes=5)
# Time may go back this much (NTP steps) before slots already done are no longer believed.
CLOCK_BACK_MAX = timedelta(hours=1)
# Gaps are listed for at most this long back: a longer stop is a new station.
GAP_REACH = timedelta(days=400)
OWED_MAX = 600_000  # a slot a minute for that long
COMMIT_RETRY_S = 1.0
COMMIT_TRIES_MAX = 30  # about half a minute; then the slot is listed as lost
# A step of polling is one call of the outbox, behind those of the uplink, on a card that may be
# busy with its own affairs; a scan may besides take until the next slot. Longer, and it hangs.
STEP_S_MAX = 900.0

_INSTANT = timedelta(milliseconds=1)

log = structlog.get_logger("gateway.polling")


class Poller:
    """Polls one station for ever. `kept` is called after each commit to the outbox.

    There is one wait at a time and nothing runs beside it: under a replay clock, which moves only
    by being waited on, the same inputs give the same reads.
    """

    def __init__(
        self,
        station: str,
        schedule: Schedule,
        scanner: Scanner,
        outbox: OutboxThread,
        clock: Clock,
        *,
        kept: Callable[[], None],
    ) -> None:
        self._station = station
        self._schedule = schedule
        self._scanner = scanner
        self._outbox = outbox
        self._clock = clock
        self._kept = kept
        self._grace = min(schedule.interval, START_GRACE_MAX)
        self._last_at: datetime | None = None
        self._owed: list[tuple[Slot, GapReason]] = []
        self._retries: dict[datetime, SlotDone] = {}
        self._retry_at: dict[datetime, datetime] = {}
        self._seen: tuple[datetime, float] | None = None
        self.pulse = Pulse("polling", STEP_S_MAX)

    async def run(self) -> None:
        """Scan until cancelled."""
        # Nothing tells that the system's clock was set: it has to be looked at.
        while self._clock.now().year < PLAUSIBLE_YEAR:  # noqa: ASYNC110 as said
            await asyncio.sleep(PLAUSIBLE_CHECK_S)
        self.pulse.beat()
        await self._resume()
        while True:
            self.pulse.beat()
            await self._turn()

    # -- what is due

    async def _resume(self) -> None:
        now = self._clock.now()
        self._last_at = await self._outbox.last_slot()
        if self._last_at is None:
            recent = self._schedule.between(now - self._grace, now)
            self._last_at = recent[-1].at - _INSTANT if recent else now
        self._want({mark.slot_at: mark for mark in await self._outbox.retries()}, now)
        await self._report_incident()

    async def _turn(self) -> None:
        assert self._last_at is not None
        now = self._clock.now()
        if self._last_at > now + CLOCK_BACK_MAX:
            await self._go_back(now)
        due = self._schedule.between(max(self._last_at, now - GAP_REACH), now)
        fresh = due.pop() if due and now - due[-1].at < self._grace else None
        self._miss(due, now)
        self._seen = (now, monotonic())
        if fresh is not None:
            await self._scan(fresh)
        elif due:
            everyone = tuple(self._scanner.serials)
            await self._commit([], due[-1], everyone)
        else:
            await self._idle(now)

    def _miss(self, slots: Sequence[Slot], now: datetime) -> None:
        """Note slots that went by, and why."""
        if not slots:
            return
        if self._seen is None:
            reason = GapReason.GATEWAY_DOWN
        else:
            seen_at, seen_s = self._seen
            busy = timedelta(seconds=monotonic() - seen_s)
            jumped = now - seen_at > busy + self._grace
            reason = GapReason.CLOCK_JUMP if jumped else GapReason.OVERRUN
        log.warning(
            "slots were missed",
            count=len(slots),
            first=slots[0].at.isoformat(),
            last=slots[-1].at.isoformat(),
            reason=reason.value,
        )
        self._owed = [*self._owed, *((slot, reason) for slot in slots)][-OWED_MAX:]

    async def _idle(self, now: datetime) -> None:
        """Nothing is due: ask again for what is wanted, or wait."""
        assert self._last_at is not None
        following = self._schedule.next_after(max(now, self._last_at))
        for slot_at, mark in list(self._retries.items()):
            if mark.until_at is None or mark.until_at <= now:
                del self._retries[slot_at]
                log.warning(
                    "indices were not had within their window",
                    slot=slot_at.isoformat(),
                    meters=list(mark.retry),
                )
        wanted = {slot_at: self._retry_at[slot_at] for slot_at in self._retries}
        soonest = min(wanted, key=lambda slot_at: (wanted[slot_at], slot_at), default=None)
        if soonest is not None and wanted[soonest] <= now:
            await self._read_late(self._retries[soonest], following.at)
            return
        until = min([following.at, *wanted.values()])
        self.pulse.rest()
        await self._clock.sleep_until(until)

    async def _go_back(self, now: datetime) -> None:
        """The clock was put back by more than a step: go on from the time it shows now."""
        detail = f"back from {self._last_at:%Y-%m-%dT%H:%M:%SZ} to {now:%Y-%m-%dT%H:%M:%SZ}"
        self._last_at = now
        self._retries.clear()
        await self._report("clock_jump", detail, SlotDone(now))

    # -- scans

    async def _scan(self, slot: Slot) -> None:
        deadline = self._schedule.next_after(slot.at).at
        index = slot.kind is ScanKind.INDEX
        self.pulse.beat(max(0.0, (deadline - self._clock.now()).total_seconds()))
        results = await self._scanner.scan(index=index, deadline=deadline)
        missing = tuple(item.serial for item in results if isinstance(item, MeterMissing))
        await self._commit(scan_drafts(self._origin(), slot, results), slot, missing)

    async def _read_late(self, mark: SlotDone, deadline: datetime) -> None:
        slot = Slot(mark.slot_at, ScanKind.INDEX)
        self.pulse.beat(max(0.0, (deadline - self._clock.now()).total_seconds()))
        rows = await self._scanner.read_late(mark.retry, deadline)
        now = self._clock.now()
        self._retry_at[slot.at] = now + self._schedule.index_retry
        if not rows:
            return
        had = {row.serial for row in rows}
        drafts = scan_drafts(self._origin(), slot, rows)
        if await self._keep(drafts, (), Late(slot.at, tuple(row.serial for row in rows))):
            left = tuple(serial for serial in mark.retry if serial not in had)
            if left:
                self._retries[slot.at] = SlotDone(slot.at, left, mark.until_at)
            else:
                del self._retries[slot.at]

    # -- keeping

    async def _commit(self, drafts: list[Draft], slot: Slot, missing: tuple[str, ...]) -> None:
        """Keep a slot's batches, the gaps owed and the marks of them all, in one transaction."""
        gaps = gap_drafts(self._origin(), slot_gaps(self._owed, self._scanner.serials))
        everyone = tuple(self._scanner.serials)
        marks = [m for lost, _ in self._owed if (m := self._mark(lost, everyone)).retry]
        marks.append(self._mark(slot, missing))
        if await self._keep([*gaps, *drafts], marks):
            self._owed.clear()
            self._want({mark.slot_at: mark for mark in marks if mark.retry}, self._clock.now())
        elif drafts:
            self._owed.append((slot, GapReason.OVERFLOW))
        self._last_at = slot.at
        await self._report_incident()

    def _mark(self, slot: Slot, missing: tuple[str, ...]) -> SlotDone:
        until_at = slot.at + self._schedule.index_window
        if slot.kind is not ScanKind.INDEX or not missing or until_at <= self._clock.now():
            return SlotDone(slot.at)
        return SlotDone(slot.at, missing, until_at)

    def _want(self, marks: dict[datetime, SlotDone], now: datetime) -> None:
        """Ask again for the meters of `marks` whose window is open: those of long ago at once."""
        for slot_at, mark in marks.items():
            if mark.until_at is not None and mark.until_at > now:
                self._retries[slot_at] = mark
                self._retry_at[slot_at] = max(now, slot_at + self._schedule.index_retry)

    async def _keep(
        self, drafts: Sequence[Draft], marks: Sequence[SlotDone], late: Late | None = None
    ) -> bool:
        """Commit, again and again for a while if it must be; whether it was kept."""
        for attempt in range(COMMIT_TRIES_MAX):
            self.pulse.beat()
            try:
                await self._outbox.append(drafts, at=self._clock.now(), done=marks, late=late)
            except OutboxUnavailable as error:
                if attempt == 0:
                    log.error("the outbox takes nothing", error=str(error))  # noqa: TRY400 no trace
                await asyncio.sleep(COMMIT_RETRY_S)
            else:
                self._kept()
                return True
        log.error("batches could not be kept", batches=len(drafts))
        return False

    async def _report_incident(self) -> None:
        if (incident := await self._outbox.take_incident()) is not None:
            await self._report("outbox_replaced", incident)

    async def _report(self, type_: str, detail: str, *marks: SlotDone) -> None:
        log.warning("event", type=type_, detail=detail)
        event = Event(at=self._clock.now(), type=type_, detail=detail[:1000])
        await self._keep(event_drafts(self._origin(), [event]), marks)

    def _origin(self) -> Origin:
        return Origin(self._station, self._clock.state())
