"""Generations, and the reopening of what was complete: how the collector asks for something again.

It must not know why; operations decide that.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, not_, select, tuple_, update

from collector.ledger.beyond import Pair
from collector.ledger.delivery_views import is_lost
from collector.ledger.progress import ProgressRepository
from collector.ledger.tables import epochs, gateways, receipts


def first_generation(now: datetime) -> int:
    """The generation of a gateway that this ledger has not seen before: the time in seconds.

    A ledger that was lost and begun anew is thereby ahead of every ack that it gave before, so that
    the gateways send again what they still hold.
    """
    return max(1, int(now.timestamp()))


class GenerationRepository:
    """Generations and reopened receipts within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, int]:
        """The generation of every gateway."""
        rows = self._connection.execute(select(gateways.c.gateway, gateways.c.generation))
        return {row.gateway: row.generation for row in rows}

    def set(self, gateway: str, generation: int) -> None:
        """Give a gateway, whose row exists, another generation."""
        self._connection.execute(
            update(gateways).where(gateways.c.gateway == gateway).values(generation=generation)
        )

    def advance(self, gateway: str, now: datetime, *, seen: int = 0) -> int:
        """Give a gateway a generation above every one it can have seen, or says it has `seen`.

        Returns it.
        """
        own = self._connection.execute(
            select(gateways.c.generation).where(gateways.c.gateway == gateway)
        ).scalar_one()
        generation = max(int(own) + 1, seen + 1, first_generation(now))
        self.set(gateway, generation)
        return generation

    def at_station(self, station: str) -> list[str]:
        """The gateways that say they are at a station."""
        return list(
            self._connection.execute(
                select(gateways.c.gateway)
                .where(gateways.c.station == station)
                .order_by(gateways.c.gateway)
            ).scalars()
        )

    def reopenable(self, names: Collection[str], from_at: datetime, to_at: datetime) -> int:
        """How many complete scans of slots with from_at <= slot < to_at there are to reopen."""
        return int(
            self._connection.execute(
                select(func.count()).select_from(receipts).where(_scans(names, from_at, to_at))
            ).scalar_one()
        )

    def count_reopened(self) -> int:
        """How many batches are reopened, have not come yet, and may still come."""
        return int(
            self._connection.execute(
                select(func.count())
                .select_from(receipts)
                .where(receipts.c.state == "reopened", not_(is_lost()))
            ).scalar_one()
        )

    def reopen(self, names: Collection[str], from_at: datetime, to_at: datetime) -> int:
        """Reopen these scans and take back the acks that cover them; returns how many."""
        which = _scans(names, from_at, to_at)
        rows = self._connection.execute(
            select(receipts.c.gateway, receipts.c.epoch, func.min(receipts.c.seq))
            .where(which)
            .group_by(receipts.c.gateway, receipts.c.epoch)
        ).all()
        changed = self._connection.execute(
            update(receipts).where(which).values(state="reopened", completed_at=None)
        ).rowcount
        self._lower_upto({(gateway, epoch): first for gateway, epoch, first in rows})
        return int(changed)

    def reopen_batch(self, gateway: str, epoch: str, seq: int) -> None:
        """Reopen one batch, whatever it holds, and take back the ack that covers it."""
        self._connection.execute(
            update(receipts)
            .where(receipts.c.gateway == gateway, receipts.c.epoch == epoch, receipts.c.seq == seq)
            .values(state="reopened", completed_at=None)
        )
        self._lower_upto({(gateway, epoch): seq})

    def _lower_upto(self, firsts: dict[Pair, int]) -> None:
        rows = self._connection.execute(
            select(epochs.c.gateway, epochs.c.epoch, epochs.c.upto).where(
                tuple_(epochs.c.gateway, epochs.c.epoch).in_(sorted(firsts))
            )
        )
        ProgressRepository(self._connection).set_upto(
            {
                (gateway, epoch): firsts[gateway, epoch] - 1
                for gateway, epoch, upto in rows
                if upto >= firsts[gateway, epoch]
            }
        )


def _scans(names: Collection[str], from_at: datetime, to_at: datetime) -> ColumnElement[bool]:
    return (
        receipts.c.gateway.in_(sorted(names))
        & (receipts.c.slot >= from_at)
        & (receipts.c.slot < to_at)
        & (receipts.c.content == "scan")
        & (receipts.c.state == "complete")
    )
