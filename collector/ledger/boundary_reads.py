"""Reads of the active energy registers around boundary instants, of many meters at once.

It finds reads by meter and span; it must not know which of them stands for an instant.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from collector.ledger.tables import from_ms, to_ms
from contract.quality import Quality
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE

# How many spans one statement names. SQLite's rows of values have three parameters each, of the
# 32,766 that it allows.
SPANS_MAX = 2_000

_UNSYNCED = Quality.CLOCK_UNSYNCED.value
_CLOCK_BITS = (Quality.CLOCK_UNSYNCED | Quality.RESTAMPED).value

# CROSS JOIN and OFFSET 0: from each meter by the index over (meter, at), whatever else there is.
_SQLITE = """
    WITH asked(meter, first, last) AS (VALUES {rows})
    SELECT i.meter, i.register, i.at, i.value, i.slot, i.quality
    FROM asked CROSS JOIN index_reads AS i INDEXED BY ix_index_reads_meter_at
        ON i.meter = asked.meter AND i.at BETWEEN asked.first AND asked.last
        AND i.register IN ({registers})
"""
_POSTGRESQL = """
    SELECT i.meter, i.register, i.at, i.value, i.slot, i.quality
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS asked(meter, first, last)
    CROSS JOIN LATERAL (
        SELECT r.meter, r.register, r.at, r.value, r.slot, r.quality
        FROM index_reads AS r
        WHERE r.meter = asked.meter AND r.at BETWEEN asked.first AND asked.last
            AND r.register IN ({registers})
        OFFSET 0
    ) AS i
"""
_REGISTERS = f"'{IMPORT_ACTIVE}', '{EXPORT_ACTIVE}'"


class Span(NamedTuple):
    """Reads of a meter that are asked for: both ends are included."""

    meter: str
    first_at: datetime
    last_at: datetime


class SpanRead(NamedTuple):
    """One read; `unsure`: by a clock that was not right, and not dated again since."""

    meter: str
    register: str
    at: datetime
    value: int
    slot: datetime
    unsure: bool


class BoundaryReadRepository:
    """Reads around boundary instants, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def within(self, spans: Sequence[Span]) -> Iterator[SpanRead]:
        """Reads of active import and export within the spans; once for each span that has them."""
        instants: dict[int, datetime] = {}
        for first in range(0, len(spans), SPANS_MAX):
            for meter, register, at, value, slot, quality in self._rows(
                spans[first : first + SPANS_MAX]
            ):
                due_at = instants.get(slot)
                if due_at is None:
                    due_at = instants[slot] = from_ms(slot)
                unsure = quality & _CLOCK_BITS == _UNSYNCED
                yield SpanRead(meter, register, from_ms(at), value, due_at, unsure)

    def _rows(self, spans: Sequence[Span]) -> Sequence[tuple[str, str, int, int, int, int]]:
        rows = [(span.meter, to_ms(span.first_at), to_ms(span.last_at)) for span in spans]
        parameters: tuple[object, ...]
        if self._connection.dialect.name == "postgresql":
            statement = _POSTGRESQL.format(registers=_REGISTERS)
            parameters = tuple(list(column) for column in zip(*rows, strict=True))
        else:
            statement = _SQLITE.format(rows=",".join(["(?,?,?)"] * len(rows)), registers=_REGISTERS)
            parameters = tuple(part for row in rows for part in row)
        found = self._connection.exec_driver_sql(statement, parameters).all()
        return [tuple(row) for row in found]
