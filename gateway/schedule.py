"""When scans are due: slots on the wall clock, and what to call the ones that were missed.

Pure: it computes instants and reads no clock. It must not know meters, lines or storage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from contract.messages import GapReason, ScanKind, SlotGap

MINUTES_PER_DAY = 1440
DAYS_KEPT = 4  # whose slots need not be worked out again at each look
_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """An instant (aware, UTC) at which a scan is due, and the strongest kind due then."""

    at: datetime
    kind: ScanKind


@dataclass(frozen=True, slots=True)
class Schedule:
    """Slots every `interval_min` from each local midnight, and indices at `index_minutes`.

    `index_minutes` are minutes of the local day. On the days on which the zone's offset changes
    the grid keeps counting elapsed time from midnight, so it neither repeats nor skips; a local
    time that occurs twice is taken the first time, one that does not occur is taken as much later
    as the clocks were put forward. A missed index is
    tried every `index_retry_s` until `index_window_min` after its slot.
    """

    zone: tzinfo
    interval_min: int
    index_minutes: tuple[int, ...]
    index_window_min: int = 180
    index_retry_s: float = 60

    def between(self, after: datetime, until: datetime) -> list[Slot]:
        """All slots with `after` < at <= `until`, in order."""
        slots: list[Slot] = []
        day = self._day_of(after)
        last = self._day_of(until)
        while day <= last:
            slots += (slot for slot in _of_day(self, day) if after < slot.at <= until)
            day += _DAY
        return slots

    def next_after(self, at: datetime) -> Slot:
        """The first slot later than `at`."""
        day = self._day_of(at)
        while True:
            for slot in _of_day(self, day):
                if slot.at > at:
                    return slot
            day += _DAY

    @property
    def interval(self) -> timedelta:
        """The regular distance of two slots."""
        return timedelta(minutes=self.interval_min)

    @property
    def index_window(self) -> timedelta:
        """How long after its slot an index is still tried."""
        return timedelta(minutes=self.index_window_min)

    @property
    def index_retry(self) -> timedelta:
        """How long after one attempt at an index the next is made."""
        return timedelta(seconds=self.index_retry_s)

    def _day_of(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    def local(self, day: date, minute: int) -> datetime:
        """The instant of a minute of a local day."""
        local = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=self.zone)
        return local.astimezone(UTC)


@lru_cache(maxsize=DAYS_KEPT)
def _of_day(schedule: Schedule, day: date) -> tuple[Slot, ...]:
    start = schedule.local(day, 0)
    end = schedule.local(day + _DAY, 0)
    kinds: dict[datetime, ScanKind] = {}
    at = start
    while at < end:
        kinds[at] = ScanKind.INTERVAL
        at += schedule.interval
    for minute in schedule.index_minutes:
        at = schedule.local(day, minute)
        if start <= at < end:
            kinds[at] = ScanKind.INDEX
    return tuple(Slot(at, kinds[at]) for at in sorted(kinds))


def off_grid(schedule: Schedule, at: datetime) -> datetime:
    """`at`, to the millisecond, for a scan that no slot asked for: never the instant of a slot."""
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    return at + _MILLISECOND if schedule.between(at - _MILLISECOND, at) else at


def slot_gaps(missed: Sequence[tuple[Slot, GapReason]], meters: Sequence[str]) -> list[SlotGap]:
    """Ranges that say exactly which slots were missed, by kind and reason, in order.

    `missed` is in order of time, each slot once. Every range is for all `meters`.
    """
    runs: list[_Run] = []
    open_runs: dict[tuple[ScanKind, GapReason], _Run] = {}
    for slot, reason in missed:
        key = (slot.kind, reason)
        run = open_runs.get(key)
        if run is None or not run.takes(slot.at):
            run = open_runs[key] = _Run(slot.kind, reason, slot.at, slot.at, timedelta(0))
            runs.append(run)
        elif run.last == run.first:
            run.every = slot.at - run.first
        run.last = slot.at
    names = list(meters)
    return [
        SlotGap(run.kind, run.first, run.last, int(run.every.total_seconds()), names, run.reason)
        for run in runs
    ]


@dataclass(slots=True)
class _Run:
    """A range while it grows."""

    kind: ScanKind
    reason: GapReason
    first: datetime
    last: datetime
    every: timedelta

    def takes(self, at: datetime) -> bool:
        """Whether `at` continues it: any second slot does, then only the same distance."""
        return self.last == self.first or at - self.last == self.every
