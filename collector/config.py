"""The collector file: what it may say, checked as a whole before anything starts.

Owns names, defaults and bounds of the settings; it must not know what the parts do with them.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from collector.errors import CollectorError

SECRET_BYTES_MAX = 4_096

# What examples and other products ship with: never a secret.
_PUBLIC_SECRETS = frozenset(
    {
        "123456", "12345678", "admin", "change-me", "changeme", "default", "example", "guest",
        "influxdb", "mosquitto", "my-super-secret-auth-token", "mysecretpassword", "password",
        "postgres", "public", "root", "secret", "songlo", "test",
    }
)  # fmt: skip
# Hosts that nobody else can reach.
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Port = Annotated[int, Field(ge=1, le=65_535)]


class ConfigError(CollectorError):
    """The collector file cannot be used; the text names the file and every wrong key."""

    code = "config"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsConfig(_Section):
    """How the broker proves itself, and this collector to the broker."""

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file come together")
        return self


class BrokerConfig(_Section):
    """The MQTT broker. With `shared_group` several collectors share the batches between them."""

    host: Annotated[str, Field(min_length=1)]
    port: Port = 1883
    username: str | None = None
    password_file: Path | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=64)] = "songlo-collector"
    shared_group: str | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3_600)] = 30
    tls: TlsConfig | None = None

    @field_validator("shared_group")
    @classmethod
    def _group(cls, value: str | None) -> str | None:
        if value is not None and not _GROUP_NAME.fullmatch(value):
            raise ValueError("letters, digits, '_', '.' and '-' only, at most 64")
        return value

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.password_file is not None and not self.username:
            raise ValueError("password_file needs a username")
        return self


class CommandsConfig(_Section):
    """Who commands gateways at the broker: an identity of its own, which the intake lacks.

    What is not given here is as in `broker`. A command is good for `lifetime_s` unless it says so.
    """

    username: str | None = None
    password_file: Path | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=48)] = "songlo-commands"
    tls: TlsConfig | None = None
    lifetime_s: Annotated[int, Field(ge=5, le=86_400)] = 120

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.password_file is not None and not self.username:
            raise ValueError("password_file needs a username")
        return self


class DuckDbConfig(_Section):
    """Readings in one file, for one collector process."""

    store: Literal["duckdb"]
    path: Path
    memory_limit_mb: Annotated[int, Field(ge=64, le=65_536)] = 256


class InfluxConfig(_Section):
    """Readings in InfluxDB 2.x, or anything that serves its write and InfluxQL interfaces."""

    store: Literal["influxdb"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    org: str
    bucket: Annotated[str, Field(min_length=1)]
    token_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0


class IntakeConfig(_Section):
    """How batches are taken: at most `group_max` in one transaction, acks checked each `tick_s`."""

    group_max: Annotated[int, Field(ge=1, le=2_000)] = 500
    tick_s: Annotated[float, Field(ge=0.1, le=300)] = 5.0


class VeeConfig(_Section):
    """Validation: a file of limits over those that are shipped, and whether it runs by itself.

    Each day, `daily_after_min` minutes after midnight, a collector that serves the API validates
    the `daily_days` days before. From seven days on whole periods would be compared each day.
    """

    limits_file: Path | None = None
    daily: bool = True
    daily_after_min: Annotated[int, Field(ge=60, le=1_380)] = 200
    daily_days: Annotated[int, Field(ge=1, le=6)] = 3


class BalanceConfig(_Section):
    """Losses: a file of thresholds, transformers, boundary meters and wholesale masters."""

    losses_file: Path | None = None


Percent = Annotated[int, Field(ge=100, le=100_000)]
Amount = Annotated[int, Field(ge=0, le=10**12)]


class _GateConfig(_Section):
    high_percent: Percent = 130
    very_high_percent: Percent = 150
    extreme_percent: Percent = 400

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.high_percent <= self.very_high_percent <= self.extreme_percent:
            raise ValueError("high_percent, very_high_percent and extreme_percent rise")
        return self


class IndexGateConfig(_GateConfig):
    """What of a run's lines must be looked at: a day's use in per cent of an earlier one's.

    Below `floor_kwh` nothing is high; from less than that to more than `from_nothing_kwh` is.
    """

    floor_kwh: Amount = 50
    from_nothing_kwh: Amount = 200


class BillGateConfig(_GateConfig):
    """The same of bills, in đồng before tax."""

    floor_vnd: Amount = 100_000
    from_nothing_vnd: Amount = 500_000


Step = Literal[1, 10, 100, 1000]


class BillingConfig(_Section):
    """Billed steps of an index, gates, tariffs beside the built-in, the cut at a change of price.

    Steps are not changed once something was exported: what was floored away stays away.
    """

    step_wh: Step = 1000
    step_transformed_wh: Step = 10
    index_gate: IndexGateConfig = IndexGateConfig()
    bill_gate: BillGateConfig = BillGateConfig()
    tariffs: tuple[Path, ...] = ()
    split: Literal["index", "days"] = "index"


class ApiTlsConfig(_Section):
    """The certificate (with those between it and its authority) that the API shows, and its key."""

    certificate_file: Path
    key_file: Path


class ApiConfig(_Section):
    """Where the API and the console are served, and how much of it one key gets.

    A key may ask `requests_burst` times at once and `requests_per_s` times a second in the long
    run; at most `requests_at_once` of its requests are answered at the same time.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    tls: ApiTlsConfig | None = None
    requests_per_s: Annotated[int, Field(ge=1, le=10_000)] = 50
    requests_burst: Annotated[int, Field(ge=1, le=100_000)] = 1_500
    requests_at_once: Annotated[int, Field(ge=1, le=1_000)] = 16


