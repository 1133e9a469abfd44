"""Snapshots as they were made: a head and its lines, added once and read for ever.

It must not know how a line came about; that is `collector.billing`.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select

from collector.billing.values import LineQuality, SnapshotHead, SnapshotLine
from collector.ledger.tables import snapshot_lines, snapshots, to_ms

_HEAD = (
    snapshots.c.id,
    snapshots.c.station,
    snapshots.c.from_at,
    snapshots.c.to_at,
    snapshots.c.created_at,
    snapshots.c.created_by,
    snapshots.c.line_count,
    snapshots.c.sha256,
)

_LINES = select(
    snapshot_lines.c.point,
    snapshot_lines.c.meter,
    snapshot_lines.c.register,
    snapshot_lines.c.index_from,
    snapshot_lines.c.index_to,
    snapshot_lines.c.read_from_at,
    snapshot_lines.c.read_to_at,
    snapshot_lines.c.multiplier_numerator,
    snapshot_lines.c.multiplier_denominator,
    snapshot_lines.c.consumption,
    snapshot_lines.c.quality,
).order_by(snapshot_lines.c.ordinal)

_LineRow = tuple[str | int | None, ...]

# Ten thousand lines at once while a clerk waits: the driver's own way, by dialect.
_INSERT_SQLITE = """
    INSERT INTO snapshot_lines
        (snapshot, ordinal, point, meter, register, index_from, index_to, read_from_at, read_to_at,
        multiplier_numerator, multiplier_denominator, consumption, quality)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_POSTGRESQL = """
    INSERT INTO snapshot_lines
        (snapshot, ordinal, point, meter, register, index_from, index_to, read_from_at, read_to_at,
        multiplier_numerator, multiplier_denominator, consumption, quality)
    SELECT * FROM unnest(
        %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[], %s::int[], %s::int[], %s::bigint[], %s::text[])
"""


class SnapshotRepository:
    """Snapshots within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, head: SnapshotHead, lines: Sequence[SnapshotLine]) -> None:
        """Store a snapshot. The database refuses to change or delete it afterwards."""
        assert head.line_count == len(lines), "the head counts its lines"
        self._connection.execute(
            insert(snapshots).values(
                id=head.id,
                station=head.station,
                from_at=head.from_at,
                to_at=head.to_at,
                created_at=head.created_at,
                created_by=head.created_by,
                line_count=head.line_count,
                sha256=head.sha256,
            )
        )
        if lines:
            self._add_lines([_row(head.id, ordinal, line) for ordinal, line in enumerate(lines)])

    def get(self, snapshot_id: str) -> SnapshotHead | None:
        """The head of one snapshot; None where there is none of this id."""
        row = self._connection.execute(
            select(*_HEAD).where(snapshots.c.id == snapshot_id)
        ).one_or_none()
        return None if row is None else SnapshotHead(*row)

    def all(self) -> list[SnapshotHead]:
        """The heads of all snapshots, oldest first."""
        rows = self._connection.execute(
            select(*_HEAD).order_by(snapshots.c.created_at, snapshots.c.id)
        )
        return [SnapshotHead(*row) for row in rows]

    def newest(self, limit: int, after: SnapshotHead | None = None) -> list[SnapshotHead]:
        """The heads of the snapshots made last, newest first; those that follow `after`."""
        c = snapshots.c
        query = select(*_HEAD).order_by(c.created_at.desc(), c.id).limit(limit)
        if after is not None:
            same = and_(c.created_at == after.created_at, c.id > after.id)
            query = query.where(or_(c.created_at < after.created_at, same))
        return [SnapshotHead(*row) for row in self._connection.execute(query)]

    def lines(self, snapshot_id: str, first: int, limit: int) -> list[SnapshotLine]:
        """Lines of a snapshot in their order, from number `first` (0 is the first of all) on."""
        c = snapshot_lines.c
        query = _LINES.where(
            c.snapshot == snapshot_id, c.ordinal >= first, c.ordinal < first + limit
        )
        return [_line(row) for row in self._connection.execute(query)]

    def all_lines(self, snapshot_id: str) -> list[SnapshotLine]:
        """All lines of a snapshot in their order, whatever numbers somebody gave them."""
        query = _LINES.where(snapshot_lines.c.snapshot == snapshot_id)
        return [_line(row) for row in self._connection.execute(query)]

    def _add_lines(self, rows: list[_LineRow]) -> None:
        if self._connection.dialect.name == "postgresql":
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            self._connection.exec_driver_sql(_INSERT_POSTGRESQL, columns)
        else:
            self._connection.exec_driver_sql(_INSERT_SQLITE, rows)


def _row(snapshot_id: str, ordinal: int, line: SnapshotLine) -> _LineRow:
    return (
        snapshot_id,
        ordinal,
        line.point,
        line.meter,
        line.register,
        line.index_from,
        line.index_to,
        None if line.read_from_at is None else to_ms(line.read_from_at),
        None if line.read_to_at is None else to_ms(line.read_to_at),
        line.multiplier.numerator,
        line.multiplier.denominator,
        line.consumption,
        line.quality.value,
    )


def _line(row: Row[*tuple[Any, ...]]) -> SnapshotLine:
    *head, numerator, denominator, consumption, quality = row
    point, meter, register, index_from, index_to, read_from_at, read_to_at = head
    return SnapshotLine(
        point=point,
        meter=meter,
        register=register,
        index_from=index_from,
        index_to=index_to,
        read_from_at=read_from_at,
        read_to_at=read_to_at,
        multiplier=Fraction(numerator, denominator),
        consumption=consumption,
        quality=LineQuality(quality),
    )
