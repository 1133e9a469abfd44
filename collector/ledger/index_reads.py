"""The reads that money depends on: put in once, never changed, found by instant.

The same identity (meter, register, instant) with another value is a conflict: kept aside, counted
and reported. It must not know what is billed from the reads, nor judge what a read is worth.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    and_,
    case,
    func,
    not_,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite

from collector.ledger.tables import (
    conflicts,
    from_ms,
    index_reads,
    installations,
    meters,
    points,
    to_ms,
)
from contract.messages import MeterRead, ScanKind
from contract.quality import Quality
from contract.registers import BILLING

# How many identities one statement names.
COMPARE_ROWS = 500

_CLOCK_BITS = (Quality.CLOCK_UNSYNCED | Quality.RESTAMPED).value
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

_Row = tuple[int, str, str, int, int, str, int, str, str, int]


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


class NearestRead(NamedTuple):
    """The read that stands for an instant at an installation, known by point and instant.

    `actual`: it is that of the scan due at the instant, by a clock that was right.
    """

    point: str
    installed_at: datetime
    register: str
    at: datetime
    value: int
    actual: bool


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
        # In the order of the key: two writers with the same reads wait for each other in turn.
        rows = sorted(_rows(blocks))
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

    def count_conflicts(self) -> int:
        """How many values were ever refused."""
        return self._connection.execute(select(func.count()).select_from(conflicts)).scalar_one()

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
        candidate = _candidates(instant, window, station, meter).subquery()
        c = candidate.c
        distance = func.abs(type_coerce(c.at, BigInteger) - to_ms(instant))
        rank = func.row_number().over(
            partition_by=(c.installation, c.register),
            order_by=(c.actual.desc(), c.exact.desc(), distance, c.at),
        )
        ranked = (
            select(candidate, rank.label("rank"))
            .where(or_(c.value > 0, func.coalesce(c.before, 0) == 0))
            .subquery()
        )
        r = ranked.c
        rows = self._connection.execute(
            select(r.point, r.installed_at, r.register, r.at, r.value, r.actual).where(r.rank == 1)
        ).all()
        return [NearestRead(*row) for row in rows]

    def meters_with_slot(self, slot: datetime, window: timedelta) -> set[str]:
        """Serials that have a read for exactly this slot, taken within `window` after it."""
        c = index_reads.c
        return set(
            self._connection.execute(
                select(c.meter)
                .where(c.slot == slot, c.at >= slot, c.at <= slot + window)
                .distinct()
            ).scalars()
        )

    def last_read(self, serials: Collection[str]) -> dict[str, datetime]:
        """When each of these registered meters was read last; those never read are absent."""
        c, m = index_reads.c, meters.c
        last = select(func.max(c.at)).where(c.meter == m.meter).scalar_subquery()
        return {
            meter: at
            for part in _parts(serials)
            for meter, at in self._connection.execute(
                select(m.meter, last).where(m.meter.in_(part))
            )
            if at is not None
        }

    def last_values(
        self, serials: Collection[str], register: str, at: datetime
    ) -> dict[str, tuple[int, datetime]]:
        """The newest value of a register up to `at` of registered meters, with its instant."""
        c, m = index_reads.c, meters.c
        other = index_reads.alias()
        last = (
            select(func.max(other.c.at))
            .where(other.c.meter == m.meter, other.c.register == register, other.c.at <= at)
            .scalar_subquery()
        )
        newest = and_(c.meter == m.meter, c.register == register, c.at == last)
        return {
            meter: (value, read_at)
            for part in _parts(serials)
            for meter, value, read_at in self._connection.execute(
                select(m.meter, c.value, c.at)
                .select_from(meters.join(index_reads, newest))
                .where(m.meter.in_(part))
            )
        }

    def unassigned(self) -> list[tuple[str, datetime, datetime]]:
        """Serials with reads that were never installed: (serial, first read, last read)."""
        c = index_reads.c
        # From serial to serial through the index, rather than through all reads there are.
        serials = select(func.min(c.meter).label("meter")).cte("serials", recursive=True)
        following = select(func.min(c.meter)).where(c.meter > serials.c.meter).scalar_subquery()
        serials = serials.union_all(select(following).where(serials.c.meter.is_not(None)))
        unknown = self._connection.execute(
            select(serials.c.meter)
            .where(
                serials.c.meter.is_not(None),
                serials.c.meter.not_in(select(installations.c.meter)),
            )
            .order_by(serials.c.meter)
        ).scalars()
        return [
            (
                meter,
                *self._connection.execute(
                    select(func.min(c.at), func.max(c.at)).where(c.meter == meter)
                ).one(),
            )
            for meter in unknown.all()
        ]

    def _insert(self, rows: list[_Row]) -> int:
        if self._connection.dialect.name == "postgresql":
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            return self._connection.exec_driver_sql(_INSERT_POSTGRESQL, columns).rowcount
        return self._connection.exec_driver_sql(_INSERT_SQLITE, rows).rowcount

    def _conflicts(self, rows: list[_Row]) -> list[IndexConflict]:
        c = index_reads.c
        found = []
        for start in range(0, len(rows), COMPARE_ROWS):
            part = rows[start : start + COMPARE_ROWS]
            keys = [(from_ms(row[0]), row[1], row[2]) for row in part]
            stored = {
                (at, meter, register): value
                for at, meter, register, value in self._connection.execute(
                    select(c.at, c.meter, c.register, c.value).where(
                        tuple_(c.at, c.meter, c.register).in_(keys)
                    )
                )
            }
            for key, row in zip(keys, part, strict=True):
                kept = stored[key]
                if kept != row[3]:
                    found.append(
                        IndexConflict(
                            meter=row[1],
                            register=row[2],
                            at=key[0],
                            value_kept=kept,
                            value_refused=row[3],
                            gateway=row[7],
                            epoch=row[8],
                            seq=row[9],
                        )
                    )
        return found

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
    for block in blocks:
        slot_ms = to_ms(block.slot)
        source = (block.gateway, block.epoch, block.seq)
        columns = [
            (position, register)
            for position, register in enumerate(block.registers)
            if register in _BILLED
        ]
        for meter, offset_ms, values, quality in block.reads:
            at_ms = slot_ms + offset_ms
            for position, register in columns:
                value = values[position]
                if value is not None:
                    assert type(value) is int, "billing registers are integers: intake checks"
                    yield (
                        at_ms,
                        meter,
                        register,
                        value,
                        slot_ms,
                        block.kind.value,
                        quality,
                        *source,
                    )


def _parts(serials: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(serials)
    for start in range(0, len(ordered), COMPARE_ROWS):
        yield ordered[start : start + COMPARE_ROWS]


def _candidates(
    instant: datetime, window: timedelta, station: str | None, meter: str | None
) -> Select[Any]:
    """Reads around an instant with the installation that each belongs to.

    A read belongs where the meter was at its slot, both ends included: the index of an exchange
    that was made on the slot closes one installation or opens the other.
    """
    r, i = index_reads.c, installations.c
    here = and_(
        i.meter == r.meter,
        r.slot >= i.installed_at,
        or_(i.removed_at.is_(None), r.slot <= i.removed_at),
    )
    exact = r.slot == instant
    # Taken by a clock that was not right, and not dated again since.
    unsure = r.quality.op("&")(_CLOCK_BITS) == Quality.CLOCK_UNSYNCED.value
    before = func.max(r.value).over(partition_by=(i.id, r.register), order_by=r.at, rows=(None, -1))
    query = (
        select(
            i.id.label("installation"),
            i.point,
            i.installed_at,
            r.register,
            r.at,
            r.value,
            case((exact, 1), else_=0).label("exact"),
            case((and_(exact, not_(unsure)), 1), else_=0).label("actual"),
            before.label("before"),
        )
        .select_from(index_reads.join(installations, here))
        .where(r.at.between(instant - window, instant + window))
    )
    if station is not None:
        query = query.join(points, points.c.point == i.point).where(points.c.station == station)
    if meter is not None:
        query = query.where(r.meter == meter)
    return query
