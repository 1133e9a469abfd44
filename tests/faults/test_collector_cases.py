"""Cases 3, 4, 9, 10, 11, 12 and 24: the collector is killed, doubled, lied to and fed poison."""

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from contract.messages import decode_batch, encode
from contract.topics import BatchTopic, batches_filter, build, parse
from tests.endurance.station import NAME
from tests.faults.programs import Forks
from tests.faults.world import World, until, world
from tests.intake.kit import Gateway
from tests.services import InfluxDatabase

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]
ONCE: dict[str, object] = {"resend_after_s": 600}


async def test_case_03_killed_between_the_commit_and_the_acknowledgement(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks, uplink=ONCE) as made:
        made.start_collector()
        await made.subscribed()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        made.collector_way.up.blackhole = True  # what it says is heard by nobody
        await made.slots_to(7)
        await until(lambda: len(made.arrived()) == 8, "all is committed")
        assert len(made.acked()) == 2
        await asyncio.to_thread(made.kill_collector)
        made.collector_way.heal()
        made.injected.append("collector killed after COMMIT of 6, before any PUBACK")
        made.quiet()
        made.start_collector()
        await made.settle()
        assert made.tell(3).duplicate >= 6


async def test_case_04_killed_before_the_commit_with_messages_in_flight(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        with closing(sqlite3.connect(made.ledger, isolation_level=None, timeout=20)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            before = made.collector_way.done["bytes_down"]
            await made.slots_to(9)
            size = made.payload_bytes(8)
            await until(
                lambda: made.collector_way.done["bytes_down"] - before >= size, "all are in flight"
            )
            assert len(made.arrived(complete=False)) == len(made.acked()) == 2
            await asyncio.to_thread(made.kill_collector)
            holder.execute("ROLLBACK")
        made.injected.append("collector killed with 8 in flight, none committed")
        made.quiet()
        made.start_collector()
        await made.settle()
        assert made.tell(4).late == 8


class Doubler:
    """Publishes again, without the DUP flag, whatever comes: some twice in all, some ten times."""

    def __init__(self, port: int) -> None:
        self.added = 0
        self._seen: set[str] = set()
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(batches_filter(NAME), 1)
        self.client.on_message = self._again
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _again(self, client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic in self._seen:
            return
        self._seen.add(message.topic)
        topic = parse(message.topic)
        assert isinstance(topic, BatchTopic)
        for _ in range(1 if topic.seq % 2 else 9):
            client.publish(message.topic, message.payload, 1)
            self.added += 1


async def test_case_09_every_message_comes_twice_or_ten_times(tmp_path: Path, forks: Forks) -> None:
    async with world(tmp_path, forks, uplink=ONCE) as made:
        doubler = Doubler(made.broker.port)
        made.start_collector()
        await made.subscribed()
        made.station.start()
        await made.slots_to(11)
        await until(lambda: len(made.acked()) == len(made.kept()), "all is delivered")
        await until(lambda: doubler.added == 6 * 1 + 6 * 9, "all is doubled")
        await until(lambda: made.one("SELECT duplicates FROM gateways") >= doubler.added, "counted")
        doubler.client.disconnect()
        doubler.client.loop_stop()
        made.injected.append(f"{doubler.added} deliveries added: half ×2, half ×10")
        await made.settle()
        assert made.tell(9).duplicate == doubler.added


async def test_case_10_three_workers_share_the_work_and_one_is_killed(
    tmp_path: Path, forks: Forks, influx: InfluxDatabase
) -> None:
    async with world(tmp_path, forks, influx=influx) as made:
        for number in range(3):
            made.write_collector_file(number, client_id=f"w{number}", shared_group="intake")
        made.start_collector()
        workers = [made.start_another(number) for number in (1, 2)]
        try:
            for number in range(3):
                await made.subscribed(f"w{number}")
            made.station.start()
            await made.slots_to(8)
            await until(lambda: len(made.acked()) == 9, "all are at work")
            made.collector_way.down.latency_s = 0.5  # of those that come from now on
            await made.slots_to(14)
            await asyncio.to_thread(workers[0].kill)
            made.collector_way.heal()
            made.injected.append("3 workers, one killed, messages late")
            made.quiet()
            await made.slots_to(24)
            await until(lambda: made.station.waiting() == 0, "all is delivered")
            contiguous(made)
        finally:
            for worker in workers:
                await asyncio.to_thread(worker.kill)
        await made.settle()
        made.tell(10)


def contiguous(made: World) -> None:
    """High-water marks cover only what is there without a hole."""
    there = made.arrived()
    for epoch, upto in made.rows(f"SELECT epoch, upto FROM epochs WHERE gateway = '{NAME}'"):
        assert {(str(epoch), seq) for seq in range(1, int(str(upto)) + 1)} <= there


async def test_case_11_two_collectors_with_one_client_id_take_over_from_each_other(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.write_collector_file(1)
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "the first is at work")
        second = made.start_another(1)
        try:
            await until(lambda: made.collector_log().count("broker_disconnected") >= 3, "a fight")
            await made.slots_to(9)
        finally:
            await asyncio.to_thread(second.kill)
        made.injected.append("two collectors with one client id")
        made.quiet()
        await made.settle()
        made.tell(11)


async def test_case_12_another_batch_under_the_same_number_is_kept_aside(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(4)
        await until(lambda: len(made.acked()) == 5, "all is delivered")
        with Gateway(made.broker.port, "FORGER") as forger:
            for key, payload in made.payloads().items():
                forger.publish(build(BatchTopic(NAME, *key)), other_energy(payload))
            aside = "SELECT count(*) FROM quarantine WHERE code = 'hash_conflict'"
            await until(lambda: made.one(aside) == 5, "all forgeries are kept aside")
        made.injected.append("5 batches with other energies under numbers that are taken")
        await made.settle()
        made.tell(12)


def other_energy(payload: bytes) -> bytes:
    """The same batch with every value one more."""
    batch = decode_batch(payload)
    assert batch.scan is not None
    tables = [
        msgspec.structs.replace(
            table,
            reads=[
                (meter, ms, [one if one is None else one + 1 for one in values], quality)
                for meter, ms, values, quality in table.reads
            ],
        )
        for table in batch.scan.tables
    ]
    scan = msgspec.structs.replace(batch.scan, tables=tables)
    return encode(msgspec.structs.replace(batch, scan=scan))


SEED = 24


def poison() -> list[bytes]:
    chance = random.Random(SEED)
    return [
        b"x" * 200_000,
        b"[" * 100_000,
        b'{"v":1,"station":"S","clock":"synced","scan":' + b"[" * 50_000,
        b'{"v":NaN}',
        b'{"v":1,"station":"S","at":Infinity}',
        b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}",
        b'{"v":99,"station":"S","clock":"synced"}',
        b"",
        b"null",
        *(chance.randbytes(chance.randint(1, 2_000)) for _ in range(20)),
    ]


async def test_case_24_poison_is_kept_aside_acknowledged_and_holds_up_nobody(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        with Gateway(made.broker.port, "POISON") as poisoner:
            for seq, payload in enumerate(poison(), 1):
                poisoner.send(seq, payload)
            await made.slots_to(6)
            await until(lambda: poisoner.upto() == len(poison()), "all poison is acknowledged")
            # Larger than any message may be, and a million keys: from an epoch of their own.
            poisoner.send(1, b"y" * 2_000_000, epoch="f" * 32)
            poisoner.send(2, b"{" + b",".join(b'"%d":0' % n for n in range(1_000_000)) + b"}",
                          epoch="f" * 32)  # fmt: skip
        await made.slots_to(9)
        made.injected.append(f"{len(poison()) + 2} poisonous payloads (seed {SEED})")
        await until(lambda: len(made.acked()) == len(made.kept()), "intake goes on")
        assert made.one("SELECT count(*) FROM quarantine") >= len(poison())
        assert made.one("SELECT reads FROM gateways WHERE gateway = 'POISON'") == 0
        await made.settle()
        made.tell(24)
