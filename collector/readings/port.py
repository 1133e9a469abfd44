"""The reading store's port: what the collector asks of a store of readings.

A store is idempotent by identity (meter, register, instant): appending the same reads again
changes nothing that a query can see. It is not the truth for billing; that is the ledger.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from contract.messages import MeterRead, ScanKind


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """Meter reads of one table of one batch, as they came, with what the batch says of them.

    `registers` are OBIS codes of the catalogue; each of `reads` is (meter serial, milliseconds
    after `slot`, values in the order of `registers`, quality bits), a list or PackedReads.
    """

    station: str
    gateway: str
    kind: ScanKind
    slot: datetime
    registers: Sequence[str]
    reads: Sequence[MeterRead]


@dataclass(frozen=True, slots=True)
class Refused:
    """One meter read that the store will not take, ever: to be quarantined by itself."""

    block: ReadBlock
    read: MeterRead
    reason: str


@dataclass(frozen=True, slots=True)
class StoredRead:
    """One meter read as a query returns it; `values` by OBIS code, without absent ones."""

    station: str
    meter: str
    at: datetime
    quality: int
    values: dict[str, int | float] = field(default_factory=dict)


class StoreUnavailable(Exception):
    """The store cannot be reached or cannot write now; the same append may succeed later."""


class ReadingStore(Protocol):
    """A store of readings. All methods may raise StoreUnavailable and block while they work."""

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        """Write all reads of all blocks durably; returns those that can never be written.

        When it returns, everything else is durable. When it raises, any part may have been
        written, and the same call may be made again.
        """
        ...

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 100_000
    ) -> Iterator[StoredRead]:
        """Reads of one meter with from_at <= at < to_at, oldest first, each identity once."""
        ...

    def station_reads(
        self, station: str, from_at: datetime, to_at: datetime, registers: Sequence[str]
    ) -> Iterator[StoredRead]:
        """Reads of all meters that reported for `station`, oldest first then by meter."""
        ...

    def count(self, from_at: datetime, to_at: datetime) -> int:
        """How many meter reads (distinct meter and instant) the range holds."""
        ...

    def compact(self) -> int:
        """Remove repeats that are not visible anyway; returns how many. May do nothing."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
