"""What the tests of lines share: a made-up meter model, a clock, a line that runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

from contract.messages import Clock as ClockState
from gateway.lines.endpoints import Endpoint
from gateway.lines.engine import ModbusLine
from gateway.meters.profile import MappedRegister, MeterProfile, Requests, Timing
from gateway.meters.wire import WireType
from gateway.ports import InstalledMeter
from tests.gateway_lines.slave import word

IMPORT, EXPORT, REACTIVE, VOLTAGE = "1-0:1.8.0", "1-0:2.8.0", "1-0:3.8.0", "1-0:32.7.0"
ADDRESSES = {IMPORT: 0x10, EXPORT: 0x12, REACTIVE: 0x40, VOLTAGE: 0x80}


class StillClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def state(self) -> ClockState:
        return ClockState.SYNCED

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep_until(self, at: datetime) -> None:
        raise NotImplementedError


def profile(
    *,
    timing: Timing | None = None,
    max_gap: int = 0,
    optional: frozenset[str] = frozenset(),
) -> MeterProfile:
    """Three energies, in two blocks unless `max_gap` reaches over, and a voltage; all u32."""

    def mapped(obis: str) -> MappedRegister:
        return MappedRegister(
            obis,
            ADDRESSES[obis],
            WireType.U32,
            resolution=None if obis == VOLTAGE else Decimal(1),
            optional=obis in optional,
        )

    return MeterProfile(
        "made-up",
        "Made up",
        ("a test",),
        3,
        tuple(map(mapped, ADDRESSES)),
        requests=Requests(max_regs=125, max_gap=max_gap),
        timing=timing or Timing(response_timeout_ms=80, late_reply_ms=400),
    )


def truth(unit: int | str, obis: str) -> int:
    """What `obis` is on `unit`, from the slave's words."""
    address, number = ADDRESSES[obis], int(unit)
    return word(number, address) << 16 | word(number, address + 1)


def energies(unit: int | str) -> dict[str, int]:
    """The energy part of `unit`."""
    return {obis: truth(unit, obis) for obis in (IMPORT, EXPORT, REACTIVE)}


def meters(model: MeterProfile, *addresses: int) -> list[InstalledMeter]:
    """Meters of one model, with serials after their addresses."""
    return [InstalledMeter(f"M{address}", address, model) for address in addresses]


@asynccontextmanager
async def running(
    endpoint: Endpoint, installed: Sequence[InstalledMeter]
) -> AsyncIterator[ModbusLine]:
    """A line that is served as long as the block lasts."""
    line = ModbusLine("line-1", endpoint, installed, StillClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        try:
            yield line
        finally:
            task.cancel()
