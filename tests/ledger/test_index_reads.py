"""Index reads: stored once, conflicts kept aside, found by instant."""

from datetime import timedelta
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock
from collector.ledger.nearest import NearestRead
from contract.messages import ScanKind
from contract.quality import Quality
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE
from tests.ledger.building import EPOCH, FILES, GATEWAY, NOW, import_files, midnight, put

T = midnight("2026-10-20")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _registry(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if "ledger" in request.fixturenames:
        import_files(request.getfixturevalue("ledger"), tmp_path / "registry", FILES)


def nearest(ledger: Ledger, meter: str = "M1", window: timedelta = DAY) -> list[NearestRead]:
    with ledger.read() as uow:
        return uow.index_reads.nearest(T, window, meter=meter)


def the_value(ledger: Ledger) -> tuple[int, bool]:
    [read] = nearest(ledger)
    return read.value, bool(read.actual)


def test_billing_registers_are_stored_and_nothing_else(ledger: Ledger) -> None:
    big = 2**62
    done = put(
        ledger,
        T,
        {"M1": (big, 7, None), "M2": (None, 9, 0)},
        registers=(IMPORT_ACTIVE, "1-0:21.8.0", EXPORT_ACTIVE),
    )
    assert (done.inserted, done.repeated, done.conflicts) == (2, 0, ())
    with ledger.read() as uow:
        [read] = uow.index_reads.of_meter("M1", T, T + DAY)
        assert (read.register, read.value, read.slot) == (IMPORT_ACTIVE, big, T)
        assert read.at == T + timedelta(milliseconds=400)
        [other] = uow.index_reads.of_meter("M2", T, T + DAY)
        assert (other.register, other.value) == (EXPORT_ACTIVE, 0)


def test_nothing_to_store_is_no_error(ledger: Ledger) -> None:
    assert put(ledger, T, {}).inserted == 0


def test_the_same_again_is_a_repeat(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 1, "M2": 2})
    done = put(ledger, T, {"M1": 1, "M2": 2, "M3": 3}, seq=2)
    assert (done.inserted, done.repeated, done.conflicts) == (1, 2, ())


def test_another_value_is_kept_aside_and_changes_nothing(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 1, "M2": 2})
    for _ in range(2):
        done = put(ledger, T, {"M1": 1, "M2": 99}, seq=2)
        assert (done.inserted, done.repeated) == (0, 1)
        [conflict] = done.conflicts
        assert (conflict.meter, conflict.value_kept, conflict.value_refused) == ("M2", 2, 99)
    with ledger.read() as uow:
        assert uow.index_reads.conflicts(10) == [conflict]
        assert uow.delivery.views.conflicts() == 1
        assert uow.index_reads.of_meter("M2", T, T + DAY)[0].value == 2


def test_a_contradiction_within_one_group_is_a_conflict_too(ledger: Ledger) -> None:
    done = put(ledger, T, {"M1": 1})
    with ledger.begin() as uow:
        block = _block({"M2": 6})
        other = _block({"M2": 5})
        done = uow.index_reads.insert_many([block, other], NOW)
    assert done.inserted == 1
    # The first stays, as the reading store does it; not the smaller one.
    [conflict] = done.conflicts
    assert (conflict.value_kept, conflict.value_refused) == (6, 5)


def test_many_repeats_are_compared_in_parts(ledger: Ledger) -> None:
    values = {f"X{number}": number for number in range(1200)}
    put(ledger, T, values)
    values["X700"] = 1
    done = put(ledger, T, values, seq=2)
    assert (done.inserted, done.repeated, len(done.conflicts)) == (0, 1199, 1)


def test_the_read_of_the_slot_stands_for_the_instant(ledger: Ledger) -> None:
    put(ledger, T - 30 * MINUTE, {"M1": 90})
    # Late, after many retries, and still that of the slot.
    put(ledger, T, {"M1": 100}, offset=150 * MINUTE)
    put(ledger, T + 30 * MINUTE, {"M1": 110})
    assert the_value(ledger) == (100, True)


def test_of_two_reads_of_the_slot_the_earlier_stands(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 101}, offset=MINUTE)
    put(ledger, T, {"M1": 100})
    assert the_value(ledger) == (100, True)


