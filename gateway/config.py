"""The station file checked: its rules, and errors that name file, line and key.

Turns what a field crew wrote (`gateway.station_file`) into the values that `gateway.app` wires. It
must not open lines, connect to anything or read a clock.
"""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from contract.signed_config import is_public_key
from contract.topics import is_name
from contract.yaml_lines import YamlError, load_yaml
from gateway.checked import Problems, build
from gateway.line_checks import address_problem, profile_problems
from gateway.meters.profile import MeterProfile
from gateway.meters.readout_profile_file import is_sendable
from gateway.meters.wire import Order
from gateway.ports import InstalledMeter
from gateway.profiles import ProfileLibrary
from gateway.schedule import MINUTES_PER_DAY, Schedule
from gateway.station_file import (
    BrokerSection,
    ClockSection,
    CommandsSection,
    EndpointSection,
    Iec62056Section,
    LineSection,
    MeterSection,
    OutboxSection,
    StationSection,
    UplinkSection,
)

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_HOST_PORT = re.compile(r"(?P<host>[^\s:]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")

FILE_BYTES_MAX = 4 * 1024 * 1024  # thousands of meters; guards against naming a wrong file
PROFILES_SHOWN_MAX = 20
LIVE_SLOTS = 2  # so that what is new is never more than one slot late


class StationFileError(Exception):
    """A station file that cannot be used; `problems` has one line of text for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for TLS; without a certificate the client shows none."""

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class LineConfig:
    """A line with its meters and their profiles, in the order of the file.

    `password` is what an IEC 62056-21 line sends to meters that are read by commands.
    """

    name: str
    endpoint: EndpointSection
    meters: tuple[InstalledMeter, ...]
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """How station files from the collector are taken: `public_key` is the text of a key file."""

    public_key: str
    confirm_within_s: float


@dataclass(frozen=True, slots=True)
class StationConfig:
    """A checked station file with its defaults filled in and its meter profiles loaded.

    `heads` has the serials of the head meters. `replay` is (host, port) of a replay clock. Without
    `remote` the file that lies on the gateway is the only one.
    """

    station: str
    gateway: str
    data: Path
    schedule: Schedule
    broker: BrokerSection
    password: str | None
    tls: Tls | None
    uplink: UplinkSection
    outbox: OutboxSection
    replay: tuple[str, int] | None
    clock: ClockSection
    lines: tuple[LineConfig, ...]
    heads: frozenset[str]
    commands: CommandsSection
    remote: RemoteConfig | None


def load_station(path: Path) -> StationConfig:
    """The station file at `path`, and the files it names. Raises StationFileError."""
    return parse_station(read_station(path), str(path), folder=path.parent)


