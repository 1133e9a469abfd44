"""The simulated fleet delivers as gateways do: windows, the live first, again after a pause."""

import random
from dataclasses import replace
from pathlib import Path

from bench.fleet import UPLINK, Storm, Weathered, _Gateway, _Payloads, weather
from bench.reconnect_storm import Outcome, missing_in
from bench.workload import EPOCH
from collector.ledger import Ledger
from collector.operations import delivery
from collector.readings.duckdb_store import DuckDbStore
from contract.messages import Ack, AckEpoch, decode_batch, encode
from tests.intake.kit import intake
from tests.ledger.template import fill_file
from tests.services import Mosquitto


def ack(upto: int, *also: tuple[int, int]) -> bytes:
    return encode(Ack(1, [AckEpoch(EPOCH, upto, list(also))]))


def test_a_gateway_keeps_its_window_and_sends_what_is_live_first() -> None:
    gateway = _Gateway(7, Storm(backlog=48), random.Random(1))
    assert gateway.to_send(0.0) == list(range(1, UPLINK.window + 1))
    gateway.fall_due(1.0)
    assert gateway.to_send(1.0) == []
    gateway.take_ack(ack(2), 5.0)
    assert gateway.to_send(5.0) == [49, UPLINK.window + 1]
    gateway.take_ack(ack(2, (49, 49)), 9.0)
    assert gateway.latency_s == {49: 8.0}
    again = gateway.to_send(UPLINK.resend_after_s * 1.2)
    assert set(range(3, UPLINK.window + 1)) <= set(again)
    assert gateway.to_send(UPLINK.resend_after_s * 1.2 + 1) == []
    gateway.take_ack(ack(49), 50.0)
    assert gateway.acked_backlog < 48
    assert gateway.drained_s is None


def test_every_gateway_has_meters_of_its_own() -> None:
    payloads = _Payloads()
    one, other = (decode_batch(payloads.of(number, 3)) for number in (12, 999))
    assert (one.station, other.station) == ("PA25SL-T012", "PA25SL-T999")
    assert one.scan is not None
    assert other.scan is not None
    assert one.scan.slot == other.scan.slot
    serials = [{read[0] for read in scan.tables[0].reads} for scan in (one.scan, other.scan)]
    assert len(serials[0] | serials[1]) == 200


def test_a_small_storm_is_weathered_whole(mosquitto: Mosquitto, tmp_path: Path) -> None:
    fill_file(tmp_path / "ledger.db")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    store = DuckDbStore(tmp_path / "reads.duckdb")
    storm = Storm(gateways=20, backlog=30, live_every_s=0.5, live_slots=2, give_up_s=40)
    with intake(ledger, store, mosquitto.port):
        found = weather(mosquitto.port, storm)
    assert len(found.live) == 40
    assert max(late_s for _, late_s in found.live) < 30
    assert found.samples[-1].least == found.samples[-1].most == 30
    assert Outcome(storm, found, 0.0).half_way.done >= 300
    assert missing_in(tmp_path / "ledger.db", storm) == 0
    assert missing_in(tmp_path / "ledger.db", replace(storm, backlog=31)) == 20
    verified = delivery.verify(ledger, store)
    assert verified.problems == ()
    assert verified.reads_stored == 20 * 32 * 100
    store.close()
    ledger.close()


def test_calm_begins_where_no_later_batch_is_late() -> None:
    late_s = {0.0: 40.0, 60.0: 3.0, 120.0: 31.0, 180.0: 29.0, 240.0: 1.0}
    live = [(due_s, late) for due_s, late in late_s.items() for _ in range(100)]
    assert Outcome(Storm(), Weathered(live=live), 0.0).calm_from_s == 180.0
    assert Outcome(Storm(), Weathered(live=live[:200]), 0.0).calm_from_s == 60.0
    assert Outcome(Storm(), Weathered(live=live[:100]), 0.0).calm_from_s == float("inf")
