"""Case 20 (`make soak`): a line spoils, delays and loses answers, and its adapter is pulled out.

The meters are on a pseudo-terminal; what they show follows from the instant, so that an answer of
another meter, register or slot is known for what it is.
"""

import random
import struct
from functools import partial
from pathlib import Path

import pytest

from tests.endurance.station import NAME, PROFILE, Station, word_at
from tests.faults.programs import Forks
from tests.faults.world import World, until, world
from tests.gateway_lines.slave import Fault, PtySlave, Request, Slave

pytestmark = [pytest.mark.soak, pytest.mark.asyncio, pytest.mark.timeout(120)]
SEED = 20261125
METERS = 3
GOOD = 4  # answers of each meter among those that are spoilt, one of each kind
KINDS = ("damaged", "truncated", "late", "foreign", "wrong_unit", "silent", "noise", "duplicate")
# Longer than the profile's response timeout: it comes when something else has been asked.
LATE_S = 1.2


class BadSlave(Slave):
    """As the others, and sometimes another meter of the line answers in the place of one."""

    def answer(self, request: Request) -> tuple[Fault, int, bytes] | None:
        script = self.script[request.unit]
        if not script or script[0].kind != "foreign":
            return super().answer(request)
        script.popleft()
        self.requests.append(request)
        other = request.unit % METERS + 1
        words = [self.words(other, request.address + i) for i in range(request.count)]
        body = struct.pack(f">{len(words)}H", *words)
        return Fault("none"), other, bytes([request.function, len(body)]) + body


def serial_line(device: Path) -> list[dict[str, object]]:
    """The `lines` of the station file, in the place of the bridge's."""
    meters = [
        {"serial": Station.serial(0, at), "address": at, "profile": PROFILE}
        for at in range(1, METERS + 1)
    ]
    return [{"name": "rs485-1", "modbus_rtu": {"device": str(device)}, "meters": meters}]


async def slots_until_asked(made: World, slave: Slave, slot: int) -> int:
    """Let slots go by until a meter is asked again; returns the last."""
    asked = len(slave.requests)
    while len(slave.requests) == asked:
        assert slot < 2_000, "the line is never opened again"
        slot += 1
        await made.slots_to(slot)
    return slot


async def test_case_20_a_bad_line_and_an_adapter_that_is_pulled_out(
    tmp_path: Path, forks: Forks
) -> None:
    chance = random.Random(SEED)
    device = tmp_path / "line.tty"
    async with world(tmp_path, forks, meters=METERS, lines=serial_line(device)) as made:
        slave = BadSlave(list(range(1, METERS + 1)), words=partial(word_at, made.station.clock))
        pulled = 0
        with PtySlave(slave, device) as adapter:
            made.start_collector()
            await made.subscribed()
            made.station.start()
            await made.slots_to(1)
            for unit in slave.units:
                deck = [*KINDS, *["none"] * GOOD]
                chance.shuffle(deck)
                for kind in deck:
                    slave.script[unit].append(Fault(kind, LATE_S if kind == "late" else 0.0))
            injected = {unit: list(script) for unit, script in slave.script.items()}
            slot = 5
            await made.slots_to(slot)
            for _ in range(2):
                adapter.unplug()
                slot += 2
                await made.slots_to(slot)
                adapter.plug()
                pulled += 1
                slot = await slots_until_asked(made, slave, slot)
            spoilt = [
                fault.kind
                for unit, script in injected.items()
                for fault in script[: len(script) - len(slave.script[unit])]
                if fault.kind != "none"
            ]
            assert set(spoilt) == set(KINDS), "each kind befell an answer"
            made.quiet()
            slave.script.clear()
            asked = len(slave.requests)
            await made.slots_to(slot + 2)
            assert len(slave.requests) > asked
            await until(lambda: made.station.waiting() == 0, "all is delivered")
            made.injected.append(f"{len(spoilt)} answers spoilt, the adapter pulled out {pulled}x")
            await made.settle()
        report = made.tell(20)
        assert 0 < report.unread < METERS * (slot + 3)
        named = made.one(f"SELECT count(*) FROM gaps WHERE gateway = '{NAME}' AND meters <> '[]'")
        assert named > 0, "who was not read is named"
