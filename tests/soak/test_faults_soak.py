"""Kill -9 of gateway and collector a thousand times, and a network of 60 s (`make soak`).

`SONGLO_KILL_CYCLES` says how often, `SONGLO_KILL_SEED` repeats the moments of a run.
"""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.endurance.station import START
from tests.faults.programs import Forks
from tests.faults.world import World, until, world

CYCLES = int(os.environ.get("SONGLO_KILL_CYCLES", "1000"))
SEED = int(os.environ.get("SONGLO_KILL_SEED", str(time.time_ns() % 2**31)))
SETTLED_EVERY = 50
# From the moment the victim is started to its death: from before its first import to at work.
LIFE_S_MAX = 1.2

pytestmark = [pytest.mark.soak, pytest.mark.asyncio, pytest.mark.timeout(4 * 3600)]


async def test_case_01_killed_at_random_a_thousand_times(tmp_path: Path, forks: Forks) -> None:
    chance = random.Random(SEED)
    print(f"kills: {CYCLES} cycles, SONGLO_KILL_SEED={SEED}", flush=True)  # noqa: T201
    killed = {"gateway": 0, "collector": 0}
    began_s = time.monotonic()
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        for cycle in range(1, CYCLES + 1):
            slot = cycle * made.station.interval
            await made.station.clock.extend(START + slot)
            await asyncio.sleep(chance.uniform(0, LIFE_S_MAX))
            victim = chance.choice(["gateway", "collector"])
            killed[victim] += 1
            if victim == "gateway":
                await made.kill_gateway()
                made.station.start()
            else:
                await asyncio.to_thread(made.kill_collector)
                made.start_collector()
            if cycle % SETTLED_EVERY == 0:
                await so_far(made, cycle, began_s)
        made.injected.append(f"{killed['gateway']} kills of the gateway, {killed['collector']} of "
                             f"the collector, seed {SEED}")  # fmt: skip
        made.quiet()
        await made.slots_to(CYCLES + 2)
        await made.settle(300)
        print(f"{(time.monotonic() - began_s) / CYCLES:.2f} s a cycle")  # noqa: T201
        made.tell(1)


async def so_far(made: World, cycle: int, began_s: float) -> None:
    """All that was due is kept and delivered: what goes wrong is seen where it happens."""
    await made.slots_to(cycle)
    await until(lambda: made.station.waiting() == 0, f"all is delivered after {cycle} kills", 300)
    missing = made.kept() - made.arrived()
    took_s = time.monotonic() - began_s
    print(f"{cycle} kills, {took_s:.0f} s: missing {len(missing)}", flush=True)  # noqa: T201
    assert not missing


async def test_case_08_a_network_of_60_seconds(tmp_path: Path, forks: Forks) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        made.station.start()
        await made.slots_to(1)
        await until(lambda: len(made.acked()) == 2, "all are connected")
        for latency_s in (5.0, 20.0, 60.0):
            made.gateway_way.up.latency_s = made.gateway_way.down.latency_s = latency_s
            made.injected.append(f"latency {latency_s:.0f} s")
            await made.slots_to(1 + 2 * len(made.injected))
            await asyncio.sleep(3 * latency_s)
        made.quiet()
        made.gateway_way.heal()
        await made.settle(180)
        made.tell(8)
