"""What a hand-over to CMIS needs beside lines: days, moduli, and what the registry says of points.

It fetches; it must not know where the lines come from.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from collector.billing.exports.cmis.point_papers import point_papers
from collector.billing.exports.cmis.values import CmisContext
from collector.civil import civil_day, day_start, format_instant
from collector.errors import InvalidRequest
from collector.ledger import Ledger
from collector.operations.demands import cmis_demands


@dataclass(frozen=True, slots=True)
class CmisDays:
    """NGAY_CU and NGAY_MOI where they are not the period's first and last day."""

    old: date | None = None
    new: date | None = None


AS_INCLUDED = CmisDays()


def cmis_context(
    ledger: Ledger,
    period: tuple[datetime, datetime],
    zone: str,
    days: CmisDays,
    owner: tuple[str, int],
) -> CmisContext:
    """The context of [from_at, to_at). Raises InvalidRequest unless both are midnights.

    `owner` is the snapshot and 0, or the run and its version: whose maximum demands.
    """
    from_at, to_at = period
    first_day, end_day = civil_day(from_at, zone), civil_day(to_at, zone)
    for day, at in ((first_day, from_at), (end_day, to_at)):
        if day_start(day, zone) != at:
            raise InvalidRequest(
                f"the period has {format_instant(at)}, which is no midnight in {zone}",
                hint="CMIS bills whole days: take a period from midnight to midnight",
            )
    included_day = end_day - timedelta(days=1)
    with ledger.read() as uow:
        registry = uow.registry.load(None)
        contracts = uow.contracts.load()
        demands = uow.demands.of(*owner)
    return CmisContext(
        first_day=days.old or first_day,
        # CMIS's dates are both included; a period ends where the next begins.
        last_day=days.new or included_day,
        month_of=included_day,
        roll_overs_wh={name: meter.roll_over_wh for name, meter in registry.meters.items()},
        demands=cmis_demands(demands, zone),
        papers=point_papers(registry, contracts, to_at, zone),
    )
