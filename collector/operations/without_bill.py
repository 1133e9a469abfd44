"""Who of a billing run will have no bill, since its days are no period of the point's book.

It asks the registry; what a bill says is decided in `collector.billing.rating`.
"""

from collections.abc import Sequence

from collector.billing.gates import Cause, RunException
from collector.billing.run_values import LineKind, RunHead, RunLine
from collector.civil import civil_day
from collector.ledger import UnitOfWork
from collector.registry.asking import in_force, just_before, periods_of_month
from collector.registry.contract_values import Membership
from contract.registers import IMPORT_ACTIVE

# What the ledger keeps of an exception that was accepted.
_DETAIL_CHARS = 64

_COUNTED = frozenset({LineKind.CONSUMPTION, LineKind.RETURN})


def without_bill(
    uow: UnitOfWork, lines: Sequence[RunLine], head: RunHead, zone: str
) -> list[RunException]:
    """The billed points of books that have no period of the run's days, each with its book.

    They are billed in kWh alone, and an exported run stays as it is. A point that is in no book is
    not told: whoever keeps no books has no bills made here.
    """
    memberships: dict[str, list[Membership]] = {}
    for row in uow.contracts.memberships():
        memberships.setdefault(row.point, []).append(row)
    if not memberships:
        return []
    days = uow.contracts.reading_days()
    last_day, last = civil_day(head.to_at, zone), just_before(head.to_at)
    has_period: dict[str, bool] = {}
    found = []
    for point in sorted({line.point for line in lines if line.kind in _COUNTED}):
        of_point = in_force(memberships.get(point, ()), last)
        if of_point is None or of_point.book is None:
            continue
        book = of_point.book
        if book not in has_period:
            has_period[book] = any(
                (one.from_at, one.to_at) == (head.from_at, head.to_at)
                for one in periods_of_month(days, book, last_day, zone)
            )
        if not has_period[book]:
            found.append(
                RunException(
                    point,
                    IMPORT_ACTIVE,
                    Cause.NO_BILL,
                    blocks=True,
                    detail=f"book {book}"[:_DETAIL_CHARS],
                )
            )
    return found
