"""The indices that an estimate or an edit puts in for a finding.

It fetches what methods of estimation may use and has them asked; it must not compute an estimate
itself, nor say whether somebody may decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from collector.civil import civil_day, day_start, days
from collector.ledger import UnitOfWork
from collector.ledger.findings import Decision, ManualIndex, ManualKind, StoredFinding
from collector.operations.daily import DAY, MeterDays, end_indices, groups_at, meter_days
from collector.operations.deciding import DecidedAt, Deciding
from collector.registry.asking import points_at_station, station_at
from collector.registry.values import Installation, Registry
from collector.vee.estimation.estimate import APPROVED, Estimate, Method, NotEstimable, estimate
from collector.vee.estimation.wanted import Anchor, DayEnergy, Wanted
from collector.vee.reads import DailyIndex, Origin
from collector.vee.values import Energy, Finding
from contract.registers import BY_OBIS, Unit

# How far around a day indices are looked for: the longest gap that any method bridges, and a month.
_AROUND_DAYS = 66

# What the last period, and that of last year, is for an estimate.
_PERIOD_DAYS = 30
_YEAR_DAYS = 365

# How far back exported periods are averaged.
_BILLED_BACK = timedelta(days=400)

# How many other meters make a profile.
PROFILE_METERS_MIN = 3

# Rules whose finding is about the index of one day's start, which `to_at` is.
ABOUT_A_DAY = frozenset({"V01", "V05", "V11"})

# Rules whose finding is about one read, at `to_at`: of the day that it stands for, if it does.
ABOUT_A_READ = frozenset({"V02", "V03"})


@dataclass(slots=True)
class Replacing:
    """What is put in by one request, with what several findings have in common."""

    uow: UnitOfWork
    deciding: Deciding
    place: DecidedAt
    _registries: dict[str, Registry] = field(default_factory=dict)
    _profiles: dict[tuple[object, ...], Mapping[date, int]] = field(default_factory=dict)

    def indices(self, stored: StoredFinding) -> list[ManualIndex] | str:
        """What an estimate or an edit puts in for a finding; a sentence if it cannot."""
        finding = stored.finding
        if finding.rule not in ABOUT_A_DAY | ABOUT_A_READ or finding.variant:
            return f"{finding.rule} is not about the index of one day: enter an index, or accept"
        registry = self._registry(finding.point, finding.to_at)
        row = installed(registry, finding.point, finding.meter, finding.to_at)
        if row is None:
            return "the meter is not installed there any more, as far as the registry says"
        zone, now = self.place.zone, self.place.now
        day = civil_day(finding.to_at, zone)
        last = min(day + _AROUND_DAYS * DAY, civil_day(now, zone))
        period = (day - _AROUND_DAYS * DAY, max(last, day), zone)
        (of_meter,) = meter_days(self.uow, registry, [row], period, self.place.book)
        at = finding.to_at
        if finding.rule in ABOUT_A_READ:
            index = _resting_on(of_meter, finding)
            if index is None:
                return "no day's index rests on that read: nothing is billed by it, so accept it"
            at = index.at
        registers = [finding.register] if finding.register else _lacking(finding)
        found: list[ManualIndex] = []
        for register in registers:
            one = self._one(of_meter, registry, register, at, several=len(registers) > 1)
            if isinstance(one, str):
                return one
            found.append(one)
        return found

    def _registry(self, point: str, at: datetime) -> Registry:
        """The part of the registry that concerns the station where a point is, loaded once."""
        for name, known in self._registries.items():
            point_then = known.points.get(point)
            if point_then and station_at(point_then, known.transfers, at) == name:
                return known
        first = self.uow.registry.points(point=point)
        if not first:
            return Registry()
        found = self.uow.registry.load(first[0].station)
        station = station_at(first[0], found.transfers, at)
        if station != first[0].station:
            found = self.uow.registry.load(station)
        self._registries[station] = found
        return found

    def _one(
        self,
        of_meter: MeterDays,
        registry: Registry,
        register: str,
        at: datetime,
        *,
        several: bool,
    ) -> ManualIndex | str:
        if self.deciding.decision is Decision.EDIT:
            if several:
                return "several registers lack an index: enter each by itself"
            return _edit(of_meter, register, at, self.deciding, self.place.now)
        answer = self._estimate(of_meter, registry, register, at)
        if isinstance(answer, NotEstimable):
            reasons = ", ".join(f"{name} {why}".strip() for name, why in answer.reasons.items())
            return f"{register} cannot be estimated: {reasons}"
        return _of_estimate(answer, of_meter.installation, self.deciding, self.place.now)

    def _estimate(
        self, of_meter: MeterDays, registry: Registry, register: str, at: datetime
    ) -> Estimate | NotEstimable:
        row, zone = of_meter.installation, self.place.zone
        before, after = _anchors(of_meter, register, at)
        active = BY_OBIS[register].unit is Unit.WH
        wanted = Wanted(
            register=register,
            at=at,
            installed_at=row.installed_at,
            removed_at=row.removed_at,
            before=before,
            after=after,
            days_before=_days(before.at if before else at, at, zone),
            days_after=_days(at, after.at if after else at, zone),
            history=_history(of_meter, register, at, zone),
            last_period=_last_period(of_meter, register, before),
            last_year=self._last_year(row, register, before),
            cycles=self._cycles(row, register, at),
            roll_over_wh=registry.meters[row.meter].roll_over_wh if active else None,
            original=_index_at(of_meter, register, at),
        )
        limits = of_meter.limits.estimation
        # What somebody must answer for is asked for by name.
        chain: list[Method] = [name for name in limits.chain if name not in APPROVED]
        if self.deciding.method is not None:
            chain = [self.deciding.method]
        # A profile costs a station's indices: it is made where nothing before it answers.
        early = chain[: chain.index("E4")] if "E4" in chain else chain
        answer = estimate(wanted, limits, early) if early else NotEstimable({"": "no_method"})
        if isinstance(answer, Estimate) or early == chain:
            return answer
        profile = self._profile(of_meter, registry, wanted)
        return estimate(replace(wanted, profile=profile), limits, chain)

    def _last_year(self, row: Installation, register: str, before: Anchor | None) -> Energy | None:
        """What the register moved by in thirty days from the anchor on, a year ago."""
        if before is None:
            return None
        zone = self.place.zone
        first = civil_day(before.at + DAY / 2, zone) - _YEAR_DAYS * DAY
        start, end = day_start(first, zone), day_start(first + _PERIOD_DAYS * DAY, zone)
        if not row.installed_at <= start:
            return None
        values = end_indices(self.uow, [row.meter], [start, end])
        one, two = values.get((row.meter, register, start)), values.get((row.meter, register, end))
        if one is None or two is None or two < one:
            return None
        return Energy(two - one, _PERIOD_DAYS)

    def _cycles(self, row: Installation, register: str, at: datetime) -> list[Energy]:
        """The exported billing periods of this meter before `at` that rest on reads, last first."""
        by_run: dict[str, list[RunLine]] = {}
        for one in self.uow.billing_runs.exported({row.point}, at - _BILLED_BACK):
            line = one.line
            if line.register == register and line.meter == row.meter and line.to_at <= at:
                by_run.setdefault(one.run, []).append(line)
        runs = sorted(by_run.values(), key=lambda lines: max(line.to_at for line in lines))
        return [
            Energy(
                sum((line.index_to or 0) - (line.index_from or 0) for line in lines),
                sum((line.to_at - line.from_at).days for line in lines),
            )
            for lines in reversed(runs)
            if all(_is_read(line) for line in lines)
        ]

    def _profile(
        self, of_meter: MeterDays, registry: Registry, wanted: Wanted
    ) -> Mapping[date, int]:
        """What other meters of the station, price group and multiplier used, on an average, by day.

        Only of days on which enough of them were read for both ends.
        """
        row, zone, at = of_meter.installation, self.place.zone, wanted.at
        asked = [*wanted.days_before, *wanted.days_after]
        if not asked:
            return {}
        station = station_at(registry.points[row.point], registry.transfers, at)
        here = points_at_station(registry.points.values(), registry.transfers, station, at)
        groups = groups_at(self.uow, registry, here | {row.point}, at)
        ratios = {one.point: one.ratio for one in registry.multipliers if one.from_at <= at}
        alike = {
            name
            for name in here
            if groups.get(name) == groups.get(row.point)
            and ratios.get(name, 1) == ratios.get(row.point, 1)
        }
        key = (frozenset(alike), wanted.register, asked[0], asked[-1])
        if key not in self._profiles:
            rows = [one for one in registry.installations if one.point in alike]
            peers = meter_days(
                self.uow, registry, rows, (asked[0], asked[-1], zone), self.place.book
            )
            self._profiles[key] = _averages(peers, wanted.register, asked, zone, row.meter)
        return self._profiles[key]


def _is_read(line: RunLine) -> bool:
    return (
        line.kind is LineKind.CONSUMPTION
        and line.index_from is not None
        and line.index_to is not None
        and line.quality in {LineQuality.ACTUAL, LineQuality.SUBSTITUTED}
    )


def _averages(
    peers: Sequence[MeterDays], register: str, asked: Sequence[date], zone: str, but: str
) -> dict[date, int]:
    energies: dict[date, list[int]] = {}
    for peer in peers:
        if peer.installation.meter != but:
            for one in _history(peer, register, peer.starts[-1], zone):
                energies.setdefault(one.day, []).append(one.energy_wh)
    return {
        day: sum(energies[day]) // len(energies[day])
        for day in asked
        if len(energies.get(day, ())) >= PROFILE_METERS_MIN
    }


def _resting_on(of_meter: MeterDays, finding: Finding) -> DailyIndex | None:
    """The daily index that rests on the read at the end of a finding."""
    for one in of_meter.indices.get(finding.register, ()):
        if one is not None and one.read_at == finding.to_at:
            return one
    return None


def _lacking(finding: Finding) -> list[str]:
    names = str(finding.facts.get("registers", "")).split()
    return [name for name in names if name in BY_OBIS]


def _edit(
    of_meter: MeterDays, register: str, at: datetime, deciding: Deciding, now: datetime
) -> ManualIndex | str:
    """An index by hand for the day's start; one that makes the index fall is refused."""
    assert deciding.value is not None, "an edit has a value: checked"
    before, after = _anchors(of_meter, register, at)
    if before is not None and deciding.value < before.value:
        return f"the index before it is {before.value}: {deciding.value} would be a fall"
    if after is not None and deciding.value > after.value:
        return f"the index after it is {after.value}: {deciding.value} would make it fall"
    original = _index_at(of_meter, register, at)
    row = of_meter.installation
    return ManualIndex(
        ManualKind.EDIT,
        row.point,
        row.meter,
        register,
        at,
        deciding.value,
        deciding.actor,
        now,
        deciding.reason,
        original_value=None if original is None else original.value,
        original_read_at=None if original is None else original.read_at,
        photo=deciding.photo,
    )


