"""The messages of version 1, as typed values and as JSON.

Owns their shape and nothing else: whether a register exists, a meter is known or a batch was seen
before is the reader's business. Readers ignore unknown fields; adding an optional field is allowed
within version 1; renaming, removing or changing a unit needs version 2 on a parallel topic.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import msgspec

from contract.limits import (
    BATCH_BYTES_MAX,
    NAME_CHARS_MAX,
    SEQ_MAX,
    STATUS_BYTES_MAX,
    TEXT_CHARS_MAX,
)

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Serial = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Obis = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Epoch = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Seq = Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
Value = int | float | None
_Message = TypeVar("_Message")


class Clock(StrEnum):
    """What the gateway knew of the time when it closed a batch."""

    SYNCED = "synced"
    UNSYNCED = "unsynced"
    UNDATED = "undated"  # the boot never learnt the time: evidence, never billed


class ScanKind(StrEnum):
    """What a scan is for. `strength` orders them: one slot has one scan, of the strongest kind."""

    INDEX = "index"
    INTERVAL = "interval"
    ON_DEMAND = "on_demand"
    BACKFILL = "backfill"

    @property
    def strength(self) -> int:
        """4 for the strongest kind down to 1."""
        return {"index": 4, "interval": 3, "on_demand": 2, "backfill": 1}[self.value]


class MissingReason(StrEnum):
    """Why a meter that was due could not be read. Readers accept reasons they do not know."""

    TIMEOUT = "timeout"  # no answer, or none that was whole
    EXCEPTION = "exception"  # the meter answered with a Modbus exception
    BAD_REPLY = "bad_reply"  # wrong function, count or unit
    LINE_DOWN = "line_down"  # the port or the connection could not be opened
    NOT_AVAILABLE = "not_available"  # the meter says that it has no value for its index
    WINDOW_CLOSED = "window_closed"  # the next slot came before its turn
    OFFLINE = "offline"  # known to be silent: tried now and then, not in every scan


class GapReason(StrEnum):
    """Why whole slots are missing. Readers accept reasons they do not know."""

    GATEWAY_DOWN = "gateway_down"
    OVERRUN = "overrun"  # the scan of an earlier slot was still running
    OVERFLOW = "overflow"  # the outbox was full: the batch became a tombstone
    CLOCK_JUMP = "clock_jump"


OTHER_METER = "the meter says that it is "
"""How an event about a meter begins to say which other meter answered; a semicolon ends it."""


MeterRead = tuple[Serial, int, list[Value], Annotated[int, msgspec.Meta(ge=0)]]
"""(meter serial, milliseconds after the slot, one value per register of its table, quality)."""


class Table(msgspec.Struct, frozen=True):
    """Reads of meters that have the same registers, column names said once."""

    registers: Annotated[list[Obis], msgspec.Meta(min_length=1, max_length=256)]
    reads: list[MeterRead]


class Scan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One pass over meters for one slot, or a part of it that fits a batch.

    `missing` lists what was due and not had: (meter serial, reason).
    """

    kind: ScanKind
    slot: Instant
    tables: list[Table] = []
    missing: list[tuple[Serial, Reason]] = []


class SlotGap(msgspec.Struct, frozen=True):
    """Slots of one kind that were not scanned: first, first + every_s, … last, for all `meters`.

    A single slot has `last == first` and `every_s == 0`.
    """

    kind: ScanKind
    first: Instant
    last: Instant
    every_s: Annotated[int, msgspec.Meta(ge=0)]
    meters: list[Serial]
    reason: Reason


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened at the station and that people may ask about later."""

    at: Instant
    type: Name
    line: str | None = None
    meter: str | None = None
    detail: Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)] = ""


class Tombstone(msgspec.Struct, frozen=True):
    """What stands under a seq whose batch had to be dropped before it was delivered."""

    kind: ScanKind
    slot: Instant
    meters: list[Serial]
    reason: Reason


class Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message under `batches/<epoch>/<seq>`: exactly one of scan, gaps, events, tombstone."""

    v: Literal[1]
    station: Name
    clock: Clock
    scan: Scan | None = None
    gaps: list[SlotGap] | None = None
    events: list[Event] | None = None
    tombstone: Tombstone | None = None


class AckEpoch(msgspec.Struct, frozen=True):
    """Of one epoch: 1 to `upto` and the ranges `also`, inclusive, need not be sent again."""

    epoch: Epoch
    upto: Seq
    also: list[tuple[Seq, Seq]] = []


class Ack(msgspec.Struct, frozen=True):
    """What the collector has stored of a gateway, or knows to be lost for ever.

    Within a `generation` it only grows; a higher generation replaces everything before it.
    """

    generation: Annotated[int, msgspec.Meta(ge=1, le=SEQ_MAX)]
    epochs: list[AckEpoch]


