"""Figure `intake_embedded`: from a gateway's publish to the collector's ack, on embedded stores.

The limit is the lower of two measured in the same run: the broker alone (the same messages to a
subscriber that does nothing) and the store alone (the same reads appended from memory).
"""

import queue
import statistics
import tempfile
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.figure import Figure, Requirement
from bench.isolated import run_isolated, started
from bench.programs import READY_TIMEOUT_S, broker, collector
from bench.raw_mqtt import Published, RawPublisher
from bench.store_alone_duckdb import append_from_memory
from bench.workload import DAY_BATCHES, GATEWAYS, METERS, REGISTERS, message, messages
from contract.topics import batches_filter

BATCHES = 3 * DAY_BATCHES
ROUNDS = 3
KEEPALIVE_S = 60
WAIT_S = 300.0


def publish_and_wait(port: int, batches: int) -> Published:
    """Publish once a collector is at work, and wait for all acks."""
    publisher = RawPublisher(port)
    publisher.watch_acks()
    publisher.probe(message("PROBE", GATEWAYS, 0), READY_TIMEOUT_S)
    done = publisher.publish(list(messages(batches)), wait_for_acks=True)
    publisher.close()
    return done


def publish(port: int, batches: int) -> Published:
    """Publish without waiting for anybody."""
    publisher = RawPublisher(port)
    done = publisher.publish(list(messages(batches)), wait_for_acks=False)
    publisher.close()
    return done


def subscribe_and_count(port: int, ready: str, count: int) -> float:
    """Take `count` messages and do nothing with them; the monotonic time of the last.

    The file `ready` appears when the subscription stands.
    """
    left = count
    last: queue.SimpleQueue[float] = queue.SimpleQueue()

    def on_message(_client: object, _data: object, _message: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            last.put(time.monotonic())

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.on_message = on_message
    client.on_connect = lambda *_: _subscribe(client)
    client.on_subscribe = lambda *_: Path(ready).touch()
    client.connect("127.0.0.1", port, KEEPALIVE_S)
    client.loop_start()
    at = last.get(timeout=WAIT_S)
    client.disconnect()
    client.loop_stop()
    return at


def intake(batches: int) -> float:
    """Reads a second from the first publish to the last ack."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        folder = Path(name)
        readings = {"store": "duckdb", "path": str(folder / "reads.duckdb")}
        with collector(folder, mosquitto.port, readings):
            done = run_isolated(publish_and_wait, mosquitto.port, batches)
    assert done.acked_at is not None
    return batches * METERS / (done.acked_at - done.started_at)


def broker_alone(batches: int) -> float:
    """Reads a second that come through the broker to a subscriber that does nothing."""
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name, broker() as mosquitto:
        ready = Path(name) / "ready"
        with started(subscribe_and_count, mosquitto.port, str(ready), batches) as subscriber:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not ready.exists():
                assert time.monotonic() < deadline, "the subscriber is not ready"
                time.sleep(0.02)
            done = run_isolated(publish, mosquitto.port, batches)
            last_at = subscriber.result(WAIT_S)
    return batches * METERS / (last_at - done.started_at)


def measure() -> Figure:
    """The figure: rounds of all three by turns, so that they see the same machine."""
    whole, through, stored = [], [], []
    for _ in range(ROUNDS):
        through.append(broker_alone(BATCHES))
        stored.append(run_isolated(append_from_memory, BATCHES))
        whole.append(intake(BATCHES))
    limits = {
        "broker alone: the same messages to a subscriber that does nothing": through,
        "store alone: the same reads appended from memory": stored,
    }
    what, lower = min(limits.items(), key=lambda item: statistics.median(item[1]))
    return Figure(
        "intake_embedded",
        statistics.median(whole),
        "meter reads/s",
        limit=statistics.median(lower),
        limit_what=what,
        requirement=Requirement("ratio", ">=", 0.5),
        detail={
            "rounds": [round(value) for value in whole],
            "broker_alone_rounds": [round(value) for value in through],
            "store_alone_rounds": [round(value) for value in stored],
            "batches": BATCHES,
            "meters": METERS,
            "registers": len(REGISTERS),
            "gateways": GATEWAYS,
        },
    )


def _subscribe(client: paho.Client) -> None:
    client.subscribe(batches_filter(), 1)
