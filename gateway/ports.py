"""The seams inside the gateway: what polling asks of lines and of the clock.

Values and protocols only. Lines implement `Line`, the clocks implement `Clock`; `gateway.app`
brings them together and nothing else names a concrete one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from contract.commands import ResultCode
from contract.messages import Clock as ClockState
from contract.messages import MissingReason
from gateway.meters.readout_profile import AnyProfile


class Part(StrEnum):
    """Which registers of a meter one read brings: a scan reads all energies first."""

    ENERGY = "energy"  # every cumulative and demand register of the meter profile
    MOMENTARY = "momentary"  # all the others


class Priority(IntEnum):
    """The order in which a line serves its queue; a lower number goes first, none starves."""

    ON_DEMAND = 0
    INDEX = 1
    HEAD = 2
    INTERVAL = 3


@dataclass(frozen=True, slots=True)
class InstalledMeter:
    """A meter on a line: its serial, its address there, and how its model is read.

    Addresses are numbers on Modbus lines and texts on IEC 62056-21 lines, where the empty one is
    the only meter's.
    """

    serial: str
    address: int | str
    profile: AnyProfile


@dataclass(frozen=True, slots=True)
class MeterValues:
    """What one read of one part brought.

    `values` has every register of the part by OBIS code: integers in the unit of the catalogue
    for energies, floats otherwise, None where the meter has no value for it.
    `partial` says that some of them could not be read. `arrived_s` is `arrived_at` by the
    clock's monotonic seconds, which no step of the time changes; None where the line does not say.
    `clock_ahead_s` is how far the meter's own clock is ahead of the gateway's, where it said so.
    """

    arrived_at: datetime
    values: dict[str, int | float | None]
    partial: bool = False
    arrived_s: float | None = None
    clock_ahead_s: float | None = None


class ReadFailed(Exception):
    """A meter could not be read; `reason` goes into the scan's list of what is missing."""

    def __init__(self, reason: MissingReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """What became of setting a meter's clock.

    `drift_s` is how much it was ahead of the gateway's, in seconds, `drift_after_s` how much it is
    after it was set; None where it is not known.
    """

    code: ResultCode
    text: str
    drift_s: float | None = None
    drift_after_s: float | None = None


@runtime_checkable
class ClockLine(Protocol):
    """A line whose meters have clocks that can be set."""

    async def set_clock(self, meter: InstalledMeter, limit_s: float) -> ClockSetting:
        """Set a meter's clock to the station's civil time, if it is at most `limit_s` wrong.

        Raises ReadFailed.
        """
        ...


class Line(Protocol):
    """One RS-485 line or TCP endpoint with its meters; one owner task does all its I/O."""

    @property
    def name(self) -> str:
        """The line's name in the station file."""
        ...

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        """Its meters, in the order of the station file."""
        ...

    async def run(self) -> None:
        """Own the line until cancelled: serve the queue, one request at a time."""
        ...

    async def read(
        self,
        meter: InstalledMeter,
        part: Part,
        priority: Priority,
        attempts: int | None = None,
    ) -> MeterValues:
        """Queue one read and wait for it. Raises ReadFailed.

        It is tried `attempts` times at most; None leaves the number to the line.
        """
        ...


class Clock(Protocol):
    """Where the gateway's time comes from: the system, or a simulator that replays a period."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def state(self) -> ClockState:
        """Whether that instant can be trusted."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an unknown beginning, which never go back nor jump.

        The system's are the same for every process between two starts of the computer.
        """
        ...

    async def sleep_until(self, at: datetime) -> None:
        """Return at `at`, at once if it has passed. Raises nothing but CancelledError.

        Returns also when the clock was put forward or back meanwhile: look again.
        """
        ...
