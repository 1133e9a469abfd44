"""A message as it arrived, and what it turns out to be: a batch to be taken, or poison.

Pure. Owns the way from bytes to the rows of ledger and reading store; it must not know either.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from collector.intake.check import RejectedError, check_batch, check_instants
from collector.intake.packing import PackedScan
from collector.ledger.delivery import NewEvent, NewGap
from collector.ledger.index_reads import IndexBlock
from collector.ledger.quarantine import NewQuarantine
from collector.ledger.receipts import BatchKey, NewReceipt
from collector.readings.columns import PackedReads
from collector.readings.port import ReadBlock
from contract.limits import BATCH_BYTES_MAX
from contract.messages import (
    Batch,
    Clock,
    MessageError,
    MeterRead,
    Scan,
    ScanKind,
    decode_batch,
)
from contract.topics import BatchTopic, TopicError, parse

# A topic is kept up to this length: it is part of a unique key, which databases bound.
TOPIC_CHARS_MAX = 512

# Scans whose billing registers go to the ledger. The regular cadence's do not: it is three quarters
# of all rows, and an index is due at a stated instant.
INDEX_KINDS = frozenset({ScanKind.INDEX, ScanKind.ON_DEMAND})


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the broker delivered it.

    `connection` and `mid` are what it is taken off the broker's hands by; `payload` is cut after
    `BATCH_BYTES_MAX` + 1 bytes, which is enough to see that it is too large. `scan` is what is in
    it, where whoever received it has packed that already.
    """

    topic: str
    payload: bytes
    retained: bool = False
    connection: int = 0
    mid: int = 0
    qos: int = 1
    scan: PackedScan | None = None


class Reads(NamedTuple):
    """The reads of one table of a scan; each as wide as there are registers."""

    registers: Sequence[str]
    reads: Sequence[MeterRead]


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that cannot be taken, and why. `key` is None where the topic does not tell it."""

    topic: str
    payload: bytes
    sha256: bytes
    code: str
    reason: str
    key: BatchKey | None

    def entry(self) -> NewQuarantine:
        """What is kept of it."""
        return NewQuarantine(
            topic=self.topic[:TOPIC_CHARS_MAX],
            payload=self.payload,
            sha256=self.sha256,
            code=self.code,
            reason=self.reason,
            gateway=None if self.key is None else self.key.gateway,
        )

    def receipt(self, state: str) -> NewReceipt | None:
        """The receipt that acknowledges it, where its topic says under what seq it came."""
        if self.key is None:
            return None
        return NewReceipt(self.key, self.sha256, state, "quarantined")


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch that passed every check. The tables of its scan are in `tables`, packed, alone."""

    topic: str
    payload: bytes
    key: BatchKey
    sha256: bytes
    batch: Batch
    tables: list[Reads]

    @property
    def is_evidence(self) -> bool:
        """Whether its instants are unknown: it is kept, and nothing is ever computed from it."""
        return self.batch.clock is Clock.UNDATED

    @property
    def content(self) -> str:
        """What its receipt says that it holds."""
        batch = self.batch
        if batch.scan is not None:
            return "scan"
        if batch.gaps is not None:
            return "gaps"
        return "events" if batch.events is not None else "tombstone"

    @property
    def reads(self) -> int:
        """How many meter reads go to the stores."""
        return 0 if self.is_evidence else sum(len(table.reads) for table in self.tables)

    def receipt(self, state: str) -> NewReceipt:
        """Its receipt."""
        scan, stone = self.batch.scan, self.batch.tombstone
        kind = scan.kind if scan is not None else (stone.kind if stone is not None else None)
        slot = scan.slot if scan is not None else (stone.slot if stone is not None else None)
        return NewReceipt(
            key=self.key,
            sha256=self.sha256,
            state=state,
            content=self.content,
            kind=None if kind is None else kind.value,
            slot=None if slot is None or self.is_evidence else slot.astimezone(UTC),
            reads=self.reads,
            missing=0 if scan is None else len(scan.missing),
        )

    def poison(self, code: str, reason: str) -> Poison:
        """The same message, to be kept aside after all."""
        return Poison(self.topic, self.payload, self.sha256, code, reason, self.key)

    def read_blocks(self) -> list[ReadBlock]:
        """Its reads, for the reading store."""
        scan = self.batch.scan
        if scan is None or self.is_evidence:
            return []
        return [
            ReadBlock(self.batch.station, self.key.gateway, scan.kind, scan.slot, *table)
            for table in self.tables
        ]

    def index_blocks(self) -> list[IndexBlock]:
        """Its reads whose billing registers belong into the ledger."""
        scan = self.batch.scan
        if scan is None or self.is_evidence or scan.kind not in INDEX_KINDS:
            return []
        return [IndexBlock(*self.key, scan.kind, scan.slot, *table) for table in self.tables]

    def gaps(self) -> list[NewGap]:
        """What it says was not read."""
        batch = self.batch
        if self.is_evidence:
            return []
        if batch.scan is not None and batch.scan.missing:
            meters = defaultdict(list)
            for meter, reason in batch.scan.missing:
                meters[reason].append(meter)
            slot, kind = batch.scan.slot, batch.scan.kind
            return [
                self._gap("scan", ordinal, kind, (slot, slot, 0), missing, reason)
                for ordinal, (reason, missing) in enumerate(meters.items())
            ]
        if batch.tombstone is not None:
            stone = batch.tombstone
            span = (stone.slot, stone.slot, 0)
            return [self._gap("tombstone", 0, stone.kind, span, stone.meters, stone.reason)]
        spans = [(gap, (gap.first, gap.last, gap.every_s)) for gap in batch.gaps or ()]
        return [
            self._gap("slots", ordinal, gap.kind, span, gap.meters, gap.reason)
            for ordinal, (gap, span) in enumerate(spans)
        ]

    def events(self) -> list[NewEvent]:
        """What it says has happened."""
        if self.is_evidence:
            return []
        return [
            NewEvent(self.key, ordinal, event.at, event.type, event.line, event.meter, event.detail)
            for ordinal, event in enumerate(self.batch.events or ())
        ]

    def _gap(
        self,
        source: str,
        ordinal: int,
        kind: ScanKind,
        span: tuple[datetime, datetime, int],
        meters: list[str],
        reason: str,
    ) -> NewGap:
        first_at, last_at, every_s = span
        return NewGap(
            key=self.key,
            station=self.batch.station,
            source=source,
            ordinal=ordinal,
            kind=kind.value,
            first_at=first_at,
            last_at=last_at,
            every_s=every_s,
            meters=meters,
            reason=reason,
        )


