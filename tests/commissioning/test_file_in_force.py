"""What looks at a gateway from beside goes by the station file in force, not by its own."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from contract.signed_config import PUBLIC_KEY, key_text
from gateway.cli import app
from gateway.config_store import ConfigStore, Held, Trial
from gateway.in_force import station_in_force
from tests.commissioning.command import rtu_line, run, station_file
from tests.commissioning.meters import meters
from tests.gateway_lines.slave import PtySlave, Slave

CONFIG = {"public_key_file": "fleet.pub", "confirm_within_s": 900}


def invoke(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", "--config", str(path), *arguments])


def row(result: Result, name: str) -> str:
    (line,) = (text for text in result.stdout.splitlines() if text.startswith(f"{name} "))
    return line.removeprefix(name).strip()


def own_file(folder: Path) -> Path:
    """A gateway's own station file, with one meter, that takes others."""
    (folder / "fleet.pub").write_text(key_text(PUBLIC_KEY, b"k" * 32))
    path = station_file(folder, rtu_line(folder / "tty", M3="eastron-sdm120"))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"config": CONFIG}))
    return path


def begin(path: Path, version: int, **meters: str) -> ConfigStore:
    """Have a version with these meters begun in place of the gateway's own file."""
    text = path.read_text()
    content = yaml.safe_load(text) | {"lines": [rtu_line(path.parent / "tty", **meters)]}
    store = ConfigStore(path.parent / "data" / "config")
    store.begin(text)
    store.accept(Held(version, yaml.safe_dump(content)), Trial(version, 900.0), text)
    return store


def test_status_says_which_file_is_in_force_and_why(tmp_path: Path) -> None:
    plain = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    assert row(invoke(plain), "file") == "its own; none is taken from the collector"
    assert json.loads(invoke(plain, "--json").stdout)["config"] is None
    path = own_file(tmp_path)
    assert row(invoke(path), "file") == "its own"
    store = begin(path, 4, M3="eastron-sdm120", M9="eastron-sdm630")
    assert row(invoke(path), "file") == "version 4 from the collector, on trial"
    store.roll_back(4, "not_confirmed", "nobody said so")
    said = "its own; version 4 is not (not_confirmed): nobody said so"
    assert row(invoke(path), "file") == said
    assert json.loads(invoke(path, "--json").stdout)["config"] == {
        "version": 0,
        "trial": False,
        "highest": 4,
        "refused": {"version": 4, "code": "not_confirmed", "text": "nobody said so"},
    }


@pytest.mark.asyncio
async def test_watch_reads_the_meters_of_the_file_in_force(tmp_path: Path) -> None:
    path = own_file(tmp_path)
    begin(path, 1, M9="eastron-sdm630")
    units, words = meters(u3="eastron-sdm120", u9="eastron-sdm630")
    with PtySlave(Slave(units, words=words), tmp_path / "tty"):
        code, out, err = await run("watch", "--config", str(path), "--once")
    assert (code, err) == (0, "")
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["M9"]


def test_a_damaged_own_file_hides_nothing(tmp_path: Path) -> None:
    path = own_file(tmp_path)
    begin(path, 1, M9="eastron-sdm630")
    path.write_text(path.read_text().replace("station: T012", "station: [T012"))
    station, status = station_in_force(path)
    assert [meter.serial for meter in station.lines[0].meters] == ["M9"]
    assert status is not None
    assert status.version == 1


def test_a_version_that_cannot_be_used_leaves_the_own_file(tmp_path: Path) -> None:
    path = own_file(tmp_path)
    begin(path, 1, M9="a-profile-that-is-no-more")
    station, status = station_in_force(path)
    assert [meter.serial for meter in station.lines[0].meters] == ["M3"]
    assert status is not None
    assert status.version == 0


def test_who_may_not_look_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_file(tmp_path)

    def forbidden(_self: ConfigStore) -> None:
        raise PermissionError

    monkeypatch.setattr(ConfigStore, "look", forbidden)
    assert station_in_force(path)[1] is None
    checked = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert checked.exit_code == 0
    assert "this user may not see" in checked.output