class CollectorConfig(BaseSettings):
    """The collector file; `SONGLO_BROKER__HOST=…` in the environment overrides `broker.host`."""

    model_config = SettingsConfigDict(
        env_prefix="SONGLO_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    zone: str = "Asia/Ho_Chi_Minh"
    ledger: Annotated[str, Field(pattern=r"^(sqlite:///.|postgresql\+psycopg://.)")]
    ledger_password_file: Path | None = None
    readings: Annotated[DuckDbConfig | InfluxConfig, Field(discriminator="store")]
    broker: BrokerConfig
    intake: IntakeConfig = IntakeConfig()
    api: ApiConfig = ApiConfig()
    vee: VeeConfig = VeeConfig()
    balance: BalanceConfig = BalanceConfig()
    billing: BillingConfig = BillingConfig()
    commands: CommandsConfig | None = None

    @field_validator("ledger")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        if urlsplit(value).password is not None or "password" in parse_qs(urlsplit(value).query):
            raise ValueError("holds a password: give ledger_password_file instead")
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone, e.g. Asia/Ho_Chi_Minh") from error
        return value

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        if self.broker.shared_group is not None and isinstance(self.readings, DuckDbConfig):
            raise ValueError(
                "broker.shared_group means several processes, readings.store: duckdb serves one;"
                " use influxdb"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file, which is given as the arguments; nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        assert isinstance(init_settings, InitSettingsSource)
        return env_settings, init_settings

    @property
    def command_broker(self) -> BrokerConfig:
        """The broker as whoever commands gateways comes to it."""
        mine = self.commands or CommandsConfig()
        changes: dict[str, object] = {"client_id": mine.client_id, "shared_group": None}
        if mine.username is not None:
            changes |= {"username": mine.username, "password_file": mine.password_file}
        if mine.tls is not None:
            changes["tls"] = mine.tls
        return self.broker.model_copy(update=changes)

    @property
    def open_doors(self) -> tuple[str, ...]:
        """What on other machines this collector would trust without proving who it is.

        Whatever takes it in like that takes in everybody: a collector does not start with it.
        """
        doors = []
        ledger = urlsplit(self.ledger)
        options = parse_qs(ledger.query)
        hosts = [host for host in (ledger.hostname, *options.get("host", ())) if host]
        is_local = all(host in _THIS_MACHINE or host.startswith("/") for host in hosts)
        if not is_local and self.ledger_password_file is None and "sslcert" not in options:
            doors.append(f"ledger: {hosts[0]}: ledger_password_file is missing")
        if isinstance(self.readings, InfluxConfig) and self.readings.token_file is None:
            host = urlsplit(self.readings.url).hostname
            if host not in _THIS_MACHINE:
                doors.append(f"readings: {host}: token_file is missing")
        for section, broker in (("broker", self.broker), ("commands", self.command_broker)):
            if section == "commands" and self.commands is None:
                continue
            is_known = broker.password_file is not None or (
                broker.tls is not None and broker.tls.certificate_file is not None
            )
            if broker.host not in _THIS_MACHINE and not is_known:
                doors.append(
                    f"{section}: {broker.host}: username and password_file, or a certificate"
                    " under tls, are missing"
                )
        return tuple(doors)

    @property
    def tzinfo(self) -> ZoneInfo:
        """The utility's zone."""
        return ZoneInfo(self.zone)


def load_config(path: Path) -> CollectorConfig:
    """The collector file at `path`. Raises ConfigError that names every wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", hint="see --config") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {error}", hint="see docs/collector-file.md") from (
            error
        )
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(
            f"{path}: has no settings at its top level", hint="see docs/collector-file.md"
        )
    try:
        return CollectorConfig(**data)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in found['loc']) or 'the file'}: {found['msg']}"
            for found in error.errors()
        ]
        raise ConfigError("\n".join(lines), hint="see docs/collector-file.md") from error


def read_secret(path: Path) -> str:
    """The secret that is the first line of a file. Raises ConfigError if there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES_MAX + 1)
        secret = raw.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error}", hint="make the file readable to the collector"
        ) from error
    if not secret or len(raw) > SECRET_BYTES_MAX or "\n" in secret:
        raise ConfigError(
            f"{path}: must hold one secret on one line",
            hint="write one, e.g. with: openssl rand -hex 32",
        )
    if secret.lower() in _PUBLIC_SECRETS:
        raise ConfigError(
            f"{path}: {secret!r} is known to everyone", hint="make one: openssl rand -hex 32"
        )
    return secret
