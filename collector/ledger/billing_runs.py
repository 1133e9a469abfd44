"""Billing runs as they were made: versions, lines, acts and exports, added once and read for ever.

It must not know how a line came about, nor who may do what; that is `collector.billing` and
`collector.operations`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, insert, or_, select, text, union

from collector.billing.run_values import ExportedLine, LineKind, RunHead, RunLine, VersionHead
from collector.billing.values import LineQuality
from collector.ledger.billing_tables import (
    billing_accepted,
    billing_acts,
    billing_exports,
    billing_lines,
    billing_marks,
    billing_runs,
    billing_versions,
)
from collector.ledger.tables import finding_decisions, findings, manual_indices
from collector.vee.daily_index import WIDE_MAX

# Two processes that bill at once must see each other's exports.
_LOCK = 736673

_NAMES_AT_ONCE = 500

_VERSION = tuple(
    billing_versions.c[name]
    for name in (
        "run",
        "version",
        "made_at",
        "made_by",
        "reason",
        "line_count",
        "sha256",
        "previous_sha256",
        "basis_sha256",
    )
)
_RUN = tuple(
    billing_runs.c[name]
    for name in ("run", "station", "book", "from_at", "to_at", "opened_at", "opened_by")
)
_LINE = tuple(
    billing_lines.c[name]
    for name in (
        "point",
        "meter",
        "register",
        "kind",
        "from_at",
        "to_at",
        "index_from",
        "index_to",
        "read_from_at",
        "read_to_at",
        "multiplier_numerator",
        "multiplier_denominator",
        "billed",
        "quality",
        "cites",
    )
)


class ActKind(StrEnum):
    """What a person did with a version."""

    ACCEPT = "accept"
    EXCLUDE = "exclude"
    INCLUDE = "include"
    DECIDE = "decide"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Act:
    """One act: `subject` is a cause of exceptions, a point, or the hash that was approved.

    Of exceptions that were decided one by one (`decide`) it is how many they were.
    """

    run: str
    version: int
    act: ActKind
    actor: str
    at: datetime
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Export:
    """Which version of a run was handed over, when and by whom."""

    run: str
    version: int
    sha256: str
    exported_at: datetime
    exported_by: str


class BillingRunRepository:
    """Billing runs within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self) -> None:
        """Let no other transaction bill until this one ends."""
        if self._connection.dialect.name == "postgresql":
            # SQLite has one writer at a time as it is.
            self._connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    def open(self, head: RunHead) -> None:
        """Add a run."""
        self._connection.execute(
            insert(billing_runs).values(
                run=head.run,
                station=head.station,
                book=head.book,
                from_at=head.from_at,
                to_at=head.to_at,
                opened_at=head.opened_at,
                opened_by=head.opened_by,
            )
        )

    def get(self, run: str) -> RunHead | None:
        """One run; None where there is none of this id."""
        row = self._connection.execute(select(*_RUN).where(billing_runs.c.run == run)).one_or_none()
        return None if row is None else RunHead(*row)

    def newest(self, limit: int | None, after: RunHead | None = None) -> list[RunHead]:
        """The runs opened last, newest first; all of them if `limit` is None.

        Those after one of them in that order, if given.
        """
        c = billing_runs.c
        query = select(*_RUN).order_by(c.opened_at.desc(), c.run)
        if after is not None:
            query = query.where(
                or_(
                    c.opened_at < after.opened_at,
                    and_(c.opened_at == after.opened_at, c.run > after.run),
                )
            )
        return [RunHead(*row) for row in self._connection.execute(query.limit(limit))]

    def unfinished(self) -> list[RunHead]:
        """Runs that are not exported, oldest first."""
        query = (
            select(*_RUN)
            .outerjoin(billing_exports, billing_exports.c.run == billing_runs.c.run)
            .where(billing_exports.c.run.is_(None))
            .order_by(billing_runs.c.opened_at)
        )
        return [RunHead(*row) for row in self._connection.execute(query)]

    def add_version(self, head: VersionHead, lines: Sequence[RunLine]) -> None:
        """Store a version. The database refuses to change or delete it afterwards."""
        assert head.line_count == len(lines), "the head counts its lines"
        self._connection.execute(
            insert(billing_versions).values(
                {column.name: getattr(head, column.name) for column in _VERSION}
            )
        )
        if lines:
            self._connection.execute(
                insert(billing_lines),
                [_row(head, ordinal, line) for ordinal, line in enumerate(lines)],
            )

    def versions(self, run: str) -> list[VersionHead]:
        """The versions of a run, oldest first."""
        rows = self._connection.execute(
            select(*_VERSION)
            .where(billing_versions.c.run == run)
            .order_by(billing_versions.c.version)
        )
        return [VersionHead(*row) for row in rows]

    def lines(
        self, run: str, version: int, after: int = -1, limit: int | None = None
    ) -> list[RunLine]:
        """The lines of a version in their order, from the one after the ordinal `after`."""
        c = billing_lines.c
        rows = self._connection.execute(
            select(*_LINE)
            .where(c.run == run, c.version == version, c.ordinal > after)
            .order_by(c.ordinal)
            .limit(limit)
        )
        return [_line(row) for row in rows]

    def page(self, run: str, version: int, first: int, limit: int) -> list[RunLine]:
        """Lines of a version in their order, from number `first` (0 is the first of all) on."""
        c = billing_lines.c
        rows = self._connection.execute(
            select(*_LINE)
            .where(
                c.run == run, c.version == version, c.ordinal >= first, c.ordinal < first + limit
            )
            .order_by(c.ordinal)
        )
        return [_line(row) for row in rows]

    def beside_consumption(self, run: str, version: int) -> list[RunLine]:
        """The corrections of a version and who was left out: they stand behind all else, few."""
        c = billing_lines.c
        kinds = [LineKind.CORRECTION.value, LineKind.HELD.value]
        rows = self._connection.execute(
            select(*_LINE)
            .where(c.run == run, c.version == version, c.kind.in_(kinds))
            .order_by(c.ordinal)
        )
        return [_line(row) for row in rows]

    def add_act(self, act: Act) -> None:
        """Record what a person did."""
        self._connection.execute(
            insert(billing_acts).values(
                run=act.run,
                version=act.version,
                act=act.act.value,
                actor=act.actor,
                at=act.at,
                subject=act.subject,
                reason=act.reason,
            )
        )

    def acts(self, run: str) -> list[Act]:
        """What people did with a run, oldest first."""
        c = billing_acts.c
        rows = self._connection.execute(
            select(c.run, c.version, c.act, c.actor, c.at, c.subject, c.reason)
            .where(c.run == run)
            .order_by(c.id)
        )
        return [
            Act(of_run, version, ActKind(act), actor, at, subject, reason)
            for of_run, version, act, actor, at, subject, reason in rows
        ]

    def add_accepted(
        self, run: str, version: int, keys: Collection[tuple[str, str, str, str]]
    ) -> None:
        """Record exceptions that were answered for: point, register, cause and detail of each."""
        rows = [
            {
                "run": run,
                "version": version,
                "point": point,
                "register": register,
                "cause": cause,
                "detail": detail,
            }
            for point, register, cause, detail in keys
        ]
        if rows:
            self._connection.execute(insert(billing_accepted), rows)

    def accepted(self, run: str, version: int) -> set[tuple[str, str, str, str]]:
        """The exceptions of a version that were answered for one by one."""
        c = billing_accepted.c
        rows = self._connection.execute(
            select(c.point, c.register, c.cause, c.detail).where(c.run == run, c.version == version)
        )
        return {(point, register, cause, detail) for point, register, cause, detail in rows}

    def add_mark(
        self, run: str, point: str, mark: str, actor: str, at: datetime, reason: str
    ) -> None:
        """Record what the reader found at a point; an empty mark takes it back."""
        self._connection.execute(
            insert(billing_marks).values(
                run=run, point=point, mark=mark, actor=actor, at=at, reason=reason
            )
        )

    def marks(self, run: str) -> dict[str, str]:
        """What readers found, by point."""
        c = billing_marks.c
        rows = self._connection.execute(select(c.point, c.mark).where(c.run == run).order_by(c.id))
        found = {str(point): str(mark) for point, mark in rows}
        return {point: mark for point, mark in found.items() if mark}

    def ended_between(
        self, points: Collection[str], first: datetime, last: datetime
    ) -> list[RunLine]:
        """The lines of exported runs that end within these instants, of these points."""
        query = (
            _exported_lines()
            .join(billing_runs, billing_runs.c.run == billing_lines.c.run)
            .where(billing_runs.c.to_at.between(first, last))
        )
        wanted = set(points)
        rows = self._connection.execute(query)
        return [line for line in (_line(row[1:]) for row in rows) if line.point in wanted]

    def differences(self, cited: str, points: Collection[str], before: datetime) -> list[RunLine]:
        """Exported returns and corrections that cite a run, of runs that end before an instant.

        By their periods and not by when they were exported: periods of a point follow each other.
        """
        c = billing_lines.c
        query = (
            _exported_lines()
            .join(billing_runs, billing_runs.c.run == c.run)
            .where(
                c.cites == cited,
                c.kind.in_([LineKind.RETURN.value, LineKind.CORRECTION.value]),
                billing_runs.c.to_at < before,
            )
        )
        return [one.line for one in self._of_points(query, points)]

    def add_export(self, export: Export) -> None:
        """Record that a version was handed over. A run is exported once; the key sees to it."""
        self._connection.execute(
            insert(billing_exports).values(
                run=export.run,
                version=export.version,
                sha256=export.sha256,
                exported_at=export.exported_at,
                exported_by=export.exported_by,
            )
        )

    def export_of(self, run: str) -> Export | None:
        """The export of a run; None while there is none."""
        c = billing_exports.c
        row = self._connection.execute(
            select(c.run, c.version, c.sha256, c.exported_at, c.exported_by).where(c.run == run)
        ).one_or_none()
        return None if row is None else Export(*row)

    def exported_last(self, scope: RunHead) -> VersionHead | None:
        """The version that was exported last for the same station or book, or for all."""
        of_station, of_book = billing_runs.c.station, billing_runs.c.book
        row = self._connection.execute(
            select(*_VERSION)
            .join(billing_exports, _is_exported(billing_versions))
            .join(billing_runs, billing_runs.c.run == billing_versions.c.run)
            .where(
                of_station.is_(None) if scope.station is None else of_station == scope.station,
                of_book.is_(None) if scope.book is None else of_book == scope.book,
            )
            .order_by(billing_exports.c.exported_at.desc(), billing_versions.c.run)
            .limit(1)
        ).one_or_none()
        return None if row is None else VersionHead(*row)

    def exported(self, points: Collection[str] | None, since: datetime) -> list[ExportedLine]:
        """All lines of runs that end after `since`, of these points or of all.

        Of whole runs: what was billed of one is compared with what is known of it today.
        """
        query = (
            _exported_lines()
            .join(billing_runs, billing_runs.c.run == billing_lines.c.run)
            .where(billing_runs.c.to_at > since)
        )
        return list(self._of_points(query, points))

    def corrections(self, points: Collection[str] | None) -> list[ExportedLine]:
        """All corrections that were ever exported, of these points or of all."""
        query = _exported_lines().where(billing_lines.c.kind == LineKind.CORRECTION.value)
        return list(self._of_points(query, points))

    def billed_as(
        self, points: Collection[str] | None, since: datetime
    ) -> dict[str, set[tuple[str, Fraction]]]:
        """By which meters and multipliers points were billed in runs that end after `since`."""
        c = billing_lines.c
        query = (
            select(c.point, c.meter, c.multiplier_numerator, c.multiplier_denominator)
            .join(billing_exports, _is_exported(billing_lines))
            .join(billing_runs, billing_runs.c.run == c.run)
            .where(billing_runs.c.to_at > since, c.kind != LineKind.CORRECTION.value)
            .distinct()
        )
        found: dict[str, set[tuple[str, Fraction]]] = {}
        for part in _name_parts(points):
            limited = query if part is None else query.where(c.point.in_(part))
            for point, meter, numerator, denominator in self._connection.execute(limited):
                found.setdefault(point, set()).add((meter, Fraction(numerator, denominator)))
        return found

    def closings(self, points: Collection[str] | None) -> list[ExportedLine]:
        """For each point and register the last exported line that has a closing index."""
        c = billing_lines.c
        last = (
            select(c.point, c.register, func.max(c.to_at).label("to_at"))
            .join(billing_exports, _is_exported(billing_lines))
            .where(
                c.billed.is_not(None),
                c.index_to.is_not(None),
                c.kind != LineKind.CORRECTION.value,
            )
            .group_by(c.point, c.register)
            .subquery()
        )
        query = (
            _exported_lines()
            .join(
                last,
                and_(
                    c.point == last.c.point,
                    c.register == last.c.register,
                    c.to_at == last.c.to_at,
                ),
            )
            .where(
                c.billed.is_not(None),
                c.index_to.is_not(None),
                c.kind != LineKind.CORRECTION.value,
            )
        )
        return list(self._of_points(query, points))

    def unclosed(self, points: Collection[str] | None) -> dict[tuple[str, str], datetime]:
        """Points and registers that were in exported runs and never had a closing index.

        With the start of the first line of each.
        """
        c = billing_lines.c
        closed = case((and_(c.billed.is_not(None), c.index_to.is_not(None)), 1), else_=0)
        query = (
            select(c.point, c.register, func.min(c.from_at))
            .join(billing_exports, _is_exported(billing_lines))
            .where(c.kind != LineKind.CORRECTION.value)
            .group_by(c.point, c.register)
            .having(func.max(closed) == 0)
        )
        found: dict[tuple[str, str], datetime] = {}
        for part in _name_parts(points):
            limited = query if part is None else query.where(c.point.in_(part))
            for point, register, from_at in self._connection.execute(limited):
                found[point, register] = from_at
        return found

    def editors(self, run: RunHead, points: Collection[str], since: datetime) -> set[str]:
        """Who had a hand in what a run says: versions, acts, indices put in, findings decided."""
        acts = billing_acts.c
        query = union(
            select(billing_versions.c.made_by).where(billing_versions.c.run == run.run),
            select(acts.actor).where(acts.run == run.run, acts.act != ActKind.APPROVE.value),
            select(billing_marks.c.actor).where(billing_marks.c.run == run.run),
        )
        found = set(self._connection.execute(query).scalars())
        wanted = set(points)
        by_hand = manual_indices.c
        rows = self._connection.execute(
            select(by_hand.point, by_hand.author)
            # A read within a day of an end may stand for it, whoever took it.
            .where(by_hand.at.between(since - WIDE_MAX, run.to_at + WIDE_MAX))
            .distinct()
        ).all()
        decided = self._connection.execute(
            select(findings.c.point, finding_decisions.c.author)
            .join(finding_decisions, finding_decisions.c.finding == findings.c.id)
            # What was found of a closing read ends when it was read: within a day of its instant.
            .where(findings.c.to_at.between(since, run.to_at + timedelta(days=1)))
            .distinct()
        ).all()
        return found | {author for point, author in (*rows, *decided) if point in wanted}

    def _of_points(
        self, query: Select[Any], points: Collection[str] | None
    ) -> Iterator[ExportedLine]:
        for part in _name_parts(points):
            limited = query if part is None else query.where(billing_lines.c.point.in_(part))
            for row in self._connection.execute(limited):
                yield ExportedLine(row[0], _line(row[1:]))


