"""Sixteen meters on one line, Modbus RTU or IEC 62056-21, behind the same few words.

What the suite says of a line it says of both; how a fault is made is the kinds' own affair.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from gateway.lines.endpoints import IecEndpoint, SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.iec import IecLine
from gateway.meters.profile import Timing
from gateway.ports import Clock, InstalledMeter
from tests.gateway_iec import test_iec_line as iec
from tests.gateway_iec.meter import MeterLine, household
from tests.gateway_lines import bench as modbus
from tests.gateway_lines.slave import Fault, PtySlave, Slave

METERS = 16
NUMBERS = range(1, METERS + 1)
MODBUS_TIMING = Timing(response_timeout_ms=80, late_reply_ms=400)
RATE = 9600  # of all of a session: the change of the rate has tests of its own
# After it was given up; before it is asked again, or while others would be.
LATE_S = {"modbus": 0.12, "iec": 0.28}


class Bus(ABC):
    """A line with meters 1 to 16. A fault is `silent`, `truncated`, `garbled`, `stranger`,
    `twice` or `late`; a meter answers with two messages when its energies are read.
    """

    kind: str
    meters: Sequence[InstalledMeter]

    @abstractmethod
    def energies(self, number: int) -> dict[str, int]:
        """What a meter truly shows."""

    @abstractmethod
    def spoil(self, number: int, fault: str, message: int) -> None:
        """One fault in a message of a meter's next answers; 0 is the next one."""

    @abstractmethod
    def spoil_always(self, number: int, fault: str | None) -> None:
        """A fault in every message, or none any more."""

    @abstractmethod
    def momentary(self, number: int) -> dict[str, float]:
        """What a meter truly shows besides its energies."""

    @abstractmethod
    def answer_late(self, number: int) -> None:
        """The next answer of a meter comes while the one after it would be waited for."""

    @property
    @abstractmethod
    def asked(self) -> list[int]:
        """Who was addressed, in order, once for each attempt at a read."""

    @abstractmethod
    def plug(self) -> None:
        """The adapter is there."""

    @abstractmethod
    def unplug(self) -> None:
        """The adapter is gone; nothing where there is none."""

    @abstractmethod
    def line(self, clock: Clock, numbers: Sequence[int]) -> ModbusLine | IecLine:
        """The gateway's end of it, with some of the meters in its station file."""

    def meter(self, number: int) -> InstalledMeter:
        return self.meters[number - 1]

    def asks(self, number: int) -> int:
        """How often a meter was addressed."""
        return self.asked.count(number)

    @asynccontextmanager
    async def running(
        self, clock: Clock, numbers: Sequence[int] = NUMBERS
    ) -> AsyncIterator[ModbusLine | IecLine]:
        """The line, plugged in and served as long as the block lasts."""
        line = self.line(clock, numbers)
        self.plug()
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(line.run())
                try:
                    yield line
                finally:
                    task.cancel()
        finally:
            self.unplug()


class ModbusBus(Bus):
    """RTU at 115,200 baud; the energies are two blocks."""

    kind = "modbus"
    _FAULTS: ClassVar = {"garbled": "bad_crc", "stranger": "wrong_unit", "twice": "duplicate"}

    def __init__(self, folder: Path) -> None:
        self._slave = Slave(list(NUMBERS))
        self._pty = PtySlave(self._slave, folder / "line.tty")
        self.meters = modbus.meters(modbus.profile(timing=MODBUS_TIMING), *NUMBERS)

    def energies(self, number: int) -> dict[str, int]:
        return modbus.energies(number)

    def spoil(self, number: int, fault: str, message: int) -> None:
        self._slave.script[number].extend([*[Fault("none")] * message, self._fault(fault)])

    def spoil_always(self, number: int, fault: str | None) -> None:
        self._slave.always[number] = Fault("none") if fault is None else self._fault(fault)

    def momentary(self, number: int) -> dict[str, float]:
        return {modbus.VOLTAGE: float(modbus.truth(number, modbus.VOLTAGE))}

    def answer_late(self, number: int) -> None:
        # The next ones are slow, so that it comes in between.
        slow = [Fault("slow", delay_s=0.05)] * 4
        self._slave.script[number].extend([Fault("late", delay_s=0.15), *slow])

    def _fault(self, fault: str) -> Fault:
        delay_s = LATE_S["modbus"] if fault == "late" else 0.0
        return Fault(self._FAULTS.get(fault, fault), delay_s=delay_s)

    @property
    def asked(self) -> list[int]:
        first = modbus.ADDRESSES[modbus.IMPORT]
        return [request.unit for request in self._slave.requests if request.address == first]

    def plug(self) -> None:
        self._pty.plug()

    def unplug(self) -> None:
        self._pty.unplug()

    def line(self, clock: Clock, numbers: Sequence[int]) -> ModbusLine:
        endpoint = SerialEndpoint(str(self._pty.device), 115_200)
        return ModbusLine("line-1", endpoint, [self.meter(n) for n in numbers], clock)


class IecBus(Bus):
    """Data readout, all at 9600 baud; a meter sends its identification and its readout."""

    kind = "iec"
    _FAULTS: ClassVar = {"garbled": "wrong_bcc"}

    def __init__(self, folder: Path) -> None:
        self._on_line = [household(str(number), f"{number}00.00") for number in NUMBERS]
        for meter in self._on_line:
            meter.late_s = LATE_S["iec"]
        self._wire = MeterLine(folder / "line.tty", *self._on_line, sign_on_rate=RATE)
        self.meters = iec.installed(*map(str, NUMBERS))

    def energies(self, number: int) -> dict[str, int]:
        return {iec.IMPORT: number * 100_000, iec.EXPORT: 500}

    def spoil(self, number: int, fault: str, message: int) -> None:
        if fault in ("garbled", "stranger"):
            message = 1  # an identification has neither a block check nor a number
        self._on_line[number - 1].faults = deque([*[""] * message, self._fault(fault)])

    def spoil_always(self, number: int, fault: str | None) -> None:
        self._on_line[number - 1].always = None if fault is None else self._fault(fault)

    def momentary(self, number: int) -> dict[str, float]:
        return {iec.VOLTAGE: 230.4}

    def answer_late(self, number: int) -> None:
        self._on_line[number - 1].faults.append("late")

    def _fault(self, fault: str) -> str:
        return self._FAULTS.get(fault, fault)

    @property
    def asked(self) -> list[int]:
        signs_on = [text for text in self._wire.heard if text.startswith(b"/?")]
        return [int(text[2:].split(b"!")[0]) for text in signs_on]

    def plug(self) -> None:
        self._wire.__enter__()

    def unplug(self) -> None:
        self._wire.__exit__()

    def line(self, clock: Clock, numbers: Sequence[int]) -> IecLine:
        endpoint = IecEndpoint(str(self._wire.device), baud=RATE)
        return IecLine("line-1", endpoint, [self.meter(n) for n in numbers], clock)