class EpochStatus(msgspec.Struct, frozen=True):
    """Of one epoch: the lowest seq still held (`next` if none) and the next one to be given out."""

    epoch: Epoch
    oldest: Seq
    next: Seq


class MeterTrouble(msgspec.Struct, frozen=True):
    """A meter that cannot be counted on: `degraded` or `offline`, for how long, why."""

    meter: str
    state: str
    for_s: int
    reason: str


class LineStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: its state and how many of its meters answered in the last scan.

    `degraded` and `offline` count its meters in those states. `troubled` names them, the offline
    ones first; where there are very many, not all.
    """

    line: str
    state: str
    meters: int
    answered: int
    degraded: int = 0
    offline: int = 0
    troubled: list[MeterTrouble] = []


class OutboxStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits at the gateway: batches not yet acknowledged, bytes in use and allowed.

    `held` counts scans that wait for the gateway to learn the time, before they become batches.
    """

    waiting: int
    used_bytes: int
    limit_bytes: int
    held: int = 0


class ConfigRefusal(msgspec.Struct, frozen=True):
    """Why a signed configuration is not in force; `code` is short and stable."""

    version: int
    code: Reason
    text: Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)] = ""


class ConfigStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which station file a gateway runs: `version` 0 is the file that lies on it.

    While `trial` is true it waits for the collector's word that it works. `highest` is the
    greatest version ever accepted: only a greater one can be. `refused` is the last that was not
    taken, or was taken back.
    """

    version: int = 0
    trial: bool = False
    highest: int = 0
    refused: ConfigRefusal | None = None


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """The retained word of a gateway on itself; the last will has `online: false` and no more.

    `epochs` has the current epoch first, then every other that still has undelivered rows.
    `count` grows by one with each status of an epoch, so that a reader can drop a late one.
    `generation` is that of the newest ack seen (0: none): a reader whose own generation differs
    must not conclude from this status that anything is lost.
    """

    v: Literal[1]
    online: bool
    station: str = ""
    count: int = 0
    generation: int = 0
    sent_at: Instant | None = None
    started_at: Instant | None = None
    clock: Clock = Clock.UNSYNCED
    version: str = ""
    epochs: list[EpochStatus] = []
    outbox: OutboxStatus | None = None
    lines: list[LineStatus] = []
    config: ConfigStatus | None = None


class MessageError(ValueError):
    """A payload that is no message of this contract. `code` is short and stable, for counters."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


_batch = msgspec.json.Decoder(Batch)
_ack = msgspec.json.Decoder(Ack)
_status = msgspec.json.Decoder(Status)
_encoder = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON, keys in the order of the class, no spaces; the same bytes each time."""
    return _encoder.encode(message)


def decode_batch(payload: bytes) -> Batch:
    """The batch in `payload`. Raises MessageError: too_large, not_json, wrong_shape."""
    batch = decode(_batch, payload, BATCH_BYTES_MAX)
    bodies = (batch.scan, batch.gaps, batch.events, batch.tombstone)
    if sum(body is not None for body in bodies) != 1:
        raise MessageError(
            "wrong_shape", "a batch has exactly one of 'scan', 'gaps', 'events', 'tombstone'"
        )
    if batch.scan is not None:
        for table in batch.scan.tables:
            width = len(table.registers)
            if len(set(table.registers)) != width:
                raise MessageError("wrong_shape", "a table names a register twice")
            # By the width of all first: a batch is a hundred reads, and nearly always right.
            if {len(values) for _, _, values, _ in table.reads} <= {width}:
                continue
            for read in table.reads:
                if len(read[2]) != width:
                    raise MessageError(
                        "wrong_shape",
                        f"meter {read[0]!r}: {len(read[2])} values for {width} registers",
                    )
    return batch


def decode_ack(payload: bytes) -> Ack:
    """The ack in `payload`. Raises MessageError."""
    return decode(_ack, payload, STATUS_BYTES_MAX)


def decode_status(payload: bytes) -> Status:
    """The status in `payload`. Raises MessageError."""
    return decode(_status, payload, STATUS_BYTES_MAX)


def decode(decoder: msgspec.json.Decoder[_Message], payload: bytes, bytes_max: int) -> _Message:
    """What `decoder` makes of `payload`. Raises MessageError: too_large, not_json, wrong_shape."""
    if len(payload) > bytes_max:
        raise MessageError("too_large", f"{len(payload)} bytes, at most {bytes_max} are allowed")
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise MessageError("wrong_shape", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("not_json", str(error) or type(error).__name__) from error
