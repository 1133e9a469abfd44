"""The simulator's file: what station to build, on what lines, over which period.

Owns the file's format and its defaults. It must not know how any of it is carried out.
"""

import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from simulator.errors import SimulatorError
from simulator.faults import ANY_METER, Fault, FaultKind, FaultRule
from simulator.registers import MAPS
from simulator.truth import to_ms

MIXED = "mixed"
UNITS_PER_LINE_MAX = 247  # Modbus over serial line 1.02, section 2.2

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class ClockConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the clock is served; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: _Port = 0


class LinesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lines that the meters are spread over, evenly or filled up to `meters_per_line`.

    TCP lines listen on `port`, `port` + 1, … (0: free ones). RTU lines are pseudo-terminals, paced
    at `baud` with the bits of `parity` and `stop_bits`; a meter replies after `turnaround_ms`.
    `strict_gaps`: meters refuse reads over registers that their map leaves out.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    kind: Literal["tcp", "rtu"] = "tcp"
    name: str = "line"
    meters_per_line: Annotated[int, msgspec.Meta(ge=1, le=UNITS_PER_LINE_MAX)] | None = None
    host: str = "127.0.0.1"
    port: _Port = 0
    baud: Annotated[int, msgspec.Meta(ge=300, le=115_200)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    turnaround_ms: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 20
    strict_gaps: bool = False


class FaultConfig(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"from_at": "from", "to_at": "to"},
):
    """A rule for things to go wrong: of `meter` (a serial, `*` for all), between two instants."""

    kind: FaultKind
    meter: str = ANY_METER
    probability: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    late_ms: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 1000
    from_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    to_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class SimulatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `start` and `end` are instants, or dates: local midnight in `zone`.

    `end` is how far a replay may go before it is extended. `truth_at`: the instants in the truth
    file, by default start and end. `directory` takes the truth file and the terminals' names.
    """

    start: str
    end: str
    directory: str
    grid: str = "LV2.101"
    load: str = "profiles-2016-15min.npz"
    zone: str = "Asia/Ho_Chi_Minh"
    load_scale: _Positive = 1.0
    line_scale: _Positive = 1.0
    model: str = MIXED
    lines: LinesConfig = LinesConfig()
    clock: ClockConfig = ClockConfig()
    seed: int = 1
    faults: tuple[FaultConfig, ...] = ()
    truth_at: tuple[str, ...] = ()

    @property
    def zone_info(self) -> ZoneInfo:
        """The utility's zone."""
        return ZoneInfo(self.zone)

    def instant(self, when: str) -> datetime:
        """`when` as an instant: a date is its local midnight. Raises ValueError for other texts."""
        if _DATE.fullmatch(when):
            return datetime.combine(date.fromisoformat(when), time(), self.zone_info)
        at = datetime.fromisoformat(when)
        if at.tzinfo is None:
            raise ValueError("needs an offset from UTC, or be a date")
        return at

    def truth_instants(self) -> tuple[datetime, ...]:
        """The instants of the truth file."""
        return tuple(self.instant(when) for when in self.truth_at or (self.start, self.end))

    def fault_rules(self) -> tuple[FaultRule, ...]:
        """The faults as the plan takes them."""
        return tuple(
            FaultRule(
                meter=fault.meter,
                fault=Fault(fault.kind, fault.late_ms / 1000),
                probability=fault.probability,
                from_ms=None if fault.from_at is None else to_ms(fault.from_at),
                to_ms=None if fault.to_at is None else to_ms(fault.to_at),
            )
            for fault in self.faults
        )


def load_config(path: Path) -> SimulatorConfig:
    """The file at `path`, YAML or JSON. Raises SimulatorError, naming file and key."""
    try:
        content = yaml.safe_load(path.read_bytes())
        config = msgspec.convert(_dates_as_text(content), SimulatorConfig)
    except OSError as error:
        raise SimulatorError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SimulatorError(f"{path}: is neither YAML nor JSON: {error}") from error
    except msgspec.ValidationError as error:
        raise SimulatorError(f"{path}: {error}") from error
    _check(path, config)
    return config


def _dates_as_text(content: object) -> object:
    """YAML reads dates, JSON has none: from here on both are text."""
    if isinstance(content, date):
        return content.isoformat()
    if isinstance(content, dict):
        return {key: _dates_as_text(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_dates_as_text(value) for value in content]
    return content


def _check(path: Path, config: SimulatorConfig) -> None:
    try:
        ZoneInfo(config.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SimulatorError(f"{path}: zone: {config.zone!r} is no time zone") from error
    whens = {"start": config.start, "end": config.end}
    whens |= {f"truth_at[{index}]": when for index, when in enumerate(config.truth_at)}
    for key, when in whens.items():
        try:
            config.instant(when)
        except ValueError as error:
            raise SimulatorError(f"{path}: {key}: {error}") from error
    if config.instant(config.start) > config.instant(config.end):
        raise SimulatorError(f"{path}: end: is before start")
    if config.model != MIXED and config.model not in MAPS:
        known = ", ".join([MIXED, *MAPS])
        raise SimulatorError(f"{path}: model: {config.model!r} is unknown (known: {known})")
