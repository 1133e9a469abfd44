"""Rating a billing run: its lines, the registry's contracts and earlier bills, put together.

It fetches and hands values to the rating room, family by family; it stores nothing, and must not
decide what a bill says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain as chained

import msgspec

from collector.billing.bill_gate import DEFAULT_BILL_LIMITS, BillLimits
from collector.billing.chain import DEFAULT_STEPS, Steps
from collector.billing.rating.determinants import BillDeterminants
from collector.billing.rating.faults import BillsRefused, NotRatable, RatingError
from collector.billing.rating.from_registry import Facts, Family, Refusal, families
from collector.billing.rating.from_run import (
    Difference,
    adjusted,
    adjustment,
    by_run,
    differences,
    run_facts,
    with_differences,
)
from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.preview import Adjustment, BillPreview
from collector.billing.rating.rate import RatingOptions, rate_bills
from collector.billing.rating.tariff_book import TariffBook
from collector.billing.run_values import RunHead, RunLine
from collector.civil import civil_day
from collector.ledger import UnitOfWork
from collector.operations.rating import day_indices
from collector.registry.values import Registry


@dataclass(frozen=True, slots=True)
class RatedBy:
    """By what bills are made: tariffs, the cut at a change of price, zone, steps, limits."""

    tariffs: TariffBook
    zone: str
    split: PriceSplit = PriceSplit.INDEX
    steps: Steps = DEFAULT_STEPS
    gate: BillLimits = DEFAULT_BILL_LIMITS


@dataclass(frozen=True, slots=True)
class RatedBill:
    """A bill's determinants and preview, and what it would be under another table if asked for."""

    root: str
    determinants: BillDeterminants
    preview: BillPreview
    what_if: BillPreview | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The bills of a run that is cited, as a family, and what was adjusted of them before."""

    bills: tuple[BillDeterminants, ...]
    adjusted: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class RunToRate:
    """All that the bills of a version of a run are made from."""

    facts: Facts
    differences: Mapping[str, Sequence[Difference]]  # by the root of the point's family
    earlier: Mapping[tuple[str, str], Earlier]  # by run and root


def fetch(uow: UnitOfWork, head: RunHead, lines: Sequence[RunLine], by: RatedBy) -> RunToRate:
    """What the ledger holds of a run's bills; indices of the days at which bills are cut as of now.

    An adjustment rests on what runs of earlier periods adjusted, whenever it is made.
    """
    period = (civil_day(head.from_at, by.zone), civil_day(head.to_at, by.zone))
    registry = uow.registry.load()
    contracts = uow.contracts.load(customers=False)
    facts = run_facts(registry, contracts, lines, period, by.steps, by.zone)
    first = min([period[0], *facts.starts.values()])
    days = by.tariffs.price_changes(first, period[1]) if by.split is PriceSplit.INDEX else ()
    facts = replace(facts, day_indices=day_indices(uow, facts, days, head.station))
    grouped: dict[str, list[Difference]] = {}
    earlier: dict[tuple[str, str], Earlier] = {}
    for one in differences(lines, by.zone):
        root = _root(registry, one.point)
        grouped.setdefault(root, []).append(one)
        if (one.run, root) not in earlier:
            earlier[one.run, root] = _earlier(uow, one, head.to_at, by.zone)
    return RunToRate(facts, grouped, earlier)


def _earlier(uow: UnitOfWork, one: Difference, before: datetime, zone: str) -> Earlier:
    found = uow.bills.family(one.run, one.point)
    bills = tuple(msgspec.json.decode(text, type=BillDeterminants) for text in found)
    points = {point.point for bill in bills for point in bill.points}
    lines = uow.billing_runs.differences(one.run, points, before)
    return Earlier(bills, tuple(differences(lines, zone)))


def rated(run: RunToRate, by: RatedBy, what_if: str | None = None) -> Iterator[RatedBill | Refusal]:
    """Each bill in the order of reading, or why there is none, as they are consumed.

    Raises NotRatable at once for an unknown table.
    """
    if what_if is not None:
        by.tariffs.table(what_if)
    return chained.from_iterable(
        refused if family is None else [*refused, *_rated_family(run, family, by, what_if)]
        for family, refused in families(run.facts)
    )


def _rated_family(
    run: RunToRate, family: Family, by: RatedBy, what_if: str | None
) -> list[RatedBill | Refusal]:
    try:
        previews = rate_bills(family.bills, by.tariffs, RatingOptions(by.split))
        others: Sequence[BillPreview | None] = [None] * len(previews)
        if what_if is not None:
            others = rate_bills(family.bills, by.tariffs, RatingOptions(by.split, what_if))
    except RatingError as error:
        return [_refusal(bill, error) for bill in family.bills]
    adjustments, refused = _adjustments(run, family, by)
    found: list[RatedBill | Refusal] = [*refused]
    for bill, preview, other in zip(family.bills, previews, others, strict=True):
        of_bill = adjustments.get(bill.bill, ())
        found.append(
            RatedBill(
                family.root,
                bill,
                adjusted(preview, of_bill),
                None if other is None else adjusted(other, of_bill),
            )
        )
    return found


def _refusal(bill: BillDeterminants, error: RatingError) -> Refusal:
    if isinstance(error, BillsRefused):
        # Of a family each bill has its own reason; those without one wait for the others.
        of_bills = dict(error.refused)
        first, reason = error.refused[0]
        error = of_bills.get(bill.bill) or NotRatable(
            f"contract {bill.bill} waits for {first}", hint=reason.hint
        )
    return Refusal(bill.points[0].point, bill.bill, error)


def _adjustments(
    run: RunToRate, family: Family, by: RatedBy
) -> tuple[dict[str, list[Adjustment]], list[Refusal]]:
    """What earlier bills of the family would have come to otherwise, by contract.

    A difference whose bill is not here, or whose contract has no bill in this run, is told: nobody
    would be charged for it, or get it back.
    """
    found: dict[str, list[Adjustment]] = {}
    refused: list[Refusal] = []
    here = {bill.bill for bill in family.bills}
    for cited, wanted in by_run(run.differences.get(family.root, ())).items():
        point = wanted[0].point
        earlier = run.earlier[cited, family.root]
        try:
            if not earlier.bills:
                energy = ", ".join(f"{one.energy} of {one.register}" for one in wanted)
                raise NotRatable(
                    f"the bills of run {cited} were not handed over from here: {energy} at {point}"
                    " cannot be adjusted",
                    hint="make, approve and export its bills, or settle the difference by hand",
                )
            before = with_differences(earlier.bills, earlier.adjusted)
            after = with_differences(before, wanted)
            options = RatingOptions(by.split)
            pairs = zip(
                rate_bills(before, by.tariffs, options),
                rate_bills(after, by.tariffs, options),
                strict=True,
            )
        except RatingError as error:
            refused.append(Refusal(point, None, error))
            continue
        for old, new in pairs:
            one = adjustment(cited, old, new)
            if one is None:
                continue
            if old.bill not in here:
                gone = NotRatable(
                    f"contract {old.bill} has no bill in this run, and {one.total_vnd} đồng more"
                    f" to pay for {one.from_day} to {one.to_day}",
                    hint="settle it by hand with whoever paid that bill",
                )
                refused.append(Refusal(point, old.bill, gone))
                continue
            found.setdefault(old.bill, []).append(one)
    return found, refused


def _root(registry: Registry, name: str) -> str:
    point = registry.points.get(name)
    while point is not None and point.parent is not None and point.parent in registry.points:
        name = point.parent
        point = registry.points[name]
    return name
