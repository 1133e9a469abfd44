"""Billing snapshots: made once, hashed, kept, handed out again.

It fetches and stores; it must not decide what a line says, which `collector.billing` does.
"""

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from collector.billing.snapshot import Stretch, make_lines, snapshot_hash, stretches
from collector.billing.values import SnapshotHead, SnapshotLine
from collector.civil import format_instant
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.idempotency import Once
from collector.operations.demands import Counted, demands_hash, period_demands
from collector.operations.indices import BILLING_WINDOW, indices_for
from collector.operations.registry import unknown_station
from collector.registry.asking import just_before, points_at_station
from collector.registry.values import Registry

# Lines that are fetched at once while a snapshot is handed out.
PAGE_LINES = 5_000

LIST_MAX = 1_000


def create_snapshot(  # noqa: PLR0913  what, who, when, and whether once
    ledger: Ledger,
    *,
    station: str | None,
    from_at: datetime,
    to_at: datetime,
    actor: str,
    now: datetime,
    once: Once | None = None,
) -> SnapshotHead:
    """Freeze what is billed for [from_at, to_at) of one station, or of all (None).

    Raises InvalidRequest for a period that is empty, in the future, or finer than milliseconds,
    and for an empty registry; NotFound for a station that the registry does not have. A request
    that was sent `once` before gets what it made then.
    """
    if once is not None:
        with ledger.read() as uow:
            earlier = uow.idempotency.find(once, now)
        if earlier is not None:
            return get_snapshot(ledger, earlier)
    check_period(from_at, to_at, now)
    from_at, to_at = from_at.astimezone(UTC), to_at.astimezone(UTC)
    with ledger.read() as uow:
        registry, parts = _period_parts(uow, station, from_at, to_at)
        lines = _lines(uow, registry, parts, station, (from_at, to_at))
        demands = period_demands(uow, map(_counted, parts))
    head = SnapshotHead(
        id=str(uuid.uuid4()),
        station=station,
        from_at=from_at,
        to_at=to_at,
        created_at=now,
        created_by=actor,
        line_count=len(lines),
        sha256=snapshot_hash(station, from_at, to_at, lines),
    )
    with ledger.begin() as uow:
        if once is not None:
            earlier = uow.idempotency.claim(once, head.id, now)
            if earlier is not None:
                return _of(uow, earlier)
        uow.snapshots.add(head, lines)
        detail: dict[str, Any] = {"station": station, "lines": len(lines), "sha256": head.sha256}
        if demands:
            uow.demands.freeze(head.id, 0, demands)
            detail |= {"demands": len(demands), "demands_sha256": demands_hash(demands)}
        uow.audit.add(AuditEntry(now, actor, "snapshot.create", head.id, detail))
    return head


def get_snapshot(ledger: Ledger, snapshot_id: str) -> SnapshotHead:
    """The head of a snapshot. Raises NotFound."""
    with ledger.read() as uow:
        return _of(uow, snapshot_id)


def list_snapshots(
    ledger: Ledger, limit: int = 100, after: str | None = None
) -> list[SnapshotHead]:
    """The snapshots made last, newest first, at most `limit` (up to 1,000).

    `after` is the id of a snapshot: those that come after it in that order. Raises NotFound.
    """
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        return uow.snapshots.newest(limit, None if after is None else _of(uow, after))


def snapshot_lines(ledger: Ledger, snapshot_id: str) -> Iterator[SnapshotLine]:
    """The lines of a snapshot in their order, fetched as they are consumed.

    Raises NotFound at once, not at the first line.
    """
    head = get_snapshot(ledger, snapshot_id)
    return _pages(ledger, head)


def _period_parts(
    uow: UnitOfWork, station: str | None, from_at: datetime, to_at: datetime
) -> tuple[Registry, list[Stretch]]:
    """What was installed, and when. Raises InvalidRequest and NotFound."""
    if station is not None and not uow.registry.stations(station):
        raise unknown_station(station)
    registry = uow.registry.load_installed(station)
    if not registry.installations:
        what = "the registry" if station is None else f"station {station!r}"
        raise InvalidRequest(
            f"{what} has no installed meters",
            hint="import stations, points, meters and installations: "
            "songlo collector registry import DIR",
            code="empty_registry",
        )
    parts = stretches(registry, from_at, to_at)
    if station is not None:
        # A point that moved is billed whole, with the station that has it at the end.
        points = uow.registry.points(station)
        here = points_at_station(points, registry.transfers, station, just_before(to_at))
        parts = [part for part in parts if part.installation.point in here]
    if not parts:
        raise InvalidRequest(
            f"no meter was installed between {format_instant(from_at)} and {format_instant(to_at)}",
            hint="check the period and installations.csv",
            code="empty_registry",
        )
    return registry, parts


def _lines(
    uow: UnitOfWork,
    registry: Registry,
    parts: Sequence[Stretch],
    station: str | None,
    period: tuple[datetime, datetime],
) -> list[SnapshotLine]:
    indices = indices_for(uow, parts, period, station, BILLING_WINDOW)
    return make_lines(registry, parts, indices)


def _counted(part: Stretch) -> Counted:
    where = part.installation
    return Counted(where.point, where.meter, part.from_at, part.to_at, part.multiplier)


def check_period(from_at: datetime, to_at: datetime, now: datetime | None = None) -> None:
    """Raises InvalidRequest unless from_at < to_at <= now, aware, to the millisecond."""
    for name, at in (("from_at", from_at), ("to_at", to_at)):
        if at.tzinfo is None:
            raise InvalidRequest(f"{name} has no offset", hint="end it in Z or +07:00")
        if at.microsecond % 1000:
            raise InvalidRequest(f"{name} is finer than a millisecond", hint="use whole ones")
    if from_at >= to_at:
        raise InvalidRequest(
            f"the period is empty: {format_instant(from_at)} is not before {format_instant(to_at)}",
            hint="give from_at before to_at",
        )
    if now is not None and to_at > now:
        raise InvalidRequest(
            f"{format_instant(to_at)} is in the future: it has not been read yet",
            hint="give a to_at that has passed",
        )


def _of(uow: UnitOfWork, snapshot_id: str) -> SnapshotHead:
    head = uow.snapshots.get(snapshot_id)
    if head is None:
        raise NotFound(f"there is no snapshot {snapshot_id!r}", hint="see `GET /v1/snapshots`")
    return head


def _pages(ledger: Ledger, head: SnapshotHead) -> Iterator[SnapshotLine]:
    # One short transaction a page: a slow reader holds no view of the ledger open.
    for first in range(0, head.line_count, PAGE_LINES):
        with ledger.read() as uow:
            page = uow.snapshots.lines(head.id, first, PAGE_LINES)
        yield from page