def _of_estimate(
    answer: Estimate, row: Installation, deciding: Deciding, now: datetime
) -> ManualIndex:
    return ManualIndex(
        ManualKind.ESTIMATE,
        row.point,
        row.meter,
        answer.register,
        answer.at,
        answer.value,
        deciding.actor,
        now,
        deciding.reason,
        method=answer.method,
        inputs=answer.inputs,
        original_value=None if answer.original is None else answer.original.value,
        original_read_at=None if answer.original is None else answer.original.read_at,
        photo=deciding.photo,
    )


def _index_at(of_meter: MeterDays, register: str, at: datetime) -> DailyIndex | None:
    for one in of_meter.indices.get(register, ()):
        if one is not None and one.at == at:
            return one
    return None


def _good(of_meter: MeterDays, register: str) -> list[DailyIndex]:
    """Indices that a register showed, or that a person answers for: never a computed one."""
    return [
        one
        for one in of_meter.indices.get(register, ())
        if one is not None and one.origin is not Origin.ESTIMATE
    ]


def _anchors(
    of_meter: MeterDays, register: str, at: datetime
) -> tuple[Anchor | None, Anchor | None]:
    """The last good index before a day's start and the first after it, as they were read."""
    before = after = None
    for one in _good(of_meter, register):
        if one.at < at and one.read_at < at:
            before = Anchor(one.read_at, one.value)
        elif one.at > at and one.read_at > at and after is None:
            after = Anchor(one.read_at, one.value)
    return before, after


