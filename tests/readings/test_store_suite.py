"""One suite for every reading store: what the collector may rely on, whichever it writes to."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.readings.duckdb_store import DuckDbStore
from collector.readings.influx_store import InfluxStore
from collector.readings.port import ReadBlock, ReadingStore, StoredRead
from contract.messages import MeterRead, ScanKind, Value
from contract.registers import CATALOGUE
from tests.simulation.memory_store import MemoryData, MemoryStore

SLOT = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
IMPORT, EXPORT, VOLTAGE = "1-0:1.8.0", "1-0:2.8.0", "1-0:32.7.0"
REGISTERS = (IMPORT, VOLTAGE)

Open = Callable[[], ReadingStore]


@pytest.fixture(params=["duckdb", "influxdb", "memory"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the store; again on the same data when it is called again."""
    with ExitStack() as stack:
        if request.param == "duckdb":

            def make() -> ReadingStore:
                return DuckDbStore(tmp_path / "reads.duckdb")

        elif request.param == "memory":
            # What the simulation uses in their place must behave as they do.
            data = MemoryData()

            def make() -> ReadingStore:
                return MemoryStore(data)

        else:
            influx = request.getfixturevalue("influx")

            def make() -> ReadingStore:
                return InfluxStore(influx.url, influx.org, influx.bucket, influx.token, 10.0)

        def open_() -> ReadingStore:
            store = make()
            stack.callback(store.close)
            return store

        yield open_


@pytest.fixture
def store(open_store: Open) -> ReadingStore:
    return open_store()


def block(
    *reads: MeterRead,
    slot: datetime = SLOT,
    registers: tuple[str, ...] = REGISTERS,
    station: str = "S1",
) -> ReadBlock:
    return ReadBlock(station, f"GW-{station}", ScanKind.INTERVAL, slot, registers, reads)


def read(meter: str, *values: Value, offset_ms: int = 412, quality: int = 0) -> MeterRead:
    return (meter, offset_ms, list(values), quality)


def of_meter(store: ReadingStore, meter: str, limit: int = 100_000) -> list[StoredRead]:
    return list(store.readings(meter, SLOT - 24 * HOUR, SLOT + 24 * HOUR, limit))


def test_what_is_appended_is_read(store: ReadingStore) -> None:
    assert store.append([block(read("m1", 123456, 231.5, quality=9))]) == []
    assert of_meter(store, "m1") == [
        StoredRead(
            "S1", "m1", SLOT + timedelta(milliseconds=412), 9, {IMPORT: 123456, VOLTAGE: 231.5}
        )
    ]


def test_an_empty_store_answers(store: ReadingStore) -> None:
    assert store.append([]) == []
    assert store.append([block()]) == []
    assert of_meter(store, "m1") == []
    assert list(store.station_reads("S1", SLOT, SLOT + HOUR, REGISTERS)) == []
    assert store.count(SLOT, SLOT + HOUR) == 0
    assert store.compact() == 0


def test_values_keep_their_types(store: ReadingStore) -> None:
    # 230.0 travels as 230 in JSON, on the way in and on the way out.
    store.append([block(read("m1", 0, 230)), block(read("m2", -5, 230.0), read("m3", 7, 1e22))])
    store.append([block(read("m4", 8, 2**60))])
    assert [repr(r.values) for i in range(1, 5) for r in of_meter(store, f"m{i}")] == [
        repr({IMPORT: 0, VOLTAGE: 230.0}),
        repr({IMPORT: -5, VOLTAGE: 230.0}),
        repr({IMPORT: 7, VOLTAGE: 1e22}),
        repr({IMPORT: 8, VOLTAGE: float(2**60)}),
    ]


@pytest.mark.parametrize("energy_wh", [2**53 + 1, 2**62, 2**63 - 1, -(2**63)])
def test_energies_are_exact(store: ReadingStore, energy_wh: int) -> None:
    assert store.append([block(read("m1", energy_wh, None))]) == []
    assert of_meter(store, "m1")[0].values == {IMPORT: energy_wh}


