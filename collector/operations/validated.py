"""Which days of which meters validation has looked at, as they are in the ledger now.

It notes what a run of the rules looked at, and asks what of a billing run nothing looked at; it
must not know what the rules are, nor who may approve all the same.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from collector.billing.gates import Cause, RunException
from collector.billing.run_values import LineKind, RunHead, RunLine
from collector.civil import civil_day, day_bounds, days
from collector.ledger import UnitOfWork
from collector.ledger.validations import SeenMeter, Validation
from collector.registry.asking import just_before
from collector.registry.values import Installation, Meter, Multiplier, Registry
from collector.vee.values import Subject
from contract.registers import IMPORT_ACTIVE

# How long after a day's end its last reads may come: they are of that day, and of the next one.
LATE = timedelta(hours=1)

_MeterAtPoint = tuple[str, str]  # point, meter


def validation_of(
    uow: UnitOfWork,
    station: str,
    subjects: Collection[Subject],
    period: tuple[date, date, str],
    now: datetime,
) -> Validation:
    """What is to be remembered of a run of the rules over these days: what was there, as it reads.

    To be asked in the transaction in which the facts were fetched.
    """
    first, last, zone = period
    from_at, to_at = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    all_days = list(days(first, last))
    meters = {one.meter for one in subjects}
    counted = _Counts(uow, dict.fromkeys(all_days, meters), zone)
    facts = _Facts(uow.registry.load(station))
    seen = [
        SeenMeter(
            one.point,
            one.meter,
            _ms(one.installed_at),
            facts.of(one.point, one.installed_at, to_at),
            tuple(counted.of(one.meter, day) for day in all_days),
        )
        for one in subjects
    ]
    return Validation(station, from_at, to_at, now, tuple(seen))


def not_validated(
    uow: UnitOfWork, lines: Sequence[RunLine], head: RunHead, zone: str
) -> list[RunException]:
    """The points of a run with days that no validation has looked at as they are now."""
    found = []
    for point, missing in sorted(days_not_validated(uow, lines, head, zone).items()):
        found.append(
            RunException(
                point, IMPORT_ACTIVE, Cause.NOT_VALIDATED, blocks=True, detail=_told(missing)
            )
        )
    return found


def days_not_validated(
    uow: UnitOfWork, lines: Sequence[RunLine], head: RunHead, zone: str
) -> dict[str, list[date]]:
    """By point, in order, the days of its lines that no validation has looked at as they are now.

    A day counts as looked at while the ledger has as many reads, refused values and put-in indices
    of it as then, and the registry says of the meter what it said then.
    """
    wanted = _wanted(lines, head, zone)
    if not wanted:
        return {}
    by_day: dict[date, set[str]] = {}
    for (_, meter), of_meter in wanted.items():
        for day in of_meter:
            by_day.setdefault(day, set()).add(meter)
    counted = _Counts(uow, by_day, zone)
    facts = _Facts(uow.registry.load(head.station))
    first, last = day_bounds(min(by_day), zone)[0], day_bounds(max(by_day), zone)[1]
    for one in uow.validations.touching(first, last):
        if not wanted:
            break
        _take_off(wanted, one, counted, facts, zone)
    found: dict[str, set[date]] = {}
    for (point, _), left in wanted.items():
        found.setdefault(point, set()).update(left)
    return {point: sorted(left) for point, left in found.items()}


def _take_off(
    wanted: dict[_MeterAtPoint, set[date]],
    one: Validation,
    counted: "_Counts",
    facts: "_Facts",
    zone: str,
) -> None:
    """Take off what is wanted all that a validation looked at as it is now."""
    all_days = list(days(civil_day(one.from_at, zone), civil_day(just_before(one.to_at), zone)))
    for seen in one.seen:
        left = wanted.get((seen.point, seen.meter))
        if left is None:
            continue
        same = {
            day
            for day, count in zip(all_days, seen.counts, strict=True)
            if day in left and counted.of(seen.meter, day) == count
        }
        if same and facts.of(seen.point, seen.installed_ms, one.to_at) == seen.facts:
            left -= same
            if not left:
                del wanted[seen.point, seen.meter]


def _wanted(lines: Iterable[RunLine], head: RunHead, zone: str) -> dict[_MeterAtPoint, set[date]]:
    """The days that lines rest on, by point and meter: up to the day of the closing read.

    Corrections are of periods that were exported: another cause asks about each of them.
    """
    spans: dict[_MeterAtPoint, set[tuple[datetime, datetime]]] = {}
    for line in lines:
        if line.kind in {LineKind.HELD, LineKind.CORRECTION}:
            continue
        until = line.to_at
        if line.to_at == head.to_at and line.read_to_at is not None:
            # A closing read from well into the next day was looked at with that day.
            until = line.read_to_at if line.read_to_at >= line.to_at + LATE else line.to_at
        if line.from_at < until:
            spans.setdefault((line.point, line.meter), set()).add((line.from_at, until))
    known: dict[tuple[datetime, datetime], set[date]] = {}
    found: dict[_MeterAtPoint, set[date]] = {}
    for key, of_meter in spans.items():
        for span in of_meter:
            if span not in known:
                first, last = civil_day(span[0], zone), civil_day(just_before(span[1]), zone)
                known[span] = set(days(first, last))
            found.setdefault(key, set()).update(known[span])
    return found


class _Counts:
    """How much the ledger has of each day of each meter."""

    def __init__(self, uow: UnitOfWork, wanted: Mapping[date, set[str]], zone: str) -> None:
        windows = {}
        for day in sorted(wanted):
            start, end = day_bounds(day, zone)
            windows[day] = start, end + LATE
        asked = [(*windows[day], wanted[day]) for day in windows]
        counts = uow.validations.read_counts(asked)
        self._of_day = dict(zip(windows, counts, strict=True))
        if not windows:
            return
        first, last = min(windows.values()), max(windows.values())
        for meter, at in uow.validations.put_in(first[0], last[1]):
            for day in {civil_day(at, zone), civil_day(at - LATE, zone)} & windows.keys():
                if windows[day][0] <= at < windows[day][1]:
                    of_day = self._of_day[day]
                    of_day[meter] = of_day.get(meter, 0) + 1

    def of(self, meter: str, day: date) -> int:
        return self._of_day[day].get(meter, 0)


class _Facts:
    """What the registry says of installations up to an instant, in a few letters."""

    def __init__(self, registry: Registry) -> None:
        self._meters = registry.meters
        self._rows = {(row.point, _ms(row.installed_at)): row for row in registry.installations}
        self._ratios: dict[str, list[Multiplier]] = {}
        for ratio in sorted(registry.multipliers, key=lambda one: one.from_at):
            self._ratios.setdefault(ratio.point, []).append(ratio)
        self._known: dict[tuple[str, int, bool, int], str] = {}

    def of(self, point: str, installed_at: datetime | int, until: datetime) -> str:
        """What there is of an installation; empty where there is none any more."""
        began = installed_at if isinstance(installed_at, int) else _ms(installed_at)
        row = self._rows.get((point, began))
        if row is None:
            return ""
        # What comes later is not of the days: that leaves a removal, and so many multipliers.
        is_removed = row.removed_at is not None and row.removed_at <= until
        ratios = self._ratios.get(point, ())
        begun = sum(1 for one in ratios if one.from_at < until)
        key = point, began, is_removed, begun
        if key not in self._known:
            meter = self._meters.get(row.meter)
            words = _words(row, meter, ratios[:begun], is_removed=is_removed)
            text = "\n".join(words).encode()
            self._known[key] = hashlib.blake2b(text, digest_size=6).hexdigest()
        return self._known[key]


def _words(
    row: Installation, meter: Meter | None, ratios: Iterable[Multiplier], *, is_removed: bool
) -> Iterator[str]:
    """What a day's validation rests on of the registry."""
    yield row.meter
    yield str(_ms(row.installed_at))
    yield from _indices(row.install_indices)
    if row.removed_at is not None and is_removed:
        yield f"removed {_ms(row.removed_at)}"
        yield from _indices(row.removal_indices)
    if meter is not None:
        yield f"{meter.model} {meter.resolution_wh} {meter.roll_over_wh}"
    for one in ratios:
        yield f"{_ms(one.from_at)} {one.ratio.numerator}/{one.ratio.denominator}"


def _indices(values: Mapping[str, int]) -> Iterator[str]:
    for register in sorted(values):
        yield f"{register} {values[register]}"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _told(missing: Sequence[date]) -> str:
    """How many days and which, in few letters: one after another, or between which."""
    if len(missing) == 1:
        return f"1 day: {missing[0]}"
    is_whole = (missing[-1] - missing[0]).days + 1 == len(missing)
    return f"{len(missing)} days{':' if is_whole else ' from'} {missing[0]} to {missing[-1]}"
