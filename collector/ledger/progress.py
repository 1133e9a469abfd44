"""How far delivery has come: per epoch what is complete or known to be lost, and the acks of it.

It computes from receipts and known gaps; it must not know how acks travel.
"""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, select, update

from collector.ledger.beyond import Pair, ranges_beyond, ranges_of_epoch
from collector.ledger.ranges import Range, merged, missing, reach
from collector.ledger.tables import epochs, gateways
from contract.messages import Ack, AckEpoch

# An ack names the epochs heard of in this time, the most recent ones first when there are more.
ACK_EPOCHS_FOR = timedelta(days=90)
ACK_EPOCHS_MAX = 500

# Ranges beyond `upto` that one ack names; what does not fit is sent again later, which is harmless.
ACK_RANGES_MAX = 1_000


class ProgressRepository:
    """Epochs and acks within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, names: Collection[str]) -> None:
        """Lock the epochs of these gateways, before any of their receipts, until the end."""
        self._connection.execute(
            select(epochs.c.epoch)
            .where(epochs.c.gateway.in_(sorted(names)))
            .order_by(epochs.c.gateway, epochs.c.epoch)
            .with_for_update()
        ).all()

    def settle(self, names: Collection[str], now: datetime) -> dict[str, Ack]:
        """Move `upto` of these gateways' epochs to where receipts and gaps allow; their acks.

        In a write transaction; locks the epochs first, so that of two workers that complete
        neighbours at once the second sees what the first did.
        """
        if not names:
            return {}
        columns = epochs.c
        rows = self._connection.execute(
            select(columns.gateway, columns.epoch, columns.upto)
            .where(columns.gateway.in_(sorted(names)), columns.last_seen_at >= now - ACK_EPOCHS_FOR)
            .order_by(columns.gateway, columns.epoch)
            .with_for_update()
        ).all()
        upto = {(gateway, epoch): value for gateway, epoch, value in rows}
        done = ranges_beyond(self._connection, names, now - ACK_EPOCHS_FOR)
        moved: dict[Pair, int] = {}
        for pair, ranges in done.items():
            reached = reach(upto[pair], ranges)
            if reached > upto[pair]:
                moved[pair] = upto[pair] = reached
        self.set_upto(moved)
        return self._acks(names, upto, done, now)

    def acks(self, names: Collection[str], now: datetime) -> dict[str, Ack]:
        """The acks of these gateways as the ledger has them; in a read transaction."""
        columns = epochs.c
        rows = self._connection.execute(
            select(columns.gateway, columns.epoch, columns.upto).where(
                columns.gateway.in_(sorted(names)), columns.last_seen_at >= now - ACK_EPOCHS_FOR
            )
        )
        upto = {(gateway, epoch): value for gateway, epoch, value in rows}
        return self._acks(
            names, upto, ranges_beyond(self._connection, names, now - ACK_EPOCHS_FOR), now
        )

    def positions(self, now: datetime) -> dict[str, tuple[int, int]]:
        """Per gateway its generation and the sum of its `upto`s: they move when an ack does."""
        rows = self._connection.execute(
            select(
                gateways.c.gateway,
                gateways.c.generation,
                func.coalesce(func.sum(epochs.c.upto), 0),
            )
            .select_from(
                gateways.outerjoin(
                    epochs,
                    (gateways.c.gateway == epochs.c.gateway)
                    & (epochs.c.last_seen_at >= now - ACK_EPOCHS_FOR),
                )
            )
            .group_by(gateways.c.gateway, gateways.c.generation)
        )
        return {gateway: (generation, int(total)) for gateway, generation, total in rows}

    def covers(self, gateway: str, ack: Ack) -> bool:
        """Whether the ledger has, or knows to be lost, everything that `ack` says is stored.

        False also where the ack's generation is above the ledger's: the gateway would not listen.
        """
        generation = self._connection.execute(
            select(gateways.c.generation).where(gateways.c.gateway == gateway)
        ).scalar_one_or_none()
        if generation is None or ack.generation > generation:
            return generation is None and all(not e.upto and not e.also for e in ack.epochs)
        if ack.generation < generation:
            return True
        for said in ack.epochs:
            have = self.ranges(gateway, said.epoch)
            wanted = [(1, said.upto)] if said.upto else []
            if any(missing(have, *part) for part in [*wanted, *said.also]):
                return False
        return True

    def _acks(
        self,
        names: Collection[str],
        upto: dict[Pair, int],
        done: dict[Pair, list[Range]],
        now: datetime,
    ) -> dict[str, Ack]:
        columns = gateways.c
        generations = self._connection.execute(
            select(columns.gateway, columns.generation).where(columns.gateway.in_(sorted(names)))
        ).all()
        by_gateway: dict[str, list[str]] = defaultdict(list)
        for gateway, epoch in upto:
            by_gateway[gateway].append(epoch)
        acks = {}
        for gateway, generation in generations:
            named = by_gateway[gateway]
            if len(named) > ACK_EPOCHS_MAX:
                named = self._newest_epochs(gateway)
            room = ACK_RANGES_MAX
            entries = []
            for epoch in named:
                reached = upto[gateway, epoch]
                also = [r for r in done.get((gateway, epoch), []) if r[0] > reached + 1][:room]
                room -= len(also)
                entries.append(AckEpoch(epoch=epoch, upto=reached, also=also))
            acks[gateway] = Ack(generation=generation, epochs=entries)
        return acks

    def _newest_epochs(self, gateway: str) -> list[str]:
        return list(
            self._connection.execute(
                select(epochs.c.epoch)
                .where(epochs.c.gateway == gateway)
                .order_by(epochs.c.last_seen_at.desc(), epochs.c.epoch)
                .limit(ACK_EPOCHS_MAX)
            ).scalars()
        )

    def ranges(self, gateway: str, epoch: str) -> list[Range]:
        """All that is complete or known to be lost of one epoch, from 1 on."""
        which = (epochs.c.gateway == gateway) & (epochs.c.epoch == epoch)
        upto = self._connection.execute(select(epochs.c.upto).where(which)).scalar_one_or_none()
        ranges = ranges_of_epoch(self._connection, gateway, epoch)
        if upto:
            ranges.append((1, upto))
        return merged(ranges)

    def set_upto(self, moved: dict[Pair, int]) -> None:
        """Write `upto` of epochs, by (gateway, epoch)."""
        if moved:
            self._connection.execute(
                update(epochs)
                .where(
                    epochs.c.gateway == bindparam("b_gateway"),
                    epochs.c.epoch == bindparam("b_epoch"),
                )
                .values(upto=bindparam("b_upto")),
                [
                    {"b_gateway": gateway, "b_epoch": epoch, "b_upto": value}
                    for (gateway, epoch), value in sorted(moved.items())
                ],
            )