@pytest.mark.parametrize("volts", [0.1 + 0.2, 1 / 3, 231.40000000000003, 5e-324])
def test_floats_are_exact(store: ReadingStore, volts: float) -> None:
    assert store.append([block(read("m1", 1, volts))]) == []
    assert of_meter(store, "m1")[0].values == {IMPORT: 1, VOLTAGE: volts}


def test_absent_values_stay_absent(store: ReadingStore) -> None:
    store.append([block(read("m1", None, 1.5), read("m2", 5, None), read("m3", None, None))])
    assert of_meter(store, "m1")[0].values == {VOLTAGE: 1.5}
    assert of_meter(store, "m2")[0].values == {IMPORT: 5}
    assert of_meter(store, "m3")[0].values == {}
    assert store.count(SLOT, SLOT + HOUR) == 3


def test_every_register_of_the_catalogue(store: ReadingStore) -> None:
    codes = tuple(register.obis for register in CATALOGUE)
    values = [i if register.is_integer else i + 0.5 for i, register in enumerate(CATALOGUE)]
    assert store.append([block(read("m1", *values), registers=codes)]) == []
    assert of_meter(store, "m1")[0].values == dict(zip(codes, values, strict=True))


def test_a_repeat_changes_nothing(store: ReadingStore) -> None:
    blocks = [
        block(read("m1", 10, 230.5), read("m2", 20, None)),
        block(read("m1", 11, 231.5), slot=SLOT + HOUR),
    ]
    store.append(blocks)
    before = of_meter(store, "m1"), of_meter(store, "m2")
    for _ in range(3):
        assert store.append(blocks) == []
    store.append([*blocks, *blocks])
    assert (of_meter(store, "m1"), of_meter(store, "m2")) == before
    assert len(list(store.station_reads("S1", SLOT, SLOT + 2 * HOUR, REGISTERS))) == 3
    assert store.count(SLOT, SLOT + 2 * HOUR) == 3
    store.compact()
    assert (of_meter(store, "m1"), of_meter(store, "m2")) == before
    assert store.compact() == 0


def test_other_registers_of_the_same_instant_are_united(store: ReadingStore) -> None:
    store.append([block(read("m1", 10, None))])
    store.append([block(read("m1", 77), registers=(EXPORT,))])
    store.append([block(read("m1", 231.5), registers=(VOLTAGE,))])
    whole = {IMPORT: 10, EXPORT: 77, VOLTAGE: 231.5}
    assert [r.values for r in of_meter(store, "m1")] == [whole]
    (only,) = store.station_reads("S1", SLOT, SLOT + HOUR, [EXPORT, VOLTAGE])
    assert only.values == {EXPORT: 77, VOLTAGE: 231.5}
    assert store.count(SLOT, SLOT + HOUR) == 1
    store.compact()
    assert [r.values for r in of_meter(store, "m1")] == [whole]


def test_a_conflict_is_one_of_the_two_and_stays(store: ReadingStore) -> None:
    store.append([block(read("m1", 10, 230.5))])
    store.append([block(read("m1", 11, 230.5))])
    (seen,) = of_meter(store, "m1")
    assert seen.values[IMPORT] in (10, 11)
    store.compact()
    assert of_meter(store, "m1") == [seen]


def test_reads_come_in_order(store: ReadingStore) -> None:
    for hour in (2, 0, 1):
        store.append(
            [block(*(read(m, hour, 1.5, offset_ms=5) for m in "bca"), slot=SLOT + hour * HOUR)]
        )
    assert [r.values[IMPORT] for r in of_meter(store, "b")] == [0, 1, 2]
    reads = list(store.station_reads("S1", SLOT, SLOT + 3 * HOUR, [IMPORT]))
    assert [(r.values[IMPORT], r.meter) for r in reads] == [
        (hour, meter) for hour in range(3) for meter in "abc"
    ]