def _name_parts(points: Collection[str] | None) -> list[list[str] | None]:
    """So many names as one statement takes; None: all points."""
    if points is None:
        return [None]
    names = sorted(points)
    return [names[first : first + _NAMES_AT_ONCE] for first in range(0, len(names), _NAMES_AT_ONCE)]


def _is_exported(table: Any) -> Any:  # noqa: ANN401  SQLAlchemy's own types say no more
    return and_(billing_exports.c.run == table.c.run, billing_exports.c.version == table.c.version)


def _exported_lines() -> Select[Any]:
    return (
        select(billing_lines.c.run, *_LINE)
        .join(billing_exports, _is_exported(billing_lines))
        .order_by(billing_lines.c.run, billing_lines.c.ordinal)
    )


def _row(head: VersionHead, ordinal: int, line: RunLine) -> dict[str, Any]:
    return {
        "run": head.run,
        "version": head.version,
        "ordinal": ordinal,
        "point": line.point,
        "meter": line.meter,
        "register": line.register,
        "kind": line.kind.value,
        "from_at": line.from_at,
        "to_at": line.to_at,
        "index_from": line.index_from,
        "index_to": line.index_to,
        "read_from_at": line.read_from_at,
        "read_to_at": line.read_to_at,
        "multiplier_numerator": line.multiplier.numerator,
        "multiplier_denominator": line.multiplier.denominator,
        "billed": line.billed,
        "quality": line.quality.value,
        "cites": line.cites,
    }


def _line(row: Sequence[Any]) -> RunLine:
    point, meter, register, kind, from_at, to_at, *rest = row
    index_from, index_to, read_from_at, read_to_at, numerator, denominator, *last = rest
    billed, quality, cites = last
    return RunLine(
        point=point,
        meter=meter,
        register=register,
        kind=LineKind(kind),
        from_at=from_at,
        to_at=to_at,
        index_from=index_from,
        index_to=index_to,
        read_from_at=read_from_at,
        read_to_at=read_to_at,
        multiplier=Fraction(numerator, denominator),
        billed=billed,
        quality=LineQuality(quality),
        cites=cites,
    )
