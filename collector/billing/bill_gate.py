"""The gate on the bill: which previews somebody must look at before they are approved.

The first gate is on the index (`gates.py`); this one is on what the customer is asked to pay. EVN's
leaders sign for both since 1/7/2020. It must not know how an amount came about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from collector.billing.bill_values import BillRow, StoredRefusal
from collector.billing.gates import HIGH_NAMES, Reference, compared


class BillCause(StrEnum):
    """Why a preview is an exception."""

    REFUSED = "refused"
    BELOW_ZERO = "below_zero"
    ADJUSTED = "adjusted"
    HIGH = "high"
    VERY_HIGH = "very_high"
    EXTREME = "extreme"
    FROM_NOTHING = "from_nothing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BillLimits:
    """Ratios of a day's amount before tax to that of an earlier bill, in per cent; floors in đồng.

    As the index gate's (see there for the sources); the floors are this product's own.
    """

    high_percent: int = 130
    very_high_percent: int = 150
    extreme_percent: int = 400
    floor_vnd: int = 100_000
    from_nothing_vnd: int = 500_000


@dataclass(frozen=True, slots=True)
class BillException:
    """A bill (by its contract) that somebody must look at; `blocks` until it is accepted."""

    bill: str
    point: str
    cause: BillCause
    blocks: bool
    amount_vnd: int | None = None
    before_vnd: int | None = None
    detail: str = ""
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class BillFilter:
    """Which exceptions are meant; what is empty or None does not narrow."""

    causes: frozenset[BillCause] = frozenset()
    bills: frozenset[str] = frozenset()
    amount_max_vnd: int | None = None

    def takes(self, one: BillException) -> bool:
        """Whether an exception is meant. One without an amount is not, where that is asked for."""
        if self.causes and one.cause not in self.causes:
            return False
        if self.bills and one.bill not in self.bills:
            return False
        most = self.amount_max_vnd
        return most is None or (one.amount_vnd is not None and one.amount_vnd <= most)


DEFAULT_BILL_LIMITS = BillLimits()

BLOCKING = frozenset(
    {BillCause.REFUSED, BillCause.BELOW_ZERO, BillCause.EXTREME, BillCause.FROM_NOTHING}
)


def bill_exceptions(
    bills: Iterable[BillRow],
    refused: Iterable[StoredRefusal],
    before: Mapping[str, BillRow],
    year_before: Mapping[str, BillRow],
    limits: BillLimits = DEFAULT_BILL_LIMITS,
) -> list[BillException]:
    """The exceptions of a set, by bill; `before` is each contract's bill that was exported last."""
    found = [
        BillException(
            one.contract or one.point, one.point, BillCause.REFUSED, blocks=True, detail=one.reason
        )
        for one in refused
    ]
    for row in bills:
        if row.total_vnd < 0:
            found.append(_of(row, BillCause.BELOW_ZERO, row.total_vnd))
        if row.adjustments_vnd:
            found.append(_of(row, BillCause.ADJUSTED, row.adjustments_vnd))
        worst = _worst(row, before.get(row.bill), year_before.get(row.bill), limits)
        if worst is not None:
            found.append(worst)
    found.sort(key=lambda one: (one.bill, one.cause))
    return found


def _worst(
    row: BillRow, before: BillRow | None, year: BillRow | None, limits: BillLimits
) -> BillException | None:
    """The worse of both comparisons; last year's alone never blocks."""
    percents = (limits.high_percent, limits.very_high_percent, limits.extreme_percent)
    floors = (limits.floor_vnd, limits.from_nothing_vnd)
    by_period = (
        None if before is None else compared(_of_days(row), _of_days(before), percents, floors)
    )
    by_year = None if year is None else compared(_of_days(row), _of_days(year), percents, floors)
    if year is not None and by_period is None and by_year in HIGH_NAMES:
        cause = BillCause.HIGH if by_year == BillCause.HIGH else BillCause.VERY_HIGH
        return _of(row, cause, row.amount_vnd, year.amount_vnd, Reference.YEAR)
    if before is None or by_period is None:
        return None
    return _of(row, BillCause(by_period), row.amount_vnd, before.amount_vnd, Reference.PERIOD)


def _of_days(row: BillRow) -> tuple[int, int]:
    return row.amount_vnd, (row.to_day - row.from_day).days


def _of(
    row: BillRow,
    cause: BillCause,
    amount_vnd: int,
    before_vnd: int | None = None,
    reference: Reference | None = None,
) -> BillException:
    return BillException(
        row.bill,
        row.point,
        cause,
        cause in BLOCKING,
        amount_vnd,
        before_vnd,
        reference=reference,
    )
