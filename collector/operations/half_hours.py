"""Green Button of one customer by half-hours: as the days' file, from reads at both ends of each.

It fetches and records, a month of a point at a time: no customer's year is held in memory. It must
not know the file's form, nor what an interval is worth.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import chain

from collector.billing.exports.espi import Interval, Quality, Series, half_hour_feed
from collector.billing.exports.half_hours import (
    OFF_MAX,
    Due,
    ends_of,
    half_hour_intervals,
    half_hours,
)
from collector.billing.exports.intervals import Known, joined
from collector.billing.snapshot import BILLED_REGISTERS
from collector.civil import civil_day, day_start, next_month, zone_info
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.daily import DAY
from collector.operations.exports import By, recorded
from collector.operations.green_button import (
    Cadence,
    GreenButton,
    check_days,
    contracts_of,
    display_modulus,
    green_button_entry,
)
from collector.registry.asking import belongs
from collector.registry.values import Installation, Registry
from collector.vee.daily_index import ZERO_LOOKBACK
from contract.quality import Quality as Bits

HALF_HOUR_DAYS_MAX = 366

_BILLED = frozenset(BILLED_REGISTERS)
_CLOCK_BITS = Bits.CLOCK_UNSYNCED | Bits.RESTAMPED

_Span = tuple[datetime, datetime]
_Manual = Mapping[tuple[str, str], Sequence[ManualIndex]]


def export_half_hours(
    ledger: Ledger, customer: str, period: tuple[datetime, datetime], by: By
) -> GreenButton:
    """The energies of a customer's points by half-hour, [from_at, to_at) of civil days of the zone.

    Raises NotFound for an unknown customer; InvalidRequest for a period that is no whole days, in
    the future or longer than a year, and where no half-hour of the customer's was read.
    """
    check_days(period, by, HALF_HOUR_DAYS_MAX)
    spans: dict[str, list[_Span]] = {}
    with ledger.read() as uow:
        for contract, span in contracts_of(uow, customer, period):
            spans.setdefault(contract.point, []).append(span)
    made = GreenButton(iter(()))
    found = _counted(_months(ledger, spans, period, by.zone), made)
    first = next(found, None)
    if first is None:
        raise InvalidRequest(
            f"no half-hour of customer {customer} was read at both its ends in that period",
            hint="look at contracts.csv and at interval_min of the stations, or take the days",
            code="empty_selection",
        )
    pieces = half_hour_feed(chain((first,), found), sorted(spans), period, zone_info(by.zone))
    entry = green_button_entry(customer, period, by, made, Cadence.HALF_HOUR)
    made.pieces = recorded(ledger, pieces, entry)
    return made


def _counted(blocks: Iterable[Series], made: GreenButton) -> Iterator[Series]:
    for one in blocks:
        made.intervals += len(one.intervals)
        if one.point not in made.points:
            made.points = (*made.points, one.point)
        yield one


def _months(
    ledger: Ledger, spans: Mapping[str, Sequence[_Span]], period: _Span, zone: str
) -> Iterator[Series]:
    """The intervals by point, month and register. One short transaction a month: a slow reader
    holds no view of the ledger open."""
    for point, of_point in sorted(spans.items()):
        with ledger.read() as uow:
            registry = uow.registry.load_point(point)
        for first_day, last_day in _cut_by_month(period, zone):
            found: dict[str, list[Interval]] = {}
            with ledger.read() as uow:
                for span in of_point:
                    part = _part(span, first_day, last_day, zone)
                    if part is not None:
                        _add_part(found, uow, registry, part, zone)
            for register, intervals in sorted(found.items()):
                if intervals:
                    yield Series(point, register, intervals)


def _cut_by_month(period: _Span, zone: str) -> Iterator[tuple[date, date]]:
    """First and last day of the period in each civil month."""
    day, last_day = (civil_day(period[0], zone), civil_day(period[1], zone) - DAY)
    while day <= last_day:
        following = next_month(day.replace(day=1))
        yield day, min(following - DAY, last_day)
        day = following


def _part(span: _Span, first_day: date, last_day: date, zone: str) -> _Span | None:
    begin = max(span[0], day_start(first_day, zone))
    end = min(span[1], day_start(last_day + DAY, zone))
    return (begin, end) if begin < end else None


def _add_part(
    found: dict[str, list[Interval]], uow: UnitOfWork, registry: Registry, part: _Span, zone: str
) -> None:
    """Add what a point counted in a part of a month, by register."""
    begin, end = part
    starts = half_hours(civil_day(begin, zone), civil_day(end, zone) - DAY, zone)
    rows = [
        row
        for row in registry.installations
        if row.installed_at < end and (row.removed_at is None or row.removed_at > begin)
    ]
    manual = _manual(uow, {row.meter for row in rows}, part)
    by_register: dict[str, list[Interval]] = {}
    for row in rows:
        for register, indices in _ends(uow, row, part, starts, manual).items():
            intervals = half_hour_intervals(
                indices,
                starts,
                [one for one in registry.multipliers if one.point == row.point],
                display_modulus(registry, row.meter, register),
            )
            by_register.setdefault(register, []).extend(intervals)
    for register, intervals in by_register.items():
        found.setdefault(register, []).extend(joined(intervals, starts))


def _ends(
    uow: UnitOfWork, row: Installation, part: _Span, starts: Sequence[datetime], manual: _Manual
) -> dict[str, list[Known]]:
    """The indices of one installation within a part, by register."""
    reads: dict[str, list[Due]] = {}
    for register, due in _reads(uow, row, part):
        reads.setdefault(register, []).append(due)
    written = [
        (at, indices)
        for at, indices in (
            (row.installed_at, row.install_indices),
            (row.removed_at, row.removal_indices),
        )
        if at is not None and part[0] <= at <= part[1]
    ]
    wanted = {at for at in starts if belongs(row, at)}
    of_meter = {register for meter, register in manual if meter == row.meter}
    spotted = {register for _, indices in written for register in indices}
    found = {}
    for register in (reads.keys() | of_meter | spotted) & _BILLED:
        known = ends_of(reads.get(register, ()), wanted)
        _put_in(known, manual.get((row.meter, register), ()), wanted)
        for at, indices in written:
            if register in indices:
                known[at] = Known(at, indices[register], Quality.VALID)
        found[register] = list(known.values())
    return found


def _put_in(
    known: dict[datetime, Known], manual: Sequence[ManualIndex], wanted: set[datetime]
) -> None:
    """What people read or put in place of a read; an estimate is no read, and takes its own away.

    An estimate that was made because none had come gives way to the read that came later.
    """
    for one in manual:
        if one.value is None or one.at not in wanted:
            continue
        if one.kind is ManualKind.HAND:
            known[one.at] = Known(one.at, one.value, Quality.VALID)
        elif one.kind is ManualKind.EDIT:
            known[one.at] = Known(one.at, one.value, Quality.EDITED)
        elif one.at in known and (one.original_value is not None or known[one.at].value == 0):
            del known[one.at]


def _reads(uow: UnitOfWork, row: Installation, part: _Span) -> Iterator[tuple[str, Due]]:
    """The reads of an installation in a part, and of the day before it: whether a zero is believed.

    A day at a time: of a meter that is read every minute no month is held.
    """
    at, end = part[0] - ZERO_LOOKBACK, part[1] + OFF_MAX
    while at < end:
        until = min(at + DAY, end)
        for read in uow.index_reads.of_meter(row.meter, at, until):
            if read.register in _BILLED and belongs(row, read.slot):
                unsure = read.quality & _CLOCK_BITS == Bits.CLOCK_UNSYNCED
                again = bool(read.quality & Bits.LATE)
                yield read.register, Due(read.at, read.value, read.slot, unsure, again)
        at = until


def _manual(uow: UnitOfWork, meters: set[str], part: _Span) -> _Manual:
    """What people put in, by meter and register: first what they read, then edits and estimates."""
    found: dict[tuple[str, str], list[ManualIndex]] = {}
    standing = uow.manual_indices.standing(meters, *part)
    for one in sorted(standing, key=lambda one: one.kind is not ManualKind.HAND):
        found.setdefault((one.meter, one.register), []).append(one)
    return found
