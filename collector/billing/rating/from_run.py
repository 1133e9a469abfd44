"""Determinants of bills from the lines of a billing run and the registry's contracts.

What counts in the period becomes lines as a snapshot has them; returns and corrections become
differences of the bill that they cite. It joins values; it must not know prices, nor where anything
is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import accumulate, pairwise

import msgspec

from collector.billing.chain import Steps
from collector.billing.rating.determinants import BillDeterminants, RegisterUse
from collector.billing.rating.faults import DeterminantsFault, NotRatable
from collector.billing.rating.from_registry import Facts, make_facts
from collector.billing.rating.from_snapshot import DECIMALS_MAX
from collector.billing.rating.preview import Adjustment, BillPreview, preview_hash
from collector.billing.rating.rounding import rounded
from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import SnapshotLine
from collector.civil import civil_day
from collector.registry.contract_values import ContractRegistry
from collector.registry.values import Registry

_KILO = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """What a register counted otherwise than was billed by `run`: `energy` kWh (kvarh), signed.

    It lies in the days before `to_day`: just before them where `at_the_end`, else anywhere.
    """

    run: str
    point: str
    register: str
    energy: int
    to_day: date
    at_the_end: bool = False


def run_facts(
    registry: Registry,
    contracts: ContractRegistry,
    lines: Sequence[RunLine],
    period: tuple[date, date],
    steps: Steps,
    zone: str,
) -> Facts:
    """The facts of a version of a run; the points it is about are those that have lines."""
    counted = [as_snapshot_line(line) for line in lines if line.kind in _COUNTED]
    starts: dict[str, date] = {}
    for line in lines:
        day = civil_day(line.from_at, zone)
        if line.kind in _COUNTED and day < starts.get(line.point, period[0]):
            starts[line.point] = day
    return replace(
        make_facts(registry, contracts, counted, period, None, zone),
        here=frozenset(line.point for line in lines),
        starts=starts,
        held=frozenset(line.point for line in lines if line.kind is LineKind.HELD),
        decimals=decimals_of(steps.plain),
        decimals_transformed=decimals_of(steps.transformed),
    )


_COUNTED = frozenset({LineKind.CONSUMPTION, LineKind.RETURN})


def decimals_of(step: int) -> int:
    """The decimals of a kWh that indices billed in steps of so many Wh have."""
    for decimals in range(DECIMALS_MAX + 1):
        if step * 10**decimals == _KILO:
            return decimals
    raise DeterminantsFault(
        f"indices are billed in steps of {step} Wh, which are no decimals of a kWh",
        hint="1000, 100, 10 or 1",
    )


def as_snapshot_line(line: RunLine) -> SnapshotLine:
    """A line that counts in the period. A return counts nothing: what it gives back was before."""
    is_return = line.kind is LineKind.RETURN
    return SnapshotLine(
        point=line.point,
        meter=line.meter,
        register=line.register,
        index_from=line.index_to if is_return else line.index_from,
        index_to=line.index_to,
        read_from_at=line.read_from_at,
        read_to_at=line.read_to_at,
        multiplier=line.multiplier,
        consumption=0 if is_return else line.billed,
        quality=line.quality,
    )


def differences(lines: Iterable[RunLine], zone: str) -> list[Difference]:
    """The returns and corrections among a run's lines, each of the period of the run it cites."""
    found = []
    for line in lines:
        if line.kind in {LineKind.RETURN, LineKind.CORRECTION}:
            assert line.cites is not None, "it says of what"
            assert line.billed is not None, "and by how much"
            # The exported closing index that was too high is the end of the period before.
            is_return = line.kind is LineKind.RETURN
            day = civil_day(line.from_at if is_return else line.to_at, zone)
            energy = rounded(line.billed, _KILO)
            if energy:
                found.append(
                    Difference(line.cites, line.point, line.register, energy, day, is_return)
                )
    return found


