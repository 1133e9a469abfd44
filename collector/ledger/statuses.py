"""What gateways say of themselves, and what that proves to be lost.

It must not know how statuses travel; it is careful never to call lost what may still come.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from collector.ledger.beyond import EPOCH_GONE
from collector.ledger.progress import ProgressRepository
from collector.ledger.ranges import Range, missing
from collector.ledger.statements import upsert
from collector.ledger.tables import epochs, gaps, gateways
from contract.limits import SEQ_MAX
from contract.messages import Status

# The reason of a gap that no message names: batches that were never received, and that the gateway
# says it does not have (any more).
LOST = "lost"


# Built once: a status comes of every gateway every minute, and to build one of these takes longer
# than to run it.
_OWN = gateways.c.gateway == bindparam("b_gateway")
_GATEWAY = select(
    gateways.c.generation,
    gateways.c.status_epoch,
    gateways.c.status_count,
    gateways.c.station,
).where(_OWN)
_GENERATION = select(gateways.c.generation).where(_OWN)
_EPOCHS = select(
    epochs.c.epoch, epochs.c.upto, epochs.c.oldest, epochs.c.next, epochs.c.ordinal
).where(epochs.c.gateway == bindparam("b_gateway"))
_SET_GATEWAY = update(gateways).where(_OWN)


@dataclass(frozen=True, slots=True)
class LostRange:
    """Batches that will never come: `first` to `last` inclusive of one epoch, and why."""

    epoch: str
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Epoch:
    epoch: str
    upto: int
    oldest: int
    next: int
    ordinal: int | None


class StatusRepository:
    """Statuses within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._progress = ProgressRepository(connection)

    def take(self, gateway: str, status: Status, now: datetime) -> list[LostRange]:
        """Take a gateway's word on itself; returns what it proves to be lost, recorded as gaps.

        Concludes nothing from a last will, from a status that is older than the last one taken,
        from one that was composed under another generation, nor on epochs that no status listed.
        The gateway's row must exist and be locked (`DeliveryRepository.touch`).
        """
        row = self._connection.execute(_GATEWAY, {"b_gateway": gateway}).one()
        if not status.online:
            self._set_gateway(gateway, online=False)
            return []
        known = self._known(gateway)
        current = status.epochs[0].epoch if status.epochs else None
        if current is None or _is_late(status, current, row.status_epoch, row.status_count, known):
            return []
        ordinal = self._note_epochs(gateway, status, known, now)
        self._set_gateway(
            gateway,
            online=True,
            station=status.station or row.station,
            status=msgspec.to_builtins(status),
            status_at=now,
            status_epoch=current,
            status_count=status.count,
        )
        if status.generation != row.generation:
            return []
        listed = {entry.epoch for entry in status.epochs}
        lost = [
            LostRange(epoch, first, last, LOST if epoch in listed else EPOCH_GONE)
            for epoch, ceiling in _ceilings(status, known, ordinal).items()
            for first, last in missing(self._progress.ranges(gateway, epoch), 1, ceiling)
        ]
        self.record_lost(gateway, status.station or row.station, lost, now)
        return lost

    def forgotten(self, gateway: str, status: Status) -> list[Range]:
        """Batches of the current epoch that the gateway has acks for and this ledger lacks.

        An ack is given after the ledger has committed; where a gateway waits for none any more and
        the ledger lacks a batch that it still holds, the ledger is older than its own acks: it was
        restored from a backup and nobody said so. So it is where the gateway has seen a higher
        generation than this ledger's: it would take no ack of this one, and waits for ever.
        """
        if not (status.online and status.epochs and status.outbox is not None):
            return []
        generation = self._connection.execute(_GENERATION, {"b_gateway": gateway}).scalar_one()
        current = status.epochs[0]
        if generation < status.generation < SEQ_MAX:
            return [(current.oldest, max(current.oldest, current.next - 1))]
        if status.generation != generation or status.outbox.waiting:
            return []
        have = self._progress.ranges(gateway, current.epoch)
        return list(missing(have, current.oldest, current.next - 1))

    def _known(self, gateway: str) -> dict[str, _Epoch]:
        rows = self._connection.execute(_EPOCHS, {"b_gateway": gateway})
        return {row.epoch: _Epoch(*row) for row in rows}

    def _note_epochs(
        self, gateway: str, status: Status, known: dict[str, _Epoch], now: datetime
    ) -> int:
        """Write what the status lists of its epochs; returns the current one's ordinal."""
        current = status.epochs[0].epoch
        before = known.get(current)
        ordinal = before.ordinal if before is not None else None
        if ordinal is None:
            ordinal = 1 + max((e.ordinal or 0 for e in known.values()), default=0)
        rows = []
        for said in {entry.epoch: entry for entry in reversed(status.epochs)}.values():
            have = known.get(said.epoch)
            rows.append(
                {
                    "gateway": gateway,
                    "epoch": said.epoch,
                    "upto": have.upto if have else 0,
                    "oldest": said.oldest,
                    # A restored image knows less of an old epoch than was heard of it before.
                    "next": max(said.next, have.next if have else 0),
                    "ordinal": ordinal
                    if said.epoch == current
                    else (have.ordinal if have else None),
                    "last_seen_at": now,
                }
            )
        self._connection.execute(
            upsert(
                self._connection,
                epochs,
                update_columns=("oldest", "next", "ordinal", "last_seen_at"),
            ),
            sorted(rows, key=lambda row: str(row["epoch"])),
        )
        return ordinal

    def record_lost(
        self, gateway: str, station: str | None, lost: Iterable[LostRange], now: datetime
    ) -> None:
        """Record that these will never come, as gaps; the gateway's row must be locked."""
        rows = [
            {
                "gateway": gateway,
                "station": station,
                "source": "seq",
                "epoch": part.epoch,
                "seq_from": part.first,
                "seq_to": part.last,
                "ordinal": 0,
                "meters": None,
                "reason": part.reason,
                "recorded_at": now,
            }
            for part in lost
        ]
        if rows:
            self._connection.execute(upsert(self._connection, gaps), rows)

    def _set_gateway(self, gateway: str, **values: object) -> None:
        self._connection.execute(_SET_GATEWAY, {"b_gateway": gateway, **values})


def _is_late(
    status: Status,
    current: str,
    taken_epoch: str | None,
    taken_count: int,
    known: dict[str, _Epoch],
) -> bool:
    """Whether the status was composed before the last one that was taken."""
    if current == taken_epoch:
        return status.count <= taken_count
    before = known.get(current)
    if before is None:
        return False
    if before.ordinal is None:
        # Listed by another epoch's status: a process that has ended never speaks again.
        return before.next > 0
    return before.ordinal < max(e.ordinal or 0 for e in known.values())


def _ceilings(status: Status, known: dict[str, _Epoch], ordinal: int) -> dict[str, int]:
    """Per epoch the highest seq up to which nothing can come any more, where there is one."""
    listed = {entry.epoch: entry.oldest - 1 for entry in reversed(status.epochs)}
    gone = {
        epoch.epoch: epoch.next - 1
        for epoch in known.values()
        if epoch.epoch not in listed
        and epoch.next > 0
        and (epoch.ordinal is None or epoch.ordinal < ordinal)
    }
    return {
        epoch: ceiling
        for epoch, ceiling in (gone | listed).items()
        if ceiling > (known[epoch].upto if epoch in known else 0)
    }
