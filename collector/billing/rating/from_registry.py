"""Determinants of bills from a snapshot's lines and the registry's contracts.

It joins values; it must not know prices, nor where anything is kept. A contract that cannot be
billed is told with its reason, and does not keep others from theirs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec

from collector.billing.rating.determinants import (
    BillDeterminants,
    Part,
    PointDeterminants,
    RegisterUse,
    Share,
    Terms,
)
from collector.billing.rating.faults import DeterminantsFault, NotRatable, RatingError
from collector.billing.rating.from_snapshot import DayIndex, point_determinants
from collector.billing.values import SnapshotLine
from collector.civil import civil_day, day_start
from collector.registry.asking import (
    BookPeriod,
    allocation_at,
    just_before,
    membership_at,
    periods_of_month,
    points_at_station,
    position_key,
    terms_at,
)
from collector.registry.contract_values import (
    Allocation,
    Contract,
    ContractTerms,
    Membership,
    ReadingDay,
)
from collector.registry.contract_values import ContractRegistry as Contracts
from collector.registry.forms import RATES, TOTAL
from collector.registry.values import Installation, Registry, Role

_WH_PER_KWH = 1000

# These have nobody who pays.
_UNBILLED = frozenset({Role.HEAD, Role.OWN_USE})

_KILO = 1000

_IMPORTS = frozenset({TOTAL, *RATES})

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A point that has no preview, and why."""

    point: str
    contract: str | None
    error: RatingError


@dataclass(frozen=True, slots=True)
class Family:
    """Bills that depend on each other: those of the point `root` and the sub-meters behind it."""

    root: str
    bills: tuple[BillDeterminants, ...]


@dataclass(slots=True)
class Prepared:
    """The bills of a snapshot, in the order of reading, and what has none."""

    families: list[Family] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """What bills are made from, by what it is looked up by. `period` are civil days.

    `here` are the points that the snapshot is about, `periods` those of each book that end in the
    month in which it ends. Of a billing run, `starts` has the points that go on from before the
    period, `held` those that were left out, and indices have `decimals` of a kWh (behind a
    multiplier `decimals_transformed`).
    """

    registry: Registry
    periods: Mapping[str, Sequence[BookPeriod]]
    contracts: Mapping[str, Sequence[Contract]]
    terms: Mapping[str, Sequence[ContractTerms]]
    allocations: Mapping[str, Sequence[Allocation]]
    memberships: Mapping[str, Sequence[Membership]]
    installations: Mapping[str, Sequence[Installation]]
    lines: Mapping[str, Sequence[SnapshotLine]]
    period: tuple[date, date]
    here: frozenset[str]
    zone: str
    day_indices: Mapping[str, Sequence[DayIndex]] = field(default_factory=dict)
    starts: Mapping[str, date] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    decimals: int = 0
    decimals_transformed: int = 0

    def first_day(self, point: str) -> date:
        """The day from which a point is billed: the period's first, or an earlier one."""
        return min(self.starts.get(point, self.period[0]), self.period[0])

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The period as instants."""
        return day_start(self.period[0], self.zone), day_start(self.period[1], self.zone)


def make_facts(
    registry: Registry,
    contracts: Contracts,
    lines: Iterable[SnapshotLine],
    period: tuple[date, date],
    station: str | None,
    zone: str,
) -> Facts:
    """The facts of a snapshot of one station, or of all (None)."""
    last = just_before(day_start(period[1], zone))
    here = frozenset(registry.points)
    if station is not None:
        points = registry.points.values()
        here = frozenset(points_at_station(points, registry.transfers, station, last))
    return Facts(
        registry=registry,
        periods={
            name: periods_of_month(rows, name, period[1], zone)
            for name, rows in _grouped(contracts.reading_days, lambda row: row.book).items()
        },
        contracts=_grouped(contracts.contracts.values(), lambda row: row.point),
        terms=_grouped(contracts.terms, lambda row: row.contract),
        allocations=_grouped(contracts.allocations, lambda row: row.contract),
        memberships=_grouped(contracts.memberships, lambda row: row.point),
        installations=_grouped(registry.installations, lambda row: row.point),
        lines=_grouped(lines, lambda row: row.point),
        period=period,
        here=here,
        zone=zone,
    )


def _grouped(rows: Iterable[_Row], key: Callable[[_Row], str]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def cut_days(facts: Facts, contract: Contract) -> tuple[date, ...]:
    """The days within the period at which a contract's bill must be cut by an index."""
    dated = [
        *(row.from_at for row in facts.terms.get(contract.contract, ())),
        *(row.from_at for row in facts.allocations.get(contract.contract, ())),
        contract.from_at,
        *(() if contract.to_at is None else (contract.to_at,)),
    ]
    found = {civil_day(at, facts.zone) for at in dated}
    first = facts.first_day(contract.point)
    # Who goes on from before the period may have a sub-meter that does not, or be one.
    found.add(facts.period[0])
    return tuple(sorted(day for day in found if first < day < facts.period[1]))


