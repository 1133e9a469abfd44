"""Green Button of one customer: the days of each point while the customer's contract was in force.

It fetches and records; it must not know the file's form. Who was at a point before or after is
somebody else, whose load profile is nobody's business (Law 91/2025/QH15).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from collector.billing.exports.espi import Interval, Quality, Series, green_button
from collector.billing.exports.intervals import Known, intervals_of, joined
from collector.billing.snapshot import BILLED_REGISTERS
from collector.civil import civil_day, day_start, format_instant, zone_info
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.audit import AuditEntry
from collector.operations.daily import DAY, MeterDays, meter_days
from collector.operations.exports import By, recorded
from collector.operations.snapshots import check_period
from collector.registry.contract_values import Contract
from collector.registry.values import Registry
from collector.vee.limits import LimitsBook
from collector.vee.reads import Origin
from contract.registers import BY_OBIS, Unit

DAYS_MAX = 1_100

_QUALITY = {
    Origin.SLOT: Quality.VALID,
    Origin.SPOT: Quality.VALID,
    Origin.HAND: Quality.VALID,
    Origin.NEAREST: Quality.DERIVED,
    Origin.EDIT: Quality.EDITED,
    Origin.ESTIMATE: Quality.ESTIMATED_REFERENCE_DAY,
}
_LINEAR = "E1"

_Methods = dict[tuple[str, str, datetime], str | None]


class Cadence(StrEnum):
    """What a file has an energy of: each day, or each half-hour."""

    DAY = "day"
    HALF_HOUR = "half-hour"


@dataclass(slots=True)
class GreenButton:
    """A file on its way: its pieces, once; its points, and how many intervals it has, which of
    half-hours are known when the pieces were consumed."""

    pieces: Iterator[bytes]
    points: tuple[str, ...] = ()
    intervals: int = 0


def export_green_button(
    ledger: Ledger, customer: str, period: tuple[datetime, datetime], book: LimitsBook, by: By
) -> GreenButton:
    """The energies of a customer's points by day, [from_at, to_at) of civil days of the zone.

    Raises NotFound for an unknown customer; InvalidRequest for a period that is no whole days, in
    the future or longer than three years, and where the customer had no contract in it.
    """
    check_days(period, by, DAYS_MAX)
    found: dict[tuple[str, str], list[Interval]] = {}
    with ledger.read() as uow:
        for contract, span in contracts_of(uow, customer, period):
            for register, intervals in _of_contract(uow, contract, span, book, by.zone):
                found.setdefault((contract.point, register), []).extend(intervals)
    series = [Series(*key, intervals) for key, intervals in sorted(found.items())]
    if not series:
        raise InvalidRequest(
            f"nothing was counted for customer {customer} in that period",
            hint="look at contracts.csv, and at the daily indices of the points",
            code="empty_selection",
        )
    made = GreenButton(
        green_button(series, period, zone_info(by.zone)),
        tuple(dict.fromkeys(one.point for one in series)),
        sum(len(one.intervals) for one in series),
    )
    entry = green_button_entry(customer, period, by, made, Cadence.DAY)
    made.pieces = recorded(ledger, made.pieces, entry)
    return made


def contracts_of(
    uow: UnitOfWork, customer: str, period: tuple[datetime, datetime]
) -> list[tuple[Contract, tuple[datetime, datetime]]]:
    """The customer's contracts, each with the part of the period in which it was in force.

    Raises NotFound for an unknown customer.
    """
    contracts = [row for row in uow.contracts.contracts() if row.customer == customer]
    known = contracts or customer in {row.customer for row in uow.contracts.customers()}
    if not known:
        raise NotFound(
            f"there is no customer {customer!r}", hint="customers.csv of the registry has them"
        )
    found = []
    for contract in contracts:
        begin = max(contract.from_at, period[0])
        end = period[1] if contract.to_at is None else min(contract.to_at, period[1])
        if begin < end:
            found.append((contract, (begin, end)))
    return found


def green_button_entry(
    customer: str, period: tuple[datetime, datetime], by: By, made: GreenButton, cadence: Cadence
) -> Callable[[str, int], AuditEntry]:
    """What the audit trail says of a file when its pieces were consumed."""

    def entry(sha256: str, size: int) -> AuditEntry:
        detail = {
            "points": list(made.points),
            "by": cadence.value,
            "from_at": format_instant(period[0]),
            "to_at": format_instant(period[1]),
            "rows": made.intervals,
            "bytes": size,
            "sha256": sha256,
        }
        return AuditEntry(by.now, by.actor, "export.green_button", customer, detail)

    return entry


def check_days(period: tuple[datetime, datetime], by: By, days_max: int) -> None:
    """Raises InvalidRequest unless a period is so many whole days at most, and has passed."""
    check_period(*period, by.now)
    for at in period:
        if day_start(civil_day(at, by.zone), by.zone) != at:
            raise InvalidRequest(
                f"{format_instant(at)} is not the start of a day in {by.zone}",
                hint="a Green Button file has whole days",
            )
    if period[1] - period[0] > timedelta(days=days_max):
        raise InvalidRequest(
            f"a file has {days_max} days at most", hint="make one for each of the years"
        )


def display_modulus(registry: Registry, meter: str, register: str) -> int | None:
    """Where a register rolls over, in its unit. It is that of the active energy's display; for
    others none is known."""
    is_active = BY_OBIS[register].unit is Unit.WH
    return registry.meters[meter].roll_over_wh if is_active else None


def _of_contract(
    uow: UnitOfWork,
    contract: Contract,
    period: tuple[datetime, datetime],
    book: LimitsBook,
    zone: str,
) -> Iterator[tuple[str, list[Interval]]]:
    """What the point counted while the contract was in force, by register."""
    registry = uow.registry.load_point(contract.point)
    first_day, last_day = civil_day(period[0], zone), civil_day(period[1], zone) - DAY
    rows = [
        row
        for row in registry.installations
        if row.installed_at < period[1] and (row.removed_at is None or row.removed_at > period[0])
    ]
    found = meter_days(uow, registry, rows, (first_day, last_day, zone), book)
    manual = uow.manual_indices.standing({row.meter for row in rows}, *period)
    methods = {(one.meter, one.register, one.at): one.method for one in manual}
    by_register: dict[str, list[Interval]] = {}
    starts = found[0].starts if found else ()
    for of_meter in found:
        for register in of_meter.registers:
            if register in BILLED_REGISTERS:
                intervals = _intervals(registry, of_meter, register, period, methods)
                by_register.setdefault(register, []).extend(intervals)
    for register, intervals in by_register.items():
        whole = joined(intervals, starts)
        if whole:
            yield register, whole


def _intervals(
    registry: Registry,
    of_meter: MeterDays,
    register: str,
    period: tuple[datetime, datetime],
    methods: _Methods,
) -> list[Interval]:
    row = of_meter.installation
    known: dict[datetime, Known] = {}
    for index in of_meter.indices[register]:
        if index is not None:
            quality = _QUALITY[index.origin]
            if methods.get((row.meter, register, index.at)) == _LINEAR:
                quality = Quality.ESTIMATED_LINEAR
            known[index.at] = Known(index.at, index.value, quality)
    for at, spot in (
        (row.installed_at, row.install_indices),
        (row.removed_at, row.removal_indices),
    ):
        if at is not None and register in spot:
            known[at] = Known(at, spot[register], Quality.VALID)
    begin, end = max(period[0], row.installed_at), min(period[1], row.removed_at or period[1])
    indices = [one for at, one in known.items() if begin <= at <= end]
    roll_over = display_modulus(registry, row.meter, register)
    ratios = [one for one in registry.multipliers if one.point == row.point]
    return intervals_of(indices, ratios, roll_over)
