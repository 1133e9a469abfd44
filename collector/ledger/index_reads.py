"""The reads that money depends on: put in once, never changed, found by instant.

The same identity (meter, register, instant) with another value is a conflict: kept aside, counted
and reported. It must not know what is billed from the reads, nor judge what a read is worth.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat
from operator import itemgetter

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from collector.ledger.nearest import Asked, NearestRead, nearest
from collector.ledger.tables import conflicts, from_ms, index_reads, to_ms
from contract.messages import MeterRead, ScanKind
from contract.registers import BILLING

# How many identities one statement names.
COMPARE_ROWS = 500

_BILLED = frozenset(register.obis for register in BILLING)

# Thousands of rows at once and the intake waits for them: the driver's own way, by dialect.
_INSERT_SQLITE = """
    INSERT INTO index_reads
        (at, meter, register, value, slot, kind, quality, gateway, epoch, seq)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""
_INSERT_POSTGRESQL = """
    INSERT INTO index_reads
        (at, meter, register, value, slot, kind, quality, gateway, epoch, seq)
    SELECT * FROM unnest(
        %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
        %s::text[], %s::int[], %s::text[], %s::text[], %s::bigint[])
    ON CONFLICT DO NOTHING
"""

# CROSS JOIN: SQLite would rather look at every read there is than for each of those asked for.
_STORED_SQLITE = """
    WITH asked(at, meter, register) AS (VALUES {keys})
    SELECT i.at, i.meter, i.register, i.value
    FROM asked CROSS JOIN index_reads AS i
        ON i.at = asked.at AND i.meter = asked.meter AND i.register = asked.register
"""
_STORED_POSTGRESQL = """
    SELECT i.at, i.meter, i.register, i.value
    FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS asked(at, meter, register)
    JOIN index_reads AS i
        ON i.at = asked.at AND i.meter = asked.meter AND i.register = asked.register
"""

_STORABLE = {int, type(None)}

_Row = tuple[int, str, str, int, int, str, int, str, str, int]
_Identity = tuple[int, str, str]

_identity: Callable[[_Row], _Identity] = itemgetter(0, 1, 2)


@dataclass(frozen=True, slots=True)
class IndexBlock:
    """One table of one scan, as it came: the registers and, per meter, its values.

    Each of `reads` is (meter serial, milliseconds after `slot`, values in the order of
    `registers`, quality bits). Values of billing registers are integers or None.
    """

    gateway: str
    epoch: str
    seq: int
    kind: ScanKind
    slot: datetime
    registers: Sequence[str]
    reads: Sequence[MeterRead]


@dataclass(frozen=True, slots=True)
class IndexRead:
    """One register's value at one instant, with the slot that it was read for."""

    meter: str
    register: str
    at: datetime
    value: int
    slot: datetime
    kind: ScanKind
    quality: int


@dataclass(frozen=True, slots=True)
class IndexConflict:
    """A value that was refused because the same identity is stored with another one."""

    meter: str
    register: str
    at: datetime
    value_kept: int
    value_refused: int
    gateway: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class IndexInsertion:
    """What became of the values given: stored now, stored already, or in conflict."""

    inserted: int
    repeated: int
    conflicts: tuple[IndexConflict, ...] = ()


