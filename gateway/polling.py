"""Slots to scans: waits for what is due, has it read, and has it kept before anything else.

Owns which slots are scanned and which are listed as gaps, whatever the clock does. It must not know
how meters are read (`gateway.scan`), who is asked again (`gateway.late`), how batches look
(`gateway.batches`) or how they are delivered.

The wall clock may be put forward or back at any time. No slot is lost by it, none is scanned twice:
slots that were jumped over are gaps, a slot that comes a second time is not scanned under its name
again, and reads that belong to no slot after all are sent as a scan that no slot asked for.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from contract.messages import Clock as ClockState
from contract.messages import GapReason, ScanKind
from contract.quality import Quality
from gateway.anchor import Anchor, anchor
from gateway.batches import MeterMissing, MeterRow, gap_drafts, redated, scan_drafts
from gateway.clock import STEP_MIN_S
from gateway.health_book import Occurrence
from gateway.held import dated_drafts
from gateway.keeping import Keeper
from gateway.late import LateReads
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_values import Draft, SlotDone
from gateway.ports import Clock
from gateway.scan import Scanner
from gateway.schedule import Schedule, Slot, off_grid, slot_gaps
from gateway.undated import Undated

# A scan may begin this late, if the regular interval is not shorter: a gateway that restarts
# within it loses nothing. Later, the slot is a gap and the next one is waited for. As far the
# clock may be put back before slots already done are no longer believed.
GRACE_MAX = timedelta(minutes=5)
# Gaps are listed for at most this long back: a longer stop is a new station.
GAP_REACH = timedelta(days=400)
OWED_MAX = 600_000  # a slot a minute for that long

_INSTANT = timedelta(milliseconds=1)
_Result = MeterRow | MeterMissing

log = structlog.get_logger("gateway.polling")


class Poller:
    """Polls one station for ever.

    There is one wait at a time and nothing runs beside it: under a replay clock, which moves only
    by being waited on, the same inputs give the same reads.
    """

    def __init__(
        self,
        schedule: Schedule,
        scanner: Scanner,
        clock: Clock,
        keeper: Keeper,
        undated: Undated,
    ) -> None:
        self._schedule = schedule
        self._scanner = scanner
        self._outbox = keeper.outbox
        self._clock = clock
        self._keeper = keeper
        self._undated = undated
        self._late = LateReads(schedule, scanner, keeper, clock)
        self._grace = min(schedule.interval, GRACE_MAX)
        self._last_at: datetime | None = None
        self._owed: list[tuple[Slot, GapReason]] = []
        self.pulse = keeper.pulse
        self._seen: Anchor | None = None
        self._is_held = True  # scans may wait to be dated
        # What the clock has shown before it was put back: slots scanned then, and spans of time
        # of which every slot was scanned or listed.
        self._taken: set[datetime] = set()
        self._accounted: list[tuple[datetime, datetime]] = []

    async def run(self) -> None:
        """Scan until cancelled."""
        self.pulse.beat()
        await self._undated.wait(self._schedule.interval)
        await self._resume()
        while True:
            self.pulse.beat()
            await self._turn()

    # -- what is due

    async def _resume(self) -> None:
        now = self._clock.now()
        oldest = await self._undated.oldest()
        begin = None
        if oldest is not None:
            begin = self._slot_of(anchor(self._clock).instant(oldest[1].begun_s)).at - _INSTANT
        self._last_at = await self._keeper.ask(self._outbox.last_slot)
        if self._last_at is None:
            recent = self._schedule.between(now - self._grace, now)
            self._last_at = begin or (recent[-1].at - _INSTANT if recent else now)
            await self._begin_after(self._last_at)
        elif self._last_at > now + self._grace:
            await self._go_back(now, begin or now)
        await self._recall(begin or now)
        self._late.want(
            {mark.slot_at: mark for mark in await self._keeper.ask(self._outbox.retries)}, now
        )
        await self._report_incident()
        # What was noted before the time was known, or is left from an earlier run of the parts.
        await self._keeper.keep()

    async def _date(self) -> None:
        """Give scans that were held their time: as slots where these are free."""
        now = anchor(self._clock)
        quality = Quality.CLOCK_UNSYNCED
        if self._clock.state() is ClockState.SYNCED:
            quality |= Quality.RESTAMPED
        origin, count = self._keeper.origin(), 0
        while (found := await self._undated.oldest()) is not None:
            row, scan = found
            at = now.instant(scan.begun_s)
            slot = self._slot_of(at)
            assert self._last_at is not None
            if slot.at <= self._last_at or slot.at in self._taken:
                away = Slot(off_grid(self._schedule, at), ScanKind.ON_DEMAND)
                drafts = dated_drafts(origin, scan, away, now, quality)
                kept = await self._keeper.keep(drafts, release=row.row_id)
            else:
                since = max(self._last_at, slot.at - GAP_REACH)
                self._miss(self._schedule.between(since, slot.at - _INSTANT), now.at)
                drafts = dated_drafts(origin, scan, slot, now, quality)
                missing = tuple(serial for serial, _ in scan.missing)
                kept = await self._commit(drafts, slot, missing, release=row.row_id)
            if not kept:
                return
            count += 1
        self._is_held = False
        if count:
            log.info("the time is known: held scans were dated", scans=count)

    def _slot_of(self, at: datetime) -> Slot:
        """The slot that a scan begun at `at` stands for: the one before, which may be it."""
        return self._schedule.between(at - timedelta(days=1), at)[-1]

    async def _turn(self) -> None:
        assert self._last_at is not None
        if self._is_held:
            await self._date()
        now = self._clock.now()
        if self._last_at > now + self._grace:
            passed_s = 0.0 if self._seen is None else self._clock.monotonic_s() - self._seen.s
            await self._go_back(now, now - timedelta(seconds=passed_s) - _INSTANT)
        due = self._schedule.between(max(self._last_at, now - GAP_REACH), now)
        fresh = due.pop() if due and now - due[-1].at < self._grace else None
        self._miss(due, now)
        if due:
            self._last_at = due[-1].at
        self._seen = anchor(self._clock)
        if fresh is not None:
            await self._scan(fresh)
        elif due:
            last = due[-1]
            wanted = () if last.at in self._taken else tuple(self._scanner.serials)
            await self._commit([], last, wanted)
        else:
            await self._idle(now)

    def _miss(self, slots: Sequence[Slot], now: datetime) -> None:
        """Note slots that went by, and why."""
        slots = [slot for slot in slots if not self._is_accounted(slot)]
        if not slots:
            return
        reason = GapReason.GATEWAY_DOWN
        if self._seen is not None:
            jump_s = self._seen.step_s(anchor(self._clock))
            jumped = abs(jump_s) > self._grace.total_seconds()
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
        self._late.expire(now)
        late_at = self._late.next_at(now, following.at)
        if late_at is not None and late_at <= now:
            self.pulse.beat(max(0.0, (following.at - now).total_seconds()))
            await self._late.read(following.at)
        else:
            self.pulse.rest()
            await self._clock.sleep_until(min(following.at, late_at or following.at))

    # -- the clock

    async def _go_back(self, now: datetime, after: datetime) -> None:
        """The clock was put back by more than a step: go on with the slots later than `after`.

        It may show its time for a while already: slots of this while are not lost.
        """
        if self._owed:
            await self._commit([], self._owed[-1][0], ())
        detail = f"back from {self._last_at:%Y-%m-%dT%H:%M:%SZ} to {now:%Y-%m-%dT%H:%M:%SZ}"
        self._last_at = after
        self._late.clear()
        await self._begin_after(after)
        await self._recall(after)
        self._scanner.health.note(
            Occurrence(self._clock.monotonic_s(), "clock_jump", detail=detail)
        )
        await self._keeper.keep()

    async def _begin_after(self, at: datetime) -> None:
        try:
            await self._outbox.begin_after(at)
        except OutboxUnavailable as error:
            log.error("the outbox takes nothing", error=str(error))  # noqa: TRY400 no trace

    async def _recall(self, now: datetime) -> None:
        """Have at hand what was done under times that are still to come."""
        self._taken = set(await self._keeper.ask(lambda: self._outbox.slots_after(now - _INSTANT)))
        self._accounted = await self._keeper.ask(self._outbox.accounted)

    def _is_accounted(self, slot: Slot) -> bool:
        return slot.at in self._taken or any(
            first < slot.at <= last for first, last in self._accounted
        )

    # -- scans

    async def _scan(self, slot: Slot) -> None:
        begun = anchor(self._clock)
        deadline = self._schedule.next_after(slot.at).at
        index = slot.kind is ScanKind.INDEX
        self.pulse.beat(max(0.0, (deadline - self._clock.now()).total_seconds()))
        results = await self._scanner.scan(index=index, deadline=deadline)
        begun_at = begun.at
        ended = anchor(self._clock)
        if abs(begun.step_s(ended)) > STEP_MIN_S:
            # The clock was put right meanwhile, so it was wrong before.
            results = redated(results, ended)
            begun_at = ended.instant(begun.s)
        early = timedelta(seconds=STEP_MIN_S)
        if not slot.at - early <= begun_at < slot.at + self._schedule.interval:
            await self._keeper.keep(self._off_grid(begun_at, results))
        elif slot.at in self._taken:
            await self._commit(self._off_grid(begun_at, results), slot, ())
        else:
            missing = tuple(item.serial for item in results if isinstance(item, MeterMissing))
            self._late.missed(missing)
            await self._commit(scan_drafts(self._keeper.origin(), slot, results), slot, missing)

    def _off_grid(self, at: datetime, results: Sequence[_Result]) -> list[Draft]:
        slot = Slot(off_grid(self._schedule, at), ScanKind.ON_DEMAND)
        return scan_drafts(self._keeper.origin(), slot, results)

    # -- keeping

    async def _commit(
        self,
        drafts: list[Draft],
        slot: Slot,
        missing: tuple[str, ...],
        release: int | None = None,
    ) -> bool:
        """Keep a slot's batches, the gaps owed and the marks of them all, in one transaction."""
        everyone = tuple(self._scanner.serials)
        gaps = gap_drafts(self._keeper.origin(), slot_gaps(self._owed, everyone))
        marks = [m for lost, _ in self._owed if (m := self._mark(lost, everyone)).retry]
        marks.append(self._mark(slot, missing))
        kept = await self._keeper.keep([*gaps, *drafts], marks, release=release)
        if kept:
            self._owed.clear()
            self._late.want({mark.slot_at: mark for mark in marks}, self._clock.now())
        elif drafts:
            self._owed.append((slot, GapReason.OVERFLOW))
        self._last_at = slot.at
        await self._report_incident()
        return kept

    def _mark(self, slot: Slot, missing: tuple[str, ...]) -> SlotDone:
        until_at = slot.at + self._schedule.index_window
        if slot.kind is not ScanKind.INDEX or not missing or until_at <= self._clock.now():
            return SlotDone(slot.at)
        return SlotDone(slot.at, missing, until_at)

    async def _report_incident(self) -> None:
        if (incident := await self._outbox.take_incident()) is not None:
            self._scanner.health.note(
                Occurrence(self._clock.monotonic_s(), "outbox_replaced", detail=incident[:1000])
            )
            await self._keeper.keep()