def contracts_within(facts: Facts) -> list[Contract]:
    """The contracts that are in force at some time of the period."""
    from_at, to_at = facts.bounds
    begins = {point: day_start(facts.first_day(point), facts.zone) for point in facts.starts}
    return [
        row
        for of_point in facts.contracts.values()
        for row in of_point
        if row.from_at < to_at and (row.to_at is None or row.to_at > begins.get(row.point, from_at))
    ]


def prepare(facts: Facts, book: str | None = None) -> Prepared:
    """The bills of a snapshot: all, or those of a reading book and what depends on them.

    A family of which one bill cannot be made has none: its energies are taken from one another.
    """
    found = Prepared()
    for family, refused in families(facts, book):
        if family is not None:
            found.families.append(family)
        found.refused += refused
    return found


def families(
    facts: Facts, book: str | None = None
) -> Iterator[tuple[Family | None, Sequence[Refusal]]]:
    """Each family, or the refusals in its place, as they are consumed; see `prepare`."""
    by_root: dict[str, list[str]] = {}
    of_point: dict[str, list[Contract]] = {}
    for contract in contracts_within(facts):
        of_point.setdefault(contract.point, []).append(contract)
    before_end = just_before(facts.bounds[1])
    places = {name: _place(facts, name, before_end) for name in facts.registry.points}
    for name, point in facts.registry.points.items():
        if point.role not in _UNBILLED and (name in of_point or _is_metered(facts, name)):
            by_root.setdefault(_root(facts.registry, name), []).append(name)
    order = sorted(by_root, key=lambda root: _order(places.get(root), root))
    for root in order:
        names = by_root[root]
        if facts.here.isdisjoint(names):
            continue
        places_of = [places[name] for name in names]
        if book is not None and all(one is None or one.book != book for one in places_of):
            continue
        yield _family(facts, root, names, of_point)


def _family(
    facts: Facts,
    root: str,
    names: Sequence[str],
    of_point: Mapping[str, Sequence[Contract]],
) -> tuple[Family | None, Sequence[Refusal]]:
    bills: list[BillDeterminants] = []
    refused: list[Refusal] = []
    for name in names:
        if name not in of_point:
            lacking = NotRatable(
                f"{name} was metered and has no contract", hint="add it to contracts.csv"
            )
            refused.append(Refusal(name, None, lacking))
        for contract in sorted(of_point.get(name, ()), key=lambda row: row.from_at):
            try:
                bills.append(_bill(facts, contract))
            except RatingError as error:
                refused.append(Refusal(name, contract.contract, error))
    if not refused:
        unpaid = [one for name in names if (one := _unpaid(facts, name, bills)) is not None]
        return Family(root, tuple(bills)), unpaid
    first = refused[0]
    for bill in bills:
        waiting = NotRatable(
            f"contract {bill.bill} waits for {first.contract or first.point}",
            hint="their energies are taken from one another: put the other one right",
        )
        refused.append(Refusal(bill.points[0].point, bill.bill, waiting))
    return None, refused


