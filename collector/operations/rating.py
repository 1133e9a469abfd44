"""Rating a file of determinants, or a snapshot with the registry's contracts; nothing is stored.

It fetches and hands values to the rating room, which does the rest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from collector.billing.rating.determinants import BillDeterminants
from collector.billing.rating.faults import RatingError
from collector.billing.rating.from_registry import (
    Facts,
    Refusal,
    contracts_within,
    cut_days,
    make_facts,
    prepare,
)
from collector.billing.rating.from_snapshot import DayIndex
from collector.billing.rating.input_file import FILE_BYTES_MAX, parse_csv, parse_json
from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.preview import BillPreview
from collector.billing.rating.rate import RatingOptions, rate_bills
from collector.billing.rating.tariff_book import TariffBook
from collector.billing.values import LineQuality
from collector.civil import civil_day, day_start
from collector.errors import InvalidRequest
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.findings import ManualKind
from collector.ledger.nearest import NearestRead
from collector.operations.indices import BALANCE_WINDOW
from collector.operations.registry_history import unknown_book
from collector.operations.snapshots import get_snapshot, snapshot_lines

# Meters asked for one by one; for more, asking for all of them at once is quicker.
METERS_ASKED_MAX = 50

_ENTERED = {
    ManualKind.HAND: LineQuality.ACTUAL,
    ManualKind.EDIT: LineQuality.SUBSTITUTED,
    ManualKind.ESTIMATE: LineQuality.ESTIMATED,
}


@dataclass(frozen=True, slots=True)
class RatedFile:
    """A file's bill previews, and the same under another price table if one was asked for."""

    previews: Sequence[BillPreview]
    what_if: Sequence[BillPreview] = ()


@dataclass(frozen=True, slots=True)
class RatedSnapshot:
    """A snapshot's bill previews in the order of reading, and the points that have none."""

    previews: Sequence[BillPreview]
    what_if: Sequence[BillPreview]
    refused: Sequence[Refusal]


def rate_file(path: Path, book: TariffBook, split: PriceSplit, what_if: str | None) -> RatedFile:
    """Rate the determinants in a JSON or CSV file. Raises RatingError; nothing is rated in part."""
    bills = read_determinants(path)
    previews = rate_bills(bills, book, RatingOptions(split))
    if what_if is None:
        return RatedFile(previews)
    return RatedFile(previews, rate_bills(bills, book, RatingOptions(split, what_if)))


def rate_snapshot(  # noqa: PLR0913  one parameter per fact
    ledger: Ledger,
    snapshot_id: str,
    tariffs: TariffBook,
    split: PriceSplit,
    what_if: str | None,
    *,
    zone: str,
    book: str | None = None,
) -> RatedSnapshot:
    """Rate a snapshot's bills by the registry's contracts: all, or those of a reading book.

    A bill that cannot be rated is refused with its reason, and with it those that its energy is
    taken from; the others are rated. Indices of the days at which bills are cut are those that the
    ledger has now. Raises NotFound for the snapshot and the book, InvalidRequest for a snapshot
    that is not of whole days, NotRatable for an unknown table.
    """
    if what_if is not None:
        tariffs.table(what_if)
    head = get_snapshot(ledger, snapshot_id)
    lines = list(snapshot_lines(ledger, snapshot_id))
    period = (civil_day(head.from_at, zone), civil_day(head.to_at, zone))
    if (day_start(period[0], zone), day_start(period[1], zone)) != (head.from_at, head.to_at):
        raise InvalidRequest(
            f"snapshot {snapshot_id} does not begin and end at 00:00 in {zone}",
            hint="make one of a reading book's period",
        )
    with ledger.read() as uow:
        contracts = uow.contracts.load(customers=False)
        if book is not None and book not in contracts.books:
            raise unknown_book(book)
        facts = make_facts(uow.registry.load(), contracts, lines, period, head.station, zone)
        days = tariffs.price_changes(*period) if split is PriceSplit.INDEX else ()
        facts = replace(facts, day_indices=day_indices(uow, facts, days, head.station))
    prepared = prepare(facts, book)
    previews: list[BillPreview] = []
    compared: list[BillPreview] = []
    refused = list(prepared.refused)
    for family in prepared.families:
        try:
            rated = rate_bills(family.bills, tariffs, RatingOptions(split))
            others = (
                []
                if what_if is None
                else rate_bills(family.bills, tariffs, RatingOptions(split, what_if))
            )
        except RatingError as error:
            refused += [Refusal(bill.points[0].point, bill.bill, error) for bill in family.bills]
            continue
        previews += rated
        compared += others
    return RatedSnapshot(previews, compared, refused)


def day_indices(
    uow: UnitOfWork, facts: Facts, price_changes: Iterable[date], station: str | None
) -> dict[str, list[DayIndex]]:
    """The indices at 00:00 of the days at which bills may be cut, by point."""
    found: dict[str, list[DayIndex]] = {}
    changes = set(price_changes)
    wanted: dict[date, set[str]] = {day: set() for day in changes}
    for contract in contracts_within(facts):
        for day in cut_days(facts, contract):
            meters = {row.meter for row in facts.installations.get(contract.point, ())}
            wanted.setdefault(day, set()).update(meters)
    for day, meters in sorted(wanted.items()):
        midnight = day_start(day, facts.zone)
        if day in changes or len(meters) > METERS_ASKED_MAX:
            reads = uow.index_reads.nearest(midnight, BALANCE_WINDOW, station=station)
        else:
            reads = [
                read
                for meter in sorted(meters)
                for read in uow.index_reads.nearest(midnight, BALANCE_WINDOW, meter=meter)
            ]
        for read in reads:
            serial = _meter_of(facts, read)
            if serial is not None:
                quality = LineQuality.ACTUAL if read.actual else LineQuality.SUBSTITUTED
                index = DayIndex(serial, read.register, day, read.value, read.at, quality)
                found.setdefault(read.point, []).append(index)
        for entered in uow.manual_indices.standing(sorted(meters), midnight, midnight):
            # What people put in for an instant stands before what was read near it.
            if entered.value is not None:
                of_point = found.setdefault(entered.point, [])
                key = (entered.meter, entered.register, day)
                of_point[:] = [one for one in of_point if (one.meter, one.register, one.day) != key]
                quality = _ENTERED[entered.kind]
                of_point.append(DayIndex(*key, entered.value, midnight, quality))
    return found


def _meter_of(facts: Facts, read: NearestRead) -> str | None:
    for row in facts.installations.get(read.point, ()):
        if row.installed_at == read.installed_at:
            return row.meter
    return None


def read_determinants(path: Path) -> tuple[BillDeterminants, ...]:
    """The bills of a file; its name says whether it is JSON or CSV."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error.strerror}", hint="name a file of determinants"
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidRequest(
            f"{path} is larger than {FILE_BYTES_MAX} bytes", hint="divide it by reading book"
        )
    match path.suffix.lower():
        case ".json":
            return parse_json(content, path.name)
        case ".csv":
            try:
                return parse_csv(content.decode("utf-8-sig"), path.name)
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"{path} is not UTF-8", hint="save it as UTF-8") from error
        case _:
            raise InvalidRequest(
                f"{path} is neither .json nor .csv", hint="docs/rating.md has both forms"
            )
