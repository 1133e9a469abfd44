"""Delivery as people look at it: gateways, epochs with holes, and the sums that must agree.

It reads only; it must not know how a figure is shown nor what is expected of it.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select

from collector.ledger.progress import ProgressRepository
from collector.ledger.ranges import Range, merged, missing
from collector.ledger.tables import conflicts, epochs, gaps, gateways, receipts

# Ranges of missing batches that one view names per epoch.
HOLES_MAX = 100


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One gateway as the ledger has it; `status` is the last one taken, as it came."""

    gateway: str
    station: str | None
    generation: int
    first_seen_at: datetime
    last_seen_at: datetime
    online: bool
    status: dict[str, Any] | None
    status_at: datetime | None
    batches: int
    reads: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class EpochHoles:
    """One epoch: everything to `upto` is settled, `highest` is the last batch heard of.

    `holes` are the ranges between them that are neither complete nor known to be lost, HOLES_MAX of
    them unless all were asked for.
    """

    gateway: str
    epoch: str
    upto: int
    highest: int
    holes: list[Range]

    @property
    def missing(self) -> int:
        """How many batches the named holes have."""
        return sum(last - first + 1 for first, last in self.holes)


@dataclass(frozen=True, slots=True)
class LostBatches:
    """A range of batches of an epoch that will never come, as it was recorded."""

    gateway: str
    epoch: str
    first: int
    last: int
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class ReceiptSums:
    """What the receipts of one state add up to; slots are those of scans."""

    state: str
    content: str
    batches: int
    reads: int
    missing: int
    first_slot: datetime | None
    last_slot: datetime | None


def lost_in_gap() -> ColumnElement[int]:
    """How many batches of a gap of source seq are not stored after all."""
    r = receipts.c
    came = (
        select(func.count())
        .select_from(receipts)
        .where(
            r.gateway == gaps.c.gateway,
            r.epoch == gaps.c.epoch,
            r.seq.between(gaps.c.seq_from, gaps.c.seq_to),
            r.state == "complete",
        )
        .scalar_subquery()
    )
    return gaps.c.seq_to - gaps.c.seq_from + 1 - came


def is_lost() -> ColumnElement[bool]:
    """Whether a receipt's batch is in a gap of source seq: it will not come (again)."""
    return exists().where(
        gaps.c.gateway == receipts.c.gateway,
        gaps.c.epoch == receipts.c.epoch,
        gaps.c.source == "seq",
        gaps.c.seq_from <= receipts.c.seq,
        gaps.c.seq_to >= receipts.c.seq,
    )


class DeliveryViews:
    """Views of delivery within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def gateways(self, after: str | None = None, limit: int | None = None) -> list[GatewayRow]:
        """All gateways by name, or at most `limit` after the name `after`."""
        c = gateways.c
        query = (
            select(
                c.gateway,
                c.station,
                c.generation,
                c.first_seen_at,
                c.last_seen_at,
                c.online,
                c.status,
                c.status_at,
                c.batches,
                c.reads,
                c.duplicates,
                c.quarantined,
            )
            .order_by(c.gateway)
            .limit(limit)
        )
        if after is not None:
            query = query.where(c.gateway > after)
        return [GatewayRow(**row) for row in self._connection.execute(query).mappings()]

    def epochs_with_holes(
        self, only: str | None = None, holes_max: int | None = HOLES_MAX
    ) -> list[EpochHoles]:
        """Epochs of which a batch is missing below one that was heard of, by gateway.

        Those of one gateway, or of all; None names every hole.
        """
        c = epochs.c
        highest = (
            select(func.coalesce(func.max(receipts.c.seq), 0))
            .where(receipts.c.gateway == c.gateway, receipts.c.epoch == c.epoch)
            .scalar_subquery()
        )
        query = select(c.gateway, c.epoch, c.upto, c.next, highest).order_by(c.gateway, c.epoch)
        if only is not None:
            query = query.where(c.gateway == only)
        rows = self._connection.execute(query).all()
        found = []
        for gateway, epoch, upto, following, received in rows:
            top = max(following - 1, received)
            if top <= upto:
                continue
            have = ProgressRepository(self._connection).ranges(gateway, epoch)
            holes = missing(have, 1, top)
            if holes:
                found.append(EpochHoles(gateway, epoch, upto, top, holes[:holes_max]))
        return found

    def lost(self, limit: int | None = None) -> list[LostBatches]:
        """Batches that are known to be lost, newest record first; not what came after all."""
        c = gaps.c
        rows = self._connection.execute(
            select(c.gateway, c.epoch, c.seq_from, c.seq_to, c.reason, c.recorded_at)
            .where(c.source == "seq")
            .order_by(c.recorded_at.desc(), c.gateway, c.epoch, c.seq_from)
            .limit(limit)
        )
        return [
            LostBatches(gateway, epoch, *part, reason, recorded_at)
            for gateway, epoch, first, last, reason, recorded_at in rows
            for part in missing(self._complete_within(gateway, epoch, first, last), first, last)
        ]

    def lost_counts(self) -> dict[str, int]:
        """How many batches are known to be lost, by gateway."""
        counts: dict[str, int] = defaultdict(int)
        rows = self._connection.execute(
            select(gaps.c.gateway, lost_in_gap()).where(gaps.c.source == "seq")
        )
        for gateway, count in rows:
            counts[gateway] += count
        return dict(counts)

    def _complete_within(self, gateway: str, epoch: str, first: int, last: int) -> list[Range]:
        """What of these batches is stored after all: each as a range of its own, merged."""
        c = receipts.c
        seqs = self._connection.execute(
            select(c.seq).where(
                c.gateway == gateway,
                c.epoch == epoch,
                c.seq.between(first, last),
                c.state == "complete",
            )
        ).scalars()
        return merged([(seq, seq) for seq in seqs])

    def sums(self) -> list[ReceiptSums]:
        """All receipts added up by state and content."""
        c = receipts.c
        rows = self._connection.execute(
            select(
                c.state,
                c.content,
                func.count(),
                func.sum(c.reads),
                func.sum(c.missing),
                func.min(c.slot, type_=c.slot.type),
                func.max(c.slot, type_=c.slot.type),
            )
            .group_by(c.state, c.content)
            .order_by(c.state, c.content)
        )
        return [
            ReceiptSums(state, content, batches, int(reads), int(absent), first, last)
            for state, content, batches, reads, absent, first, last in rows
        ]

    def incomplete(self) -> tuple[int, int]:
        """How many batches are not completely stored: all of them, and those that are lost.

        A lost one was asked for again, or was on its way to the reading store, when its gateway
        ceased to have it.
        """
        query = select(func.count()).select_from(receipts).where(receipts.c.state != "complete")
        every = self._connection.execute(query).scalar_one()
        lost = self._connection.execute(query.where(is_lost())).scalar_one()
        return int(every), int(lost)

    def reads_given_up(self) -> int:
        """The meter reads of scans in whose place a tombstone came when they were asked for again.

        The ledger has them; the reading store may lack them, and cannot be given them any more.
        """
        r, g = receipts.c, gaps.c
        stone = exists().where(
            g.gateway == r.gateway,
            g.epoch == r.epoch,
            g.seq_from == r.seq,
            g.source == "tombstone",
        )
        return int(
            self._connection.execute(
                select(func.coalesce(func.sum(r.reads), 0)).where(
                    r.state == "complete", r.content == "scan", stone
                )
            ).scalar_one()
        )

    def conflicts(self) -> int:
        """How many index reads were refused because they contradict a stored one."""
        return int(
            self._connection.execute(select(func.count()).select_from(conflicts)).scalar_one()
        )
