"""Findings, what was decided of them, and indices that people put in: rows added, never changed.

It must not know what a rule looks for, nor whether a decision is allowed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Join, Select, and_, func, insert, or_, select

from collector.ledger.statements import upsert
from collector.ledger.tables import (
    finding_decisions,
    findings,
    manual_indices,
    points,
    transfers,
)
from collector.vee.values import Fact, Finding, Severity
from contract.registers import IMPORT_ACTIVE

# How many names one statement has.
NAMES_MAX = 500


class Decision(StrEnum):
    """What becomes of a finding."""

    ACCEPT = "accept"  # what was read is right
    ESTIMATE = "estimate"  # an estimate stands in its place
    EDIT = "edit"  # an index that a person gives stands in its place
    RE_READ = "re_read"  # the meter is to be read again; still open
    GONE = "gone"  # a later run does not find it any more
    REOPENED = "reopened"  # a later run finds it again


OPEN = frozenset({Decision.RE_READ, Decision.REOPENED})
"""After these a finding still waits for someone, as it does before any decision."""


class ManualKind(StrEnum):
    """What an index that no gateway read is."""

    HAND = "hand"  # read from the display by a person, at that instant
    EDIT = "edit"  # stands for a day in place of what was read
    ESTIMATE = "estimate"  # computed


@dataclass(frozen=True, slots=True)
class ManualIndex:
    """An index put in by a person, or computed at a person's word.

    `value` None withdraws what was put in before. `original_*` are what stood there then.
    """

    kind: ManualKind
    point: str
    meter: str
    register: str
    at: datetime
    value: int | None
    author: str
    entered_at: datetime
    reason: str
    method: str | None = None
    inputs: Mapping[str, Fact] | None = None
    original_value: int | None = None
    original_read_at: datetime | None = None
    photo: str | None = None


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A finding in the queue, with how it stands; `decision` None: nobody has decided yet."""

    id: int
    finding: Finding
    found_at: datetime
    decision: Decision | None
    author: str | None
    decided_at: datetime | None
    reason: str | None

    @property
    def open(self) -> bool:
        """Whether it waits for someone."""
        return self.decision is None or self.decision in OPEN


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Which findings are asked for; what is None does not matter."""

    ids: Collection[int] | None = None
    rule: str | None = None
    severity: Severity | None = None
    station: str | None = None
    point: str | None = None
    meter: str | None = None
    from_at: datetime | None = None  # findings that reach beyond it
    to_at: datetime | None = None  # findings that begin before it
    open: bool | None = True


@dataclass(frozen=True, slots=True)
class NewDecision:
    """What someone decided of a finding."""

    finding: int
    decision: Decision
    author: str
    at: datetime
    reason: str
    manual_index: int | None = None
    command: str | None = None  # what a gateway was sent, to read again


_FINDING = (
    findings.c.rule,
    findings.c.severity,
    findings.c.point,
    findings.c.meter,
    findings.c.register,
    findings.c.key,
    findings.c.from_at,
    findings.c.to_at,
    findings.c.facts,
    findings.c.variant,
)


class FindingRepository:
    """The queue of findings within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, found: Collection[Finding], now: datetime) -> int:
        """Put findings in the queue; those that are there stay as they are. How many are new."""
        rows = [
            {
                "rule": one.rule,
                "severity": one.severity.value,
                "point": one.point,
                "meter": one.meter,
                "register": one.register,
                "key": one.key,
                "variant": one.variant,
                "from_at": one.from_at,
                "to_at": one.to_at,
                "facts": dict(one.facts),
                "found_at": now,
            }
            # In the order of the key: two runs with the same findings wait for each other in turn.
            for one in sorted(found, key=identity)
        ]
        if not rows:
            return 0
        statement = upsert(self._connection, findings).returning(findings.c.id)
        return len(self._connection.execute(statement, rows).all())

    def find(self, wanted: FindingFilter, limit: int, *, after_id: int = 0) -> list[StoredFinding]:
        """Findings in the order in which they were found, with an id above `after_id`."""
        query = (
            _with_what_was_decided()
            .where(findings.c.id > after_id, *_conditions(wanted))
            .order_by(findings.c.id)
            .limit(limit)
        )
        return [_stored(row) for row in self._connection.execute(query)]

    def counts(self, wanted: FindingFilter) -> dict[tuple[str, Severity], int]:
        """How many findings there are, by rule and severity."""
        query = (
            select(findings.c.rule, findings.c.severity, func.count().label("findings"))
            .select_from(_with_decision())
            .where(*_conditions(wanted))
            .group_by(findings.c.rule, findings.c.severity)
        )
        return {
            (rule, Severity(severity)): count
            for rule, severity, count in self._connection.execute(query)
        }

    def of_points(
        self, names: Collection[str], from_at: datetime, to_at: datetime
    ) -> list[StoredFinding]:
        """All findings of these points that lie within [from_at, to_at], decided or not."""
        found: list[StoredFinding] = []
        for part in _parts(names):
            query = (
                _with_what_was_decided()
                .where(
                    findings.c.point.in_(part),
                    findings.c.to_at.between(_at(from_at), _at(to_at)),
                    findings.c.from_at >= _at(from_at),
                )
                .order_by(findings.c.id)
            )
            found += [_stored(row) for row in self._connection.execute(query)]
        return found

    def decide(self, decisions: Collection[NewDecision]) -> tuple[int, int]:
        """Add decisions; the newest of a finding says how it stands. The first and last number."""
        rows = [
            {
                "finding": one.finding,
                "decision": one.decision.value,
                "author": one.author,
                "at": one.at,
                "reason": one.reason,
                "manual_index": one.manual_index,
                "command": one.command,
            }
            for one in decisions
        ]
        if not rows:
            return 0, 0
        added = insert(finding_decisions).returning(finding_decisions.c.id)
        numbers = self._connection.execute(added, rows).scalars().all()
        return min(numbers), max(numbers)

    def history(self, finding_id: int) -> list[NewDecision]:
        """All that was decided of a finding, oldest first."""
        c = finding_decisions.c
        rows = self._connection.execute(
            select(c.finding, c.decision, c.author, c.at, c.reason, c.manual_index, c.command)
            .where(c.finding == finding_id)
            .order_by(c.id)
        )
        return [
            NewDecision(finding, Decision(decision), author, at, reason, manual, command)
            for finding, decision, author, at, reason, manual, command in rows
        ]

    def decided(self, author: str, first: int, last: int) -> list[NewDecision]:
        """What somebody decided, from one decision's number to another's."""
        c = finding_decisions.c
        rows = self._connection.execute(
            select(c.finding, c.decision, c.author, c.at, c.reason, c.manual_index, c.command)
            .where(c.id.between(first, last), c.author == author)
            .order_by(c.id)
        )
        return [NewDecision(row[0], Decision(row[1]), *row[2:]) for row in rows]


