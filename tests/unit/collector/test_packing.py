"""A scan that was packed on the way is the scan that arrived; what is not sound is not packed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.intake.batch import Message, Poison, Taken, decode
from collector.intake.packing import packed
from collector.intake.wire import (
    Arrived,
    Connected,
    Done,
    Down,
    Dropped,
    Publish,
    framed,
    frames_down,
    frames_up,
)
from collector.readings.columns import PackedReads, columns_of
from contract.limits import ENERGY_MAX
from contract.messages import Batch, Clock, Scan, ScanKind, Table, encode
from contract.topics import BatchTopic, StatusTopic, build

EPOCH = "0123456789abcdef" * 2
TOPIC = build(BatchTopic("GW1", EPOCH, 7))
SLOT = datetime(2026, 3, 1, 17, tzinfo=UTC)
NOW = SLOT + timedelta(hours=1)
ENERGY, VOLTAGE, POWER = "1-0:1.8.0", "1-0:32.7.0", "1-0:16.7.0"

_SERIALS = st.text(
    st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20
) | st.sampled_from(["M1", "công tơ 7", "2026000123"])
_ENERGIES = st.none() | st.integers(0, ENERGY_MAX)
_FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-500, 500)
_READS = st.lists(
    st.tuples(
        _SERIALS,
        st.integers(-3_600_000, 3_600_000),
        st.tuples(_ENERGIES, _FLOATS, _FLOATS).map(list),
        st.integers(0, 2**31 - 1),
    ),
    min_size=1,
    max_size=12,
)


def batch(reads: list[tuple[str, int, list[int | float | None], int]]) -> Batch:
    table = Table([ENERGY, VOLTAGE, POWER], reads)
    scan = Scan(ScanKind.INDEX, SLOT, [table], [("M9", "timeout")])
    return Batch(v=1, station="PA25SL-T012", clock=Clock.SYNCED, scan=scan)


@given(_READS)
def test_columns_give_back_the_reads_they_were_made_of(
    reads: list[tuple[str, int, list[int | float | None], int]],
) -> None:
    columns = columns_of([ENERGY, VOLTAGE, POWER], reads)
    assert columns is not None
    assert columns.reads() == reads
    assert list(PackedReads(columns)) == reads
    assert columns.serials() == [read[0] for read in reads]


@given(_READS, st.integers(1, 200))
def test_a_packed_scan_is_taken_as_the_one_that_was_sent(
    reads: list[tuple[str, int, list[int | float | None], int]], cut: int
) -> None:
    payload = encode(batch(reads))
    scan = packed(TOPIC, payload)
    assert scan is not None
    frame = framed(Connected(1, False)) + framed(Arrived(TOPIC, payload, False, 3, 1, scan))
    frames = frames_up()
    said = [m for at in range(0, len(frame), cut) for m in frames.feed(frame[at : at + cut])]
    assert said[0] == Connected(1, False)
    assert isinstance(said[1], Arrived)
    sent = decode(Message(TOPIC, payload), NOW)
    taken = decode(Message(TOPIC, payload, scan=said[1].scan), NOW)
    assert isinstance(sent, Taken)
    assert isinstance(taken, Taken)
    assert taken.receipt("claimed") == sent.receipt("claimed")
    assert taken.gaps() == sent.gaps()
    assert (taken.reads, taken.content, taken.sha256) == (sent.reads, "scan", sent.sha256)
    for mine, theirs in zip(taken.read_blocks(), sent.read_blocks(), strict=True):
        assert list(mine.reads) == list(theirs.reads) == reads
        assert (mine.station, mine.gateway, mine.kind, mine.slot, list(mine.registers)) == (
            theirs.station,
            theirs.gateway,
            theirs.kind,
            theirs.slot,
            list(theirs.registers),
        )
    for index, other in zip(taken.index_blocks(), sent.index_blocks(), strict=True):
        assert list(index.reads) == list(other.reads)
        assert (index.seq, index.slot) == (other.seq, other.slot)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (build(StatusTopic("GW1")), encode(batch([("M1", 0, [1, 2.0, 3.0], 0)]))),
        ("songlo/v1/GW1/batches/short/1", encode(batch([("M1", 0, [1, 2.0, 3.0], 0)]))),
        (TOPIC, b"not JSON"),
        (TOPIC, encode(batch([("M1", 0, [1.5, 2.0, 3.0], 0)]))),
        (TOPIC, encode(batch([("M1", 0, [0.0, None, 3.0], 0)]))),
        (TOPIC, encode(batch([("M1", 0, [-1, 2.0, 3.0], 0)]))),
        (TOPIC, encode(batch([("M1", 0, [ENERGY_MAX + 1, 2.0, 3.0], 0)]))),
        (TOPIC, encode(batch([("M1", 0, [None, 10**400, 3.0], 0)]))),
        (TOPIC, encode(batch([("a\nb", 0, [1, 2.0, 3.0], 0)]))),
        (
            TOPIC,
            encode(
                Batch(
                    v=1,
                    station="S",
                    clock=Clock.UNDATED,
                    scan=Scan(ScanKind.INTERVAL, SLOT, [Table([ENERGY], [("M1", 0, [1], 0)])]),
                )
            ),
        ),
    ],
    ids=[
        "status",
        "no topic of a batch",
        "not JSON",
        "a float for an energy",
        "a zero that is a float for an energy, where another value is absent",
        "a negative energy",
        "an energy beyond the limit",
        "an integer beyond every float",
        "a line break in a serial",
        "undated",
    ],
)
def test_what_is_not_a_sound_scan_is_left_to_whoever_takes_it(topic: str, payload: bytes) -> None:
    assert packed(topic, payload) is None


def test_a_scan_from_the_future_is_packed_and_still_refused() -> None:
    payload = encode(batch([("M1", 0, [1, 2.0, 3.0], 0)]))
    scan = packed(TOPIC, payload)
    assert scan is not None
    item = decode(Message(TOPIC, payload, scan=scan), SLOT - timedelta(days=2))
    assert isinstance(item, Poison)
    assert (item.code, item.key, json.loads(item.payload)["v"]) == (
        "bad_instant",
        ("GW1", EPOCH, 7),
        1,
    )


@given(st.integers(1, 40))
def test_orders_come_through_however_they_are_cut(cut: int) -> None:
    orders: list[Down] = [Done(2, [1, 2, 65_535]), Publish("songlo/v1/GW1/ack", b"{}"), Done(3, [])]
    data = b"".join([framed(order) for order in orders])
    frames = frames_down()
    heard = [m for at in range(0, len(data), cut) for m in frames.feed(data[at : at + cut])]
    assert heard == orders
    assert frames_up().feed(framed(Dropped(3))) == [Dropped(3)]