def read_station(path: Path) -> str:
    """The text of the station file at `path`. Raises StationFileError."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StationFileError([f"{path}: more than {FILE_BYTES_MAX} bytes; no station file"])
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StationFileError([f"{path}: cannot be read: {_reason(error)}"]) from error


def parse_station(text: str, where: str, folder: Path) -> StationConfig:
    """The station file in `text`; relative paths in it start at `folder`.

    Raises StationFileError with every mistake found.
    """
    try:
        data, line_of = load_yaml(text, where)
    except YamlError as error:
        raise StationFileError([str(error)]) from error
    problems = Problems(where, line_of)
    section = build(StationSection, data, "$", problems)
    if section is None:
        raise StationFileError(problems.texts())
    config = _Checker(section, problems, folder).config()
    if config is None:
        raise StationFileError(problems.texts())
    return config


class _Checker:
    """The rules that go beyond the shape of single keys."""

    def __init__(self, section: StationSection, problems: Problems, folder: Path) -> None:
        self._section = section
        self._problems = problems
        self._folder = folder
        self._library = ProfileLibrary([folder / name for name in section.profiles])
        self._reordered: dict[tuple[str, Order], MeterProfile] = {}

    def config(self) -> StationConfig | None:
        """The checked configuration, or None when there are problems."""
        section = self._section
        self._names()
        schedule = self._schedule()
        replay = self._replay()
        password = self._password()
        tls = self._tls()
        self._uplink()
        remote = self._remote()
        lines = self._lines()
        if self._problems.found or schedule is None:
            return None
        return StationConfig(
            station=section.station,
            gateway=section.gateway or section.station,
            data=self._folder / section.data,
            schedule=schedule,
            broker=section.broker,
            password=password,
            tls=tls,
            uplink=_with_live_slots(section.uplink, schedule),
            outbox=section.outbox,
            replay=replay,
            clock=section.clock,
            lines=lines,
            heads=frozenset(m.serial for line in section.lines for m in line.meters if m.head),
            commands=section.commands,
            remote=remote,
        )

    def _names(self) -> None:
        named = [("$.station", self._section.station)]
        if self._section.gateway is not None:
            named.append(("$.gateway", self._section.gateway))
        for path, name in named:
            if not is_name(name):
                self._problems.add(
                    path,
                    f"{name!r} cannot be part of a topic; use A-Z a-z 0-9 _ . - only, "
                    "a letter or digit first",
                )

    def _schedule(self) -> Schedule | None:
        section = self._section.schedule
        before = len(self._problems.found)
        if MINUTES_PER_DAY % section.interval_min:
            self._problems.add(
                "$.schedule.interval_min",
                f"{section.interval_min} does not divide a day of {MINUTES_PER_DAY} minutes; "
                "use 1, 5, 10, 15, 30, 60 …",
            )
        minutes = []
        for index, text in enumerate(section.index_at):
            if match := _TIME.fullmatch(text):
                minutes.append(int(match[1]) * 60 + int(match[2]))
            else:
                path = f"$.schedule.index_at[{index}]"
                self._problems.add(path, f'{text!r} is no local time; write "HH:MM" in quotes')
        try:
            zone = ZoneInfo(self._section.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            text = f"{self._section.zone!r} is no time zone; use a name such as Asia/Ho_Chi_Minh"
            self._problems.add("$.zone", text)
            return None
        if len(self._problems.found) > before:
            return None
        return Schedule(
            zone=zone,
            interval_min=section.interval_min,
            index_minutes=tuple(sorted(set(minutes))),
            index_window_min=section.index_window_min,
            index_retry_s=section.index_retry_s,
        )

    def _replay(self) -> tuple[str, int] | None:
        text = self._section.clock.replay
        if text is None:
            return None
        match = _HOST_PORT.fullmatch(text)
        if match is None or not 0 < int(match["port"]) < 65_536:
            self._problems.add("$.clock.replay", f"{text!r} is not HOST:PORT")
            return None
        return match["host"].strip("[]"), int(match["port"])

    def _password(self) -> str | None:
        name = self._section.broker.password_file
        if name is None:
            return None
        if self._section.broker.username is None:
            self._problems.add("$.broker", "password_file needs a username beside it")
        return self._secret(name, "$.broker.password_file")

    def _remote(self) -> RemoteConfig | None:
        section = self._section.config
        if section is None:
            return None
        key = self._secret(section.public_key_file, "$.config.public_key_file")
        if key is not None and not is_public_key(key):
            self._problems.add(
                "$.config.public_key_file",
                f"{self._folder / section.public_key_file} holds no public key; "
                "make a pair with: songlo collector config keygen",
            )
        return RemoteConfig(key or "", section.confirm_within_s)

    def _secret(self, name: str, key: str) -> str | None:
        """The text in a file; None, with a problem at `key`, if it cannot be had."""
        path = self._folder / name
        try:
            password = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self._problems.add(key, f"{path} cannot be read: {_reason(error)}")
            return None
        if not password:
            self._problems.add(key, f"{path} is empty; put what belongs into it")
        return password

    def _tls(self) -> Tls | None:
        tls = self._section.broker.tls
        if tls is None:
            return None
        for key in ("ca_file", "certificate_file", "key_file"):
            name = getattr(tls, key)
            if name is not None and not (self._folder / name).is_file():
                self._problems.add(f"$.broker.tls.{key}", f"{self._folder / name} does not exist")
        if tls.certificate_file is None or tls.key_file is None:
            if tls.certificate_file != tls.key_file:
                text = "give both certificate_file and key_file, or neither"
                self._problems.add("$.broker.tls", text)
            return Tls(self._folder / tls.ca_file)
        return Tls(
            self._folder / tls.ca_file,
            self._folder / tls.certificate_file,
            self._folder / tls.key_file,
        )

    def _uplink(self) -> None:
        uplink = self._section.uplink
        if uplink.resend_after_max_s < uplink.resend_after_s:
            self._problems.add("$.uplink.resend_after_max_s", "is less than resend_after_s")

    def _lines(self) -> tuple[LineConfig, ...]:
        names: dict[str, str] = {}
        serials: dict[str, str] = {}
        lines = []
        for index, line in enumerate(self._section.lines):
            path = f"$.lines[{index}]"
            if not is_name(line.name):
                self._problems.add(f"{path}.name", f"{line.name!r}: use A-Z a-z 0-9 _ . - only")
            self._unique(names, line.name, f"{path}.name", "another line has this name")
            if len(line.endpoints) != 1:
                text = (
                    "give exactly one of 'modbus_rtu', 'modbus_tcp', 'modbus_rtu_over_tcp' and "
                    "'iec62056_21'"
                )
                self._problems.add(path, text)
                continue
            (endpoint,) = line.endpoints
            addresses: dict[str, str] = {}
            meters = []
            for number, meter in enumerate(line.meters):
                at = f"{path}.meters[{number}]"
                self._address(endpoint, line, meter, f"{at}.address", addresses)
                text = f"meter {meter.serial!r} is already listed; a serial stands for one meter"
                self._unique(serials, meter.serial, f"{at}.serial", text)
                if (installed := self._meter(endpoint, meter, at)) is not None:
                    meters.append(installed)
            password = self._line_password(endpoint, path)
            lines.append(LineConfig(line.name, endpoint, tuple(meters), password))
        return tuple(lines)

    def _address(
        self,
        endpoint: EndpointSection,
        line: LineSection,
        meter: MeterSection,
        path: str,
        taken: dict[str, str],
    ) -> None:
        is_alone = len(line.meters) == 1
        problem = address_problem(endpoint, meter.address, is_alone=is_alone)
        if problem is not None:
            self._problems.add(path, problem)
        elif meter.address is not None:
            text = (
                f"address {meter.address} is already taken on this line; each meter needs its own"
            )
            self._unique(taken, str(meter.address).lstrip("0"), path, text)

    def _line_password(self, endpoint: EndpointSection, path: str) -> str | None:
        if not isinstance(endpoint, Iec62056Section) or endpoint.password_file is None:
            return None
        key = f"{path}.iec62056_21.password_file"
        password = self._secret(endpoint.password_file, key)
        if password is not None and not is_sendable(password):
            self._problems.add(key, "the password must be printable ASCII without brackets")
        return password

    def _unique(self, seen: dict[str, str], value: str, path: str, text: str) -> None:
        first = seen.setdefault(value, path)
        if first != path:
            self._problems.add(path, f"{text} (line {self._problems.line_of(first)})")

    def _meter(
        self, endpoint: EndpointSection, meter: MeterSection, at: str
    ) -> InstalledMeter | None:
        names = self._library.names()
        if meter.profile not in names:
            near = difflib.get_close_matches(meter.profile, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(names[:PROFILES_SHOWN_MAX])
            text = f"no meter profile {meter.profile!r}; {hint}known: {known}"
            self._problems.add(f"{at}.profile", text)
            return None
        try:
            profile = self._library.get(meter.profile)
        except YamlError as error:
            self._problems.add(f"{at}.profile", f"the profile has a mistake: {error}")
            return None
        for text in profile_problems(endpoint, profile):
            self._problems.add(f"{at}.profile", text)
        if meter.order is not None:
            if not isinstance(profile, MeterProfile):
                self._problems.add(f"{at}.order", "only registers of Modbus meters have an order")
                return None
            profile = self._in_order(profile, Order(meter.order))
        address = "" if meter.address is None else meter.address
        return InstalledMeter(meter.serial, address, profile)

    def _in_order(self, profile: MeterProfile, order: Order) -> MeterProfile:
        """The profile in another byte order; one and the same for all meters that need it."""
        key = (profile.name, order)
        if key not in self._reordered:
            self._reordered[key] = msgspec.structs.replace(profile, order=order)
        return self._reordered[key]


def _with_live_slots(uplink: UplinkSection, schedule: Schedule) -> UplinkSection:
    """The settings by which the last two slots go ahead of a backlog, however long a slot is.

    One whose turn did not come before the next slot, because the uplink was gone or the window full
    of older ones, would else wait for everything that is older still.
    """
    live_age_s = max(uplink.live_age_s, LIVE_SLOTS * schedule.interval.total_seconds())
    return msgspec.structs.replace(uplink, live_age_s=live_age_s)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
