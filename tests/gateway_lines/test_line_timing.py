"""Time on the line: silence between frames, the pauses that a model asks for, and the whole scan.

The slave gives every byte the time that it takes at the line's baud rate.
"""

import asyncio
from pathlib import Path

import pytest

from gateway.lines.endpoints import SerialEndpoint, TcpEndpoint
from gateway.lines.modbus import REPLY_CHARS, REQUEST_CHARS
from gateway.meters.plan import plan
from gateway.meters.profile import MeterProfile, Parity, Timing
from gateway.ports import Part, Priority
from gateway.profiles import ProfileLibrary
from tests.gateway_lines.bench import meters, profile, running
from tests.gateway_lines.slave import PtySlave, Slave, TcpSlave, Wire

INTERVAL = Priority.INTERVAL
TURNAROUND_S = 0.020


def test_character_times_and_silence() -> None:
    slow = SerialEndpoint("x", 9600)
    assert slow.wire_s(96) == pytest.approx(0.1)
    assert slow.silence_s == pytest.approx(3.5 * 10 / 9600)
    assert SerialEndpoint("x", 9600, Parity.EVEN).wire_s(96) == pytest.approx(0.11)
    assert SerialEndpoint("x", 19_200).silence_s == pytest.approx(3.5 * 10 / 19_200)
    assert SerialEndpoint("x", 38_400).silence_s == 0.00175
    assert TcpEndpoint("h", 502).silence_s == 0.0
    assert str(SerialEndpoint("/dev/x", 9600, Parity.EVEN)) == "/dev/x 9600 8E1"


def _starts(slave: Slave, wire: Wire) -> list[float]:
    """When each request began on the wire."""
    return [request.at - wire.chars_s(REQUEST_CHARS) for request in slave.requests]


def _silences(slave: Slave, wire: Wire, count: int) -> list[float]:
    """Seconds from the end of each reply of `count` registers to the next request."""
    reply_s = wire.turnaround_s + wire.chars_s(REPLY_CHARS + 2 * count)
    ends = [request.at + reply_s for request in slave.requests]
    return [begin - end for end, begin in zip(ends, _starts(slave, wire)[1:], strict=False)]


@pytest.mark.parametrize(
    ("timing", "same_unit_s", "other_unit_s"),
    [
        (Timing(), 3.5 * 10 / 9600, 3.5 * 10 / 9600),
        (Timing(frame_pause_ms=15), 0.015, 0.015),
        (Timing(id_switch_pause_ms=40), 3.5 * 10 / 9600, 0.040),
    ],
)
@pytest.mark.asyncio
async def test_silence_and_pauses_are_kept_and_little_more(
    timing: Timing, same_unit_s: float, other_unit_s: float, tmp_path: Path
) -> None:
    wire = Wire(9600, 0.002)
    slave = Slave([1, 2])
    installed = meters(profile(timing=timing), 1, 2)
    endpoint = SerialEndpoint(str(tmp_path / "line.tty"), 9600)
    with PtySlave(slave, tmp_path / "line.tty", wire):
        async with running(endpoint, installed) as line:
            for meter in (*installed, *installed):
                await line.read(meter, Part.MOMENTARY, INTERVAL)
                await line.read(meter, Part.MOMENTARY, INTERVAL)
    silences = _silences(slave, wire, 2)
    assert len(silences) == 7
    for index, silence in enumerate(silences):
        asked_s = other_unit_s if index % 2 else same_unit_s
        assert silence >= asked_s - 0.0001
        assert silence < asked_s + 0.1, "the machine would have to be very busy"


@pytest.mark.asyncio
async def test_pauses_are_for_the_wire_not_for_modbus_tcp() -> None:
    installed = meters(profile(timing=Timing(id_switch_pause_ms=1_000)), 1, 2)
    async with (
        TcpSlave(Slave([1, 2])) as server,
        running(TcpEndpoint("127.0.0.1", server.port), installed) as line,
        asyncio.timeout(1),
    ):
        for meter in (*installed, *installed):
            await line.read(meter, Part.ENERGY, INTERVAL)


def _scan_needs_s(model: MeterProfile, wire: Wire, endpoint: SerialEndpoint, count: int) -> float:
    """What the wire takes for the energies of `count` meters, the model's pauses included."""
    blocks = plan(model, Part.ENERGY)
    pause_s = max(endpoint.silence_s, model.timing.frame_pause_ms / 1000)
    switch_s = max(pause_s, model.timing.id_switch_pause_ms / 1000)
    on_wire_s = sum(
        wire.chars_s(REQUEST_CHARS + REPLY_CHARS + 2 * block.count) + wire.turnaround_s
        for block in blocks
    )
    return count * (on_wire_s + (len(blocks) - 1) * pause_s) + (count - 1) * switch_s


@pytest.mark.asyncio
async def test_a_scan_of_32_meters_takes_hardly_more_than_the_wire_needs(tmp_path: Path) -> None:
    model = ProfileLibrary().get_modbus("schneider-iem3155")
    wire = Wire(9600, TURNAROUND_S)
    endpoint = SerialEndpoint(str(tmp_path / "line.tty"), 9600)
    installed = meters(model, *range(1, 33))
    slave = Slave(range(1, 33))
    loop = asyncio.get_running_loop()
    with PtySlave(slave, tmp_path / "line.tty", wire):
        async with running(endpoint, installed) as line:
            await line.read(installed[-1], Part.ENERGY, INTERVAL)
            slave.requests.clear()
            begun_at = loop.time()
            for meter in installed:
                await line.read(meter, Part.ENERGY, INTERVAL)
            took_s = loop.time() - begun_at
    needs_s = _scan_needs_s(model, wire, endpoint, 32)
    assert len(slave.requests) == 32
    assert took_s >= needs_s, "faster than the wire: the slave does not pace"
    # 1.02 on an idle machine, which the bench measures; here other programs may be running.
    assert took_s <= 1.25 * needs_s, f"{took_s:.3f} s instead of {needs_s:.3f} s"
