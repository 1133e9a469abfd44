"""Batches over a real broker into real stores: stored, counted, kept aside, acknowledged."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from collector.ledger import Ledger
from collector.ledger.tables import gaps
from collector.readings.duckdb_store import DuckDbStore
from contract import topics
from contract.limits import BATCH_BYTES_MAX
from contract.messages import (
    Batch,
    Clock,
    Event,
    ScanKind,
    SlotGap,
    Tombstone,
    encode,
)
from tests.intake.kit import (
    SLOT,
    STATION,
    Gateway,
    TroubledStore,
    intake,
    scan,
    stored,
    until,
)
from tests.services import Mosquitto


def test_what_is_sent_is_stored_and_acknowledged(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port) as running, Gateway(mosquitto.port) as gateway:
        gateway.send(
            1, scan(0, missing=[("M9", "timeout"), ("M8", "timeout"), ("M7", "exception")])
        )
        gateway.send(2, scan(1, kind=ScanKind.INTERVAL))
        gateway.wait_acked(2)
        assert running.figure("songlo_intake_batches_total", outcome="stored") == 2
        assert running.figure("songlo_intake_reads_total") == 4
    assert stored(store) == 4
    [first, second] = store.readings("M1", SLOT, SLOT + timedelta(days=1))
    assert first.values == {"1-0:1.8.0": 1000, "1-0:32.7.0": 230.5}
    assert second.at == SLOT + timedelta(minutes=30, milliseconds=400)
    with ledger.read() as uow:
        # The regular cadence's energies are not index reads; a voltage never is.
        [index] = uow.index_reads.of_meter("M1", SLOT, SLOT + timedelta(days=1))
        assert (index.register, index.value, index.slot) == ("1-0:1.8.0", 1000, SLOT)
        [row] = uow.delivery.views.gateways()
        assert (row.gateway, row.station, row.batches, row.reads) == ("GW1", STATION, 2, 4)
        [sums] = uow.delivery.views.sums()
        assert (sums.state, sums.content, sums.missing) == ("complete", "scan", 3)


def test_the_same_batch_three_times_counts_once(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port) as running, Gateway(mosquitto.port) as gateway:
        for _ in range(3):
            gateway.send(1, scan(0))
        gateway.wait_acked(1)
        until(
            lambda: running.figure("songlo_intake_batches_total", outcome="duplicate") == 2,
            "duplicates are not counted",
        )
        acks = len(gateway.acks)
        gateway.send(1, scan(0))
        until(lambda: len(gateway.acks) > acks, "a duplicate is not acknowledged")
    assert stored(store) == 2
    with ledger.read() as uow:
        [row] = uow.delivery.views.gateways()
        assert (row.batches, row.reads, row.duplicates) == (1, 2, 3)


def test_acks_name_what_lies_beyond_a_hole(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        for seq in (1, 3, 4, 7):
            gateway.send(seq, scan(seq))
        until(
            lambda: (
                gateway.acks
                and [(e.upto, e.also) for e in gateway.acks[-1].epochs] == [(1, [(3, 4), (7, 7)])]
            ),
            "the ranges beyond the hole are not acknowledged",
        )
        for seq in (6, 2):
            gateway.send(seq, scan(seq))
        until(
            lambda: [(e.upto, e.also) for e in gateway.acks[-1].epochs] == [(4, [(6, 7)])],
            "the hole did not close",
        )


def _with(text: str, replacement: str) -> Callable[[], bytes]:
    return lambda: encode(scan(0)).replace(text.encode(), replacement.encode())


POISON: dict[str, tuple[Callable[[], bytes], str]] = {
    "not JSON": (lambda: b"\x00\xffnot json", "not_json"),
    "cut short": (lambda: encode(scan(0))[:-5], "not_json"),
    "empty": (lambda: b"", "not_json"),
    "NaN": (_with("230.5", "NaN"), "not_json"),
    "infinity": (_with("230.5", "1e999"), "wrong_shape"),
    "a million keys": (
        lambda: b"{" + b",".join(b'"%d":0' % number for number in range(1_000_000)) + b"}",
        "too_large",
    ),
    "deep": (lambda: b'{"v":1,"other":' + b"[" * 60_000, "not_json"),
    "another schema": (lambda: b'{"temperature": 21.5}', "wrong_shape"),
    "another version": (_with('"v":1', '"v":2'), "wrong_shape"),
    "no body": (lambda: b'{"v":1,"station":"S","clock":"synced"}', "wrong_shape"),
    "unknown register": (_with("1-0:32.7.0", "1-0:99.99.99"), "unknown_register"),
    "an energy that is no integer": (_with("[1000,", "[1000.5,"), "bad_value"),
    "a negative energy": (_with("[1000,", "[-1,"), "bad_value"),
    "an energy beyond 64 bits": (_with("[1000,", "[9223372036854775808,"), "bad_value"),
    "a value that is text": (_with("230.5", '"230.5"'), "wrong_shape"),
    "an offset beyond reason": (_with(",400,", f",{41 * 86_400_000},"), "bad_offset"),
    "a slot in the far future": (_with("2026-01-01", "2126-01-01"), "bad_instant"),
    "a slot of a clock never set": (_with("2026-01-01", "1970-01-01"), "bad_instant"),
    "a naive slot": (_with("00:00:00Z", "00:00:00"), "wrong_shape"),
    "a serial with a null character": (_with('"M1"', '"M1\\u0000"'), "bad_name"),
    "a station that is no name": (_with(STATION, "a/b"), "bad_name"),
    "a quality beyond 32 bits": (_with(",0]", ",4294967296]"), "bad_quality"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_kept_aside_acknowledged_and_blocks_nothing(
    name: str, sqlite_ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    payload, code = POISON[name][0](), POISON[name][1]
    with intake(sqlite_ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0))
        gateway.send(2, payload)
        gateway.send(3, scan(1))
        gateway.send(2, payload)
        gateway.wait_acked(3)
    with sqlite_ledger.read() as uow:
        [entry] = uow.delivery.quarantine.open(10)
        [row] = uow.delivery.views.gateways()
    assert entry.code == code
    assert entry.reason
    assert entry.topic == topics.build(topics.BatchTopic("GW1", gateway.epoch, 2))
    assert entry.payload == payload[:BATCH_BYTES_MAX]
    assert row.quarantined == 1
    assert stored(store) == 4


def test_a_topic_that_tells_no_number_is_kept_aside(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    topic = "songlo/v1/GW1/batches/" + "x" * 5_000
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.publish(topic, encode(scan(0)))
        gateway.publish("songlo/v1/GW1/batches/1/2/3", encode(scan(0)))
        gateway.send(1, scan(0))
        gateway.wait_acked(1)
    with ledger.read() as uow:
        entries = uow.delivery.quarantine.open(10)
    assert [entry.code for entry in entries] == ["bad_topic", "bad_topic"]
    assert any(topic.startswith(entry.topic) for entry in entries)


def test_another_batch_under_the_same_number_changes_nothing(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0))
        gateway.wait_acked(1)
        gateway.send(1, scan(0, energy=999_999, meters=("M1", "M2", "M3")))
        gateway.send(2, scan(1))
        gateway.wait_acked(2)
    with ledger.read() as uow:
        [entry] = uow.delivery.quarantine.open(10)
        [read] = uow.index_reads.of_meter("M1", SLOT, SLOT + timedelta(minutes=1))
        [row] = uow.delivery.views.gateways()
    assert (entry.code, entry.gateway) == ("hash_conflict", "GW1")
    assert read.value == 1000
    assert row.quarantined == 1
    assert stored(store) == 4


def test_the_same_identity_with_another_value_is_a_conflict(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port) as running, Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0))
        gateway.send(2, scan(0, energy=5_000, meters=("M1",)))
        gateway.wait_acked(2)
        assert running.figure("songlo_intake_index_conflicts_total") == 1
    with ledger.read() as uow:
        [read] = uow.index_reads.of_meter("M1", SLOT, SLOT + timedelta(minutes=1))
        assert read.value == 1000
        assert uow.delivery.views.conflicts() == 1


def test_gaps_and_events_are_recorded(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    gap = SlotGap(
        kind=ScanKind.INTERVAL,
        first=SLOT,
        last=SLOT + timedelta(hours=2),
        every_s=1800,
        meters=["M1", "M2"],
        reason="gateway_down",
    )
    event = Event(at=SLOT, type="line_down", line="rs485-1", detail="cable")
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, Batch(v=1, station=STATION, clock=Clock.SYNCED, gaps=[gap, gap]))
        gateway.send(2, Batch(v=1, station=STATION, clock=Clock.SYNCED, events=[event]))
        gateway.wait_acked(2)
    with ledger.read() as uow:
        assert {part.content for part in uow.delivery.views.sums()} == {"gaps", "events"}
    assert _gaps(ledger) == [("slots", "gateway_down", 1800, ["M1", "M2"])] * 2


def _gaps(ledger: Ledger) -> list[tuple[str, str, int, list[str]]]:
    with ledger._engine.connect() as connection:
        columns = (gaps.c.source, gaps.c.reason, gaps.c.every_s, gaps.c.meters)
        rows = connection.execute(select(*columns).order_by(gaps.c.id))
        return [(source, reason, every_s, meters) for source, reason, every_s, meters in rows]


def _tombstone() -> Batch:
    stone = Tombstone(kind=ScanKind.INDEX, slot=SLOT, meters=["M1", "M2"], reason="overflow")
    return Batch(v=1, station=STATION, clock=Clock.SYNCED, tombstone=stone)


def test_a_tombstone_never_replaces_a_stored_batch(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port) as running, Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0))
        gateway.wait_acked(1)
        gateway.send(1, _tombstone())
        until(
            lambda: running.figure("songlo_intake_batches_total", outcome="duplicate") == 1,
            "the tombstone is no duplicate",
        )
    with ledger.read() as uow:
        assert uow.delivery.quarantine.open(10) == []
        [sums] = uow.delivery.views.sums()
        assert (sums.content, sums.reads) == ("scan", 2)


def test_a_batch_that_comes_after_its_tombstone_stands(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, _tombstone())
        gateway.wait_acked(1)
        assert _gaps(ledger) == [("tombstone", "overflow", 0, ["M1", "M2"])]
        gateway.send(1, scan(0))
        until(lambda: stored(store) == 2, "the batch is not stored")
        assert _gaps(ledger) == []
        gateway.send(2, scan(1))
        gateway.wait_acked(2)
    with ledger.read() as uow:
        [sums] = uow.delivery.views.sums()
        assert (sums.content, sums.batches, sums.reads) == ("scan", 2, 4)
        assert uow.delivery.quarantine.open(10) == []


def test_undated_batches_are_evidence_only(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    undated = encode(scan(0, clock=Clock.UNDATED)).replace(b"2026-01-01", b"1970-01-01")
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, undated)
        gateway.wait_acked(1)
    with ledger.read() as uow:
        [entry] = uow.delivery.quarantine.open(10)
        assert (entry.code, entry.payload) == ("undated", undated)
        assert uow.index_reads.of_meter("M1", SLOT.replace(year=1970), SLOT) == []
    assert stored(store) == 0


def test_a_read_that_the_store_refuses_does_not_hold_up_its_batch(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    troubled = TroubledStore(store, refuse={"M2"})
    with intake(ledger, troubled, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0))
        gateway.wait_acked(1)
    with ledger.read() as uow:
        [entry] = uow.delivery.quarantine.open(10)
        [sums] = uow.delivery.views.sums()
    assert (entry.code, entry.reason) == ("store_refused", "refused by the test")
    assert b'"M2"' in entry.payload
    assert sums.reads == 1


def test_unknown_meters_are_stored_like_any_other(
    ledger: Ledger, store: DuckDbStore, mosquitto: Mosquitto
) -> None:
    with intake(ledger, store, mosquitto.port), Gateway(mosquitto.port) as gateway:
        gateway.send(1, scan(0, meters=("never-registered",)))
        gateway.wait_acked(1)
    with ledger.read() as uow:
        [(meter, _, _)] = uow.coverage.unassigned()
    assert meter == "never-registered"
    assert stored(store) == 1