def test_a_range_has_its_first_and_not_its_last_instant(store: ReadingStore) -> None:
    tick = timedelta(milliseconds=1)
    store.append([block(*(read("m1", i, 1.5, offset_ms=i) for i in range(4)))])

    def seen(from_at: datetime, to_at: datetime) -> list[int | float]:
        found = [r.values[IMPORT] for r in store.readings("m1", from_at, to_at)]
        assert store.count(from_at, to_at) == len(found)
        assert len(list(store.station_reads("S1", from_at, to_at, [IMPORT]))) == len(found)
        return found

    assert seen(SLOT + tick, SLOT + 3 * tick) == [1, 2]
    assert seen(SLOT, SLOT) == []
    assert seen(SLOT + 3 * tick, SLOT) == []
    # Bounds between two milliseconds.
    half = timedelta(microseconds=500)
    assert seen(SLOT + half, SLOT + 2 * tick + half) == [1, 2]
    assert seen(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) == [0, 1, 2, 3]


def test_bounds_may_be_in_any_zone(store: ReadingStore) -> None:
    from zoneinfo import ZoneInfo

    store.append([block(read("m1", 1, 1.5, offset_ms=0))])
    local = SLOT.astimezone(ZoneInfo("Asia/Ho_Chi_Minh"))
    assert [r.at for r in store.readings("m1", local, local + HOUR)] == [SLOT]


def test_limit_counts_reads_not_repeats(store: ReadingStore) -> None:
    blocks = [block(read("m1", i, 1.5), slot=SLOT + i * HOUR / 60) for i in range(10)]
    store.append(blocks)
    store.append(blocks)
    assert [r.values[IMPORT] for r in of_meter(store, "m1", limit=4)] == [0, 1, 2, 3]
    assert of_meter(store, "m1", limit=0) == []
    # An answer that is not read to its end leaves the store usable.
    first = next(iter(store.readings("m1", SLOT, SLOT + HOUR)))
    assert first.values[IMPORT] == 0
    assert store.append([block(read("m1", 99, 1.5), slot=SLOT + HOUR)]) == []


def test_more_reads_than_one_part_of_an_answer(store: ReadingStore) -> None:
    meters = [f"m{i:03}" for i in range(250)]
    minutes = 100
    for start in range(0, minutes, 50):
        store.append(
            [
                block(*(read(m, i, None, offset_ms=7) for m in meters), slot=SLOT + i * HOUR / 60)
                for i in range(start, start + 50)
            ]
        )
    reads = list(store.station_reads("S1", SLOT, SLOT + 2 * HOUR, [IMPORT]))
    assert [(r.values[IMPORT], r.meter) for r in reads] == [
        (minute, meter) for minute in range(minutes) for meter in meters
    ]
    assert store.count(SLOT, SLOT + 2 * HOUR) == minutes * len(meters)


def test_stations_are_apart(store: ReadingStore) -> None:
    store.append([block(read("m1", 1, 1.5)), block(read("m2", 2, 2.5), station="S2")])
    assert [r.meter for r in store.station_reads("S2", SLOT, SLOT + HOUR, REGISTERS)] == ["m2"]
    assert list(store.station_reads("S3", SLOT, SLOT + HOUR, REGISTERS)) == []


def test_station_reads_without_any_wanted_register_are_left_out(store: ReadingStore) -> None:
    store.append([block(read("m1", 1, None), read("m2", None, 2.5))])
    seen = list(store.station_reads("S1", SLOT, SLOT + HOUR, [VOLTAGE]))
    assert [(r.meter, r.values) for r in seen] == [("m2", {VOLTAGE: 2.5})]
    assert list(store.station_reads("S1", SLOT, SLOT + HOUR, [EXPORT])) == []
    assert list(store.station_reads("S1", SLOT, SLOT + HOUR, ["0-0:0.0.0"])) == []


