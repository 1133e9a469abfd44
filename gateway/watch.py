"""The meters of a station read over and over for someone who watches: what each said last.

Owns the rows and the reading. It must not know how they are shown, nor of slots and batches.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from contract.messages import MissingReason
from contract.registers import Kind
from gateway.lines.engine import ModbusLine
from gateway.lines.iec import IecLine
from gateway.meters.plan import part_of
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, Priority, ReadFailed

HISTORY = 20  # reads over which the success rate is taken
POWER = "1-0:16.7.0"
IMPORT = "1-0:1.8.0"

Line = ModbusLine | IecLine


@dataclass(slots=True)
class Row:
    """One meter: its last values, how its last reads ended, and why the latest failed.

    `energy_obis` is the register that `energy` is of, in the catalogue's unit. `power_w` is None
    where it is not known. `reason` is None while the latest read succeeded.
    """

    line: str
    meter: InstalledMeter
    is_serial: bool
    energy_obis: str | None = None
    energy: int | float | None = None
    power_w: int | float | None = None
    read_at: datetime | None = None
    round_trip_s: float | None = None
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=HISTORY))
    reason: MissingReason | None = None
    detail: str = ""

    @property
    def succeeded(self) -> int:
        """How many of the last reads brought values."""
        return sum(self.outcomes)


class Watch:
    """Reads every meter of `lines`, line by line at the same time, every `every_s`."""

    def __init__(self, lines: Sequence[tuple[Line, bool]], clock: Clock, every_s: float) -> None:
        self._lines = [line for line, _ in lines]
        self._clock = clock
        self._every_s = every_s
        self.rows = [
            Row(line.name, meter, is_serial, _energy_register(meter))
            for line, is_serial in lines
            for meter in line.meters
        ]

    async def run(self, changed: Callable[[], None], passes: int | None = None) -> None:
        """Read until cancelled, or so many times each; `changed` is called with every new row."""
        async with asyncio.TaskGroup() as group:
            owners = [group.create_task(line.run()) for line in self._lines]
            try:
                async with asyncio.TaskGroup() as readers:
                    for line in self._lines:
                        rows = [row for row in self.rows if row.line == line.name]
                        readers.create_task(self._read_line(line, rows, changed, passes))
            finally:
                for owner in owners:
                    owner.cancel()

    async def _read_line(
        self, line: Line, rows: list[Row], changed: Callable[[], None], passes: int | None
    ) -> None:
        loop = asyncio.get_running_loop()
        done = 0
        while True:
            begun_at = loop.time()
            for row in rows:
                await self._read_row(line, row)
                changed()
            done += 1
            if passes is not None and done >= passes:
                return
            await asyncio.sleep(max(0.0, begun_at + self._every_s - loop.time()))

    async def _read_row(self, line: Line, row: Row) -> None:
        parts = {part_of(mapped) for mapped in row.meter.profile.registers}
        row.reason, row.detail = None, ""
        for part in Part:
            if part not in parts or row.reason is not None:
                continue
            try:
                read = await line.read(row.meter, part, Priority.ON_DEMAND)
            except ReadFailed as failure:
                row.reason, row.detail = failure.reason, failure.detail
            else:
                self._take(row, read)
        row.outcomes.append(row.reason is None)
        row.round_trip_s = line.health.meters[row.meter.serial].round_trip_s

    def _take(self, row: Row, read: MeterValues) -> None:
        row.read_at = self._clock.now()
        if row.energy_obis in read.values:
            row.energy = read.values[row.energy_obis]
        if POWER in read.values:
            row.power_w = read.values[POWER]


def _energy_register(meter: InstalledMeter) -> str | None:
    counted = [
        mapped.obis for mapped in meter.profile.registers if mapped.register.kind is Kind.CUMULATIVE
    ]
    return IMPORT if IMPORT in counted else next(iter(counted), None)
