"""What was read, turned into the final bytes of batches: columnar, ordered, none above the limit.

Pure: it computes payloads and keeps nothing. It must not know how meters are read or how batches
are stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from contract.limits import BATCH_BYTES_MAX
from contract.messages import (
    Batch,
    Clock,
    Event,
    MeterRead,
    MissingReason,
    Scan,
    ScanKind,
    SlotGap,
    Table,
    encode,
)
from gateway.anchor import Anchor
from gateway.outbox_values import Draft, Worth
from gateway.schedule import Slot

_Item = TypeVar("_Item")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class MeterRow:
    """One meter of a scan that was read: a value (or None) for each of `registers`.

    `arrived_at` is when its energies arrived, `arrived_s` the same by the monotonic clock, where
    it is known; `quality` is a set of contract.quality bits.
    """

    serial: str
    registers: tuple[str, ...]
    arrived_at: datetime
    values: list[int | float | None]
    quality: int
    arrived_s: float | None = None


@dataclass(frozen=True, slots=True)
class MeterMissing:
    """One meter of a scan that was due and not read."""

    serial: str
    reason: MissingReason


@dataclass(frozen=True, slots=True)
class Origin:
    """What every batch says of where it comes from."""

    station: str
    clock: Clock


def redated(
    results: Sequence[MeterRow | MeterMissing], now: Anchor
) -> list[MeterRow | MeterMissing]:
    """The results of a scan with the instants that follow from what the clock shows `now`."""
    return [
        replace(item, arrived_at=now.instant(item.arrived_s))
        if isinstance(item, MeterRow) and item.arrived_s is not None
        else item
        for item in results
    ]


def scan_drafts(
    origin: Origin, slot: Slot, results: Sequence[MeterRow | MeterMissing]
) -> list[Draft]:
    """The batches of one scan, the results in their order, as few batches as the limit allows.

    Meters with the same registers share a table; tables come in the order of their first meter.
    """
    worth = Worth.INDEX if slot.kind is ScanKind.INDEX else Worth.INSTANTANEOUS

    def payload(part: Sequence[MeterRow | MeterMissing]) -> bytes:
        rows = [item for item in part if isinstance(item, MeterRow)]
        missing = [(i.serial, i.reason.value) for i in part if isinstance(i, MeterMissing)]
        scan = Scan(slot.kind, slot.at, _tables(rows, slot.at), missing)
        return encode(Batch(v=1, station=origin.station, clock=origin.clock, scan=scan))

    return [Draft(content, worth, slot.at) for content in _split(results, payload)]


def gap_drafts(origin: Origin, gaps: Sequence[SlotGap]) -> list[Draft]:
    """The batches that list `gaps`."""

    def payload(part: Sequence[SlotGap]) -> bytes:
        return encode(Batch(v=1, station=origin.station, clock=origin.clock, gaps=list(part)))

    return [Draft(content, Worth.RECORD) for content in _split(gaps, payload)]


def event_drafts(origin: Origin, events: Sequence[Event]) -> list[Draft]:
    """The batches that report `events`."""

    def payload(part: Sequence[Event]) -> bytes:
        return encode(Batch(v=1, station=origin.station, clock=origin.clock, events=list(part)))

    return [Draft(content, Worth.RECORD) for content in _split(events, payload)]


def _tables(rows: Sequence[MeterRow], slot_at: datetime) -> list[Table]:
    tables: dict[tuple[str, ...], list[MeterRead]] = {}
    for row in rows:
        offset_ms = round((row.arrived_at - slot_at) / _MILLISECOND)
        read = (row.serial, offset_ms, row.values, row.quality)
        tables.setdefault(row.registers, []).append(read)
    return [Table(list(registers), reads) for registers, reads in tables.items()]


def _split(items: Sequence[_Item], payload: Callable[[Sequence[_Item]], bytes]) -> list[bytes]:
    """The payloads of `items` in order, halved until each is within the limit."""
    if not items:
        return []
    content = payload(items)
    if len(content) <= BATCH_BYTES_MAX:
        return [content]
    assert len(items) > 1, "one item never fills a batch: names and lists are bounded"
    middle = len(items) // 2
    return [*_split(items[:middle], payload), *_split(items[middle:], payload)]
