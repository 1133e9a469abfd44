"""Which meters have been read: for a slot, when last, and those that nobody installed.

It looks at index reads only; it must not know when a meter should have been read.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, select

from collector.ledger.tables import index_reads, installations, meters
from contract.registers import IMPORT_ACTIVE

# How many serials one statement names.
SERIALS_MAX = 500


class CoverageRepository:
    """What index reads say of meters, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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

    def first_read(self, serials: Collection[str]) -> dict[str, datetime]:
        """When each of these registered meters was read first; those never read are absent."""
        c, m = index_reads.c, meters.c
        first = select(func.min(c.at)).where(c.meter == m.meter).scalar_subquery()
        return {
            meter: at
            for part in _parts(serials)
            for meter, at in self._connection.execute(
                select(m.meter, first).where(m.meter.in_(part))
            )
            if at is not None
        }

    def first_for_slot(self, slot: datetime, window: timedelta) -> dict[str, datetime]:
        """When the import index of a slot was read first, within `window` after it, by meter."""
        c = index_reads.c
        rows = self._connection.execute(
            select(c.meter, func.min(c.at))
            .where(
                c.slot == slot,
                c.at >= slot,
                c.at <= slot + window,
                c.register == IMPORT_ACTIVE,
            )
            .group_by(c.meter)
        )
        return {row[0]: row[1] for row in rows}

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


def _parts(serials: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(serials)
    for start in range(0, len(ordered), SERIALS_MAX):
        yield ordered[start : start + SERIALS_MAX]
