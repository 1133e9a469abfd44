"""The shape of a station file: its keys, their types, defaults and bounds.

Values only, checked by `gateway.config`; what is wrong between keys is found there, not here.
"""

from typing import Annotated, Literal

import msgspec

from contract.limits import NAME_CHARS_MAX
from gateway.schedule import MINUTES_PER_DAY

OUTBOX_BYTES_MIN = 4 * 1024 * 1024  # below this a single slot of a large station may not fit

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
IecBaud = Literal[300, 600, 1200, 2400, 4800, 9600, 19200]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all parts of a station file have in common: immutable, and no unknown keys."""


class ScheduleSection(_Section, frozen=True):
    """When scans are due: every `interval_min` from local midnight, indices at `index_at` (local).

    A meter whose index was missed is asked again every `index_retry_s` until `index_window_min`
    after the slot.
    """

    interval_min: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_PER_DAY)] = 30
    index_at: tuple[str, ...] = ("00:00",)
    index_window_min: Annotated[int, msgspec.Meta(ge=0, le=MINUTES_PER_DAY)] = 180
    index_retry_s: _Seconds = 60


class TlsSection(_Section, frozen=True):
    """PEM files for a TLS connection; with a certificate of its own the gateway is known by it."""

    ca_file: str
    certificate_file: str | None = None
    key_file: str | None = None


class BrokerSection(_Section, frozen=True):
    """Where the MQTT broker is and how to be let in."""

    host: str
    port: _Port = 1883
    username: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3_600)] = 30
    tls: TlsSection | None = None


class UplinkSection(_Section, frozen=True):
    """How batches are sent: `window` at a time, again after `resend_after_s` up to the maximum.

    A batch younger than `live_age_s`, or than two slots, goes ahead of the backlog.
    """

    window: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 20
    resend_after_s: _Seconds = 30
    resend_after_max_s: _Seconds = 900
    status_every_s: _Seconds = 60
    live_age_s: _Seconds = 600


class OutboxSection(_Section, frozen=True):
    """How much is kept: at most `bytes_max`; delivered batches for `keep_days` while room."""

    bytes_max: Annotated[int, msgspec.Meta(ge=OUTBOX_BYTES_MIN)] = 1_000_000_000
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] = 35


class ClockSection(_Section, frozen=True):
    """How far the computer's clock is trusted.

    `replay` is HOST:PORT of a replay clock, which stands in for it. `before_sync` says what becomes
    of reads before it was synchronised for the first time since the computer's start: they are held
    until then, or sent with a mark, for a computer that has a clock with a battery of its own.
    `meter_drift_s` is how far a meter's own clock may be off before an event says so.
    """

    replay: str | None = None
    before_sync: Literal["hold", "send"] = "hold"
    meter_drift_s: _Seconds = 60


class CommandsSection(_Section, frozen=True):
    """What may be commanded: a meter's clock is set when it is at most `clock_limit_s` wrong."""

    clock_limit_s: _Seconds = 60


class ConfigSection(_Section, frozen=True):
    """Station files from the collector: whose signature is good, and when one is taken back.

    One that the collector has not acknowledged a batch under `confirm_within_s` after it was
    begun is replaced by the last that it had.
    """

    public_key_file: Annotated[str, msgspec.Meta(min_length=1)]
    confirm_within_s: _Seconds = 900


class ModbusRtuSection(_Section, frozen=True):
    """An RS-485 line on a serial device (Modbus RTU)."""

    device: str
    baud: _Count = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class ModbusTcpSection(_Section, frozen=True):
    """A Modbus TCP server: a meter, or a bridge with meters behind it."""

    host: str
    port: _Port = 502


class ModbusRtuOverTcpSection(_Section, frozen=True):
    """An RS-485 line behind a transparent serial server: RTU frames over TCP.

    `baud` is that of the line behind it, to know how long replies take.
    """

    host: str
    port: _Port
    baud: _Count = 9600


class Iec62056Section(_Section, frozen=True):
    """A line of IEC 62056-21 meters on a serial device, which all begin at `baud`.

    `password_file` has what is sent to meters that are read by commands, in place of their
    profile's password.
    """

    device: str
    baud: IecBaud = 300
    baud_max: IecBaud = 9600
    changeover: bool = True
    characters: Literal["7E1", "8N1"] = "7E1"
    wake_up: bool = False
    password_file: str | None = None


EndpointSection = ModbusRtuSection | ModbusTcpSection | ModbusRtuOverTcpSection | Iec62056Section


class MeterSection(_Section, frozen=True):
    """A meter on a line. `head`: the station's head meter, which goes before others that wait.

    `address` is a number on Modbus lines. On IEC 62056-21 lines it is the device address, which
    may be left out where the meter is alone.
    """

    serial: _Text
    profile: str
    address: int | str | None = None
    head: bool = False
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] | None = None


class LineSection(_Section, frozen=True):
    """A line: exactly one kind of endpoint, and its meters."""

    name: _Text
    meters: Annotated[tuple[MeterSection, ...], msgspec.Meta(min_length=1)]
    modbus_rtu: ModbusRtuSection | None = None
    modbus_tcp: ModbusTcpSection | None = None
    modbus_rtu_over_tcp: ModbusRtuOverTcpSection | None = None
    iec62056_21: Iec62056Section | None = None

    @property
    def endpoints(self) -> list[EndpointSection]:
        """Those that are given."""
        given = (self.modbus_rtu, self.modbus_tcp, self.modbus_rtu_over_tcp, self.iec62056_21)
        return [endpoint for endpoint in given if endpoint is not None]


class StationSection(_Section, frozen=True):
    """The whole file."""

    station: _Text
    data: Annotated[str, msgspec.Meta(min_length=1)]
    broker: BrokerSection
    lines: Annotated[tuple[LineSection, ...], msgspec.Meta(min_length=1)]
    gateway: _Text | None = None
    zone: str = "Asia/Ho_Chi_Minh"
    schedule: ScheduleSection = ScheduleSection()
    uplink: UplinkSection = UplinkSection()
    outbox: OutboxSection = OutboxSection()
    clock: ClockSection = ClockSection()
    commands: CommandsSection = CommandsSection()
    config: ConfigSection | None = None
    profiles: tuple[str, ...] = ()
