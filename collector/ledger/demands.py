"""Maximum demands: the reads of their register, and what was frozen of them beside lines.

It must not know what a read is worth.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from collector.billing.demand import DemandRead, PeakDemand
from collector.ledger.billing_tables import maximum_demands
from collector.ledger.tables import index_reads
from contract.registers import DEMAND_MAX

_NAMES_AT_ONCE = 500


class DemandRepository:
    """Maximum demands within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def meters(self, from_at: datetime, to_at: datetime) -> set[str]:
        """The meters that sent a maximum demand between two instants."""
        c = index_reads.c
        query = (
            select(c.meter)
            .where(c.at >= from_at, c.at <= to_at, c.register == DEMAND_MAX)
            .distinct()
        )
        return set(self._connection.execute(query).scalars())

    def reads(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> dict[str, list[DemandRead]]:
        """What these meters sent, by meter and the slot it was read for, both ends included."""
        c = index_reads.c
        found: dict[str, list[DemandRead]] = {}
        names = sorted(meters)
        for first in range(0, len(names), _NAMES_AT_ONCE):
            query = select(c.meter, c.slot, c.value).where(
                c.meter.in_(names[first : first + _NAMES_AT_ONCE]),
                c.at >= from_at,
                c.register == DEMAND_MAX,
                c.slot >= from_at,
                c.slot <= to_at,
            )
            for meter, slot, value in self._connection.execute(query):
                found.setdefault(meter, []).append(DemandRead(slot, value))
        return found

    def freeze(self, owner: str, version: int, rows: Iterable[PeakDemand]) -> None:
        """Store what stands beside a snapshot (version 0) or a version of a run, for ever."""
        values = [
            {
                "owner": owner,
                "version": version,
                "point": row.point,
                "meter": row.meter,
                "power_w": row.power_w,
                "after": row.after,
            }
            for row in rows
        ]
        if values:
            self._connection.execute(insert(maximum_demands), values)

    def of(self, owner: str, version: int = 0) -> Sequence[PeakDemand]:
        """What was frozen, by point and meter."""
        c = maximum_demands.c
        rows = self._connection.execute(
            select(c.point, c.meter, c.power_w, c.after)
            .where(c.owner == owner, c.version == version)
            .order_by(c.point, c.meter)
        )
        return [PeakDemand(*row) for row in rows]
