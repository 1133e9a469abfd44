"""Validating what a billing run bills: the days of its period, and those that its lines reach to.

It says which days of which stations; the rules are asked by `vee.py`.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime

from collector.billing.run_values import RunHead
from collector.civil import civil_day
from collector.ledger import Ledger, UnitOfWork
from collector.operations.billing_lines import BilledBy, points_of
from collector.operations.daily import DAY
from collector.operations.run_facts import Acting, refuse_exported, run_head
from collector.operations.validated import days_not_validated
from collector.operations.vee import DAYS_MAX, VeeReport, VeeRun, run_vee
from collector.readings.port import ReadingStore
from collector.registry.asking import just_before, station_at
from collector.registry.values import Transfer


def validate_run(
    ledger: Ledger,
    run: str,
    by: BilledBy,
    by_whom: Acting,
    store: ReadingStore | None = None,
) -> list[VeeReport]:
    """Ask all rules about the run's period, then about days beyond it that its lines rest on.

    Those are known once there is a version: days of points that were not billed for longer, and
    the day of a closing read that came late. Raises NotFound, Conflict for an exported run.
    """
    with ledger.read() as uow:
        head = run_head(uow, run)
        refuse_exported(uow, head)
        stations = _stations(uow, points_of(uow, head), head.to_at)
    first, last = civil_day(head.from_at, by.zone), civil_day(just_before(head.to_at), by.zone)
    reports = []
    for begin, end in _windows([first, last]):
        wanted = VeeRun(begin, end, by.zone, by.book, store=store, among=stations)
        reports.append(run_vee(ledger, wanted, actor=by_whom.actor, now=by_whom.now))
    with ledger.read() as uow:
        missing = _missing(uow, head, by.zone)
        stations = _stations(uow, missing.keys(), head.to_at)
    for begin, end in _windows(day for of_point in missing.values() for day in of_point):
        wanted = VeeRun(begin, end, by.zone, by.book, store=store, among=stations)
        reports.append(run_vee(ledger, wanted, actor=by_whom.actor, now=by_whom.now))
    return reports


def _missing(uow: UnitOfWork, head: RunHead, zone: str) -> dict[str, list[date]]:
    versions = uow.billing_runs.versions(head.run)
    if not versions:
        return {}
    lines = uow.billing_runs.lines(head.run, versions[-1].version)
    return days_not_validated(uow, lines, head, zone)


def _windows(wanted: Iterable[date]) -> Iterator[tuple[date, date]]:
    """From the first to the last of the days, as many at once as may be."""
    days = sorted(wanted)
    if not days:
        return
    begin, last = days[0], days[-1]
    while begin <= last:
        end = min(begin + (DAYS_MAX - 1) * DAY, last)
        yield begin, end
        begin = end + DAY


def _stations(uow: UnitOfWork, points: Iterable[str] | None, until: datetime) -> frozenset[str]:
    """Where these points have been up to an instant: the rules are asked station by station.

    All of their stations: a point is judged where it is when the days that are asked for end.
    """
    if points is None:
        return frozenset(row.station for row in uow.registry.stations())
    registry = uow.registry.load(None)
    moves: dict[str, list[Transfer]] = {}
    for row in registry.transfers:
        moves.setdefault(row.point, []).append(row)
    found = set()
    for name in points:
        point, of_point = registry.points[name], moves.get(name, ())
        found.add(station_at(point, of_point, just_before(until)))
        found.add(point.station)
        found |= {row.station for row in of_point if row.from_at < until}
    return frozenset(found)