def test_a_meter_that_moved_to_another_station_is_one_meter(store: ReadingStore) -> None:
    store.append([block(read("m1", 1, 1.5))])
    store.append([block(read("m1", 2, 1.5), station="S2", slot=SLOT + HOUR)])
    assert [(r.station, r.values[IMPORT]) for r in of_meter(store, "m1")] == [("S1", 1), ("S2", 2)]
    # The same read under both stations: once.
    store.append([block(read("m1", 1, 1.5), station="S2")])
    assert [r.values[IMPORT] for r in of_meter(store, "m1")] == [1, 2]


@pytest.mark.parametrize(
    "name", ["a b", "a,b", "a=b", 'a"b', "a'b", "100%s", "%d", "đồng hồ 7", "#1", "'; DROP"]
)
def test_names_need_no_letters(store: ReadingStore, name: str) -> None:
    assert store.append([block(read(name, 1, 1.5), station=name)]) == []
    (seen,) = of_meter(store, name)
    assert (seen.meter, seen.station) == (name, name)
    assert list(store.station_reads(name, SLOT, SLOT + HOUR, REGISTERS)) == [seen]


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (read("bad", 1.5, 1.5), "integer"),
        (read("bad", 5.0, 1.5), "integer"),
        (read("bad", 2**63, 1.5), "64 bits"),
        (read("bad", -(2**63) - 1, 1.5), "64 bits"),
        (read("bad", 1, float("nan")), "finite"),
        (read("bad", 1, float("inf")), "finite"),
        (read("bad", 1, 10**400), "finite"),
        (read("bad", 1), "1 values for 2 registers"),
        (read("bad", 1, 1.5, quality=2**63), "quality"),
        (read("bad", 1, 1.5, offset_ms=10**13), "instant"),
        (read("bad", 1, 1.5, offset_ms=-(10**13)), "instant"),
        (read("bad", 1, 1.5, offset_ms=10**30), "instant"),
        (read("bad\n", 1, 1.5), "meter"),
        (read("bad\\", 1, 1.5), "meter"),
        (read("", 1, 1.5), "meter"),
    ],
)
def test_what_cannot_be_stored_is_refused_alone(
    store: ReadingStore, faulty: MeterRead, reason: str
) -> None:
    mixed = block(read("m1", 10, 1.5), faulty, read("m2", 20, 230.5))
    other = block(read("m3", 30, None))
    (refused,) = store.append([mixed, other])
    assert refused.read == faulty
    assert refused.block == mixed
    assert reason in refused.reason
    seen = [of_meter(store, meter) for meter in ("m1", "m2", "m3")]
    assert [[r.values[IMPORT] for r in reads] for reads in seen] == [[10], [20], [30]]
    assert store.count(SLOT - 24 * HOUR, SLOT + 24 * HOUR) == 3


def test_an_unknown_register_is_refused(store: ReadingStore) -> None:
    unknown = block(read("m1", 1), registers=("9-9:9.9.9",))
    good = block(read("m2", 1, 1.5))
    (refused,) = store.append([unknown, good])
    assert "9-9:9.9.9" in refused.reason
    assert [r.meter for r in store.station_reads("S1", SLOT, SLOT + HOUR, REGISTERS)] == ["m2"]


def test_a_station_name_that_cannot_be_stored_is_refused(store: ReadingStore) -> None:
    (refused,) = store.append([block(read("m1", 1, 1.5), station="S\n1")])
    assert "station" in refused.reason


def test_what_was_appended_is_there_when_it_is_opened_again(open_store: Open) -> None:
    first = open_store()
    first.append([block(read("m1", 10, None))])
    first.close()
    second = open_store()
    second.append([block(read("m1", 77), registers=(EXPORT,))])
    second.append([block(read("m1", 10, None))])
    assert [r.values for r in of_meter(second, "m1")] == [{IMPORT: 10, EXPORT: 77}]


def test_threads_may_share_a_store(store: ReadingStore) -> None:
    def work(worker: int) -> int:
        for i in range(10):
            one = block(read(f"m{worker}", i, 1.5), slot=SLOT + i * HOUR / 60)
            assert store.append([one, replace(one, station=f"T{worker}")]) == []
        return len(of_meter(store, f"m{worker}"))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [10] * 4
