"""Delivery as the ledger knows it: gateways, receipts, gaps, events of one transaction.

Owns what was received of whom and what is known to be missing; it must not know how batches travel
nor what their registers mean. Acks are in `progress`, poison is in `quarantine`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    update,
)

from collector.ledger.delivery_views import DeliveryViews
from collector.ledger.generations import GenerationRepository, first_generation
from collector.ledger.progress import ProgressRepository
from collector.ledger.quarantine import QuarantineRepository
from collector.ledger.receipts import COMPLETE, BatchKey, KnownReceipt, NewReceipt, ReceiptRows
from collector.ledger.statements import upsert
from collector.ledger.statuses import StatusRepository
from collector.ledger.tables import epochs, events, gaps, gateways, receipts


@dataclass(frozen=True, slots=True)
class NewGap:
    """Something known not to have been read; `ordinal` numbers the gaps of one batch and source."""

    key: BatchKey
    station: str | None
    source: str  # scan, slots, tombstone
    ordinal: int
    kind: str
    first_at: datetime
    last_at: datetime
    every_s: int
    meters: list[str]
    reason: str


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened at a station; `ordinal` numbers the events of one batch."""

    key: BatchKey
    ordinal: int
    at: datetime
    type: str
    line: str | None
    meter: str | None
    detail: str


@dataclass(slots=True)
class Tally:
    """What one transaction adds to a gateway's counters; `station` as its newest batch says it."""

    station: str | None = None
    batches: int = 0
    reads: int = 0
    duplicates: int = 0
    quarantined: int = 0


_COUNT = (
    update(gateways)
    .where(gateways.c.gateway == bindparam("b_gateway"))
    .values(
        batches=gateways.c.batches + bindparam("b_batches"),
        reads=gateways.c.reads + bindparam("b_reads"),
        duplicates=gateways.c.duplicates + bindparam("b_duplicates"),
        quarantined=gateways.c.quarantined + bindparam("b_quarantined"),
    )
)


