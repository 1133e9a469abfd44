"""The collector file: what is accepted, and that what is wrong is named."""

from pathlib import Path

import pytest

from collector.app import Role, open_ledger, open_link, open_store, run
from collector.config import (
    CollectorConfig,
    ConfigError,
    DuckDbConfig,
    InfluxConfig,
    load_config,
    read_secret,
)
from collector.errors import CollectorError

GOOD = """\
ledger: sqlite:////var/lib/songlo/ledger.db
readings: {store: duckdb, path: /var/lib/songlo/readings.duckdb}
broker: {host: broker.example}
"""


def _load(tmp_path: Path, text: str) -> CollectorConfig:
    path = tmp_path / "collector.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_shortest_file(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    assert config.zone == "Asia/Ho_Chi_Minh"
    assert config.readings == DuckDbConfig(
        store="duckdb", path=Path("/var/lib/songlo/readings.duckdb")
    )
    assert (config.broker.port, config.broker.shared_group) == (1883, None)
    assert (config.intake.group_max, config.intake.tick_s) == (500, 5)
    assert (config.api.host, config.api.port) == ("127.0.0.1", 8000)


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONGLO_BROKER__HOST", "elsewhere")
    monkeypatch.setenv("SONGLO_INTAKE__GROUP_MAX", "7")
    config = _load(tmp_path, GOOD)
    assert (config.broker.host, config.intake.group_max) == ("elsewhere", 7)


def test_influxdb_and_a_shared_subscription(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        "ledger: postgresql+psycopg://songlo@db/songlo\n"
        "readings: {store: influxdb, url: 'http://i:8086', org: o, bucket: b}\n"
        "broker: {host: h, shared_group: intake}\n",
    )
    assert isinstance(config.readings, InfluxConfig)
    assert config.readings.timeout_s == 10


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + "legder: x\n", "legder"),
        (GOOD + "zone: Asia/Hanoi\n", "zone"),
        (GOOD + "intake: {group_max: 0}\n", "intake.group_max"),
        (GOOD.replace("{host:", "{hots:"), "broker.host"),
        (GOOD.replace("host: broker.example", "host: b, port: 70000"), "broker.port"),
        (GOOD.replace("duckdb, path", "duckdb, pth"), "readings.duckdb.path"),
        (GOOD.replace("store: duckdb", "store: csv"), "readings"),
        (GOOD.replace("sqlite:////var", "mysql:///var"), "ledger"),
        (GOOD.replace("broker.example", "b, password_file: /x"), "password_file needs a username"),
        (GOOD.replace("broker.example", "b, shared_group: g"), "use influxdb"),
        (GOOD.replace("broker.example", "b, tls: {ca_file: a, key_file: k}"), "come together"),
        (GOOD.replace("sqlite:////var", "postgresql+psycopg://u:w@h/"), "ledger_password_file"),
        (
            GOOD.replace("sqlite:////var", "postgresql+psycopg://u@h/d?password=w"),
            "holds a password",
        ),
        (GOOD + "api: {tls: {certificate_file: a}}\n", "api.tls.key_file"),
        ("- a\n- b\n", "no settings"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(tmp_path, text)
    assert named in str(raised.value)
    assert str(tmp_path / "collector.yaml") in str(raised.value)
    assert raised.value.hint


def test_all_wrong_keys_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(tmp_path, GOOD + "api: {port: 0}\nintake: {tick_s: -1}\nother: 1\n")
    assert all(key in str(raised.value) for key in ("api.port", "intake.tick_s", "other"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("content", ["", "\n", "a\nb", "changeme\n", "Password", "x" * 5_000])
def test_secrets_that_are_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    with pytest.raises(ConfigError, match="secret"):
        read_secret(path)
    text = GOOD.replace("broker.example", f"b, username: u, password_file: {path}")
    with pytest.raises(ConfigError):
        open_link(_load(tmp_path, text))
    with pytest.raises(ConfigError):
        open_ledger(_load(tmp_path, GOOD + f"ledger_password_file: {path}\n"))


def test_a_secret_is_its_files_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("  6f1c2b \n")
    assert read_secret(path) == "6f1c2b"


def test_a_reading_store_that_cannot_be_opened(tmp_path: Path) -> None:
    text = GOOD.replace("/var/lib/songlo/readings", f"{tmp_path}/none/readings")
    with pytest.raises(CollectorError) as raised:
        open_store(_load(tmp_path, text))
    assert raised.value.code == "store_unavailable"
    assert "folder" in raised.value.hint


LOCAL = GOOD.replace("broker.example", "127.0.0.1")
AWAY = LOCAL.replace("sqlite:////var/lib/songlo/ledger.db", "postgresql+psycopg://songlo@db/songlo")
INFLUX = "{store: influxdb, url: 'http://i:8086', org: o, bucket: b}"
DUCK = "{store: duckdb, path: /var/lib/songlo/readings.duckdb}"
CERTIFICATE = "tls: {ca_file: a, certificate_file: c, key_file: k}"


@pytest.mark.parametrize(
    ("text", "door"),
    [
        (LOCAL, None),
        (LOCAL.replace("127.0.0.1", "localhost"), None),
        (GOOD, "broker: broker.example"),
        (GOOD.replace("broker.example", "b, username: u"), "broker: b"),
        (GOOD.replace("broker.example", "b, tls: {ca_file: a}"), "broker: b"),
        (GOOD.replace("broker.example", "b, username: u, password_file: p"), None),
        (GOOD.replace("broker.example", f"b, {CERTIFICATE}"), None),
        (AWAY, "ledger: db"),
        (AWAY + "ledger_password_file: p\n", None),
        (AWAY.replace("@db/songlo", "@db/songlo?sslcert=c&sslkey=k"), None),
        (AWAY.replace("@db/songlo", "@127.0.0.1/songlo"), None),
        (AWAY.replace("@db/songlo", "@/songlo?host=/run/postgresql"), None),
        (AWAY.replace("@db/songlo", "@/songlo?host=elsewhere"), "ledger: elsewhere"),
        (LOCAL.replace(DUCK, INFLUX), "readings: i"),
        (LOCAL.replace(DUCK, INFLUX.replace("org: o", "org: o, token_file: t")), None),
        (LOCAL.replace(DUCK, INFLUX.replace("//i:", "//127.0.0.1:")), None),
        (GOOD.replace("broker.example", f"b, {CERTIFICATE}") + "commands: {}\n", None),
        (
            GOOD.replace("broker.example", "b, username: u, password_file: p")
            + "commands: {username: c}\n",
            "commands: b",
        ),
    ],
)
def test_what_is_on_another_machine_is_not_used_without_a_secret(
    text: str, door: str | None, tmp_path: Path
) -> None:
    config = _load(tmp_path, text)
    if door is None:
        assert config.open_doors == ()
        return
    [found] = config.open_doors
    assert found.startswith(door + ": ")
    # Nothing is opened, and no signal is taken: it is the first thing that is looked at.
    with pytest.raises(ConfigError, match=door) as raised:
        run(config, Role.ALL)
    assert "collector-file.md" in raised.value.hint
