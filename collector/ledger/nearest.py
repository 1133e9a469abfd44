"""Which read stands for an instant: one query over all installations.

It ranks by slot, clock and distance; it must not know what the index is used for.
"""

from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    not_,
    or_,
    select,
    tuple_,
    type_coerce,
    union_all,
)

from collector.ledger.registry import ever_at
from collector.ledger.tables import index_reads, installations, points, to_ms
from contract.quality import Quality

_CLOCK_BITS = (Quality.CLOCK_UNSYNCED | Quality.RESTAMPED).value


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


class Asked(NamedTuple):
    """What `nearest` was asked for."""

    instant: datetime
    window: timedelta
    station: str | None
    meter: str | None


def nearest(connection: Connection, asked: Asked) -> list[NearestRead]:
    """Per installation and register the read that stands for the instant asked for."""
    best: dict[tuple[int, str], NearestRead] = {}
    statement = _nearest(of_station=asked.station is not None, of_meter=asked.meter is not None)
    parameters = {
        "instant": asked.instant,
        "instant_ms": to_ms(asked.instant),
        "first": asked.instant - asked.window,
        "last": asked.instant + asked.window,
        "station": asked.station,
        "meter": asked.meter,
    }
    for installation, *read in connection.execute(statement, parameters).all():
        found = NearestRead(*read)
        key = (installation, found.register)
        other = best.get(key)
        if other is None or _order(found, asked.instant) < _order(other, asked.instant):
            best[key] = found
    return list(best.values())


def _order(read: NearestRead, instant: datetime) -> tuple[timedelta, datetime]:
    return abs(read.at - instant), read.at


@cache
def _nearest(*, of_station: bool, of_meter: bool) -> CompoundSelect[Any]:
    """Reads that were made for the instant and, for what has none, the best of those around it.

    Nearly everything has one, and looking for it alone is several times cheaper than ranking
    everything around. Where there are two for one slot the caller takes the nearer. Made once:
    a billing run asks it for each exchange, and making it takes longer than its answer.
    """
    r = index_reads.c
    instant = bindparam("instant", type_=r.slot.type)
    belonging = partial(_belonging, of_station=of_station, of_meter=of_meter)
    sure = and_(r.slot == instant, r.value > 0, not_(_unsure()))
    exact = belonging(case((sure, 1), else_=0)).where(sure).cte("exact")
    distance = func.abs(type_coerce(r.at, BigInteger) - bindparam("instant_ms", type_=BigInteger))
    # All that was counted up to a read; a zero after it is passed over.
    before = func.max(r.value).over(
        partition_by=(installations.c.id, r.register), order_by=r.at, rows=(None, -1)
    )
    around = (
        belonging(case((and_(r.slot == instant, not_(_unsure())), 1), else_=0))
        .add_columns(
            case((r.slot == instant, 0), else_=1).label("other"),
            distance.label("distance"),
            before.label("before"),
        )
        .where(
            tuple_(installations.c.id, r.register).not_in(
                select(exact.c.installation, exact.c.register)
            )
        )
        .subquery()
    )
    a = around.c
    rank = func.row_number().over(
        partition_by=(a.installation, a.register),
        order_by=(a.actual.desc(), a.other, a.distance, a.at),
    )
    ranked = (
        select(around, rank.label("rank"))
        .where(or_(a.value > 0, func.coalesce(a.before, 0) == 0))
        .subquery()
    )
    columns = [column.name for column in exact.c]
    return union_all(
        select(exact), select(*(ranked.c[name] for name in columns)).where(ranked.c.rank == 1)
    )


def _unsure() -> ColumnElement[bool]:
    """Taken by a clock that was not right, and not dated again since."""
    return index_reads.c.quality.op("&")(_CLOCK_BITS) == Quality.CLOCK_UNSYNCED.value


def _belonging(actual: ColumnElement[int], *, of_station: bool, of_meter: bool) -> Select[Any]:
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
    query = (
        select(
            i.id.label("installation"),
            i.point,
            i.installed_at,
            r.register,
            r.at,
            r.value,
            actual.label("actual"),
        )
        .select_from(index_reads.join(installations, here))
        .where(
            r.at.between(bindparam("first", type_=r.at.type), bindparam("last", type_=r.at.type))
        )
    )
    if of_station:
        query = query.join(points, points.c.point == i.point).where(
            ever_at(bindparam("station", type_=points.c.station.type))
        )
    if of_meter:
        query = query.where(r.meter == bindparam("meter", type_=r.meter.type))
    return query