class DeliveryRepository:
    """Receipts and what belongs to them.

    Rows are locked in one order everywhere (gateways, epochs, receipts; each sorted by key), so
    that intake workers on PostgreSQL wait for each other instead of deadlocking.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._receipts = ReceiptRows(connection)
        self.progress = ProgressRepository(connection)
        self.statuses = StatusRepository(connection)
        self.generations = GenerationRepository(connection)
        self.quarantine = QuarantineRepository(connection)
        self.views = DeliveryViews(connection)

    def touch(
        self,
        stations: Mapping[str, str | None],
        pairs: Collection[tuple[str, str]],
        now: datetime,
        *,
        heard: bool = True,
    ) -> None:
        """Note that gateways (to their station, where known) and their epochs were heard now.

        Makes their rows where there are none and locks them until the transaction ends: whoever
        touched a gateway sees all its receipts, and nobody else adds any meanwhile. With `heard`
        false rows that exist are only locked: a retained message is no sign of life.
        """
        if stations:
            self._touch_gateways(stations, now, heard=heard)
        if pairs:
            self._connection.execute(
                upsert(
                    self._connection,
                    epochs,
                    update_columns=("last_seen_at",),
                ),
                [
                    {
                        "gateway": gateway,
                        "epoch": epoch,
                        "upto": 0,
                        "oldest": 0,
                        "next": 0,
                        "ordinal": None,
                        "last_seen_at": now,
                    }
                    for gateway, epoch in sorted(pairs)
                ],
            )

    def receipts(self, keys: Collection[BatchKey]) -> dict[BatchKey, KnownReceipt]:
        """The receipts that exist of `keys`."""
        return self._receipts.look(keys)

    def add_receipts(self, new: Collection[NewReceipt], now: datetime) -> None:
        """Record batches that have no receipt yet, received `now`."""
        self._receipts.add(new, now)

    def replace_receipt(self, receipt: NewReceipt, now: datetime) -> None:
        """Put a batch in the place of what stands under its key, were it the same batch."""
        row = _receipt_row(receipt, now)
        key = receipt.key
        self._connection.execute(update(receipts).where(_is(key)).values(**row))
        # The batch is there after all: what its tombstone said is no longer true.
        self._connection.execute(
            delete(gaps).where(
                gaps.c.gateway == key.gateway,
                gaps.c.epoch == key.epoch,
                gaps.c.seq_from == key.seq,
                gaps.c.source == "tombstone",
            )
        )

    def add_gaps(self, new: Iterable[NewGap], now: datetime) -> None:
        """Record gaps; those that are recorded already stay as they are."""
        rows = [_gap_row(gap, now) for gap in new]
        if rows:
            self._connection.execute(upsert(self._connection, gaps), rows)

    def add_events(self, new: Iterable[NewEvent]) -> None:
        """Record events; those that are recorded already stay as they are."""
        rows = [_event_row(event) for event in new]
        if rows:
            self._connection.execute(upsert(self._connection, events), rows)

    def complete(self, keys: Collection[BatchKey], now: datetime) -> None:
        """Everything of these batches is stored. Call `progress.settle` in the same transaction."""
        self._receipts.complete(keys, now)

    def refuse(self, counts: Mapping[BatchKey, int]) -> None:
        """Take the reads that the store refused off what these batches, not yet complete, hold."""
        for key, count in sorted(counts.items()):
            self._connection.execute(
                update(receipts)
                .where(_is(key), receipts.c.state != COMPLETE)
                .values(reads=receipts.c.reads - count)
            )

    def count(self, tallies: Mapping[str, Tally]) -> None:
        """Add to the counters of gateways, whose rows are locked already."""
        rows = [
            {
                "b_gateway": gateway,
                "b_batches": tally.batches,
                "b_reads": tally.reads,
                "b_duplicates": tally.duplicates,
                "b_quarantined": tally.quarantined,
            }
            for gateway, tally in sorted(tallies.items())
        ]
        if rows:
            self._connection.execute(_COUNT, rows)

    def _touch_gateways(
        self, stations: Mapping[str, str | None], now: datetime, *, heard: bool
    ) -> None:
        statement = upsert(
            self._connection,
            gateways,
            update_columns=("last_seen_at",) if heard else ("gateway",),
            keep_if_null=("station",),
        )
        self._connection.execute(
            statement,
            [
                {
                    "gateway": gateway,
                    "station": station,
                    "generation": first_generation(now),
                    "first_seen_at": now,
                    "last_seen_at": now,
                    "online": False,
                    "status_count": 0,
                    "batches": 0,
                    "reads": 0,
                    "duplicates": 0,
                    "quarantined": 0,
                }
                for gateway, station in sorted(stations.items())
            ],
        )


def _is(key: BatchKey) -> ColumnElement[bool]:
    return and_(
        receipts.c.gateway == key.gateway,
        receipts.c.epoch == key.epoch,
        receipts.c.seq == key.seq,
    )


def _receipt_row(receipt: NewReceipt, now: datetime) -> dict[str, object]:
    gateway, epoch, seq = receipt.key
    return {
        "gateway": gateway,
        "epoch": epoch,
        "seq": seq,
        "sha256": receipt.sha256,
        "state": receipt.state,
        "content": receipt.content,
        "kind": receipt.kind,
        "slot": receipt.slot,
        "reads": receipt.reads,
        "missing": receipt.missing,
        "received_at": now,
        "completed_at": now if receipt.state == COMPLETE else None,
    }


def _gap_row(gap: NewGap, now: datetime) -> dict[str, object]:
    gateway, epoch, seq = gap.key
    return {
        "gateway": gateway,
        "station": gap.station,
        "source": gap.source,
        "epoch": epoch,
        "seq_from": seq,
        "seq_to": seq,
        "ordinal": gap.ordinal,
        "kind": gap.kind,
        "first_at": gap.first_at,
        "last_at": gap.last_at,
        "every_s": gap.every_s,
        "meters": gap.meters,
        "reason": gap.reason,
        "recorded_at": now,
    }


def _event_row(event: NewEvent) -> dict[str, object]:
    gateway, epoch, seq = event.key
    return {
        "gateway": gateway,
        "epoch": epoch,
        "seq": seq,
        "ordinal": event.ordinal,
        "at": event.at,
        "type": event.type,
        "line": event.line,
        "meter": event.meter,
        "detail": event.detail,
    }
