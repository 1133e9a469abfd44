"""`songlo gateway read` with meters of IEC 62056-21: values, their own words, and advice."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.commissioning.command import run
from tests.commissioning.meters import hasty
from tests.gateway_iec.meter import Meter, MeterLine, household

ZMD = ("read", "--profile", "landis-gyr-zmd")


@pytest.mark.asyncio
async def test_a_readout_as_json_and_as_it_came(tmp_path: Path) -> None:
    device, raw = tmp_path / "tty", tmp_path / "raw.txt"
    with MeterLine(device, household("111"), household("222"), sign_on_rate=300):
        code, out, err = await run(
            *(*ZMD, "--serial", str(device), "--address", "222", "--json", "--raw", str(raw))
        )
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["profile"], answer["address"]) == ("landis-gyr-zmd", "222")
    assert answer["identification"] == "LGz5ZMD120APt.T21"
    assert answer["at"].endswith("Z")
    assert answer["registers"]["1-0:1.8.0"] == {"value": 12_345_670, "unit": "Wh"}
    assert answer["registers"]["1-0:32.7.0"] == {"value": 230.4, "unit": "V"}
    assert "1-0:1.8.1" in answer["missing"]
    assert raw.read_bytes().startswith(b"F.F(00000000)\r\n0.0.0(222)\r\n1.8.0(0012345.67*kWh)\r\n")
    assert "its serial number included" in err


@pytest.mark.asyncio
async def test_commands_and_a_table(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    values = {"0.0.0": "7", "1.8.0": "0000001.00*kWh", "1.8.1": "0000001.00*kWh"}
    values |= {"1.8.2": "0000000.00*kWh", "1.8.3": "0000000.00*kWh"}
    with MeterLine(device, Meter("7", values), sign_on_rate=300):
        code, out, err = await run("read", "--profile", "gelex-emic-me40", "--serial", str(device))
    assert (code, err) == (0, "")
    head, said, first, *_ = out.splitlines()
    assert head.startswith("GELEX EMIC ME-40 and ME-40m, three phases, address any, 20")
    assert said == "introduces itself as LGz5ZMD120APt.T21"
    assert first.split() == ["1-0:1.8.0", "import_wh", "1", "000", "Wh"]


@pytest.mark.asyncio
async def test_another_meter_than_was_asked_is_named(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    meter = household("111")
    meter.values["0.0.0"] = "52011111"
    with MeterLine(device, meter, sign_on_rate=300):
        code, _, err = await run(*ZMD, "--serial", str(device), "--address", "111")
    assert code == 0
    assert "the meter says that it is 52011111, not 111: compare its plate" in err


@pytest.mark.asyncio
async def test_silence_brings_advice(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    with MeterLine(device, household("111"), household("222"), sign_on_rate=300):
        profile = f"{tmp_path}/{hasty(tmp_path, 'landis-gyr-zmd')}.yaml"
        code, out, err = await run(
            *("read", "--profile", profile, "--serial", str(device), "--address", "333")
        )
    assert (code, out) == (1, "")
    assert "address 333: timeout: no identification" in err
    assert "without --address only a meter that is alone on its line answers" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((*ZMD, "--tcp", "x"), "landis-gyr-zmd speaks IEC 62056-21: give --serial DEVICE"),
        ((*ZMD, "--serial", "x", "--baud", "1000"), "IEC 62056-21 has no 1000"),
        ((*ZMD, "--serial", "x", "--address", "(1)"), "'(1)' is no device address"),
        ((*ZMD, "--serial", "x", "--dump", "y"), "a readout is kept with --raw"),
        (("read", "--profile", "abb-b23", "--tcp", "x", "--raw", "y"), "has --dump"),
        (("read", "--profile", "abb-b23", "--tcp", "x"), "a Modbus meter needs --address"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300", "TERM": "dumb"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in " ".join(result.stderr.split())