class IndexReadRepository:
    """The index reads within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_many(self, blocks: Iterable[IndexBlock], recorded_at: datetime) -> IndexInsertion:
        """Store the billing registers of all blocks; absent values and others are left out.

        What is stored already stays as it is. Conflicts are kept in their own table, with
        `recorded_at`, and returned.
        """
        # In the order of the key: two writers with the same reads wait for each other in turn. Of
        # two values for one key the one that came first stays, as it would from two batches.
        rows = sorted(_rows(blocks), key=_identity)
        if not rows:
            return IndexInsertion(0, 0)
        inserted = self._insert(rows)
        if inserted == len(rows):
            return IndexInsertion(inserted, 0)
        found = self._conflicts(rows)
        self._keep_aside(found, recorded_at)
        return IndexInsertion(inserted, len(rows) - inserted - len(found), tuple(found))

    def conflicts(self, limit: int) -> list[IndexConflict]:
        """The conflicts recorded last, newest first."""
        c = conflicts.c
        rows = self._connection.execute(
            select(
                c.meter,
                c.register,
                c.at,
                c.value_kept,
                c.value_refused,
                c.gateway,
                c.epoch,
                c.seq,
            )
            .order_by(c.recorded_at.desc(), c.at, c.meter, c.register)
            .limit(limit)
        )
        return [IndexConflict(*row) for row in rows]

    def of_meter(self, meter: str, from_at: datetime, to_at: datetime) -> list[IndexRead]:
        """All reads of one meter with from_at <= at < to_at, oldest first."""
        c = index_reads.c
        rows = self._connection.execute(
            select(c.meter, c.register, c.at, c.value, c.slot, c.kind, c.quality)
            .where(c.meter == meter, c.at >= from_at, c.at < to_at)
            .order_by(c.at, c.register)
        )
        return [
            IndexRead(meter, register, at, value, slot, ScanKind(kind), quality)
            for meter, register, at, value, slot, kind, quality in rows
        ]

    def nearest(
        self,
        instant: datetime,
        window: timedelta,
        *,
        station: str | None = None,
        meter: str | None = None,
    ) -> list[NearestRead]:
        """Per installation and register the read that stands for `instant`.

        That is the read of the scan due at it, failing that the nearest within `window`, of the
        reads that belong to the installation; of one station, of one meter, or of all. A zero
        after a value that was not zero is passed over: registers do not lose what they counted.
        """
        return nearest(self._connection, Asked(instant, window, station, meter))

    def _insert(self, rows: list[_Row]) -> int:
        if self._connection.dialect.name == "postgresql":
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            return self._connection.exec_driver_sql(_INSERT_POSTGRESQL, columns).rowcount
        return self._connection.exec_driver_sql(_INSERT_SQLITE, rows).rowcount

    def _conflicts(self, rows: list[_Row]) -> list[IndexConflict]:
        found = []
        for start in range(0, len(rows), COMPARE_ROWS):
            part = rows[start : start + COMPARE_ROWS]
            stored = self._stored([_identity(row) for row in part])
            for at, meter, register, value, _, _, _, gateway, epoch, seq in part:
                kept = stored[at, meter, register]
                if kept != value:
                    found.append(
                        IndexConflict(
                            meter, register, from_ms(at), kept, value, gateway, epoch, seq
                        )
                    )
        return found

    def _stored(self, keys: Sequence[_Identity]) -> dict[_Identity, int]:
        """The values that are stored under `keys`."""
        parameters: tuple[object, ...]
        if self._connection.dialect.name == "postgresql":
            statement = _STORED_POSTGRESQL
            parameters = tuple(list(column) for column in zip(*keys, strict=True))
        else:
            statement = _STORED_SQLITE.format(keys=",".join(["(?,?,?)"] * len(keys)))
            parameters = tuple(part for key in keys for part in key)
        rows = self._connection.exec_driver_sql(statement, parameters)
        return {(at, meter, register): value for at, meter, register, value in rows}

    def _keep_aside(self, found: Sequence[IndexConflict], recorded_at: datetime) -> None:
        if not found:
            return
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        self._connection.execute(
            dialect.insert(conflicts).on_conflict_do_nothing(),
            [
                {
                    "at": one.at,
                    "meter": one.meter,
                    "register": one.register,
                    "gateway": one.gateway,
                    "epoch": one.epoch,
                    "seq": one.seq,
                    "value_kept": one.value_kept,
                    "value_refused": one.value_refused,
                    "recorded_at": recorded_at,
                }
                for one in found
            ],
        )


def _rows(blocks: Iterable[IndexBlock]) -> Iterator[_Row]:
    """The values to be stored. Column by column: an index scan is due everywhere at once."""
    for block in blocks:
        if not block.reads:
            continue
        slot_ms = to_ms(block.slot)
        meters, offsets_ms, reads, qualities = zip(*block.reads, strict=True)
        instants_ms = [slot_ms + offset_ms for offset_ms in offsets_ms]
        for position, register in enumerate(block.registers):
            if register not in _BILLED:
                continue
            values = [read[position] for read in reads]
            assert set(map(type, values)) <= _STORABLE, (
                "billing registers are integers: intake checks"
            )
            for row in zip(
                instants_ms,
                meters,
                repeat(register),
                values,
                repeat(slot_ms),
                repeat(block.kind.value),
                qualities,
                repeat(block.gateway),
                repeat(block.epoch),
                repeat(block.seq),
                strict=False,
            ):
                if row[3] is not None:
                    yield row