def decode(message: Message, now: datetime) -> Taken | Poison:
    """What a message under a batch topic is."""
    if message.scan is not None:
        return _unpacked(message, message.scan, now)
    topic, payload = message.topic, message.payload
    digest = sha256(payload).digest()
    try:
        parsed = parse(topic)
    except TopicError as error:
        return Poison(topic, payload[:BATCH_BYTES_MAX], digest, "bad_topic", str(error), None)
    if not isinstance(parsed, BatchTopic):
        return Poison(
            topic, payload[:BATCH_BYTES_MAX], digest, "bad_topic", "no topic of a batch", None
        )
    key = BatchKey(parsed.gateway, parsed.epoch, parsed.seq)
    try:
        batch = decode_batch(payload)
        columns = check_batch(batch)
        check_instants(batch, now)
    except (MessageError, RejectedError) as error:
        return Poison(topic, payload[:BATCH_BYTES_MAX], digest, error.code, str(error), key)
    tables = [
        Reads(table.registers, table.reads if packed is None else PackedReads(packed))
        for table, packed in zip(batch.scan.tables if batch.scan else (), columns, strict=True)
        if table.reads
    ]
    return Taken(topic, payload, key, digest, batch, tables)


def _unpacked(message: Message, scan: PackedScan, now: datetime) -> Taken | Poison:
    """A scan that was checked by whoever packed it, all but its time."""
    topic, payload = message.topic, message.payload
    digest = sha256(payload).digest()
    key = BatchKey(scan.gateway, scan.epoch, scan.seq)
    batch = Batch(
        v=1,
        station=scan.station,
        clock=scan.clock,
        scan=Scan(kind=scan.kind, slot=scan.slot, missing=scan.missing),
    )
    try:
        check_instants(batch, now)
    except RejectedError as error:
        return Poison(topic, payload, digest, error.code, str(error), key)
    tables = [Reads(table.registers, PackedReads(table)) for table in scan.tables]
    return Taken(topic, payload, key, digest, batch, tables)
