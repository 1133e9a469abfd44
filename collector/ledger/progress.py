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


# Built once: these are asked with every group of batches, and to build one takes longer than to run
# it.
_NAMED = epochs.c.gateway.in_(bindparam("names", expanding=True))
_HEARD = epochs.c.last_seen_at >= bindparam("since", type_=epochs.c.last_seen_at.type)
_UPTOS = select(epochs.c.gateway, epochs.c.epoch, epochs.c.upto).where(_NAMED, _HEARD)
_UPTOS_LOCKED = _UPTOS.order_by(epochs.c.gateway, epochs.c.epoch).with_for_update()
_LOCK = (
    select(epochs.c.epoch)
    .where(_NAMED)
    .order_by(epochs.c.gateway, epochs.c.epoch)
    .with_for_update()
)
_POSITIONS = (
    select(
        gateways.c.gateway,
        gateways.c.generation,
        func.coalesce(func.sum(epochs.c.upto), 0),
    )
    .select_from(gateways.outerjoin(epochs, (gateways.c.gateway == epochs.c.gateway) & _HEARD))
    .group_by(gateways.c.gateway, gateways.c.generation)
)
_GENERATIONS = select(gateways.c.gateway, gateways.c.generation).where(
    gateways.c.gateway.in_(bindparam("names", expanding=True))
)
_ONE = (epochs.c.gateway == bindparam("b_gateway")) & (epochs.c.epoch == bindparam("b_epoch"))
_UPTO = select(epochs.c.upto).where(_ONE)
_SET_UPTO = update(epochs).where(_ONE).values(upto=bindparam("b_upto"))


class ProgressRepository:
    """Epochs and acks within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, names: Collection[str]) -> None:
        """Lock the epochs of these gateways, before any of their receipts, until the end."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(_LOCK, {"names": sorted(names)}).all()
        # SQLite's one writer has all of them already.

    def settle(self, names: Collection[str], now: datetime) -> dict[str, Ack]:
        """Move `upto` of these gateways' epochs to where receipts and gaps allow; their acks.

        In a write transaction; locks the epochs first, so that of two workers that complete
        neighbours at once the second sees what the first did.
        """
        if not names:
            return {}
        rows = self._connection.execute(
            _UPTOS_LOCKED, {"names": sorted(names), "since": now - ACK_EPOCHS_FOR}
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
        rows = self._connection.execute(
            _UPTOS, {"names": sorted(names), "since": now - ACK_EPOCHS_FOR}
        )
        upto = {(gateway, epoch): value for gateway, epoch, value in rows}
        return self._acks(
            names, upto, ranges_beyond(self._connection, names, now - ACK_EPOCHS_FOR), now
        )

    def positions(self, now: datetime) -> dict[str, tuple[int, int]]:
        """Per gateway its generation and the sum of its `upto`s: they move when an ack does."""
        rows = self._connection.execute(_POSITIONS, {"since": now - ACK_EPOCHS_FOR})
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
        generations = self._connection.execute(_GENERATIONS, {"names": sorted(names)}).all()
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
        upto = self._connection.execute(
            _UPTO, {"b_gateway": gateway, "b_epoch": epoch}
        ).scalar_one_or_none()
        ranges = ranges_of_epoch(self._connection, gateway, epoch)
        if upto:
            ranges.append((1, upto))
        return merged(ranges)

    def set_upto(self, moved: dict[Pair, int]) -> None:
        """Write `upto` of epochs, by (gateway, epoch)."""
        if moved:
            self._connection.execute(
                _SET_UPTO,
                [
                    {"b_gateway": gateway, "b_epoch": epoch, "b_upto": value}
                    for (gateway, epoch), value in sorted(moved.items())
                ],
            )