def _unpaid(facts: Facts, name: str, bills: Sequence[BillDeterminants]) -> Refusal | None:
    """What a point counted on days between contracts, before the first or after the last one.

    The bills stand as they are; that nobody pays for the rest has to be told.
    """
    lines = [line for line in facts.lines.get(name, ()) if line.register in _IMPORTS]
    points = [point for bill in bills for point in bill.points if point.point == name]
    for register in sorted({line.register for line in lines}):
        of_register = [line for line in lines if line.register == register]
        uses = [use for point in points if (use := point.use(register)) is not None]
        if not uses:
            continue  # a register that the contract is not billed by
        counted = sum(line.consumption or 0 for line in of_register)
        paid = sum(part.energy for use in uses for part in use.parts) * _KILO
        # Each stretch may lose less than a kWh when its energy is made whole.
        if counted - paid >= _KILO * len(of_register):
            nobody = NotRatable(
                f"{(counted - paid) // _KILO} kWh of {register} at {name} are of days on which"
                " no contract was in force",
                hint="correct the contract that begins or ends too late or too early, or settle it"
                " by hand",
            )
            return Refusal(name, None, nobody)
    return None


def _bill(facts: Facts, contract: Contract) -> BillDeterminants:
    first, last = facts.first_day(contract.point), facts.period[1]
    from_day = max(first, civil_day(contract.from_at, facts.zone))
    to_day = last if contract.to_at is None else min(last, civil_day(contract.to_at, facts.zone))
    terms = contract_terms(
        contract,
        facts.terms.get(contract.contract, ()),
        facts.allocations.get(contract.contract, ()),
        facts.zone,
    )
    terms = _of_days(terms, from_day, to_day)
    try:
        return BillDeterminants(
            bill=contract.contract,
            from_day=from_day,
            to_day=to_day,
            billing_day=_reading_day(facts, contract.point, to_day),
            tax_point=to_day,
            points=(_point(facts, contract, terms, (from_day, to_day)),),
        )
    except ValueError as error:
        # What determinants say when they do not fit together.
        raise DeterminantsFault(f"{contract.contract}: {error}") from error


def contract_terms(
    contract: Contract,
    terms: Sequence[ContractTerms],
    allocations: Sequence[Allocation],
    zone: str,
) -> tuple[Terms, ...]:
    """A contract's terms by day, each with the list of prices in force. Raises NotRatable."""
    begun = {row.from_at for row in terms} | {row.from_at for row in allocations}
    instants = sorted({contract.from_at} | begun)
    found: list[Terms] = []
    for at in instants:
        row = terms_at(terms, contract.contract, at)
        prices = allocation_at(allocations, contract.contract, at)
        if row is None or not prices:
            what, file = ("terms", "terms") if row is None else ("prices", "allocations")
            raise NotRatable(
                f"contract {contract.contract} has no {what} on {civil_day(at, zone)}",
                hint=f"add them to {file}.csv, from the contract's first day on",
            )
        found.append(
            Terms(
                from_day=civil_day(at, zone),
                shares=_shares(contract.contract, prices),
                voltage_v=row.voltage_v,
                rates="one" if prices[0].register == TOTAL else "three",
                households=row.households,
                renters=row.renters,
                renters_undeclared=row.renters_undeclared,
                registered_w=row.registered_w,
            )
        )
    return tuple(found)


def _shares(contract: str, prices: Sequence[Allocation]) -> tuple[Share, ...]:
    lists: dict[str, list[tuple[str, int | None, int | None]]] = {}
    for row in prices:
        share = (row.price_group, row.percent_hundredths, row.kwh)
        lists.setdefault(row.register, []).append(share)
    first, *others = lists.values()
    if any(other != first for other in others):
        raise NotRatable(
            f"contract {contract} has other shares for one rate than for another",
            hint="bill previews need the same shares for all three rates",
        )
    if others and any(kwh is not None for _, _, kwh in first):
        raise NotRatable(
            f"contract {contract} has shares in kWh of three rates",
            hint="bill previews take shares of three rates in per cent",
        )
    return tuple(
        Share(
            group=group,
            percent=None if hundredths is None else Decimal(hundredths).scaleb(-2),
            kwh=kwh,
        )
        for group, hundredths, kwh in first
    )