def test_without_it_the_nearest_does_and_is_flagged(ledger: Ledger) -> None:
    put(ledger, T - DAY, {"M1": 50})
    put(ledger, T - 30 * MINUTE, {"M1": 90})
    put(ledger, T + 29 * MINUTE, {"M1": 110})
    assert the_value(ledger) == (110, False)


def test_nothing_beyond_the_window_does(ledger: Ledger) -> None:
    put(ledger, T + DAY + MINUTE, {"M1": 110})
    assert nearest(ledger) == []


def test_a_read_by_a_wrong_clock_is_second_to_one_by_a_right_one(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 100}, quality=Quality.CLOCK_UNSYNCED)
    assert the_value(ledger) == (100, False)
    put(ledger, T, {"M1": 101}, offset=MINUTE)
    assert the_value(ledger) == (101, True)


def test_a_read_for_the_slot_by_a_wrong_clock_is_better_than_one_for_another(
    ledger: Ledger,
) -> None:
    put(ledger, T, {"M1": 100}, offset=120 * MINUTE, quality=Quality.CLOCK_UNSYNCED)
    put(ledger, T + 30 * MINUTE, {"M1": 99})
    assert the_value(ledger) == (100, False)


def test_a_read_that_was_dated_again_is_as_good_as_any(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 100}, quality=Quality.CLOCK_UNSYNCED | Quality.RESTAMPED)
    assert the_value(ledger) == (100, True)


def test_a_transient_zero_never_stands_for_an_index(ledger: Ledger) -> None:
    put(ledger, T - DAY, {"M1": 90})
    put(ledger, T, {"M1": 0})
    put(ledger, T + 30 * MINUTE, {"M1": 100})
    assert the_value(ledger) == (100, False)


def test_a_new_meter_may_stand_at_zero(ledger: Ledger) -> None:
    put(ledger, T - DAY, {"M1": 0})
    put(ledger, T, {"M1": 0})
    put(ledger, T + DAY, {"M1": 7})
    assert the_value(ledger) == (0, True)


def test_a_read_belongs_to_where_the_meter_was_then(ledger: Ledger, tmp_path: Path) -> None:
    exchange = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/a,M1,2026-01-01,2026-10-19T22:00:00+07:00,,
T1/b,M2,2026-01-01,2026-10-19,,
T1/b,M1,2026-10-19T23:00:00+07:00,,,
"""
    report = import_files(ledger, tmp_path / "registry", {"installations.csv": exchange})
    assert report.written, report.errors
    put(ledger, T - 180 * MINUTE, {"M1": 90})
    put(ledger, T - 90 * MINUTE, {"M1": 95})
    put(ledger, T + 150 * MINUTE, {"M1": 100})
    reads = {read.point: read.value for read in nearest(ledger)}
    assert reads == {"T1/a": 90, "T1/b": 100}


def test_only_the_station_asked_for(ledger: Ledger) -> None:
    put(ledger, T, {"M1": 100, "M9": 5})
    with ledger.read() as uow:
        assert len(uow.index_reads.nearest(T, DAY)) == 1
        assert len(uow.index_reads.nearest(T, DAY, station="T1")) == 1
        assert uow.index_reads.nearest(T, DAY, station="T2") == []


def test_serials_that_nobody_installed(ledger: Ledger) -> None:
    for day in range(3):
        put(ledger, T + day * DAY, {"M1": 1, "A7": day, "Z9": day})
    later = T + 2 * DAY + timedelta(milliseconds=400)
    first = T + timedelta(milliseconds=400)
    with ledger.read() as uow:
        assert uow.coverage.unassigned() == [("A7", first, later), ("Z9", first, later)]


def test_there_may_be_none(ledger: Ledger) -> None:
    with ledger.read() as uow:
        assert uow.coverage.unassigned() == []
        assert uow.coverage.last_read([]) == {}


def _block(values: dict[str, int]) -> IndexBlock:
    return IndexBlock(
        GATEWAY,
        EPOCH,
        5,
        ScanKind.INDEX,
        T,
        [IMPORT_ACTIVE],
        [(meter, 0, [value], 0) for meter, value in values.items()],
    )
