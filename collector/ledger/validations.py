"""What validation looked at, and how much the ledger has of a day: rows added, never changed.

Reads, refused values and what people put in are only ever added. So a day of a meter is as it was
when as many of them are there as then; no clock has to be believed for it. It must not know what
a rule looks at, nor who may bill what was not looked at.
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, func, insert, select

from collector.ledger.billing_tables import validations
from collector.ledger.tables import conflicts, index_reads, manual_indices

# How many names one statement has; of more than these a day is counted for all meters there are.
NAMES_MAX = 500


class SeenMeter(msgspec.Struct, frozen=True, array_like=True):
    """An installation as it was when the rules were asked about it.

    `facts` stands for what the registry said of it; `counts` has, for each day, how many rows of
    reads, refused values and indices that people put in there were.
    """

    point: str
    meter: str
    installed_ms: int
    facts: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Validation:
    """The days [from_at, to_at) of a station, and the installations that rules were asked about."""

    station: str
    from_at: datetime
    to_at: datetime
    validated_at: datetime
    seen: tuple[SeenMeter, ...]


class ValidationRepository:
    """What was validated, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, one: Validation) -> None:
        """Remember that days of a station were looked at, and what was there."""
        values = {
            "station": one.station,
            "from_at": one.from_at,
            "to_at": one.to_at,
            "validated_at": one.validated_at,
            "seen": zlib.compress(msgspec.json.encode(one.seen)),
        }
        self._connection.execute(insert(validations).values(values))

    def touching(self, from_at: datetime, to_at: datetime) -> Iterator[Validation]:
        """All that looked at any of [from_at, to_at), the newest first."""
        c = validations.c
        rows = self._connection.execute(
            select(c.station, c.from_at, c.to_at, c.validated_at, c.seen)
            .where(c.to_at > from_at, c.from_at < to_at)
            .order_by(c.id.desc())
        )
        for station, first, last, at, seen in rows:
            found = msgspec.json.decode(zlib.decompress(seen), type=tuple[SeenMeter, ...])
            yield Validation(station, first, last, at, found)

    def newest(self) -> datetime | None:
        """When anything was validated last; None: never."""
        return self._connection.execute(select(func.max(validations.c.validated_at))).scalar()

    def read_counts(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> dict[str, int]:
        """How many reads and refused values of these meters have from_at <= at < to_at.

        Of many meters those of others are told too.
        """
        found: dict[str, int] = {}
        named = sorted(meters) if len(meters) <= NAMES_MAX else None
        for table in (index_reads, conflicts):
            c = table.c
            query = (
                select(c.meter, func.count()).where(c.at >= from_at, c.at < to_at).group_by(c.meter)
            )
            if named is not None:
                query = query.where(c.meter.in_(named))
            for meter, count in self._connection.execute(query):
                found[meter] = found.get(meter, 0) + count
        return found

    def put_in(self, from_at: datetime, to_at: datetime) -> list[tuple[str, datetime]]:
        """The meter and instant of all that people put in with from_at <= at < to_at."""
        c = manual_indices.c
        rows = self._connection.execute(select(c.meter, c.at).where(c.at >= from_at, c.at < to_at))
        return [(meter, at) for meter, at in rows]