def _history(of_meter: MeterDays, register: str, at: datetime, zone: str) -> list[DayEnergy]:
    """The whole days before `at` between two indices that were read for their day."""
    by_start = {one.at: one for one in _good(of_meter, register) if one.window_min is None}
    found = []
    for start, end in zip(of_meter.starts, of_meter.starts[1:], strict=False):
        first, last = by_start.get(start), by_start.get(end)
        if end <= at and first is not None and last is not None and last.value >= first.value:
            energy = last.value - first.value
            found.append(DayEnergy(civil_day(start, zone), start, end, energy))
    return found


def _last_period(of_meter: MeterDays, register: str, before: Anchor | None) -> Energy | None:
    """What the register moved by in thirty days up to the anchor; None where that is unknown."""
    if before is None:
        return None
    good = _good(of_meter, register)
    ends = {one.at: one for one in good}
    last = max((one for one in good if one.read_at == before.at), default=None)
    if last is None:
        return None
    first = ends.get(last.at - timedelta(days=_PERIOD_DAYS))
    if first is None or last.value < first.value:
        return None
    return Energy(last.value - first.value, _PERIOD_DAYS)


def _days(from_at: datetime, to_at: datetime, zone: str) -> list[date]:
    """The civil days that begin in between, by their starts to the nearest day."""
    first, last = civil_day(from_at + DAY / 2, zone), civil_day(to_at + DAY / 2, zone)
    return list(days(first, last - DAY))


def installed(registry: Registry, point: str, meter: str, at: datetime) -> Installation | None:
    """The installation of a meter at a point that an instant belongs to, both ends included."""
    for row in registry.installations:
        there = row.installed_at <= at and (row.removed_at is None or at <= row.removed_at)
        if there and (row.point, row.meter) == (point, meter):
            return row
    return None
