"""What validation asks of other tables: price groups, clocks, serials, when contracts ended.

It gives facts by point or meter; it must not know which rule looks at them.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import Connection, select

from collector.ledger.tables import allocations, commands, contracts, events
from collector.vee.values import Drift, Span
from contract.commands import CommandKind

# How many names one statement has.
NAMES_MAX = 500


class GroupSpan(NamedTuple):
    """A price group from an instant on, up to another one; `to_at` None: still."""

    from_at: datetime
    to_at: datetime | None
    price_group: str


class VeeFactRepository:
    """Facts for rules within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def price_groups(self, points: Collection[str]) -> dict[str, list[GroupSpan]]:
        """The price groups of points by their contracts, oldest first.

        Of a list with several prices the first counts, by register and position.
        """
        found: dict[str, list[GroupSpan]] = {}
        rows = list(self._contracts(points))
        all_lists = self._lists([contract for _, contract, _, _ in rows])
        for point, contract, from_at, to_at in rows:
            of_contract = all_lists.get(contract, {}).items()
            lists = [(max(at, from_at), group) for at, group in of_contract]
            for number, (begin, group) in enumerate(lists):
                end = lists[number + 1][0] if number + 1 < len(lists) else to_at
                if end is None or begin < end:
                    found.setdefault(point, []).append(GroupSpan(begin, end, group))
        return found

    def without_contract(self, points: Collection[str]) -> dict[str, list[Span]]:
        """When points had no contract any more, until the next one; never before the first."""
        spans: dict[str, list[tuple[datetime, datetime | None]]] = {}
        for point, _, from_at, to_at in self._contracts(points):
            spans.setdefault(point, []).append((from_at, to_at))
        found: dict[str, list[Span]] = {}
        for point, of_point in spans.items():
            for (_, ended), (begun, _) in pairwise(of_point):
                if ended is not None and ended < begun:
                    found.setdefault(point, []).append(Span(ended, begun))
            last = of_point[-1][1]
            if last is not None:
                found.setdefault(point, []).append(Span(last, None))
        return found

    def drifts(self, from_at: datetime, to_at: datetime) -> dict[str, list[Drift]]:
        """How far meters' clocks were ahead, by meter: what was told when they were to be set."""
        c = commands.c
        rows = self._connection.execute(
            select(c.arguments, c.detail, c.answered_at)
            .where(
                c.kind == CommandKind.SET_CLOCK.value,
                c.answered_at >= from_at,
                c.answered_at < to_at,
            )
            .order_by(c.answered_at)
        )
        found: dict[str, list[Drift]] = {}
        for arguments, detail, at in rows:
            meters, drift_s = arguments.get("meters") or [], (detail or {}).get("drift_s")
            if len(meters) == 1 and drift_s is not None:
                found.setdefault(meters[0], []).append(Drift(at, round(drift_s)))
        return found

    def told(self, types: Collection[str], from_at: datetime, to_at: datetime) -> dict[str, str]:
        """The newest detail of events of these types, by meter."""
        e = events.c
        rows = self._connection.execute(
            select(e.meter, e.detail)
            .where(e.type.in_(sorted(types)), e.meter.is_not(None), e.at >= from_at, e.at < to_at)
            .order_by(e.at)
        )
        return {row.meter: row.detail for row in rows}

    def _contracts(
        self, points: Collection[str]
    ) -> Iterator[tuple[str, str, datetime, datetime | None]]:
        c = contracts.c
        ordered = sorted(points)
        for first in range(0, len(ordered), NAMES_MAX):
            rows = self._connection.execute(
                select(c.point, c.contract, c.from_at, c.to_at)
                .where(c.point.in_(ordered[first : first + NAMES_MAX]))
                .order_by(c.point, c.from_at)
            ).all()
            for row in rows:
                yield row.point, row.contract, row.from_at, row.to_at

    def _lists(self, names: Collection[str]) -> dict[str, dict[datetime, str]]:
        """From when on which group, by contract; of each list the newest version."""
        a = allocations.c
        ordered = sorted(names)
        found: dict[str, dict[datetime, str]] = {}
        for first in range(0, len(ordered), NAMES_MAX):
            rows = self._connection.execute(
                select(a.contract, a.from_at, a.price_group)
                .where(a.contract.in_(ordered[first : first + NAMES_MAX]))
                .order_by(a.contract, a.from_at, a.version.desc(), a.register, a.position)
            )
            for contract, from_at, group in rows:
                found.setdefault(contract, {}).setdefault(from_at, group)
        return found
