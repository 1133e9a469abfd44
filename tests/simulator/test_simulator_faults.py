"""Which requests go wrong, and how that looks on a socket."""

import asyncio
import struct
from pathlib import Path

import pytest

from simulator.app import Simulator
from simulator.config import FaultConfig
from simulator.faults import Fault, FaultKind, FaultPlan, FaultRule
from tests.simulator.raw_modbus import RawClient, small_config

READ = struct.pack(">BHH", 3, 0x5000, 4)


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    rules = [FaultRule("*", Fault(FaultKind.SILENT), probability=0.3)]

    def faults(seed: int) -> list[bool]:
        plan = FaultPlan(rules, seed=seed)
        return [plan.next(serial, 0) is not None for serial in ("a", "b") for _ in range(500)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)
    assert 220 < sum(faults(1)) < 380


def test_a_meters_faults_do_not_depend_on_the_other_meters() -> None:
    rules = [FaultRule("*", Fault(FaultKind.SILENT), probability=0.5)]
    alone, together = FaultPlan(rules, seed=1), FaultPlan(rules, seed=1)
    expected = [alone.next("a", 0) for _ in range(50)]
    found = []
    for _ in range(50):
        found.append(together.next("a", 0))
        together.next("b", 0)
    assert found == expected


def test_rules_have_a_meter_and_a_time() -> None:
    late, silent = Fault(FaultKind.LATE, 1.0), Fault(FaultKind.SILENT)
    rules = [FaultRule("a", late, from_ms=10, to_ms=20), FaultRule("*", silent, from_ms=15)]
    plan = FaultPlan(rules, seed=1)
    assert [plan.next("a", at) for at in (9, 10, 19, 20)] == [None, late, late, silent]
    assert [plan.next("b", at) for at in (14, 15)] == [None, silent]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", list(FaultKind))
async def test_replies_on_a_socket_go_wrong_as_told(tmp_path: Path, kind: FaultKind) -> None:
    config = small_config(
        tmp_path,
        model="abb-b23",
        faults=(FaultConfig(kind=kind, meter="2026000001", late_ms=500),),
    )
    simulator = Simulator(config)
    lines = (await simulator.start())["lines"]
    assert isinstance(lines, list)
    client = await RawClient.connect("127.0.0.1", lines[0]["port"])
    good = client.send(2, READ)
    expected = await client.receive()
    sent = client.send(1, READ)
    after = client.send(2, READ)
    match kind:
        case FaultKind.SILENT:
            assert await client.receive() == (after, 2, expected[2])
            with pytest.raises(TimeoutError):
                await client.receive(0.3)
        case FaultKind.LATE:
            assert await client.receive() == (after, 2, expected[2])
            assert (await client.receive())[:2] == (sent, 1)
        case FaultKind.DUPLICATE:
            assert (await client.receive())[:2] == (sent, 1)
            assert (await client.receive())[:2] == (sent, 1)
            assert await client.receive() == (after, 2, expected[2])
        case FaultKind.CORRUPT:
            assert (await client.receive())[0] not in (good, sent, after)
            assert await client.receive() == (after, 2, expected[2])
        case FaultKind.WRONG_UNIT:
            assert (await client.receive())[:2] == (sent, 2)
            assert await client.receive() == (after, 2, expected[2])
        case FaultKind.TRUNCATED:
            # Half of 17 bytes, then the whole next reply: a reader that trusts the length is lost.
            async with asyncio.timeout(5):
                data = await client._reader.readexactly(8 + 17)
            assert data[8:15] == struct.pack(">HHHB", after, 0, 11, 2)
    await client.close()
    await simulator.stop()
