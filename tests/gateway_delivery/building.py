"""Batches, acks and outboxes for the tests of delivery."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract.messages import Ack, AckEpoch, Batch, Clock, MeterRead, Scan, ScanKind, Table, encode
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_values import Draft, Worth

STATION = "T1"
MIB = 1024 * 1024
T0 = datetime(2026, 1, 1, 17, tzinfo=UTC)


def epoch(number: int) -> str:
    return f"{number:032x}"


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def open_outbox(folder: Path, number: int = 1, bytes_max: int = 64 * MIB) -> Outbox:
    return Outbox.open(
        folder / FILE_NAME, station=STATION, epoch=epoch(number), bytes_max=bytes_max
    )


def scan_draft(minutes: float, *, index: bool = False, meters: int = 2, filler: int = 0) -> Draft:
    """A scan at T0 + `minutes`; `filler` adds about that many bytes."""
    kind = ScanKind.INDEX if index else ScanKind.INTERVAL
    reads: list[MeterRead] = [(f"m{n}", 0, [1000 + n], 0) for n in range(meters)]
    tables = [Table(["1-0:1.8.0"], reads)]
    if filler:
        wide: list[MeterRead] = [(f"w{n}", 0, [10**18] * 100, 0) for n in range(filler // 2_000)]
        tables.append(Table([f"1-0:{n}.8.0" for n in range(100)], wide))
    scan = Scan(kind, at(minutes), tables, [])
    payload = encode(Batch(v=1, station=STATION, clock=Clock.SYNCED, scan=scan))
    return Draft(payload, Worth.INDEX if index else Worth.INSTANTANEOUS, at(minutes))


def ack(
    generation: int, upto: dict[int, int], also: dict[int, list[tuple[int, int]]] | None = None
) -> Ack:
    """An ack with `upto` and `also` by the epoch's number."""
    ranges = also or {}
    return Ack(generation, [AckEpoch(epoch(n), upto[n], ranges.get(n, [])) for n in upto])


def pending_seqs(outbox: Outbox, skip: Iterable[int] = ()) -> list[tuple[int, int]]:
    """(number of the epoch, seq) of all that is to be delivered, in the order of sending."""
    rows = outbox.pending(100_000, live_since=datetime.max.replace(tzinfo=UTC))
    return [(int(row.key.epoch, 16), row.key.seq) for row in rows if row.key.seq not in skip]
