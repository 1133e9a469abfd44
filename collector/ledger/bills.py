"""Stored bill previews: sets, previews, refusals, acts and exports, added once and read for ever.

It must not know how a preview came about, nor who may do what; that is `collector.billing.rating`
and `collector.operations`.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, and_, func, insert, select

from collector.billing.bill_values import BillRow, BillSetHead, StoredBill, StoredRefusal
from collector.ledger.billing_tables import (
    bill_accepted,
    bill_acts,
    bill_exports,
    bill_previews,
    bill_refusals,
    bill_sets,
)

# A preview of some 2 kB shrinks to a third; higher levels take longer and gain little.
_ZLIB_LEVEL = 1

# Previews that are fetched or stored with one statement.
_AT_ONCE = 1_000
_NAMES_AT_ONCE = 500

_HEAD = tuple(bill_sets.c[name] for name in BillSetHead.__dataclass_fields__)
_ROW = tuple(bill_previews.c[name] for name in BillRow.__dataclass_fields__)


class BillActKind(StrEnum):
    """What a person did with a set."""

    ACCEPT = "accept"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class BillAct:
    """One act: `subject` is how many exceptions were accepted, or the hash that was approved."""

    bill_set: str
    act: BillActKind
    actor: str
    at: datetime
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class BillExport:
    """That a set was handed over, when and by whom."""

    bill_set: str
    run: str
    sha256: str
    exported_at: datetime
    exported_by: str


def packed(row: BillRow, preview: bytes, determinants: bytes) -> StoredBill:
    """A preview as it is stored: small, so that a district's set can be held until it is whole."""
    return StoredBill(
        row, zlib.compress(preview, _ZLIB_LEVEL), zlib.compress(determinants, _ZLIB_LEVEL)
    )