class ManualIndexRepository:
    """Indices that no gateway read, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, new: ManualIndex) -> int:
        """Add one; its id."""
        values = {
            "kind": new.kind.value,
            "point": new.point,
            "meter": new.meter,
            "register": new.register,
            "at": new.at,
            "value": new.value,
            "method": new.method,
            "inputs": dict(new.inputs or {}),
            "original_value": new.original_value,
            "original_read_at": new.original_read_at,
            "author": new.author,
            "entered_at": new.entered_at,
            "reason": new.reason,
            "photo": new.photo,
        }
        found: int = self._connection.execute(
            insert(manual_indices).values(values).returning(manual_indices.c.id)
        ).scalar_one()
        return found

    def near(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> list[ManualIndex]:
        """What counts of the import register with from_at <= at <= to_at."""
        found = self.standing(meters, from_at, to_at)
        return [one for one in found if one.register == IMPORT_ACTIVE]

    def get(self, number: int) -> ManualIndex | None:
        """One by its id."""
        row = self._connection.execute(
            select(*_MANUAL).where(manual_indices.c.id == number)
        ).one_or_none()
        return None if row is None else _manual(row)

    def of_meter(
        self, meter: str, from_at: datetime, to_at: datetime
    ) -> list[tuple[int, ManualIndex]]:
        """All that was ever put in for a meter with from_at <= at < to_at, with ids."""
        c = manual_indices.c
        rows = self._connection.execute(
            select(c.id, *_MANUAL)
            .where(c.meter == meter, c.at >= _at(from_at), c.at < _at(to_at))
            .order_by(c.id)
        )
        return [(row[0], _manual(row[1:])) for row in rows]

    def standing_ids(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> dict[tuple[str, str, datetime], tuple[int, ManualIndex]]:
        """Edits and estimates that count with from_at <= at <= to_at: the newest, with its id."""
        c = manual_indices.c
        newest: dict[tuple[str, str, datetime], tuple[int, ManualIndex]] = {}
        for part in _parts(meters):
            rows = self._connection.execute(
                select(c.id, *_MANUAL)
                .where(
                    c.meter.in_(part),
                    c.at.between(_at(from_at), _at(to_at)),
                    c.kind != ManualKind.HAND.value,
                )
                .order_by(c.id)
            )
            for row in rows:
                one = _manual(row[1:])
                newest[one.meter, one.register, one.at] = row[0], one
        return {key: pair for key, pair in newest.items() if pair[1].value is not None}

    def standing(
        self, meters: Collection[str], from_at: datetime, to_at: datetime
    ) -> list[ManualIndex]:
        """What counts with from_at <= at <= to_at: the newest of each, less what was withdrawn.

        A read by hand is a fact beside the others; edits and estimates replace each other.
        """
        c = manual_indices.c
        newest: dict[tuple[str, str, datetime, bool], ManualIndex] = {}
        for part in _parts(meters):
            rows = self._connection.execute(
                select(*_MANUAL)
                .where(c.meter.in_(part), c.at.between(_at(from_at), _at(to_at)))
                .order_by(c.id)
            )
            for row in rows:
                one = _manual(row)
                by_hand = one.kind is ManualKind.HAND
                newest[one.meter, one.register, one.at, by_hand] = one
        return [one for one in newest.values() if one.value is not None]


_MANUAL = tuple(
    manual_indices.c[name]
    for name in (
        "kind",
        "point",
        "meter",
        "register",
        "at",
        "value",
        "author",
        "entered_at",
        "reason",
        "method",
        "inputs",
        "original_value",
        "original_read_at",
        "photo",
    )
)


def identity(one: Finding) -> tuple[str, str, str, str, str, str]:
    """What makes a finding the same when it is found again."""
    return one.rule, one.point, one.meter, one.register, one.key, one.severity.value


def _at(at: datetime) -> Any:  # noqa: ANN401  SQLAlchemy binds it by the column's type
    return at


def _manual(row: Sequence[Any]) -> ManualIndex:
    kind, *rest = row
    return ManualIndex(ManualKind(kind), *rest)


def _with_decision() -> Join:
    """Each finding with its newest decision, found by the index over a finding's decisions."""
    other = finding_decisions.alias()
    newest = (
        select(func.max(other.c.id))
        .where(other.c.finding == findings.c.id)
        .correlate(findings)
        .scalar_subquery()
    )
    return findings.outerjoin(finding_decisions, finding_decisions.c.id == newest)


