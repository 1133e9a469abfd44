"""`songlo gateway read` against a real slave: what it prints, and what it says when it cannot."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gateway.profiles import built_in
from tests.gateway_lines.slave import PtySlave, Slave, TcpSlave

# The words of a household from the vectors of the profile, and what they mean.
WORDS = {0x48: 0x449A, 0x49: 0x51EC, 0x00: 0x4366, 0x01: 0x6666, 0x06: 0x7FC0}
SDM120 = ["--profile", "eastron-sdm120", "--address", "7"]


def _slave() -> Slave:
    return Slave([7], words=lambda unit, address: WORDS.get(address, 0))


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from gateway.cli import app; app(prog_name='songlo gateway')", "read"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "300"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), " ".join(err.decode().split())


@pytest.mark.asyncio
async def test_json_over_tcp() -> None:
    async with TcpSlave(_slave()) as server:
        code, out, err = await _run(*SDM120, "--tcp", f"127.0.0.1:{server.port}", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert set(answer) == {"profile", "address", "at", "registers", "missing"}
    assert (answer["profile"], answer["address"]) == ("eastron-sdm120", 7)
    assert answer["at"].endswith("Z")
    assert answer["registers"]["1-0:1.8.0"] == {"value": 1_234_560, "unit": "Wh"}
    assert answer["registers"]["1-0:32.7.0"] == {"value": 230.4, "unit": "V"}
    assert answer["missing"] == ["1-0:31.7.0"]
    assert len(answer["registers"]) == 10


@pytest.mark.asyncio
async def test_a_table_over_a_serial_line_with_a_profile_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    text = (built_in() / "eastron-sdm120.yaml").read_text()
    own.write_text(text.replace("profile: eastron-sdm120", "profile: mine"))
    device = tmp_path / "line.tty"
    with PtySlave(_slave(), device):
        code, out, err = await _run(
            *("--profile", str(own), "--address", "7", "--serial", str(device), "--baud", "19200")
        )
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.startswith("Eastron SDM120 Modbus, one phase, direct connection, address 7, 20")
    assert [" ".join(row.split()) for row in rows][:2] == [
        "1-0:1.8.0 import_wh 1 234 560 Wh",
        "1-0:2.8.0 export_wh 0 Wh",
    ]
    assert " ".join(rows[-1].split()) == "1-0:31.7.0 current_l1_a no value"


@pytest.mark.asyncio
async def test_a_meter_that_does_not_answer_brings_advice() -> None:
    async with TcpSlave(Slave([])) as server:
        code, out, err = await _run(*SDM120, "--tcp", f"127.0.0.1:{server.port}", "--json")
    assert (code, out) == (1, "")
    assert f"127.0.0.1:{server.port}, address 7: timeout: no reply in time" in err
    assert "Try the address that the meter's display shows" in err


@pytest.mark.asyncio
async def test_a_meter_of_another_model_brings_advice() -> None:
    async with TcpSlave(Slave([7], refuses=lambda request: True)) as server:
        code, _, err = await _run(*SDM120, "--tcp", f"127.0.0.1:{server.port}")
    assert code == 1
    assert "exception 2, illegal data address" in err
    assert "This profile may be of another model" in err


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([*SDM120], 2, "give either --tcp HOST:PORT or --serial DEVICE"),
        ([*SDM120, "--tcp", "x:1", "--serial", "y"], 2, "give either"),
        ([*SDM120, "--tcp", "host:port"], 2, "--tcp is HOST:PORT, as in 192.168.1.20:502"),
        ([*SDM120, "--serial", "/dev/not-there"], 1, "ls -l /dev/serial/by-path"),
        ([*SDM120, "--tcp", "127.0.0.1:1"], 1, "whether the device can be reached"),
        (["--profile", "sdm", "--address", "1", "--tcp", "x"], 2, "there are: abb-b23, carlo"),
        (["--profile", "./no.yaml", "--address", "1", "--tcp", "x"], 2, "no.yaml:1: cannot be"),
        (["--profile", "abb-b23", "--address", "248", "--serial", "x"], 2, "is 1 to 247"),
        (["--profile", "abb-b23", "--address", "256", "--tcp", "x"], 2, "256 is not in the range"),
    ],
)
@pytest.mark.asyncio
async def test_mistakes_are_named(arguments: list[str], code: int, expected: str) -> None:
    returned, out, err = await _run(*arguments)
    assert (returned, out) == (code, "")
    assert expected in err
