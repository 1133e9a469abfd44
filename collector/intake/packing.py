"""A scan in the form in which one process hands it to another: checked, and its reads packed.

Pure. Only what is sound and dated is packed; anything else is left to whoever takes batches, who
finds out what is wrong with it. It knows no clock: whether the scan's time can be is not looked at.
"""

from datetime import datetime

import msgspec

from collector.intake.check import RejectedError, check_batch
from collector.readings.columns import Columns
from contract.messages import Clock, MessageError, ScanKind, decode_batch
from contract.topics import BatchTopic, TopicError, parse


class PackedScan(msgspec.Struct, frozen=True, array_like=True):
    """A batch that is a scan; `tables` are those that have reads."""

    gateway: str
    epoch: str
    seq: int
    station: str
    clock: Clock
    kind: ScanKind
    slot: datetime
    missing: list[tuple[str, str]]
    tables: list[Columns]


def packed(topic: str, payload: bytes) -> PackedScan | None:
    """The scan in a message under a batch's topic, or None where it is anything else."""
    try:
        parsed = parse(topic)
        batch = decode_batch(payload)
        scan = batch.scan
        if not isinstance(parsed, BatchTopic) or scan is None or batch.clock is Clock.UNDATED:
            return None
        columns = check_batch(batch)
    except (TopicError, MessageError, RejectedError):
        return None
    tables = [table for table in columns if table is not None]
    if len(tables) < sum(bool(table.reads) for table in scan.tables):
        return None
    return PackedScan(
        parsed.gateway,
        parsed.epoch,
        parsed.seq,
        batch.station,
        batch.clock,
        scan.kind,
        scan.slot,
        scan.missing,
        tables,
    )
