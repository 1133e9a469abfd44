"""Validation over a period, and the queue of findings that it leaves.

It fetches facts, asks the rules and keeps what they find; it must not judge a read itself.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from collector.civil import civil_day
from collector.errors import CollectorError, InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.ledger.findings import (
    Decision,
    FindingFilter,
    NewDecision,
    StoredFinding,
    identity,
)
from collector.operations.registry import unknown_station
from collector.operations.subjects import Asked, subjects
from collector.operations.validated import validation_of
from collector.readings.port import ReadingStore
from collector.vee.limits import LimitsBook
from collector.vee.validate import Verdict, validate
from collector.vee.values import Subject
from contract.registers import IMPORT_ACTIVE

# A billing period and a half of days: more is run month by month.
DAYS_MAX = 62

LIST_MAX = 1_000

# What the audit trail says of a run.
ACTION = "vee.run"

# Who decides that a finding is gone, or back: nobody did.
RUN = "vee"


class Stopped(CollectorError):
    """A run of the rules was told to stop before it had asked about all stations."""

    code = "stopped"


@dataclass(slots=True)
class VeeReport:
    """What a run found: by rule, how many findings and how many of them are new.

    `applied` counts the meters that a rule could be applied to. `gone` are open findings of the
    period that are not found any more, `reopened` those that are found again.
    """

    first_day: date
    last_day: date
    written: bool
    meters: int = 0
    days_due: int = 0
    days_missing: int = 0
    found: Counter[str] = field(default_factory=Counter)
    new: int = 0
    gone: int = 0
    reopened: int = 0
    applied: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class VeeRun:
    """What is to be run: days of the utility's zone, of one station or of all (None).

    `among` narrows them to some stations. `store` has voltages; without it the rule about them does
    not apply.
    """

    first_day: date
    last_day: date
    zone: str
    book: LimitsBook
    station: str | None = None
    store: ReadingStore | None = None
    among: Collection[str] | None = None


def run_vee(
    ledger: Ledger,
    run: VeeRun,
    *,
    actor: str,
    now: datetime,
    dry_run: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> VeeReport:
    """Ask all rules about all meters of the period, station by station, and keep what they find.

    Running again changes nothing unless reads, registry or limits have changed: what is found again
    is the same finding, what is not found any more is closed. What was looked at is remembered,
    as it was: billing asks for it. `stopping` is asked before each station: once it says so, the
    stations up to then are done and the trail does not say that the run was. Raises Stopped then,
    InvalidRequest for the period, NotFound for the station.
    """
    _check_days(run, now)
    with ledger.read() as uow:
        stations = [
            row.station
            for row in uow.registry.stations(run.station)
            if run.among is None or row.station in run.among
        ]
    if run.station is not None and not stations:
        raise unknown_station(run.station)
    report = VeeReport(run.first_day, run.last_day, written=not dry_run)
    for station in stations:
        if stopping():
            raise Stopped(f"stopped before station {station}", hint="the same run again goes on")
        # One transaction a station: others write in between, and memory holds one at a time.
        with ledger.read() as uow:
            verdicts = _judge(uow, run, station, report)
            known = _known(uow, run, verdicts)
            looked_at = [subject for subject, _ in verdicts]
            period = (run.first_day, run.last_day, run.zone)
            validation = validation_of(uow, station, looked_at, period, now)
        if dry_run:
            _compare(report, verdicts, known, now)
            continue
        with ledger.begin() as uow:
            new = uow.findings.add(
                [one for verdict in verdicts for one in verdict[1].findings], now
            )
            uow.findings.decide(_compare(report, verdicts, known, now))
            uow.validations.add(validation)
            report.new += new
    if not dry_run:
        with ledger.begin() as uow:
            detail: dict[str, Any] = {
                "last_day": run.last_day.isoformat(),
                "station": run.station,
                "found": report.found.total(),
                "new": report.new,
                "gone": report.gone,
            }
            if run.among is not None:
                detail["stations"] = len(stations)
            entry = AuditEntry(now, actor, ACTION, run.first_day.isoformat(), detail)
            uow.audit.add(entry)
    return report


def list_findings(
    ledger: Ledger, wanted: FindingFilter, *, limit: int = 100, after_id: int = 0
) -> list[StoredFinding]:
    """Findings in the order in which they were found, at most `limit` (up to 1,000)."""
    if not 1 <= limit <= LIST_MAX:
        raise InvalidRequest(
            f"limit {limit} is not from 1 to {LIST_MAX}", hint=f"ask for {LIST_MAX} at most"
        )
    with ledger.read() as uow:
        return uow.findings.find(wanted, limit, after_id=after_id)


def _check_days(run: VeeRun, now: datetime) -> None:
    if run.last_day < run.first_day:
        raise InvalidRequest(
            f"{run.last_day} is before {run.first_day}", hint="give the first day first"
        )
    if (run.last_day - run.first_day).days >= DAYS_MAX:
        raise InvalidRequest(f"more than {DAYS_MAX} days at once", hint="run it month by month")
    if run.last_day > civil_day(now, run.zone):
        raise InvalidRequest(
            f"{run.last_day} is in the future", hint="give a last day that has begun"
        )


def _judge(
    uow: UnitOfWork, run: VeeRun, station: str, report: VeeReport
) -> list[tuple[Subject, Verdict]]:
    verdicts = []
    asked = Asked(run.first_day, run.last_day, run.zone, run.book, run.store)
    for subject, of_meter in subjects(uow, asked, station):
        verdict = validate(subject, of_meter.limits)
        verdicts.append((subject, verdict))
        report.meters += 1
        report.applied.update(verdict.applied)
        report.found.update(one.rule for one in verdict.findings)
        of_import = of_meter.indices.get(IMPORT_ACTIVE, ())
        for start, index in zip(of_meter.starts, of_import, strict=True):
            if subject.due(start):
                report.days_due += 1
                report.days_missing += index is None
    return verdicts


def _known(
    uow: UnitOfWork, run: VeeRun, verdicts: Sequence[tuple[Subject, Verdict]]
) -> list[StoredFinding]:
    """What is in the queue of the period for these points."""
    if not verdicts:
        return []
    starts = verdicts[0][0].starts
    return uow.findings.of_points({one.point for one, _ in verdicts}, starts[0], starts[-1])


def _compare(
    report: VeeReport,
    verdicts: Sequence[tuple[Subject, Verdict]],
    known: Iterable[StoredFinding],
    now: datetime,
) -> list[NewDecision]:
    """What the run says of findings that were known: gone, or back."""
    found = {identity(one) for _, verdict in verdicts for one in verdict.findings}
    applied = {(subject.point, subject.meter): verdict.applied for subject, verdict in verdicts}
    decisions = []
    for stored in known:
        of_rules = applied.get((stored.finding.point, stored.finding.meter), frozenset())
        again = identity(stored.finding) in found
        if again and stored.decision is Decision.GONE:
            report.reopened += 1
            decisions.append(_by_run(stored, Decision.REOPENED, "found again", now))
        elif not again and stored.open and stored.finding.rule in of_rules:
            report.gone += 1
            decisions.append(_by_run(stored, Decision.GONE, "not found any more", now))
    return decisions


def _by_run(stored: StoredFinding, decision: Decision, reason: str, now: datetime) -> NewDecision:
    return NewDecision(stored.id, decision, RUN, now, reason)
