"""The reads that daily indices are chosen from: those for the starts of days, and those around.

It finds reads by meter and instant; it must not know which of them is chosen.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from collector.ledger.tables import conflicts, from_ms, index_reads, to_ms
from collector.vee.reads import Read
from contract.messages import ScanKind
from contract.quality import Quality
from contract.registers import IMPORT_ACTIVE

# How long after its slot the first pass of a scan is looked for; what came later is found around.
FIRST_PASS = timedelta(hours=1)

# How many meters, days and spans one statement names.
METERS_MAX = 500
STARTS_MAX = 400
SPANS_MAX = 50

_UNSYNCED = Quality.CLOCK_UNSYNCED.value
_CLOCK_BITS = (Quality.CLOCK_UNSYNCED | Quality.RESTAMPED).value

# CROSS JOIN: from each meter to each day by the index over (meter, at), whatever else there is.
_SLOTS_SQLITE = """
    WITH asked(meter) AS (VALUES {meters}), days(at) AS (VALUES {starts})
    SELECT i.meter, i.register, i.at, i.value, i.slot, i.quality
    FROM asked CROSS JOIN days CROSS JOIN index_reads AS i INDEXED BY ix_index_reads_meter_at
        ON i.meter = asked.meter AND i.at BETWEEN days.at AND days.at + {first_pass}
        AND i.slot = days.at
"""
# OFFSET 0: PostgreSQL would rather look at every read there is once than at a few of each meter; so
# it cannot make a join of it.
_SLOTS_POSTGRESQL = """
    SELECT i.meter, i.register, i.at, i.value, i.slot, i.quality
    FROM unnest(%s::text[]) AS asked(meter)
    CROSS JOIN unnest(%s::bigint[]) AS days(at)
    CROSS JOIN LATERAL (
        SELECT r.meter, r.register, r.at, r.value, r.slot, r.quality
        FROM index_reads AS r
        WHERE r.meter = asked.meter AND r.at BETWEEN days.at AND days.at + {first_pass}
            AND r.slot = days.at
        OFFSET 0
    ) AS i
"""


class MeterRegisterRead(NamedTuple):
    """A read with the meter and the register that it is of."""

    meter: str
    register: str
    read: Read


class RefusedValue(NamedTuple):
    """A value that was refused because the same read is stored with another."""

    meter: str
    register: str
    at: datetime
    value_kept: int
    value_refused: int


class DailyReadRepository:
    """Reads around the starts of days, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def for_slots(
        self, meters: Collection[str], starts: Sequence[datetime]
    ) -> Iterator[MeterRegisterRead]:
        """Reads that the first pass of the scans due at `starts` brought, of these meters."""
        ordered = sorted(meters)
        for first in range(0, len(ordered), METERS_MAX):
            for day in range(0, len(starts), STARTS_MAX):
                yield from self._for_slots(
                    ordered[first : first + METERS_MAX],
                    [to_ms(at) for at in starts[day : day + STARTS_MAX]],
                )

    def around(
        self, meter: str, spans: Sequence[tuple[datetime, datetime]]
    ) -> Iterator[MeterRegisterRead]:
        """All index reads of a meter within any of the spans, both ends included."""
        c = index_reads.c
        for first in range(0, len(spans), SPANS_MAX):
            part = spans[first : first + SPANS_MAX]
            rows = self._connection.execute(
                select(c.meter, c.register, c.at, c.value, c.slot, c.quality).where(
                    c.meter == meter, or_(*(c.at.between(start, end) for start, end in part))
                )
            )
            for name, register, at, value, slot, quality in rows:
                yield MeterRegisterRead(name, register, Read(at, value, slot, _unsure(quality)))

    def intervals(self, meter: str, from_at: datetime, to_at: datetime) -> list[Read]:
        """The active import indices of the regular cadence in [from_at, to_at], oldest first.

        Empty where the meter is not read at one, but daily.
        """
        c = index_reads.c
        rows = self._connection.execute(
            select(c.at, c.value, c.slot, c.quality, c.kind)
            .where(c.meter == meter, c.register == IMPORT_ACTIVE, c.at >= from_at, c.at <= to_at)
            .order_by(c.at)
        ).all()
        if not any(row.kind == ScanKind.INTERVAL.value for row in rows):
            return []
        wanted = {ScanKind.INTERVAL.value, ScanKind.INDEX.value}
        return [
            Read(at, value, slot, _unsure(quality))
            for at, value, slot, quality, kind in rows
            if kind in wanted
        ]

    def last_gateway(self, meter: str) -> str | None:
        """The gateway that read a meter last; None: it was never read."""
        c = index_reads.c
        return self._connection.execute(
            select(c.gateway).where(c.meter == meter).order_by(c.at.desc()).limit(1)
        ).scalar()

    def refused(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> Iterator[RefusedValue]:
        """Values that contradict stored reads with from_at <= at < to_at."""
        c = conflicts.c
        ordered = sorted(meters)
        for first in range(0, len(ordered), METERS_MAX):
            rows = self._connection.execute(
                select(c.meter, c.register, c.at, c.value_kept, c.value_refused)
                .where(
                    c.meter.in_(ordered[first : first + METERS_MAX]),
                    c.at >= from_at,
                    c.at < to_at,
                )
                .order_by(c.at, c.meter, c.register)
            )
            for row in rows:
                yield RefusedValue(*row)

    def _for_slots(self, meters: list[str], starts_ms: list[int]) -> Iterator[MeterRegisterRead]:
        first_pass = FIRST_PASS // timedelta(milliseconds=1)
        parameters: tuple[object, ...]
        if self._connection.dialect.name == "postgresql":
            statement = _SLOTS_POSTGRESQL.format(first_pass=first_pass)
            parameters = (meters, starts_ms)
        else:
            statement = _SLOTS_SQLITE.format(
                meters=",".join(["(?)"] * len(meters)),
                starts=",".join(["(?)"] * len(starts_ms)),
                first_pass=first_pass,
            )
            parameters = (*meters, *starts_ms)
        instants = {ms: from_ms(ms) for ms in starts_ms}
        # All at once: a station's month is some thousands of rows, and a cursor's step costs more.
        rows = self._connection.exec_driver_sql(statement, parameters).all()
        for meter, register, at, value, slot, quality in rows:
            read = Read(from_ms(at), value, instants[slot], _unsure(quality))
            yield MeterRegisterRead(meter, register, read)


def _unsure(quality: int) -> bool:
    """Taken by a clock that was not right, and not dated again since."""
    return quality & _CLOCK_BITS == _UNSYNCED
