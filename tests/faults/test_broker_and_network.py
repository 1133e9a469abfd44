"""Cases 5, 7 and 8: the broker is killed, its queue is too short, the network is bad."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.programs import Forks
from tests.faults.proxy import Toxics
from tests.faults.world import World, until, world

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]


async def test_case_05_a_broker_that_is_killed_and_comes_back_empty_only_delays(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        for kill in range(1, 4):
            await made.slots_to(4 * kill - 2)
            await until(lambda: len(made.arrived()) > 0, "something is delivered")
            made.broker.kill()
            await made.slots_to(4 * kill)
            made.broker.start()
        made.injected.append("broker killed ×3, forgot everything")
        made.quiet()
        await made.settle()
        assert made.tell(5).late > 0


async def test_case_07_what_the_brokers_full_queue_dropped_is_sent_again(
    tmp_path: Path, forks: Forks
) -> None:
    short = "max_queued_messages 2\nmax_inflight_messages 1"
    async with world(tmp_path, forks, broker_config=short) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.arrived()) == 2, "the session exists")
        await asyncio.to_thread(made.kill_collector)
        await made.slots_to(16)
        await until(lambda: "being dropped" in made.broker.process.log_tail(), "the queue is full")
        made.injected.append("collector away, the broker's queue holds 2")
        made.quiet()
        made.start_collector()
        await made.settle()
        assert made.tell(7).late >= 14


KEEPALIVE_S = 5
RECONNECT_S_MAX = 4.0
BOTH = {
    "latency 300 ms": {"latency_s": 0.3},
    "slicer 1 byte": {"slice_bytes": 1},
    "bandwidth 2 kB/s": {"bytes_per_s": 2_000},
    "reset in mid PUBLISH": {"reset_after_bytes": 100},
}


async def test_case_08_a_bad_network_and_a_half_open_connection(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.station.more["broker"] = {
            "host": "127.0.0.1",
            "port": made.gateway_way.port,
            "keepalive_s": KEEPALIVE_S,
        }
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.arrived()) == 2, "both are connected")
        for number, (name, toxics) in enumerate(BOTH.items(), 1):
            for way in (made.gateway_way, made.collector_way):
                way.up, way.down = Toxics(**toxics), Toxics(**toxics)  # type: ignore[arg-type]
            await made.slots_to(1 + 3 * number)
            await until(lambda n=number: len(made.arrived()) >= 2 + 3 * n, name)  # type: ignore[misc]
            made.injected.append(name)
            made.gateway_way.heal()
            made.collector_way.heal()
        assert made.gateway_way.done["delayed"] > 0
        assert made.gateway_way.done["sliced"] > 300
        assert made.gateway_way.done["throttled"] > 0
        assert made.gateway_way.done["reset"] >= 1
        await half_open(made)
        made.quiet()
        made.gateway_way.heal()
        await made.settle()
        made.tell(8)


async def half_open(made: World) -> None:
    """Nothing comes and nothing is refused: it hangs up and tries again, without hurry."""
    loop = asyncio.get_running_loop()
    connections = made.gateway_way.done["connections"]
    made.gateway_way.blackhole()
    began_s, cpu_s = loop.time(), made.cpu_s()
    await made.slots_to(20)
    await until(lambda: made.gateway_way.done["connections"] > connections, "it tries again")
    took_s = loop.time() - began_s
    made.injected.append(f"blackhole, left after {took_s:.1f} s of keepalive {KEEPALIVE_S} s")
    # A ping after one keepalive, given up after another; then it waits before it tries again.
    assert took_s <= 2 * KEEPALIVE_S + RECONNECT_S_MAX
    assert made.cpu_s() - cpu_s < 0.3 * took_s, "it does not spin"