def with_differences(
    bills: Sequence[BillDeterminants], wanted: Iterable[Difference]
) -> list[BillDeterminants]:
    """The bills of a family as they would have been with these differences.

    A difference goes into the last bill of its point that ends by its day. Raises NotRatable where
    no bill has the point and register, or several customers paid for days in which it may lie;
    DeterminantsFault where more is taken away than was counted.
    """
    found = list(bills)
    for one in wanted:
        places = [
            (bill.to_day, number)
            for number, bill in enumerate(found)
            if any(
                point.point == one.point and point.use(one.register) is not None
                for point in bill.points
            )
        ]
        by_then = [place for place in places if place[0] <= one.to_day] or places
        if not by_then:
            raise NotRatable(
                f"run {one.run} has no bill of {one.register} at {one.point} to correct",
                hint=f"settle {one.energy} kWh by hand",
            )
        if len(by_then) > 1 and not one.at_the_end:
            names = ", ".join(found[number].bill for _, number in sorted(by_then))
            raise NotRatable(
                f"{one.energy} kWh of {one.register} at {one.point} are of days for which several"
                f" contracts pay: {names}",
                hint="settle it by hand: nobody knows whose days they are of",
            )
        _, number = max(by_then)
        found[number] = _changed(found[number], one)
    return found


def _changed(bill: BillDeterminants, one: Difference) -> BillDeterminants:
    points = []
    for point in bill.points:
        if point.point == one.point:
            uses = tuple(
                _with_energy(use, one) if use.register == one.register else use
                for use in point.registers
            )
            points.append(msgspec.structs.replace(point, registers=uses))
        else:
            points.append(point)
    return msgspec.structs.replace(bill, points=tuple(points))


def _with_energy(use: RegisterUse, one: Difference) -> RegisterUse:
    counted = sum(part.energy for part in use.parts)
    if counted + one.energy < 0:
        raise DeterminantsFault(
            f"{-one.energy} kWh of {one.register} at {one.point} are to be given back,"
            f" {-one.energy - counted} more than run {one.run} billed",
            hint="settle it by hand",
        )
    more = _at_the_end(use, one.energy) if one.at_the_end else _all_along(use, one.energy)
    parts = tuple(
        msgspec.structs.replace(part, energy=part.energy + energy)
        for part, energy in zip(use.parts, more, strict=True)
    )
    return RegisterUse(register=use.register, parts=parts)


def _at_the_end(use: RegisterUse, energy: int) -> list[int]:
    """A difference put to the last parts: what is given back beyond one is of the one before."""
    found = []
    left = energy
    for part in reversed(use.parts):
        more = max(left, -part.energy)
        found.append(more)
        left -= more
    return found[::-1]


def _all_along(use: RegisterUse, energy: int) -> list[int]:
    """A difference shared out by what the parts counted, or by their days where nothing was.

    It came about all along, as by a wrong multiplier, or nobody knows when. Parts are cut where
    prices or terms change: at its end alone all of it would have the last ones.
    """
    weights = [part.energy for part in use.parts]
    if not any(weights):
        weights = [(part.to_day - part.from_day).days for part in use.parts]
    whole = sum(weights)
    shared = [rounded(energy * so_far, whole) for so_far in accumulate(weights)]
    return [upto - before for before, upto in pairwise([0, *shared])]


def adjustment(run: str, before: BillPreview, after: BillPreview) -> Adjustment | None:
    """What a bill of `run` would have come to, less what it came to; None where it is the same.

    The bill is judged by the energy of its period, the way a meter found inaccurate is: for the
    time that it was wrong, at that time's prices and quotas.
    """
    if before == after:
        return None
    changed = set(before.lines) ^ set(after.lines)
    return Adjustment(
        run=run,
        from_day=before.from_day,
        to_day=before.to_day,
        energy_kwh=after.energy_kwh - before.energy_kwh,
        before=tuple(line for line in before.lines if line in changed),
        after=tuple(line for line in after.lines if line in changed),
        amount_vnd=after.amount_vnd - before.amount_vnd,
        vat_percent_hundredths=before.vat_percent_hundredths,
        vat_vnd=after.vat_vnd - before.vat_vnd,
        total_vnd=after.total_vnd - before.total_vnd,
        before_sha256=preview_hash(before),
        after_sha256=preview_hash(after),
        tariffs=after.tariffs,
    )


def adjusted(preview: BillPreview, found: Sequence[Adjustment]) -> BillPreview:
    """A preview with adjustments of earlier bills, counted into its total."""
    if not found:
        return preview
    return msgspec.structs.replace(
        preview,
        adjustments=tuple(found),
        total_vnd=preview.total_vnd + sum(one.total_vnd for one in found),
    )


def by_run(found: Iterable[Difference]) -> Mapping[str, list[Difference]]:
    """The differences of each run that is cited."""
    grouped: dict[str, list[Difference]] = {}
    for one in found:
        grouped.setdefault(one.run, []).append(one)
    return grouped
