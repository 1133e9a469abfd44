"""The indices that stand for the ends of each stretch of a period, fetched from the ledger.

It joins registry and reads; it must not know what the differences are used for.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from collector.billing.snapshot import Boundary, IndexAt, Stretch, inner_boundaries
from collector.ledger import UnitOfWork
from collector.ledger.nearest import NearestRead

# How far a read may be from the instant that it stands for: a billing index (Law 61/2024
# Art. 48(1) lets the reading day shift by one) and an index of a daily balance.
BILLING_WINDOW = timedelta(minutes=1440)
BALANCE_WINDOW = timedelta(minutes=60)


def indices_for(
    uow: UnitOfWork,
    parts: Iterable[Stretch],
    instants: Iterable[datetime],
    station: str | None,
    window: timedelta,
) -> dict[Boundary, dict[str, IndexAt]]:
    """What was read for `instants` at every installation, and for what lies between them.

    The read of the scan due at an instant, failing that the nearest within `window`.
    """
    wanted = sorted(set(instants))
    found: dict[Boundary, dict[str, IndexAt]] = {}
    for instant in wanted:
        _take(found, uow.index_reads.nearest(instant, window, station=station), instant)
    for installation, instant in inner_boundaries(parts, wanted[0], wanted[-1]):
        if instant not in wanted:
            reads = uow.index_reads.nearest(instant, window, meter=installation.meter)
            _take(found, reads, instant)
    return found


def _take(
    found: dict[Boundary, dict[str, IndexAt]], reads: Iterable[NearestRead], instant: datetime
) -> None:
    for point, installed_at, register, at, value, actual in reads:
        key = (point, installed_at, instant)
        of_boundary = found.get(key)
        if of_boundary is None:
            of_boundary = found[key] = {}
        of_boundary[register] = IndexAt(value, at, actual)