def _of_days(terms: Sequence[Terms], from_day: date, to_day: date) -> tuple[Terms, ...]:
    begun = [row for row in terms if row.from_day <= from_day]
    return (*begun[-1:], *(row for row in terms if from_day < row.from_day < to_day))


def _point(
    facts: Facts, contract: Contract, terms: Sequence[Terms], days: tuple[date, date]
) -> PointDeterminants:
    if contract.point in facts.held:
        raise NotRatable(
            f"{contract.point} is left out of this run",
            hint="a later run bills it from where it was billed to",
        )
    parent = facts.registry.points[contract.point].parent
    if parent is not None and facts.registry.points[parent].role in _UNBILLED:
        parent = None  # there is no bill to take it from
    lines = facts.lines.get(contract.point, ())
    metered = _metered_days(facts, lines, days)
    found = point_determinants(
        contract.point,
        lines,
        terms,
        metered,
        parent=parent,
        day_indices=facts.day_indices.get(contract.point, ()),
        roll_overs_wh={
            line.meter: facts.registry.meters[line.meter].roll_over_wh for line in lines
        },
        decimals=facts.decimals,
        decimals_transformed=facts.decimals_transformed,
    )
    if metered == days:
        return found
    uses = [_within(use, days, contract) for use in found.registers]
    return msgspec.structs.replace(found, registers=tuple(uses))


def _metered_days(
    facts: Facts, lines: Sequence[SnapshotLine], days: tuple[date, date]
) -> tuple[date, date]:
    """The period, or the contract's own days at an end beyond which nothing was counted."""
    from_day, to_day = (
        facts.first_day(lines[0].point) if lines else facts.period[0],
        facts.period[1],
    )
    starts = [line.read_from_at for line in lines if line.read_from_at is not None]
    ends = [line.read_to_at for line in lines if line.read_to_at is not None]
    if starts and min(starts) >= day_start(days[0], facts.zone):
        from_day = days[0]
    if ends and max(ends) <= day_start(days[1], facts.zone):
        to_day = days[1]
    return from_day, to_day


def _within(use: RegisterUse, days: tuple[date, date], contract: Contract) -> RegisterUse:
    parts: list[Part] = [
        part for part in use.parts if days[0] <= part.from_day and part.to_day <= days[1]
    ]
    if not parts or (parts[0].from_day, parts[-1].to_day) != days:
        raise NotRatable(
            f"{use.register} of {contract.point} has no index at 00:00 on the day on which"
            f" contract {contract.contract} begins or ends ({days[0]} to {days[1]})",
            hint="enter the index of that instant: the bill is cut there",
        )
    return RegisterUse(register=use.register, parts=tuple(parts))


def _reading_day(facts: Facts, point: str, to_day: date) -> ReadingDay:
    # Who left the book with the contract's end is still billed with it.
    place = _place(facts, point, just_before(day_start(to_day, facts.zone)))
    if place is None or place.book is None:
        raise NotRatable(
            f"{point} is in no reading book", hint="add it to memberships.csv, with its position"
        )
    for period in facts.periods.get(place.book, ()):
        if (period.from_at, period.to_at) == facts.bounds:
            return period.reading_day
    raise NotRatable(
        f"{point} is in book {place.book}, which has no period from {facts.period[0]} to"
        f" {facts.period[1]}",
        hint="bill it over the book's own period; reading_days.csv says which it is",
    )


def _place(facts: Facts, point: str, at: datetime) -> Membership | None:
    return membership_at(facts.memberships.get(point, ()), point, at)


def _order(place: Membership | None, point: str) -> tuple[object, ...]:
    if place is None:
        return (1, "", (), point)
    return (0, place.book or "", position_key(place.position or ""), point)


def _root(registry: Registry, point: str) -> str:
    above = registry.points[point].parent
    while above is not None and above in registry.points:
        point = above
        above = registry.points[point].parent
    return point


def _is_metered(facts: Facts, point: str) -> bool:
    return point in facts.lines or any(
        _overlaps(row, facts.bounds) for row in facts.installations.get(point, ())
    )


def _overlaps(row: Installation, bounds: tuple[datetime, datetime]) -> bool:
    return row.installed_at < bounds[1] and (row.removed_at is None or row.removed_at > bounds[0])
