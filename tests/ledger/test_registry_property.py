"""Whatever a registry says, its export imported elsewhere is exported the same, byte for byte."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.civil import day_start
from collector.ledger import Ledger
from collector.operations.registry_export import export_registry
from collector.operations.registry_import import import_registry
from collector.registry.contract_values import (
    Allocation,
    Book,
    Contract,
    ContractTerms,
    Customer,
    Inspection,
    Membership,
    ReadingDay,
    ReadingDays,
)
from collector.registry.files import parse_files, write_files
from collector.registry.values import (
    IndexSide,
    Installation,
    Meter,
    Multiplier,
    Point,
    Role,
    Station,
    StationKind,
    Transfer,
)
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import NOW, ZONE

# What a cell may hold, spaces at its ends apart: quotes, commas and letters of every language.
LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
names = st.text(LETTERS, max_size=12).map(lambda text: f"x{text}")
texts = st.text(LETTERS | st.just(" "), min_size=1, max_size=20).map(lambda text: f"y{text}y")
days = st.dates(date(2020, 1, 1), date(2035, 12, 31))
midnights = days.map(lambda day: day_start(day, ZONE))
instants = st.integers(0, 15 * 365 * 86_400_000).map(
    lambda ms: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
_DAYS: list[ReadingDay] = [*range(1, 29), "last"]  # ascending
reading_days = st.sets(st.sampled_from(_DAYS), min_size=1, max_size=3).map(
    lambda found: tuple(day for day in _DAYS if day in found)
)
int32 = st.integers(1, 2**31 - 1)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def unique(strategy: st.SearchStrategy[str], least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(strategy, min_size=least, max_size=4, unique=True)


@st.composite
def registries(draw: st.DrawFn) -> dict[str, list[Any]]:
    stations = [
        Station(
            name, draw(texts), draw(maybe(texts)), draw(maybe(int32)),
            draw(maybe(st.sampled_from(StationKind))), draw(maybe(names)), draw(maybe(names)),
        )
        for name in draw(unique(names, 2))
    ]  # fmt: skip
    station = stations[0].station
    roles = st.sampled_from([role for role in Role if role not in {Role.SUB_METER, Role.HEAD}])
    points = [Point(name, station, draw(roles), draw(texts)) for name in draw(unique(names))]
    sub_meters = [
        Point(f"{row.point}/sub", station, Role.SUB_METER, "sub", row.point)
        for row in points
        if draw(st.booleans())
    ]
    meters = [
        Meter(name, draw(names), draw(int32), draw(maybe(int32)), draw(maybe(st.integers(1, 12))))
        for name in draw(unique(names))
    ]
    customers = [
        Customer(f"PA25SL{number:07}", draw(maybe(texts)), draw(maybe(texts)))
        for number in range(len(points))
    ]
    books = [Book(name, draw(texts)) for name in draw(unique(names))]
    found: dict[str, list[Any]] = {
        "stations": stations,
        "points": points + sub_meters,
        "meters": meters,
        "customers": customers,
        "books": books,
        "transfers": [
            Transfer(row.point, draw(midnights), stations[1].station)
            for row in points
            if draw(st.booleans())
        ],
        "installations": [],
        "multipliers": [],
        "contracts": [],
        "terms": [],
        "allocations": [],
        "memberships": [],
        "reading_days": [
            ReadingDays(row.book, draw(midnights), draw(reading_days)) for row in books
        ],
        "inspections": [
            Inspection(
                row.meter, draw(instants), draw(maybe(days)),
                tuple(draw(st.lists(st.integers(1, 99).map(str), max_size=3, unique=True))),
            )
            for row in meters
        ],
    }  # fmt: skip
    for point, meter in zip(points, meters, strict=False):
        begins, length = draw(instants), draw(maybe(st.integers(1, 10**11)))
        indices = maybe(st.integers(0, 10**9))
        first, last = draw(indices), draw(indices)
        found["installations"].append(
            Installation(
                point.point,
                meter.meter,
                begins,
                None if length is None else begins + timedelta(milliseconds=length),
                {} if first is None else {IMPORT_ACTIVE: first},
                {} if last is None or length is None else {IMPORT_ACTIVE: last},
            )
        )
    for number, point in enumerate(points):
        primary = draw(st.booleans())
        ratio = Fraction(1) if primary else Fraction(draw(int32), draw(int32))
        side = IndexSide.PRIMARY if primary else IndexSide.SECONDARY
        found["multipliers"].append(Multiplier(point.point, draw(instants), ratio, side))
        _contract(draw, found, point.point, customers[number].customer)
        book = draw(maybe(st.sampled_from(books)))
        found["memberships"].append(
            Membership(point.point, draw(midnights), book and book.book, book and draw(names))
        )
    return found


def _contract(draw: st.DrawFn, found: dict[str, list[Any]], point: str, customer: str) -> None:
    first = draw(days)
    from_at, to_at = day_start(first, ZONE), day_start(first + timedelta(days=40), ZONE)
    name = f"HD-{len(found['contracts'])}"
    found["contracts"].append(
        Contract(name, point, customer, from_at, draw(st.sampled_from([None, to_at])))
    )
    quotas: list[dict[str, Any]] = [
        {}, {"households": 2}, {"renters": 3}, {"renters_undeclared": True},
    ]  # fmt: skip
    quota = draw(st.sampled_from(quotas))
    watts = draw(maybe(st.integers(0, 10**12)))
    found["terms"].append(
        ContractTerms(name, from_at, draw(st.integers(1, 10**6)), **quota, registered_w=watts)
    )
    later = day_start(first + timedelta(days=draw(st.integers(1, 39))), ZONE)
    for at in (from_at, later):
        part = draw(st.integers(1, 99_99))
        shares: list[tuple[str, int | None, int | None]] = [
            ("household", part, None),
            ("business", 100_00 - part, None),
            ("production", None, draw(st.integers(0, 10**12))),
        ]
        registers = draw(st.sampled_from([["1-0:1.8.0"], ["1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3"]]))
        found["allocations"] += [
            Allocation(name, at, register, position, *share)
            for register in registers
            for position, share in enumerate(shares, 1)
        ]


@given(registries())
@settings(max_examples=40)
def test_values_written_and_read_are_the_same(found: dict[str, list[Any]]) -> None:
    texts_ = write_files(found, ZONE)
    parsed = parse_files(texts_, ZONE)
    assert parsed.errors == ()
    read = {kind: [row.value for row in getattr(parsed, kind)] for kind in found}
    assert read == found
    assert write_files(read, ZONE) == texts_


@given(registries(), st.sampled_from(["", ".xlsx"]))
@settings(max_examples=12)
def test_an_export_imported_elsewhere_is_exported_the_same(
    found: dict[str, list[Any]], suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "0").mkdir()
        for file, text in write_files(found, ZONE).items():
            (folder / "0" / file).write_text(text, "utf-8", newline="")
        source = folder / "0"
        exported: list[dict[str, bytes]] = []
        for number in (1, 2):
            ledger = Ledger(f"sqlite:///{folder / f'{number}.db'}")
            ledger.migrate()
            report = import_registry(ledger, source, "tester", NOW, zone=ZONE)
            assert report.errors == ()
            assert sum(report.added.values()) == sum(len(rows) for rows in found.values())
            export_registry(ledger, folder / f"out{number}", "tester", NOW, zone=ZONE)
            source = folder / f"next{number}{suffix}"
            export_registry(ledger, source, "tester", NOW, zone=ZONE)
            assert import_registry(ledger, source, "tester", NOW, zone=ZONE).unchanged == sum(
                len(rows) for rows in found.values()
            )
            exported.append(
                {path.name: path.read_bytes() for path in (folder / f"out{number}").iterdir()}
            )
            ledger.close()
        assert exported[0] == exported[1]
