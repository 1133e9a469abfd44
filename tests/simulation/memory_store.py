"""A reading store in memory, for speed: it passes the suite of the real ones.

What was appended is durable when `append` returns, as there; `MemoryData` is what outlives the
process. It knows nothing of faults: those are put around it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from collector.readings.check import ceil_ms, from_ms, separate, to_ms
from collector.readings.port import ReadBlock, Refused, StoredRead
from contract.registers import BY_OBIS


@dataclass(slots=True)
class Row:
    """One meter read as it is kept; `values` by OBIS code, without absent ones."""

    station: str
    quality: int
    values: dict[str, int | float]


@dataclass(slots=True)
class MemoryData:
    """By meter and instant (milliseconds since 1970)."""

    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    repeats: int = 0


class MemoryStore:
    """A ReadingStore over `data`."""

    def __init__(self, data: MemoryData) -> None:
        self._data = data

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        good, refused = separate(blocks)
        for block in good:
            self.write(block)
        return refused

    def write(self, block: ReadBlock) -> None:
        """One block whose reads can all be stored."""
        slot_ms = to_ms(block.slot)
        for meter, offset_ms, values, quality in block.reads:
            present = {
                obis: value if BY_OBIS[obis].is_integer else float(value)
                for obis, value in zip(block.registers, values, strict=True)
                if value is not None
            }
            key = (meter, slot_ms + offset_ms)
            row = self._data.rows.get(key)
            if row is None:
                self._data.rows[key] = Row(block.station, quality, present)
            else:
                row.quality |= quality
                row.values = present | row.values
                self._data.repeats += 1

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 100_000
    ) -> Iterator[StoredRead]:
        found = self._select(from_at, to_at)
        return islice((read for read in found if read.meter == meter), limit)

    def station_reads(
        self, station: str, from_at: datetime, to_at: datetime, registers: Sequence[str]
    ) -> Iterator[StoredRead]:
        for read in self._select(from_at, to_at):
            values = {obis: v for obis, v in read.values.items() if obis in registers}
            if read.station == station and values:
                yield StoredRead(read.station, read.meter, read.at, read.quality, values)

    def count(self, from_at: datetime, to_at: datetime) -> int:
        return sum(1 for _ in self._select(from_at, to_at))

    def compact(self) -> int:
        removed, self._data.repeats = self._data.repeats, 0
        return removed

    def close(self) -> None:
        pass

    def _select(self, from_at: datetime, to_at: datetime) -> Iterator[StoredRead]:
        first, end = ceil_ms(from_at), ceil_ms(to_at)
        rows = sorted(
            (at_ms, meter, row)
            for (meter, at_ms), row in list(self._data.rows.items())
            if first <= at_ms < end
        )
        for at_ms, meter, row in rows:
            yield StoredRead(row.station, meter, from_ms(at_ms), row.quality, dict(row.values))
