"""Meters on an RS-485 line: a pseudo-terminal on which bytes take the time that a wire takes.

Owns the line's timing, its half duplex and how faults look on it. It must not know what is in a
meter's registers.
"""

import asyncio
import os
import tty
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from simulator.errors import SimulatorError
from simulator.faults import Fault, FaultKind
from simulator.unit import Unit
from simulator.wire import WireTiming, crc16

# A UART hands its bytes over when half of its 16-byte buffer is full (PL011 and 16550 alike).
CHUNK_BYTES = 8

# The longest RTU frame (Modbus over Serial Line 1.02, 2.5.1); what is longer is noise.
FRAME_BYTES_MAX = 256
_FRAME_BYTES_MIN = 4


class ModbusRtuLine:
    """One pseudo-terminal with the meters on it, by address.

    A request is heard once its bytes have taken their time on the wire and t3.5 of silence has
    ended it; the reply starts after the turnaround and arrives no faster than the wire allows. The
    line is half duplex: what is sent while a meter is sending is lost, and a request that follows a
    reply without t3.5 of silence is part of that frame to every meter, so nobody answers it.
    `lost_bytes` counts both.
    """

    def __init__(self, units: Mapping[int, Unit], timing: WireTiming) -> None:
        self._units = dict(units)
        self._timing = timing
        self._master = self._slave = -1
        self._link: Path | None = None
        self._heard = b""
        self._heard_until = 0.0  # when the last byte heard has passed on the wire
        self._silence: asyncio.TimerHandle | None = None
        self._deaf = False  # the frame being heard follows too closely on another
        self._sending_until = 0.0
        self._pending: set[asyncio.TimerHandle] = set()
        self.lost_bytes = 0

    def start(self, link: Path) -> str:
        """Open the terminal and make `link` point to it; returns the link. Raises SimulatorError
        if something else than a link is there."""
        if link.exists() and not link.is_symlink():
            raise SimulatorError(f"{link}: exists and is no link to a terminal")
        self._master, self._slave = os.openpty()
        # The slave stays open here too: the line is still there when its reader comes and goes.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._slave))
        self._link = link
        asyncio.get_running_loop().add_reader(self._master, self._receive)
        return str(link)

    async def stop(self) -> None:
        """Close the terminal and remove its link."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        if self._silence is not None:
            self._silence.cancel()
        for handle in self._pending:
            handle.cancel()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def _receive(self) -> None:
        data = os.read(self._master, 4096)
        now = asyncio.get_running_loop().time()
        if not self._heard:
            # While another is sending, or in its wake: to every meter this is one frame with that.
            self._deaf = now < self._sending_until + self._timing.gap_s
        self._heard = (self._heard + data)[: FRAME_BYTES_MAX + 1]
        self._heard_until = max(self._heard_until, now) + len(data) * self._timing.character_s
        if self._silence is not None:
            self._silence.cancel()
        self._silence = asyncio.get_running_loop().call_at(
            self._heard_until + self._timing.gap_s, self._frame_heard
        )

    def _frame_heard(self) -> None:
        frame, self._heard, self._silence = self._heard, b"", None
        if self._deaf:
            self.lost_bytes += len(frame)
            return
        if not _FRAME_BYTES_MIN <= len(frame) <= FRAME_BYTES_MAX or crc16(frame[:-2]) != frame[-2:]:
            return
        unit = self._units.get(frame[0])
        if unit is None:
            return
        body = frame[:1] + unit.answer(frame[1:-2])
        # Counted from when the silence ended, not from when this ran: delays must not add up.
        start = self._heard_until + self._timing.gap_s + self._timing.turnaround_s
        self._reply(start, body, unit.next_fault())

    def _reply(self, start: float, body: bytes, fault: Fault | None) -> None:
        frame = body + crc16(body)
        match None if fault is None else fault.kind:
            case FaultKind.SILENT:
                return
            case FaultKind.LATE if fault is not None:
                start += fault.late_s
            case FaultKind.DUPLICATE:
                again = start + len(frame) * self._timing.character_s + 2 * self._timing.gap_s
                self._at(again, partial(self._send, again, frame))
            case FaultKind.CORRUPT:
                frame = frame[:3] + bytes((frame[3] ^ 0x10,)) + frame[4:]
            case FaultKind.TRUNCATED:
                frame = frame[: len(frame) // 2]
            case FaultKind.WRONG_UNIT:
                body = bytes((body[0] % 247 + 1,)) + body[1:]
                frame = body + crc16(body)
        self._at(start, partial(self._send, start, frame))

    def _send(self, start: float, frame: bytes) -> None:
        """Start sending; a line on which another meter is sending loses this reply."""
        if start < self._sending_until:
            self.lost_bytes += len(frame)
            return
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
            self.lost_bytes += len(self._heard)
            self._heard = b""
        self._sending_until = start + len(frame) * self._timing.character_s
        for first in range(0, len(frame), CHUNK_BYTES):
            chunk = frame[first : first + CHUNK_BYTES]
            arrived = start + (first + len(chunk)) * self._timing.character_s
            self._at(arrived, partial(self._deliver, chunk))

    def _deliver(self, chunk: bytes) -> None:
        try:
            os.write(self._master, chunk)
        except BlockingIOError:
            # Nobody reads the terminal and its buffer is full: a wire does not wait.
            self.lost_bytes += len(chunk)

    def _at(self, when: float, run: Callable[[], None]) -> None:
        handle: asyncio.TimerHandle

        def run_once() -> None:
            self._pending.discard(handle)
            run()

        handle = asyncio.get_running_loop().call_at(when, run_once)
        self._pending.add(handle)
