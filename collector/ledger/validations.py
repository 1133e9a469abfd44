"""What validation looked at, and how much the ledger has of a day: rows added, never changed.

Reads, refused values and what people put in are only ever added. So a day of a meter is as it was
when as many of them are there as then; no clock has to be believed for it. It must not know what
a rule looks at, nor who may bill what was not looked at.
"""

import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, Connection, func, insert, select, type_coerce

from collector.ledger.billing_tables import validations
from collector.ledger.tables import conflicts, index_reads, manual_indices, to_ms

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
        self, windows: Sequence[tuple[datetime, datetime, Collection[str]]]
    ) -> list[dict[str, int]]:
        """By meter how many reads and refused values have from_at <= at < to_at, for each window.

        A window names the meters that matter; those of others may be told too. Windows are in
        order, and one overlaps no more than its neighbours.
        """
        meters = sorted({meter for *_, of_window in windows for meter in of_window})
        if not meters:
            return [{} for _ in windows]
        if len(meters) <= NAMES_MAX:
            return self._of_few(meters, [(to_ms(one[0]), to_ms(one[1])) for one in windows])
        return [self._of_many(*window) for window in windows]

    def _of_few(self, meters: list[str], windows: list[tuple[int, int]]) -> list[dict[str, int]]:
        """A station's month is some thousands of rows: one statement, and counted here."""
        found: list[dict[str, int]] = [{} for _ in windows]
        starts = [start for start, _ in windows]
        for table in (index_reads, conflicts):
            at = type_coerce(table.c.at, BigInteger)
            query = select(table.c.meter, at).where(
                table.c.meter.in_(meters), at >= starts[0], at < windows[-1][1]
            )
            for meter, read_at in self._connection.execute(query).all():
                place = bisect_right(starts, read_at) - 1
                while place >= 0 and read_at < windows[place][1]:
                    of_window = found[place]
                    of_window[meter] = of_window.get(meter, 0) + 1
                    place -= 1
        return found

    def _of_many(
        self, from_at: datetime, to_at: datetime, meters: Collection[str]
    ) -> dict[str, int]:
        found: dict[str, int] = {}
        for table in (index_reads, conflicts):
            c = table.c
            query = (
                select(c.meter, func.count()).where(c.at >= from_at, c.at < to_at).group_by(c.meter)
            )
            if len(meters) <= NAMES_MAX:
                query = query.where(c.meter.in_(sorted(meters)))
            for meter, count in self._connection.execute(query):
                found[meter] = found.get(meter, 0) + count
        return found

    def put_in(self, from_at: datetime, to_at: datetime) -> list[tuple[str, datetime]]:
        """The meter and instant of all that people put in with from_at <= at < to_at."""
        c = manual_indices.c
        rows = self._connection.execute(select(c.meter, c.at).where(c.at >= from_at, c.at < to_at))
        return [(meter, at) for meter, at in rows]
