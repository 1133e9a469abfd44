"""What held for a point or a book at an instant, and when a book's periods begin and end.

Pure functions over the registry's values; it must not know where they are kept.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Protocol, TypeVar

from collector.civil import civil_day, day_start, next_month
from collector.registry.contract_values import (
    Allocation,
    Contract,
    ContractTerms,
    Membership,
    ReadingDay,
    ReadingDays,
)
from collector.registry.values import Installation, Point, Transfer

_DAY = timedelta(days=1)


class _Dated(Protocol):
    @property
    def from_at(self) -> datetime: ...


_Row = TypeVar("_Row", bound=_Dated)
_OfContract = TypeVar("_OfContract", ContractTerms, Allocation)


@dataclass(frozen=True, slots=True)
class BookPeriod:
    """[from_at, to_at) of a book: the `number`-th that ends in the month (kỳ), from 1."""

    book: str
    number: int
    from_at: datetime
    to_at: datetime
    reading_day: ReadingDay


def in_force(rows: Iterable[_Row], at: datetime) -> _Row | None:
    """The row that holds at an instant: the last one that began, or None before the first."""
    begun = [row for row in rows if row.from_at <= at]
    return max(begun, key=lambda row: row.from_at) if begun else None


def belongs(row: Installation, at: datetime) -> bool:
    """Whether a read of an instant may be of an installation: both its ends are part of it."""
    return row.installed_at <= at and (row.removed_at is None or at <= row.removed_at)


def contract_at(contracts: Iterable[Contract], point: str, at: datetime) -> Contract | None:
    """The contract of a point at an instant, if any."""
    for row in contracts:
        if row.point == point and row.from_at <= at and (row.to_at is None or at < row.to_at):
            return row
    return None


def terms_at(rows: Iterable[ContractTerms], contract: str, at: datetime) -> ContractTerms | None:
    """The terms of a contract at an instant, if any."""
    return in_force((row for row in rows if row.contract == contract), at)


def allocation_at(
    rows: Iterable[Allocation], contract: str, at: datetime
) -> tuple[Allocation, ...]:
    """The whole list of prices of a contract at an instant, by register and position."""
    of_contract = [row for row in rows if row.contract == contract]
    newest = in_force(of_contract, at)
    if newest is None:
        return ()
    found = [row for row in of_contract if row.from_at == newest.from_at]
    return tuple(sorted(found, key=lambda row: (row.register, row.position)))


def within_contracts(
    rows: Iterable[_OfContract], contracts: Mapping[str, Contract]
) -> list[_OfContract]:
    """Terms or prices as far as their contracts hold: cut at a beginning or an end corrected later.

    What held when a contract began begins with it.
    """
    first: dict[str, datetime] = {}
    kept = list(rows)
    for row in kept:
        contract = contracts[row.contract]
        if row.from_at <= contract.from_at:
            first[row.contract] = max(row.from_at, first.get(row.contract, row.from_at))
    found: list[_OfContract] = []
    for row in kept:
        contract = contracts[row.contract]
        if row.from_at < first.get(row.contract, row.from_at):
            continue
        if contract.to_at is not None and row.from_at >= contract.to_at:
            continue
        late = row.from_at < contract.from_at
        found.append(replace(row, from_at=contract.from_at) if late else row)
    return found


def membership_at(rows: Iterable[Membership], point: str, at: datetime) -> Membership | None:
    """The book of a point at an instant with its position there; None if it is in none."""
    found = in_force((row for row in rows if row.point == point), at)
    return None if found is None or found.book is None else found


def station_at(point: Point, transfers: Iterable[Transfer], at: datetime) -> str:
    """The station of a point at an instant."""
    found = in_force((row for row in transfers if row.point == point.point), at)
    return point.station if found is None else found.station


def points_at_station(
    points: Iterable[Point], transfers: Iterable[Transfer], station: str, at: datetime
) -> set[str]:
    """Who is at a station at an instant."""
    moves: dict[str, list[Transfer]] = {}
    for row in transfers:
        moves.setdefault(row.point, []).append(row)
    return {
        point.point
        for point in points
        if station_at(point, moves.get(point.point, ()), at) == station
    }


def points_of_book(rows: Iterable[Membership], book: str, at: datetime) -> list[Membership]:
    """Who is in a book at an instant, in the order of positions (MA_GC).

    Numbers within positions count as numbers: A2 comes before A10. For a period, ask for its last
    instant (`last_of`): who is in the book when it is read is billed with it.
    """
    by_point: dict[str, list[Membership]] = {}
    for row in rows:
        by_point.setdefault(row.point, []).append(row)
    held = (in_force(of_point, at) for of_point in by_point.values())
    found = [row for row in held if row is not None and row.book == book]
    return sorted(found, key=lambda row: (position_key(row.position or ""), row.point))


def last_of(period: BookPeriod) -> datetime:
    """The last instant of a period."""
    return just_before(period.to_at)


def just_before(at: datetime) -> datetime:
    """The last instant of what ends at `at`, which is not in it."""
    return at - timedelta(milliseconds=1)


def position_key(position: str) -> tuple[tuple[int, int, str], ...]:
    """What positions are sorted by: runs of digits as numbers, the rest as text."""
    parts = re.findall(r"[0-9]+|[^0-9]+", position)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)


def periods_of_month(
    rows: Iterable[ReadingDays], book: str, month: date, zone: str
) -> list[BookPeriod]:
    """The periods of a book that end in the month of a day, in their order.

    A period goes from one reading day at 00:00 in `zone` to the next, under whatever days were in
    force at each of them: after a change of days the period between is shorter or longer. The
    first begins where the book has its first reading day; nothing ends there.
    """
    schedules = sorted((row for row in rows if row.book == book), key=lambda row: row.from_at)
    if not schedules:
        return []
    first = month.replace(day=1)
    last = next_month(first) - _DAY
    boundaries = _boundaries(schedules, last, zone)
    found: list[BookPeriod] = []
    for (start, _), (end, reading_day) in pairwise(boundaries):
        if first <= end <= last:
            period = BookPeriod(
                book, len(found) + 1, day_start(start, zone), day_start(end, zone), reading_day
            )
            found.append(period)
    return found


def _boundaries(
    schedules: Sequence[ReadingDays], last: date, zone: str
) -> list[tuple[date, ReadingDay]]:
    """Every reading day of a book from its first on, up to and with `last`."""
    found: list[tuple[date, ReadingDay]] = []
    for number, row in enumerate(schedules):
        begins = civil_day(row.from_at, zone)
        following = schedules[number + 1 :]
        ends = civil_day(following[0].from_at, zone) if following else last + _DAY
        month = begins.replace(day=1)
        while month <= last:
            following_month = next_month(month)
            for reading_day in row.reading_days:
                day = (
                    following_month - _DAY
                    if reading_day == "last"
                    else month.replace(day=reading_day)
                )
                # The 28th and the last may be one day, in February.
                is_new = not found or found[-1][0] < day
                if begins <= day < ends and day <= last and is_new:
                    found.append((day, reading_day))
            month = following_month
    return found
