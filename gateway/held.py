"""Scans that were taken before the time was known: as they are kept, and as batches in the end.

Values and their bytes. It must not know where they are kept nor how the time became known.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from contract.messages import Clock, Event, MissingReason, ScanKind
from contract.quality import Quality
from gateway.anchor import Anchor
from gateway.batches import MeterMissing, MeterRow, Origin, event_drafts, scan_drafts
from gateway.health_book import Occurrence
from gateway.outbox_values import Draft
from gateway.schedule import Slot

# What a scan of a boot that never learnt the time is given: seconds since the computer's start,
# as if it had been started when Unix time began. Nobody can take that for a date.
NEVER_AT = datetime(1970, 1, 1, tzinfo=UTC)


class _Read(msgspec.Struct, frozen=True, array_like=True):
    """One meter that was read, at `at_s` of the monotonic clock."""

    serial: str
    registers: tuple[str, ...]
    at_s: float
    values: list[int | float | None]
    quality: int


class _Happened(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened meanwhile."""

    at_s: float
    type: str
    line: str | None
    meter: str | None
    detail: str


class HeldScan(msgspec.Struct, frozen=True):
    """A scan of all meters without a date; `begun_s` is of the monotonic clock of its boot."""

    begun_s: float
    reads: list[_Read]
    missing: list[tuple[str, MissingReason]]
    happened: list[_Happened] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(HeldScan)


def hold(
    begun_s: float,
    results: Sequence[MeterRow | MeterMissing],
    occurrences: Sequence[Occurrence] = (),
) -> bytes:
    """The bytes under which a scan is kept; a read without an instant gets that of the scan."""
    reads = [
        _Read(
            row.serial,
            row.registers,
            begun_s if row.arrived_s is None else row.arrived_s,
            row.values,
            row.quality,
        )
        for row in results
        if isinstance(row, MeterRow)
    ]
    missing = [(item.serial, item.reason) for item in results if isinstance(item, MeterMissing)]
    happened = [_Happened(o.at_s, o.type, o.line, o.meter, o.detail) for o in occurrences]
    return _encoder.encode(HeldScan(begun_s, reads, missing, happened))


def held(content: bytes) -> HeldScan:
    """What `hold` made bytes of. Raises ValueError for anything else."""
    return _decoder.decode(content)


def dated_drafts(
    origin: Origin, scan: HeldScan, slot: Slot, clock: Anchor, quality: Quality
) -> list[Draft]:
    """The batches of a held scan by the time of `clock`; `quality` is added to its reads."""
    return _drafts(origin, scan, slot, clock, quality)


def undated_drafts(station: str, scan: HeldScan) -> list[Draft]:
    """The batches of a held scan whose time will never be known: evidence, never billed."""
    clock = Anchor(NEVER_AT, 0.0)
    slot = Slot(clock.instant(scan.begun_s), ScanKind.INTERVAL)
    origin = Origin(station, Clock.UNDATED)
    return _drafts(origin, scan, slot, clock, Quality.CLOCK_UNSYNCED)


def _drafts(
    origin: Origin, scan: HeldScan, slot: Slot, clock: Anchor, quality: Quality
) -> list[Draft]:
    results: list[MeterRow | MeterMissing] = [
        MeterRow(
            read.serial,
            read.registers,
            clock.instant(read.at_s),
            read.values,
            read.quality | quality,
        )
        for read in scan.reads
    ]
    results += [MeterMissing(serial, reason) for serial, reason in scan.missing]
    events = [
        Event(clock.instant(one.at_s), one.type, one.line, one.meter, one.detail)
        for one in scan.happened
    ]
    return [*scan_drafts(origin, slot, results), *event_drafts(origin, events)]