def _with_what_was_decided() -> Select[Any]:
    """The rows that `_stored` takes."""
    return select(
        findings.c.id,
        *_FINDING,
        findings.c.found_at,
        finding_decisions.c.decision,
        finding_decisions.c.author,
        finding_decisions.c.at,
        finding_decisions.c.reason,
    ).select_from(_with_decision())


def _conditions(wanted: FindingFilter) -> Iterator[ColumnElement[bool]]:
    c = findings.c
    for column, value in (
        (c.rule, wanted.rule),
        (c.severity, None if wanted.severity is None else wanted.severity.value),
        (c.point, wanted.point),
        (c.meter, wanted.meter),
    ):
        if value is not None:
            yield column == value
    if wanted.ids is not None:
        yield c.id.in_(sorted(wanted.ids))
    if wanted.station is not None:
        yield _station_then() == wanted.station
    if wanted.from_at is not None:
        yield c.to_at >= wanted.from_at
    if wanted.to_at is not None:
        yield c.from_at <= wanted.to_at
    if wanted.open is not None:
        decision = finding_decisions.c.decision
        waiting = or_(decision.is_(None), decision.in_(sorted(OPEN)))
        yield waiting if wanted.open else and_(decision.is_not(None), decision.not_in(sorted(OPEN)))


def _station_then() -> Any:  # noqa: ANN401  SQLAlchemy's own types say no more
    """Where a finding's point was when the finding ends, transfers counted."""
    t = transfers.c
    moved = (
        select(t.station)
        .where(t.point == findings.c.point, t.from_at <= findings.c.to_at)
        .order_by(t.from_at.desc(), t.version.desc())
        .limit(1)
        .correlate(findings)
        .scalar_subquery()
    )
    first = (
        select(points.c.station)
        .where(points.c.point == findings.c.point)
        .correlate(findings)
        .scalar_subquery()
    )
    return func.coalesce(moved, first)


def _stored(row: Sequence[Any]) -> StoredFinding:
    number, rule, severity, *where, facts, variant, found_at, decision, author, at, reason = row
    point, meter, register, key, from_at, to_at = where
    finding = Finding(
        rule=rule,
        severity=Severity(severity),
        point=point,
        meter=meter,
        register=register,
        key=key,
        from_at=from_at,
        to_at=to_at,
        facts=facts,
        variant=variant,
    )
    decided = None if decision is None else Decision(decision)
    return StoredFinding(number, finding, found_at, decided, author, at, reason)


def _parts(names: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), NAMES_MAX):
        yield ordered[start : start + NAMES_MAX]
