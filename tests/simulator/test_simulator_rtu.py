"""A serial line of the simulator, from the other end of its pseudo-terminal."""

import asyncio
import os
import struct
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from simulator.errors import SimulatorError
from simulator.faults import Fault, FaultKind
from simulator.modbus_rtu import ModbusRtuLine
from simulator.wire import WireTiming
from tests.simulator.raw_modbus import crc

READ_24 = struct.pack(">BHH", 3, 0x0C83, 24)

# How late a busy machine may be before a test calls the line slow; early there is no allowance.
LATE_S = 2.0


class Meter:
    """Answers any read with as many bytes as were asked for."""

    def __init__(self) -> None:
        self.fault: Fault | None = None

    def answer(self, request: bytes) -> bytes:
        return request[:1] + bytes([2 * request[4]]) + bytes(range(2 * request[4]))

    def next_fault(self) -> Fault | None:
        return self.fault


class Terminal:
    """The reader's end of a line: raw bytes and the instants at which they came."""

    def __init__(self, device: str) -> None:
        self.fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.chunks: list[tuple[float, bytes]] = []
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.fd, self._read)

    def _read(self) -> None:
        data = os.read(self.fd, 4096)
        self.chunks.append((time.monotonic(), data))
        self._arrived.set()

    def send(self, body: bytes) -> float:
        """Send a frame; returns when."""
        at = time.monotonic()
        os.write(self.fd, body + crc(body))
        return at

    @property
    def received(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    async def receive(self, count: int, timeout_s: float = 3.0) -> bytes:
        """The next `count` bytes."""
        async with asyncio.timeout(timeout_s):
            while len(self.received) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.received

    async def nothing(self, seconds: float = 0.3) -> None:
        """Nothing comes for so long."""
        await asyncio.sleep(seconds)
        assert self.received == b""

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)


class Setup:
    def __init__(self, line: ModbusRtuLine, terminal: Terminal, meters: dict[int, Meter]) -> None:
        self.line = line
        self.terminal = terminal
        self.meters = meters


@asynccontextmanager
async def line(directory: Path, timing: WireTiming) -> AsyncIterator[Setup]:
    meters = {1: Meter(), 2: Meter()}
    rtu = ModbusRtuLine(meters, timing)
    terminal = Terminal(rtu.start(directory / "line-1.tty"))
    try:
        yield Setup(rtu, terminal, meters)
    finally:
        terminal.close()
        await rtu.stop()


class LongGap(WireTiming):
    """A line whose silences are long enough for a busy machine to keep them apart."""

    @property
    def gap_s(self) -> float:
        return 0.7


FAST = WireTiming(baud=115_200, turnaround_s=0.005)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("timing", "bits"),
    [
        (WireTiming(baud=9600, turnaround_s=0.02), 10),
        (WireTiming(baud=9600, parity="E", turnaround_s=0.0), 11),
        (WireTiming(baud=2400, stop_bits=2, turnaround_s=0.05), 11),
        (WireTiming(baud=38_400, turnaround_s=0.01), 10),
    ],
)
async def test_bytes_take_the_time_of_the_wire(
    tmp_path: Path, timing: WireTiming, bits: int
) -> None:
    character_s = bits / timing.baud
    gap_s = 3.5 * character_s if timing.baud <= 19_200 else 0.00175
    pieces: list[int] = []
    async with line(tmp_path, timing) as one:
        for _ in range(3):
            one.terminal.chunks.clear()
            sent_at = one.terminal.send(b"\x01" + READ_24)
            await one.terminal.receive(53)
            first_s = 8 * character_s + gap_s + timing.turnaround_s
            count = 0
            for at, data in one.terminal.chunks:
                count += len(data)
                assert at - sent_at >= first_s + count * character_s
            assert count == 53
            last_s = one.terminal.chunks[-1][0] - sent_at
            assert last_s <= first_s + 53 * character_s + LATE_S
            pieces.append(len(one.terminal.chunks))
            await asyncio.sleep(gap_s)
        assert max(pieces) > 1 or timing.baud > 19_200


@pytest.mark.asyncio
async def test_every_meter_answers_for_itself_and_nobody_for_a_stranger(tmp_path: Path) -> None:
    async with line(tmp_path, FAST) as one:
        for address in (1, 2):
            one.terminal.chunks.clear()
            one.terminal.send(bytes([address]) + READ_24)
            reply = await one.terminal.receive(53)
            assert reply[:3] == bytes([address, 3, 48])
            assert crc(reply[:-2]) == reply[-2:]
            await asyncio.sleep(FAST.gap_s)
        one.terminal.chunks.clear()
        one.terminal.send(b"\x03" + READ_24)
        await one.terminal.nothing()


@pytest.mark.asyncio
async def test_a_damaged_request_is_not_answered_and_the_next_is(tmp_path: Path) -> None:
    async with line(tmp_path, FAST) as one:
        for noise in (b"\x01" + READ_24 + b"\x00\x00", b"\x01\x03", b"\xff" * 300):
            os.write(one.terminal.fd, noise)
            await one.terminal.nothing(0.15)
        one.terminal.send(b"\x01" + READ_24)
        assert len(await one.terminal.receive(53)) == 53


