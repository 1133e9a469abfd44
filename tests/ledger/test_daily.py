"""Daily indices from the ledger: what is fetched is all that the choice depends on."""

import itertools
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.ledger.index_reads import IndexBlock
from collector.operations.daily import MeterDays, meter_days
from collector.operations.vee_files import load_limits
from collector.registry.values import Installation, Meter, Point, Role, Station
from collector.vee.daily_index import daily_indices
from collector.vee.reads import Origin, Read
from contract.messages import MeterRead, ScanKind
from contract.quality import Quality
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import EPOCH, FILES, GATEWAY, NOW, ZONE, import_files, midnight, put

BOOK = load_limits(None)
FIRST, LAST = date(2026, 10, 1), date(2026, 10, 3)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
STARTS = [midnight("2026-10-01") + number * DAY for number in range(-1, 5)]


def of_meter(ledger: Ledger, meter: str, first: date = FIRST, last: date = LAST) -> MeterDays:
    with ledger.read() as uow:
        registry = uow.registry.load()
        rows = [row for row in registry.installations if row.meter == meter]
        return meter_days(uow, registry, rows, (first, last, ZONE), BOOK)[-1]


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    import_files(ledger, tmp_path / "registry", FILES)
    return ledger


def test_the_slot_else_the_nearest_with_when_it_was_read(station: Ledger) -> None:
    put(station, STARTS[1], {"M1": 100})
    put(station, STARTS[2] + 2 * HOUR, {"M1": 200}, seq=2)
    put(station, STARTS[4] - 20 * HOUR, {"M1": 300}, seq=3)
    found = of_meter(station, "M1").indices[IMPORT_ACTIVE]
    assert [one and (one.value, one.origin, one.window_min) for one in found] == [
        (100, Origin.SLOT, None),
        (200, Origin.NEAREST, 180),
        # Twenty hours before the fourth, four after the third: it serves the third.
        (300, Origin.NEAREST, 1440),
        None,
    ]
    assert found[1] is not None
    assert found[1].distance == 2 * HOUR + timedelta(milliseconds=400)


def test_a_meter_that_was_never_read_has_no_index_and_is_there(station: Ledger) -> None:
    found = of_meter(station, "M2")
    assert found.indices == {IMPORT_ACTIVE: [None] * 4}


def test_at_an_exchange_each_meter_has_what_was_written_down(
    ledger: Ledger, tmp_path: Path
) -> None:
    exchange = FILES["installations.csv"].replace(
        "T1/a,M1,2026-01-01,,,",
        "T1/a,M1,2026-01-01,2026-10-02T00:00:00+07:00,,900\nT1/a,M3,2026-10-02T00:00:00+07:00,,3,",
    )
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": exchange})
    put(ledger, STARTS[1], {"M1": 800})
    put(ledger, STARTS[3], {"M1": 950, "M3": 10}, seq=2)
    old, new = of_meter(ledger, "M1"), of_meter(ledger, "M3")
    assert [one and (one.value, one.origin) for one in old.indices[IMPORT_ACTIVE]] == [
        (800, Origin.SLOT),
        (900, Origin.SPOT),
        None,
        None,
    ]
    assert [one and one.value for one in new.indices[IMPORT_ACTIVE]] == [None, 3, 10, None]
    # What the removed meter went on to say belongs to no point.
    assert [one.value for one in old.outside[IMPORT_ACTIVE]] == [950]


def test_hands_edits_and_estimates(station: Ledger) -> None:
    put(station, STARTS[1], {"M1": 100})
    put(station, STARTS[2], {"M1": 999}, seq=2)

    def enter(kind: ManualKind, at_hours: int, value: int | None) -> None:
        at = STARTS[1] + at_hours * HOUR
        with station.begin() as uow:
            uow.manual_indices.add(
                ManualIndex(kind, "T1/a", "M1", IMPORT_ACTIVE, at, value, "An", NOW, "seen")
            )

    def found() -> list[tuple[int, Origin] | None]:
        return [
            one and (one.value, one.origin)
            for one in of_meter(station, "M1").indices[IMPORT_ACTIVE]
        ]

    enter(ManualKind.EDIT, 24, 200)
    enter(ManualKind.HAND, 49, 300)
    enter(ManualKind.ESTIMATE, 72, 400)
    assert found() == [
        (100, Origin.SLOT),
        (200, Origin.EDIT),
        (300, Origin.HAND),
        (400, Origin.ESTIMATE),
    ]
    # The newest word counts, and may be to withdraw.
    enter(ManualKind.EDIT, 24, 210)
    enter(ManualKind.EDIT, 72, None)
    assert found() == [(100, Origin.SLOT), (210, Origin.EDIT), (300, Origin.HAND), None]
    enter(ManualKind.EDIT, 24, None)
    assert found()[1] == (999, Origin.SLOT)


# --- what is fetched against all there is -----------------------------------------------------

reads_there_are = st.lists(
    st.tuples(
        st.integers(-24 * 2, 24 * 6).map(lambda half: half * 30) | st.integers(-3000, 9000),
        st.sampled_from([0, 1, 40, 59, 61, 300, -30]),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=16,
    unique_by=lambda one: one[0] + one[1],
)
numbers = itertools.count()


@pytest.fixture(scope="module")
def shared() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}")
        ledger.migrate()
        with ledger.begin() as uow:
            uow.registry.add_stations([Station("T1", "T1")])
        yield ledger
        ledger.close()


@settings(max_examples=100, deadline=None)
@given(reads_there_are)
# Twenty hours after a day that lacks its read, its neighbours having theirs.
@example([*((1440 * day, 0, 1, False) for day in (0, 1, 3, 4, 5)), (2880 + 1200, 0, 1, False)])
# A zero for a slot, and the count an hour later.
@example([*((1440 * day, 0, int(day != 2), False) for day in range(6)), (2880 + 70, 0, 1, False)])
# A zero half an hour before the first day, which only a read of more than a day before disproves.
@example([(30, 0, 0, False), (-30, 0, 0, False), (-1441, 0, 1, False)])
def test_what_is_fetched_is_all_that_the_choice_depends_on(
    shared: Ledger, rows: list[tuple[int, int, int, bool]]
) -> None:
    name = f"X{next(numbers)}"
    minute = timedelta(minutes=1)
    blocks, everything = [], []
    for slot, offset, value, unsure in rows:
        at = STARTS[0] + slot * minute
        quality = Quality.CLOCK_UNSYNCED.value if unsure else 0
        reads: list[MeterRead] = [(name, offset * 60_000, [value], quality)]
        blocks.append(IndexBlock(GATEWAY, EPOCH, 1, ScanKind.INDEX, at, [IMPORT_ACTIVE], reads))
        everything.append(Read(at + offset * minute, value, at, unsure))
    # One transaction an example: each is synced to the disk.
    with shared.begin() as uow:
        uow.registry.add_points([Point(name, "T1", Role.HOUSEHOLD, name)])
        uow.registry.add_meters([Meter(name, "m", 1)])
        uow.registry.add_installations([Installation(name, name, STARTS[0] - 90 * DAY)])
        uow.index_reads.insert_many(blocks, NOW)
    wanted = daily_indices(everything, STARTS, BOOK.of(None, None).windows_min)
    assert of_meter(shared, name).indices[IMPORT_ACTIVE] == wanted