class BillRepository:
    """Bill previews within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, head: BillSetHead, bills: Sequence[StoredBill], refused: Sequence[StoredRefusal]
    ) -> None:
        """Store a set; `bills` are `packed`. The database refuses to change it afterwards."""
        assert (head.bill_count, head.refused_count) == (len(bills), len(refused)), "it counts them"
        values = {column.name: getattr(head, column.name) for column in _HEAD}
        self._connection.execute(insert(bill_sets).values(values))
        for first in range(0, len(bills), _AT_ONCE):
            self._connection.execute(
                insert(bill_previews),
                [
                    {"bill_set": head.bill_set, "ordinal": ordinal, **_values(bill)}
                    for ordinal, bill in enumerate(bills[first : first + _AT_ONCE], first)
                ],
            )
        if refused:
            self._connection.execute(
                insert(bill_refusals),
                [
                    {
                        "bill_set": head.bill_set,
                        "ordinal": ordinal,
                        "point": one.point,
                        "contract": one.contract,
                        "code": one.code,
                        "reason": one.reason,
                        "hint": one.hint,
                    }
                    for ordinal, one in enumerate(refused)
                ],
            )

    def get(self, bill_set: str) -> BillSetHead | None:
        """One set; None where there is none of this id."""
        row = self._connection.execute(
            select(*_HEAD).where(bill_sets.c.bill_set == bill_set)
        ).one_or_none()
        return None if row is None else BillSetHead(*row)

    def of_run(self, run: str) -> list[BillSetHead]:
        """The sets of a run, oldest first."""
        rows = self._connection.execute(
            select(*_HEAD).where(bill_sets.c.run == run).order_by(bill_sets.c.number)
        )
        return [BillSetHead(*row) for row in rows]

    def newest(self, limit: int, after: BillSetHead | None = None) -> list[BillSetHead]:
        """The sets made last, newest first; those after one of them in that order."""
        query = select(*_HEAD).order_by(bill_sets.c.made_at.desc(), bill_sets.c.bill_set.desc())
        if after is not None:
            query = query.where(
                (bill_sets.c.made_at < after.made_at)
                | and_(bill_sets.c.made_at == after.made_at, bill_sets.c.bill_set < after.bill_set)
            )
        return [BillSetHead(*row) for row in self._connection.execute(query.limit(limit))]

    def rows(self, bill_set: str, after: int = -1, limit: int | None = None) -> list[BillRow]:
        """The bills of a set in their order, from the one after the ordinal `after`."""
        query = (
            select(*_ROW)
            .where(bill_previews.c.bill_set == bill_set, bill_previews.c.ordinal > after)
            .order_by(bill_previews.c.ordinal)
            .limit(limit)
        )
        return [BillRow(*row) for row in self._connection.execute(query)]

    def previews(self, bill_set: str, after: int = -1) -> list[tuple[int, BillRow, bytes]]:
        """Ordinal, row and canonical JSON of at most 1,000 bills after the ordinal `after`."""
        query = (
            select(bill_previews.c.ordinal, bill_previews.c.preview, *_ROW)
            .where(bill_previews.c.bill_set == bill_set, bill_previews.c.ordinal > after)
            .order_by(bill_previews.c.ordinal)
            .limit(_AT_ONCE)
        )
        return [
            (ordinal, BillRow(*row), zlib.decompress(preview))
            for ordinal, preview, *row in self._connection.execute(query)
        ]

    def preview(self, bill_set: str, bill: str) -> list[bytes]:
        """The canonical JSON of a contract's preview in a set; empty where it has none."""
        query = select(bill_previews.c.preview).where(
            bill_previews.c.bill_set == bill_set, bill_previews.c.bill == bill
        )
        return [zlib.decompress(one) for one in self._connection.execute(query).scalars()]

    def refused(self, bill_set: str) -> list[StoredRefusal]:
        """Who has no preview in a set, in the order of reading."""
        c = bill_refusals.c
        rows = self._connection.execute(
            select(c.point, c.contract, c.code, c.reason, c.hint)
            .where(c.bill_set == bill_set)
            .order_by(c.ordinal)
        )
        return [StoredRefusal(*row) for row in rows]

    def exported_names(self, run: str) -> set[str]:
        """The contracts whose bills of a run were handed over."""
        query = (
            select(bill_previews.c.bill)
            .join(bill_exports, bill_exports.c.bill_set == bill_previews.c.bill_set)
            .where(bill_exports.c.run == run)
        )
        return set(self._connection.execute(query).scalars())

    def family(self, run: str, point: str) -> list[bytes]:
        """The determinants of the bills of a point's family that a run handed over."""
        c = bill_previews.c
        of_run = (
            select(c.root)
            .join(bill_exports, bill_exports.c.bill_set == c.bill_set)
            .where(bill_exports.c.run == run, c.point == point)
        )
        query = (
            select(c.determinants)
            .join(bill_exports, bill_exports.c.bill_set == c.bill_set)
            .where(bill_exports.c.run == run, c.root.in_(of_run))
            .order_by(c.bill_set, c.ordinal)
        )
        return [zlib.decompress(one) for one in self._connection.execute(query).scalars()]

    def exported_last(self, bills: Collection[str], before: date) -> dict[str, BillRow]:
        """Each contract's bill that was handed over and ends last, not after `before`."""
        c = bill_previews.c
        last = (
            select(c.bill, func.max(c.to_day).label("to_day"))
            .join(bill_exports, bill_exports.c.bill_set == c.bill_set)
            .where(c.to_day <= before)
            .group_by(c.bill)
        )
        return self._exported(bills, last)

    def exported_between(
        self, bills: Collection[str], first: date, last: date
    ) -> dict[str, BillRow]:
        """Each contract's bill that was handed over and ends last within these days."""
        c = bill_previews.c
        found = (
            select(c.bill, func.max(c.to_day).label("to_day"))
            .join(bill_exports, bill_exports.c.bill_set == c.bill_set)
            .where(c.to_day.between(first, last))
            .group_by(c.bill)
        )
        return self._exported(bills, found)

    def _exported(self, bills: Collection[str], last: Select[Any]) -> dict[str, BillRow]:
        c = bill_previews.c
        found: dict[str, BillRow] = {}
        for part in _parts(bills):
            ends = last.where(c.bill.in_(part)).subquery()
            query = (
                select(*_ROW)
                .join(bill_exports, bill_exports.c.bill_set == c.bill_set)
                .join(ends, and_(ends.c.bill == c.bill, ends.c.to_day == c.to_day))
                .where(c.bill.in_(part))
            )
            for row in self._connection.execute(query):
                one = BillRow(*row)
                found[one.bill] = one
        return found

    def add_act(self, act: BillAct, accepted: Iterable[tuple[str, str]] = ()) -> None:
        """Record what a person did, and the bills and causes that were accepted with it."""
        self._connection.execute(
            insert(bill_acts).values(
                bill_set=act.bill_set,
                act=act.act.value,
                actor=act.actor,
                at=act.at,
                subject=act.subject,
                reason=act.reason,
            )
        )
        rows = [
            {"bill_set": act.bill_set, "bill": bill, "cause": cause} for bill, cause in accepted
        ]
        if rows:
            self._connection.execute(insert(bill_accepted), rows)

    def acts(self, bill_set: str) -> list[BillAct]:
        """What people did with a set, oldest first."""
        c = bill_acts.c
        rows = self._connection.execute(
            select(c.bill_set, c.act, c.actor, c.at, c.subject, c.reason)
            .where(c.bill_set == bill_set)
            .order_by(c.id)
        )
        return [BillAct(row[0], BillActKind(row[1]), *row[2:]) for row in rows]

    def accepted(self, bill_set: str) -> set[tuple[str, str]]:
        """The bills and causes that were accepted."""
        c = bill_accepted.c
        rows = self._connection.execute(select(c.bill, c.cause).where(c.bill_set == bill_set))
        return {(bill, cause) for bill, cause in rows}

    def add_export(self, export: BillExport) -> None:
        """Record that a set was handed over; once, its key sees to it."""
        self._connection.execute(
            insert(bill_exports).values(
                bill_set=export.bill_set,
                run=export.run,
                sha256=export.sha256,
                exported_at=export.exported_at,
                exported_by=export.exported_by,
            )
        )

    def export_of(self, bill_set: str) -> BillExport | None:
        """The export of a set; None while there is none."""
        c = bill_exports.c
        row = self._connection.execute(
            select(c.bill_set, c.run, c.sha256, c.exported_at, c.exported_by).where(
                c.bill_set == bill_set
            )
        ).one_or_none()
        return None if row is None else BillExport(*row)


def _values(bill: StoredBill) -> dict[str, Any]:
    values = {column.name: getattr(bill.row, column.name) for column in _ROW}
    return {**values, "preview": bill.preview, "determinants": bill.determinants}


def _parts(names: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for first in range(0, len(ordered), _NAMES_AT_ONCE):
        yield ordered[first : first + _NAMES_AT_ONCE]