@pytest.mark.asyncio
async def test_a_request_in_pieces_is_one_frame_and_one_with_a_pause_is_none(
    tmp_path: Path,
) -> None:
    frame = b"\x01" + struct.pack(">BHH", 3, 0, 1)
    frame += crc(frame)
    async with line(tmp_path, LongGap(baud=9600)) as one:
        for byte in frame:
            os.write(one.terminal.fd, bytes([byte]))
            await asyncio.sleep(0.005)
        assert len(await one.terminal.receive(7)) == 7
    async with line(tmp_path, FAST) as one:
        os.write(one.terminal.fd, frame[:4])
        await asyncio.sleep(0.1)
        os.write(one.terminal.fd, frame[4:])
        await one.terminal.nothing()


@pytest.mark.asyncio
async def test_the_line_is_half_duplex(tmp_path: Path) -> None:
    timing = WireTiming(baud=600, turnaround_s=0.0)
    async with line(tmp_path, timing) as one:
        one.terminal.send(b"\x01" + READ_24)
        await one.terminal.receive(8)
        one.terminal.send(b"\x02" + READ_24)  # while meter 1 is sending
        await one.terminal.receive(53)
        await asyncio.sleep(0.2)
        assert len(one.terminal.received) == 53
        assert one.line.lost_bytes == 8


@pytest.mark.asyncio
async def test_a_request_too_close_behind_a_reply_is_part_of_it(tmp_path: Path) -> None:
    request = struct.pack(">BHH", 3, 0, 1)
    async with line(tmp_path, LongGap(baud=9600)) as one:
        one.terminal.send(b"\x01" + request)
        await one.terminal.receive(7)
        one.terminal.send(b"\x02" + request)
        await asyncio.sleep(1.0)
        assert len(one.terminal.received) == 7
        one.terminal.send(b"\x02" + request)
        assert (await one.terminal.receive(14))[7] == 2


def ends_in_a_good_crc(reply: bytes) -> bool:
    return crc(reply[:-2]) == reply[-2:]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "count", "is_so"),
    [
        (FaultKind.CORRUPT, 53, lambda reply: reply[0] == 1 and not ends_in_a_good_crc(reply)),
        (FaultKind.TRUNCATED, 26, lambda reply: reply[:3] == b"\x01\x03\x30"),
        (FaultKind.WRONG_UNIT, 53, lambda reply: reply[0] == 2 and ends_in_a_good_crc(reply)),
        (FaultKind.DUPLICATE, 106, lambda reply: reply[:53] == reply[53:]),
    ],
)
async def test_replies_go_wrong_as_told(
    tmp_path: Path, kind: FaultKind, count: int, is_so: Callable[[bytes], bool]
) -> None:
    async with line(tmp_path, FAST) as one:
        one.meters[1].fault = Fault(kind)
        one.terminal.send(b"\x01" + READ_24)
        await one.terminal.receive(count)
        await asyncio.sleep(0.1)
        assert len(one.terminal.received) == count
        assert is_so(one.terminal.received)
        one.terminal.chunks.clear()
        one.terminal.send(b"\x02" + READ_24)
        assert ends_in_a_good_crc(await one.terminal.receive(53))


@pytest.mark.asyncio
async def test_a_silent_meter_leaves_the_line_to_the_others(tmp_path: Path) -> None:
    async with line(tmp_path, FAST) as one:
        one.meters[1].fault = Fault(FaultKind.SILENT)
        one.terminal.send(b"\x01" + READ_24)
        await one.terminal.nothing()
        one.terminal.send(b"\x02" + READ_24)
        assert (await one.terminal.receive(53))[0] == 2


@pytest.mark.asyncio
async def test_a_late_reply_comes_after_another_meters(tmp_path: Path) -> None:
    async with line(tmp_path, FAST) as one:
        one.meters[1].fault = Fault(FaultKind.LATE, late_s=1.0)
        sent_at = one.terminal.send(b"\x01" + READ_24)
        await asyncio.sleep(0.1)
        one.terminal.send(b"\x02" + READ_24)
        reply = await one.terminal.receive(106)
        assert (reply[0], reply[53]) == (2, 1)
        assert one.terminal.chunks[-1][0] - sent_at >= 1.0


@pytest.mark.asyncio
async def test_the_link_is_stable_while_the_line_lives_and_gone_after(tmp_path: Path) -> None:
    link = tmp_path / "line-1.tty"
    link.symlink_to("/dev/gone")  # left behind by a run that was killed
    rtu = ModbusRtuLine({1: Meter()}, FAST)
    device = rtu.start(link)
    assert device == str(link)
    for _ in range(2):  # a reader comes and goes
        terminal = Terminal(device)
        assert not termios.tcgetattr(terminal.fd)[3] & termios.ECHO
        terminal.send(b"\x01" + READ_24)
        await terminal.receive(53)
        terminal.close()
        await asyncio.sleep(FAST.gap_s)
    await rtu.stop()
    assert not link.is_symlink()
    await rtu.stop()


@pytest.mark.asyncio
async def test_a_file_in_the_place_of_the_link_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "line-1.tty").write_text("mine")
    with pytest.raises(SimulatorError, match=r"line-1.tty: exists"):
        ModbusRtuLine({}, FAST).start(tmp_path / "line-1.tty")
    assert (tmp_path / "line-1.tty").read_text() == "mine"
