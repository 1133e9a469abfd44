"""The daily indices of points, to be shown: what stands for each day and how it came about.

It fetches and pages; which read stands for a day is `collector.vee.daily_index`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from collector.civil import civil_day
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.findings import ManualIndex
from collector.operations.daily import meter_days
from collector.operations.registry import unknown_station
from collector.registry.values import Registry
from collector.vee.limits import LimitsBook
from collector.vee.reads import DailyIndex

DAYS_MAX = 31


@dataclass(frozen=True, slots=True)
class DayIndex:
    """The index of one register for one day's start; `index` None: there is none.

    `manual` is what a person put in or had computed in its place, with its id.
    """

    point: str
    meter: str
    register: str
    day: date
    index: DailyIndex | None
    manual: tuple[int, ManualIndex] | None


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The indices of some points; `next` is the last of them where there are more."""

    indices: Sequence[DayIndex]
    next: str | None


def day_indices(
    ledger: Ledger,
    period: tuple[date, date, str],
    book: LimitsBook,
    *,
    point: str | None = None,
    station: str | None = None,
    turn: tuple[str | None, int] = (None, 20),
) -> IndexPage:
    """The indices of a point, or of the points that ever were at a station.

    `turn` is the point after which to go on, and how many points. Raises InvalidRequest, NotFound.
    """
    first_day, last_day, _ = period
    if last_day < first_day or (last_day - first_day).days >= DAYS_MAX:
        raise InvalidRequest(
            f"{first_day} to {last_day} is no period of 1 to {DAYS_MAX} days",
            hint="give the first day first, and ask month by month",
        )
    if (point is None) == (station is None):
        raise InvalidRequest("indices are of a point or of a station", hint="name one of the two")
    with ledger.read() as uow:
        registry, names, following = _points(uow, point, station, turn)
        found = _indices(uow, registry, names, period, book)
    return IndexPage(found, following)


def _points(
    uow: UnitOfWork, point: str | None, station: str | None, turn: tuple[str | None, int]
) -> tuple[Registry, list[str], str | None]:
    if point is not None:
        registry = uow.registry.load_point(point)
        if not registry.points:
            raise NotFound(f"no point is named {point!r}", hint="see `GET /v1/points`")
        return registry, [point], None
    assert station is not None, "one of the two is given"
    if not uow.registry.stations(station):
        raise unknown_station(station)
    after, limit = turn
    registry = uow.registry.load(station)
    names = [name for name in sorted(registry.points) if after is None or name > after]
    return registry, names[:limit], names[limit - 1] if len(names) > limit else None


def _indices(
    uow: UnitOfWork,
    registry: Registry,
    names: Sequence[str],
    period: tuple[date, date, str],
    book: LimitsBook,
) -> list[DayIndex]:
    first_day, last_day, zone = period
    wanted = set(names)
    rows = [row for row in registry.installations if row.point in wanted]
    if not rows:
        return []
    found: list[DayIndex] = []
    all_days = meter_days(uow, registry, rows, period, book)
    starts = all_days[0].starts
    manual = uow.manual_indices.standing_ids({row.meter for row in rows}, starts[0], starts[-1])
    for of_meter in all_days:
        row = of_meter.installation
        for register in of_meter.registers:
            # The last start only ends a day.
            for start, index in zip(starts[:-1], of_meter.indices[register][:-1], strict=True):
                if _there(row.installed_at, row.removed_at, start):
                    day = civil_day(start, zone)
                    by_hand = manual.get((row.meter, register, start))
                    found.append(DayIndex(row.point, row.meter, register, day, index, by_hand))
    found.sort(key=lambda one: (one.point, one.day, one.meter, one.register))
    assert all(first_day <= one.day <= last_day for one in found)
    return found


def _there(installed_at: datetime, removed_at: datetime | None, start: datetime) -> bool:
    return installed_at <= start and (removed_at is None or start <= removed_at)
