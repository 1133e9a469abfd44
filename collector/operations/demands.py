"""Maximum demands frozen beside the lines of a snapshot or of a version of a billing run.

It fetches and stores; what a period's maximum is, `collector.billing.demand` decides.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

import msgspec

from collector.billing.demand import PeakDemand, peak
from collector.billing.exports.cmis.values import Demand
from collector.civil import civil_day
from collector.ledger import UnitOfWork

# A meter that sends its maximum demand did so within the last days of the period, too; those that
# were taken out before then are asked by name.
_LAST_DAYS = timedelta(days=3)
_SCAN = timedelta(hours=1)

# The rows of CMIS that are the total: of a one-rate meter, and beside three rates.
_TOTALS = ("KT", "SG")


class Counted(NamedTuple):
    """A meter that counted at a point for a stretch, under a multiplier."""

    point: str
    meter: str
    from_at: datetime
    to_at: datetime
    ratio: Fraction


def period_demands(uow: UnitOfWork, stretches: Iterable[Counted]) -> list[PeakDemand]:
    """The maximum demand of each point that has a meter which measures it, by point and meter.

    Of a stretch the first read, at its start, is what the others are compared with; a meter that
    was put in within the period begins with its first.
    """
    rows = list(stretches)
    if not rows:
        return []
    begins, ends = min(row.from_at for row in rows), max(row.to_at for row in rows)
    asked = {row.meter for row in rows if row.to_at < ends}
    sending = uow.demands.meters(max(begins, ends - _LAST_DAYS), ends + _SCAN) | asked
    reads = uow.demands.reads(sending & {row.meter for row in rows}, begins, ends)
    points = {row.point for row in rows if row.meter in reads}
    # Registers of a meter have the same stretches: once is enough.
    rows = sorted(
        {row for row in rows if row.point in points}, key=lambda row: (row.point, row.from_at)
    )
    starts: dict[str, datetime] = {}
    for row in rows:
        starts[row.point] = min(row.from_at, starts.get(row.point, row.from_at))
    found: dict[tuple[str, str], PeakDemand] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        of_stretch = [one for one in reads.get(row.meter, ()) if row.from_at <= one.at <= row.to_at]
        is_new = row.from_at > starts[row.point] and (row.point, row.meter) not in seen
        seen.add((row.point, row.meter))
        reached = peak(of_stretch, is_new=is_new, ratio=row.ratio)
        if reached is None:
            continue
        one = PeakDemand(row.point, row.meter, *reached)
        before = found.get((row.point, row.meter))
        if before is None or one.power_w > before.power_w:
            found[row.point, row.meter] = one
    return [found[key] for key in sorted(found)]


def demands_hash(rows: Sequence[PeakDemand]) -> str:
    """The hexadecimal SHA-256 of what is frozen: it goes into the audit trail, itself a chain."""
    document = msgspec.json.encode([asdict(row) for row in rows], order="deterministic")
    return hashlib.sha256(document).hexdigest()


def cmis_demands(rows: Iterable[PeakDemand], zone: str) -> dict[tuple[str, str], Demand]:
    """The highest of each point, by point and LOAI_BCS of its total."""
    found: dict[tuple[str, str], Demand] = {}
    for row in rows:
        day = None if row.after is None else civil_day(row.after, zone)
        held = found.get((row.point, _TOTALS[0]))
        if held is None or row.power_w > held.power_w:
            found |= {(row.point, code): Demand(row.power_w, day) for code in _TOTALS}
    return found
