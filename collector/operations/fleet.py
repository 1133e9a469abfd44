"""The fleet of gateways: who delivers, how far, and who has fallen silent.

It must not judge what a silence means; it says how long it is.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import msgspec

from collector.ledger import Ledger
from collector.ledger.delivery_views import EpochHoles, GatewayRow
from contract.messages import ConfigStatus, LineStatus, Status


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One gateway: its delivery state as the ledger has it and as it said last.

    `waiting` batches and `used_bytes` of `limit_bytes` are the gateway's own word in its last
    status, null before the first; `status_at` is when that came. `config` is null where the gateway
    takes no station file from the collector. `silent_s` is the time since
    anything came. `holes` are epochs of which batches are missing below one that was heard of:
    they are under way or will be declared lost. `lost` counts batches that will never come. `held`
    scans wait for the gateway to learn the time.
    """

    gateway: str
    station: str | None
    online: bool
    generation: int
    first_seen_at: datetime
    last_seen_at: datetime
    silent_s: int
    status_at: datetime | None
    clock: str | None
    version: str | None
    waiting: int | None
    used_bytes: int | None
    limit_bytes: int | None
    held: int | None
    lines: tuple[LineStatus, ...]
    config: ConfigStatus | None
    batches: int
    reads: int
    duplicates: int
    quarantined: int
    quarantine_open: int
    lost: int
    holes: tuple[EpochHoles, ...]


def gateways(
    ledger: Ledger, now: datetime, *, after: str | None = None, limit: int | None = None
) -> list[GatewayView]:
    """All gateways that were ever heard of by name, or at most `limit` after the name `after`."""
    with ledger.read() as uow:
        views = uow.delivery.views
        rows = views.gateways(after, limit)
        lost = views.lost_counts()
        open_counts = uow.delivery.quarantine.open_counts()
        holes: defaultdict[str, list[EpochHoles]] = defaultdict(list)
        for epoch in views.epochs_with_holes():
            holes[epoch.gateway].append(epoch)
    return [
        _view(
            row,
            now,
            lost.get(row.gateway, 0),
            open_counts.get(row.gateway, 0),
            holes[row.gateway],
        )
        for row in rows
    ]


def _view(
    row: GatewayRow, now: datetime, lost: int, quarantine_open: int, holes: list[EpochHoles]
) -> GatewayView:
    # Written by this collector from a status that it had checked.
    status = None if row.status is None else msgspec.convert(row.status, Status)
    outbox = None if status is None else status.outbox
    return GatewayView(
        gateway=row.gateway,
        station=row.station,
        online=row.online,
        generation=row.generation,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        silent_s=max(0, int((now - row.last_seen_at).total_seconds())),
        status_at=row.status_at,
        clock=None if status is None else status.clock.value,
        version=None if status is None else status.version,
        waiting=None if outbox is None else outbox.waiting,
        used_bytes=None if outbox is None else outbox.used_bytes,
        limit_bytes=None if outbox is None else outbox.limit_bytes,
        held=None if outbox is None else outbox.held,
        lines=() if status is None else tuple(status.lines),
        config=None if status is None else status.config,
        batches=row.batches,
        reads=row.reads,
        duplicates=row.duplicates,
        quarantined=row.quarantined,
        quarantine_open=quarantine_open,
        lost=lost,
        holes=tuple(holes),
    )
