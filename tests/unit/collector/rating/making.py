"""Determinants and tariffs for tests, in few words."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

from collector.billing.rating.cycle import BillingDay
from collector.billing.rating.determinants import (
    BillDeterminants,
    Part,
    PointDeterminants,
    RegisterUse,
    Share,
    Terms,
)
from collector.billing.rating.tariff_book import TariffBook
from collector.operations.tariffs import load_tariffs
from contract.registers import IMPORT_ACTIVE


@cache
def built_in() -> TariffBook:
    """The tariffs as they are shipped."""
    return load_tariffs()


def day(text: str) -> date:
    return date.fromisoformat(text)


MAY, JUNE = day("2026-05-20"), day("2026-06-20")


def shares(**percents: int | str) -> tuple[Share, ...]:
    return tuple(
        Share(group=group, percent=Decimal(percent)) for group, percent in percents.items()
    )


def parts(*cuts: date, energies: Sequence[int]) -> tuple[Part, ...]:
    return tuple(
        Part(from_day=start, to_day=end, energy=energy)
        for (start, end), energy in zip(pairwise(cuts), energies, strict=True)
    )


def point(
    energies: int | Sequence[int],
    cuts: Sequence[date] = (MAY, JUNE),
    *,
    name: str = "P1",
    parent: str | None = None,
    register: str = IMPORT_ACTIVE,
    **terms: Any,  # noqa: ANN401  as many kinds as terms have
) -> PointDeterminants:
    """A point with one register, cut at days; household unless terms say otherwise."""
    counted = [energies] if isinstance(energies, int) else energies
    terms.setdefault("shares", shares(household=100))
    return PointDeterminants(
        point=name,
        parent=parent,
        registers=(RegisterUse(register=register, parts=parts(*cuts, energies=counted)),),
        terms=(Terms(from_day=cuts[0], **terms),),
    )


def bill(
    *points: PointDeterminants,
    name: str = "B1",
    billing_day: BillingDay = 20,
    tax_point: date | None = None,
) -> BillDeterminants:
    """A bill over its first point's days."""
    use = points[0].registers[0]
    from_day, to_day = use.parts[0].from_day, use.parts[-1].to_day
    return BillDeterminants(
        bill=name,
        from_day=from_day,
        to_day=to_day,
        billing_day=billing_day,
        tax_point=tax_point or to_day,
        points=points,
    )
