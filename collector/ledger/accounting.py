"""What was due and what became of it, counted from receipts, gaps and index reads.

It counts only; it must not know what delivery does with them.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, exists, func, not_, or_, select

from collector.ledger.delivery_views import lost_in_gap
from collector.ledger.tables import gaps, gateways, index_reads, receipts
from contract.messages import ScanKind


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """Meter reads of slots in [from_at, to_at), as gateways reported them.

    `missing` is what a scan could not read, `gaps` what whole slots without a scan cost (slots ×
    meters), both by reason; what was read after all counts as had: by a later scan of the slot,
    or by a scan that a restored gateway did not remember when it listed the slot as a gap.
    `batches_lost` are batches that were never received and never will be.
    `duplicates` are batches delivered again, since ever, of these gateways.
    """

    slots: int
    had: int
    missing: dict[str, int]
    gaps: dict[str, int]
    batches_lost: int
    duplicates: int

    @property
    def due(self) -> int:
        """Meter reads that should have been: had, missing and in gaps."""
        return self.had + sum(self.missing.values()) + sum(self.gaps.values())


class AccountingRepository:
    """Counts over receipts and gaps within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def gateways_of(self, gateway_or_station: str) -> list[str]:
        """The gateways of this name, or that report for the station of this name."""
        return list(
            self._connection.execute(
                select(gateways.c.gateway)
                .where(
                    or_(
                        gateways.c.gateway == gateway_or_station,
                        gateways.c.station == gateway_or_station,
                    )
                )
                .order_by(gateways.c.gateway)
            ).scalars()
        )

    def count(self, names: Sequence[str], from_at: datetime, to_at: datetime) -> SlotCounts:
        """The counts of these gateways for slots with from_at <= slot < to_at."""
        c = receipts.c
        slots, had = self._connection.execute(
            select(func.count(c.slot.distinct()), func.coalesce(func.sum(c.reads), 0)).where(
                c.gateway.in_(names),
                c.content == "scan",
                c.kind != ScanKind.ON_DEMAND.value,  # was due to nobody but who asked for it
                c.slot >= from_at,
                c.slot < to_at,
            )
        ).one()
        missing, in_gaps = self._missing(names, from_at, to_at)
        duplicates = self._connection.execute(
            select(func.coalesce(func.sum(gateways.c.duplicates), 0)).where(
                gateways.c.gateway.in_(names)
            )
        ).scalar_one()
        lost = self._connection.execute(
            select(func.coalesce(func.sum(lost_in_gap()), 0)).where(
                gaps.c.gateway.in_(names), gaps.c.source == "seq"
            )
        ).scalar_one()
        return SlotCounts(int(slots), int(had), missing, in_gaps, int(lost), int(duplicates))

    def _missing(
        self, names: Sequence[str], from_at: datetime, to_at: datetime
    ) -> tuple[dict[str, int], dict[str, int]]:
        """By reason: what scans missed and no later one brought, and what gaps cost."""
        g = gaps.c
        rows = self._connection.execute(
            select(
                g.gateway, g.source, g.kind, g.first_at, g.last_at, g.every_s, g.meters, g.reason
            )
            .where(
                g.gateway.in_(names),
                g.source.in_(("scan", "slots", "tombstone")),
                g.kind != ScanKind.ON_DEMAND.value,
                g.first_at < to_at,
                g.last_at >= from_at,
                # A tombstone of a batch that was stored before: its reads are counted as had.
                or_(g.source != "tombstone", not_(_stored_scan())),
            )
            .order_by(g.id)
        )
        scanned = self._scanned(names, from_at, to_at)
        missed: dict[tuple[datetime, str], str] = {}
        index_slots: set[datetime] = set()
        in_gaps: Counter[str] = Counter()
        for gateway, source, kind, first_at, last_at, every_s, meters, reason in rows:
            if source == "scan":
                missed |= {(first_at, meter): reason for meter in meters}
                if kind == ScanKind.INDEX.value:
                    index_slots.add(first_at)
            else:
                span = (first_at, last_at, every_s or 0)
                in_gaps[reason] += _slots_within(span, from_at, to_at) * len(meters)
                if source == "slots":
                    in_gaps[reason] -= _known_of_span(scanned[gateway], span, len(meters))
        had_later = self._had(index_slots)
        missing = Counter(
            reason for identity, reason in missed.items() if identity not in had_later
        )
        return dict(missing), dict(+in_gaps)

    def _scanned(
        self, names: Sequence[str], from_at: datetime, to_at: datetime
    ) -> defaultdict[str, list[tuple[datetime, int]]]:
        """By gateway the slots that a scan with reads came for, in order, each with how many
        meters it had or said that it could not read: one gateway knows nothing of another's.
        """
        c = receipts.c
        rows = self._connection.execute(
            select(c.gateway, c.slot, func.sum(c.reads + c.missing))
            .where(
                c.gateway.in_(names),
                c.content == "scan",
                c.reads > 0,
                c.slot >= from_at,
                c.slot < to_at,
            )
            .group_by(c.gateway, c.slot)
            .order_by(c.gateway, c.slot)
        )
        scanned: defaultdict[str, list[tuple[datetime, int]]] = defaultdict(list)
        for gateway, slot, meters in rows:
            scanned[gateway].append((slot, int(meters)))
        return scanned

    def _had(self, slots: set[datetime]) -> set[tuple[datetime, str]]:
        """Which meters have an index read for these slots."""
        found: set[tuple[datetime, str]] = set()
        for slot in slots:
            rows = self._connection.execute(
                select(index_reads.c.meter)
                .where(
                    index_reads.c.slot == slot,
                    index_reads.c.at >= slot,
                    index_reads.c.at <= slot + LATE_MAX,
                )
                .distinct()
            ).scalars()
            found |= {(slot, meter) for meter in rows}
        return found


# An index that was missed is read again until its window closes: within a day of its slot.
LATE_MAX = timedelta(days=1)


def _stored_scan() -> ColumnElement[bool]:
    """Whether the batch of a gap is a scan that was received."""
    r, g = receipts.c, gaps.c
    return exists().where(
        r.gateway == g.gateway, r.epoch == g.epoch, r.seq == g.seq_from, r.content == "scan"
    )


def _known_of_span(
    scanned: Sequence[tuple[datetime, int]], span: tuple[datetime, datetime, int], meters: int
) -> int:
    """How many meter reads of first, first + every, … last, of `meters` each, are known after all.

    A late index scan may bring a few meters only: the others of its slot are still in the gap.
    """
    first_at, last_at, every_s = span
    first = bisect_left(scanned, first_at, key=itemgetter(0))
    within = scanned[first : bisect_right(scanned, last_at, key=itemgetter(0))]
    every = timedelta(seconds=every_s)
    return sum(
        min(count, meters)
        for slot, count in within
        if every_s <= 0 or (slot - first_at) % every == timedelta(0)
    )


def _slots_within(span: tuple[datetime, datetime, int], from_at: datetime, to_at: datetime) -> int:
    """How many of first, first + every, … last lie in [from_at, to_at)."""
    first_at, last_at, every_s = span
    if every_s <= 0:
        return int(from_at <= first_at < to_at)
    every = timedelta(seconds=every_s)
    before = max(0, -((first_at - from_at) // every))
    upto = (min(last_at, to_at - timedelta(milliseconds=1)) - first_at) // every
    return int(max(0, upto - before + 1))
