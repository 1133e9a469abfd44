"""What goes into the outbox and what comes out of it, as values.

Nothing here does anything; `gateway.outbox` says what the values mean to it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class Worth(IntEnum):
    """What a batch is worth when not all can be kept; the lower one goes first."""

    INSTANTANEOUS = 0  # a scan that no bill depends on
    INDEX = 1  # a scan of billing registers
    RECORD = 2  # gaps, events and tombstones: small, and nothing smaller could stand for them


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch to be kept: its final bytes, what it is worth, the slot it is for (None: none)."""

    payload: bytes
    worth: Worth
    slot_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SlotDone:
    """The mark that a slot is dealt with; `retry` are the meters still wanted till `until_at`."""

    slot_at: datetime
    retry: tuple[str, ...] = ()
    until_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """Meters of an earlier slot that were read after all, and need not be tried again."""

    slot_at: datetime
    meters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What a batch is known by, within its gateway."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch as it is sent: its key and its bytes."""

    key: BatchKey
    payload: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A scan that waits for the time to be known, taken in the boot `boot` of the computer."""

    row_id: int
    boot: str
    content: bytes
