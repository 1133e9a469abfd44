"""`songlo gateway scan` against real slaves and meters: who is found, as what, and what is said."""

import asyncio
import json
import os
import pty
import signal
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import app
from tests.commissioning import command
from tests.commissioning.meters import memory, meters
from tests.gateway_iec.meter import Meter, MeterLine, household
from tests.gateway_lines.slave import Fault, PtySlave, Slave, TcpSlave


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await command.start("scan", *arguments)


async def run(*arguments: str) -> tuple[int, str, str]:
    return await command.run("scan", *arguments)


@pytest.mark.asyncio
async def test_meters_on_a_serial_line_are_found_and_named(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120", u9="eastron-sdm630")
    slave = Slave(units, words=words)
    device = tmp_path / "tty"
    with PtySlave(slave, device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "1-10"),
            *("--timeout-ms", "60", "--json"),
        )
    assert code == 0, err
    assert "10 addresses at 1 setting: at most about" in err
    first, second = json.loads(out)
    assert (first["address"], first["profiles"][0]["profile"]) == (3, "eastron-sdm120")
    assert (second["address"], second["profiles"][0]["profile"]) == (9, "eastron-sdm630")
    assert first["line"] == f"{device} 9600 8N1"
    assert first["energy"] == "1234.56 kWh"
    assert any("phase 1 has a voltage (2" in text for text in first["profiles"][0]["evidence"])


@pytest.mark.asyncio
async def test_a_piece_of_a_station_file_comes_out(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120", u4="abb-b23")
    device = tmp_path / "tty"
    with PtySlave(Slave(units, words=words), device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "3,4"),
            *("--timeout-ms", "60", "--yaml"),
        )
    assert code == 0, err
    (line,) = yaml.safe_load(out)["lines"]
    assert line["modbus_rtu"] == {
        "device": str(device), "baud": 9600, "parity": "N", "stop_bits": 1,
    }  # fmt: skip
    assert [(m["address"], m["profile"]) for m in line["meters"]] == [
        (3, "eastron-sdm120"),
        (4, "abb-b23"),
    ]
    assert line["meters"][0]["serial"] == "FILL IN"
    assert line["meters"][1]["serial"] not in ("", "FILL IN")  # the meter says it itself


@pytest.mark.asyncio
async def test_a_device_that_identifies_itself_is_named_by_it() -> None:
    units, words = meters(u5="schneider-iem3155")
    objects = {5: {0: b"Schneider Electric", 1: b"iEM3155", 2: b"001.002"}}
    slave = Slave(units, words=words, objects=objects)
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--addresses", "5-6", "--timeout-ms", "60")
        )
    assert code == 0, err
    assert "Schneider Electric iEM3155 001.002" in out
    assert "the vendor calls itself Schneider (Schneider Electric)" in out
    assert "its display must show" in out


@pytest.mark.asyncio
async def test_rtu_over_tcp_is_searched_with_rtu_framing() -> None:
    units, words = meters(u2="eastron-sdm120")
    async with TcpSlave(Slave(units, words=words), rtu=True) as server:
        code, out, err = await run(
            *("--rtu-over-tcp", f"127.0.0.1:{server.port}", "--addresses", "1-3"),
            *("--timeout-ms", "60", "--yaml"),
        )
    assert code == 0, err
    (line,) = yaml.safe_load(out)["lines"]
    assert line["modbus_rtu_over_tcp"] == {"host": "127.0.0.1", "port": server.port}
    assert line["meters"][0]["profile"] == "eastron-sdm120"


@pytest.mark.asyncio
async def test_a_device_that_answers_for_every_address_is_one_meter() -> None:
    one = memory("carlo-gavazzi-em24-e1")
    slave = Slave(range(1, 248), words=lambda unit, address: one.get(address, 0))
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--timeout-ms", "200", "--json")
        )
    assert code == 0, err
    (meter,) = json.loads(out)
    assert meter["address"] == 1
    assert "answers to every address" in meter["remarks"][0]


@pytest.mark.asyncio
async def test_an_exception_reply_is_presence_and_a_bridge_that_reaches_nobody_is_not() -> None:
    slave = Slave([4, 6], always={4: Fault("exception", code=1), 6: Fault("exception", code=11)})
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--addresses", "4-6", "--timeout-ms", "60"),
            *("--profiles", "eastron-sdm120", "--json"),
        )
    assert code == 0, err
    (meter,) = json.loads(out)
    assert (meter["address"], meter["presence"], meter["profiles"]) == (4, "answers", [])
    assert "no profile fits: read the type plate" in meter["remarks"][0]


@pytest.mark.asyncio
async def test_two_meters_on_one_address_are_named_a_collision(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    with PtySlave(Slave([2], always={2: Fault("bad_crc")}), device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "1-3"),
            *("--timeout-ms", "60"),
        )
    assert code == 0, err
    assert "collision?" in out
    assert "two meters with this address" in out


@pytest.mark.asyncio
async def test_a_meter_that_answers_late_is_found_by_its_late_answer(tmp_path: Path) -> None:
    units, words = meters(u2="eastron-sdm120")
    device = tmp_path / "tty"
    late = {2: Fault("late", delay_s=0.12)}
    with PtySlave(Slave(units, words=words, always=late), device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "1-6"),
            *("--timeout-ms", "80", "--profiles", "eastron-sdm120", "--json"),
        )
    assert code == 0, err
    (meter,) = json.loads(out)
    assert (meter["address"], meter["presence"]) == (2, "late")
    assert meter["profiles"][0]["profile"] == "eastron-sdm120"
    assert "response_timeout_ms" in meter["remarks"][0]


@pytest.mark.asyncio
async def test_words_in_another_order_are_told_with_the_profile(tmp_path: Path) -> None:
    straight = memory("eastron-sdm120")
    device = tmp_path / "tty"
    swapped = Slave([2], words=lambda unit, address: straight.get(address ^ 1, 0))
    with PtySlave(swapped, device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "2"),
            *("--timeout-ms", "60", "--yaml"),
        )
    assert code == 0, err
    (line,) = yaml.safe_load(out)["lines"]
    assert line["meters"][0]["order"] == "CDAB"


@pytest.mark.asyncio
async def test_nobody_brings_advice(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    with PtySlave(Slave([]), device):
        code, out, err = await run(
            *("--serial", str(device), "--parity", "N", "--addresses", "1-3"),
            *("--timeout-ms", "20"),
        )
    assert (code, out) == (1, "")
    assert "are A and B exchanged" in err
    assert "--iec" in err


@pytest.mark.asyncio
async def test_a_port_that_another_program_has_is_refused_and_the_program_named(
    tmp_path: Path,
) -> None:
    device = tmp_path / "tty"
    arguments = ("--serial", str(device), "--parity", "N", "--timeout-ms", "200")
    with PtySlave(Slave([1]), device) as wire:
        first = await start(*arguments, "--addresses", "1-200")
        async with asyncio.timeout(20):
            while not wire.slave.requests:  # noqa: ASYNC110 the other program's doing
                await asyncio.sleep(0.02)
        code, out, err = await run(*arguments, "--addresses", "1")
        first.send_signal(signal.SIGINT)
        found, told = await asyncio.wait_for(first.communicate(), 20)
    assert (code, out) == (3, "")
    assert f": in use by process {first.pid}" in err
    assert "stop it (systemctl stop songlo-gateway)" in err
    # And the one that was interrupted still says what it had found.
    assert first.returncode == 130
    assert "9600 8N1  1 " in found.decode()
    assert "interrupted" in told.decode()


@pytest.mark.asyncio
async def test_an_iec_meter_is_found_by_its_sign_on(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    values = {"0.0.0": "52011111", "1.8.0": "0012345.67*kWh", "3.8.0": "1.50*kvarh"}
    meter = Meter("52011111", values, identification="/LGz5\\2ZMD120APt.T21")
    with MeterLine(device, meter):
        code, out, err = await run("--iec", "--serial", str(device), "--baud", "2400", "--json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["identification"] == "LGz ZMD120APt.T21 (mode C, offers 9600 baud)"
    assert (found["serial"], found["energy"]) == ("52011111", "12345.67 kWh")
    assert found["profiles"][0]["profile"] == "landis-gyr-zmd"
    assert found["profiles"][0]["certain"]
    assert any("DLMS" in remark for remark in found["remarks"])


@pytest.mark.asyncio
async def test_iec_meters_on_one_line_are_found_by_their_addresses(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    with MeterLine(device, household("111"), household("222")):
        code, out, err = await run(
            *("--iec", "--serial", str(device), "--baud", "2400"),
            *("--addresses", "111,222,333", "--yaml"),
        )
    assert code == 0, err
    (line,) = yaml.safe_load(out)["lines"]
    assert line["iec62056_21"]["baud"] == 2400
    assert [(m["serial"], m["address"]) for m in line["meters"]] == [("111", "111"), ("222", "222")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give one of --serial DEVICE"),
        (["--tcp", "a:1", "--serial", "b"], "give one of --serial DEVICE"),
        (["--iec", "--tcp", "a:1"], "--iec needs --serial"),
        (["--serial", "x", "--baud", "fast"], "'fast' is no number"),
        (["--serial", "x", "--addresses", "0-3"], "0-3 is not within 1 to 247"),
        (["--serial", "x", "--parity", "X"], "use N, E and O"),
        (["--serial", "x", "--profiles", "sdm"], "there are: abb-b23"),
        (["--iec", "--serial", "x", "--baud", "1000"], "has no 1000"),
        (["--iec", "--serial", "x", "--addresses", "(1)"], "is no device address"),
        (["--rtu-over-tcp", "a:b"], "--rtu-over-tcp is HOST:PORT"),
    ],
)
def test_mistakes_are_named(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, ["scan", *arguments], env={"COLUMNS": "300", "TERM": "dumb"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in " ".join(result.stderr.split())


@pytest.mark.asyncio
async def test_meters_of_one_model_behind_a_bridge_stay_as_many_as_they_are() -> None:
    units, words = meters(**{f"u{unit}": "abb-b23" for unit in range(1, 11)})
    base = {unit: dict.fromkeys((0x5000, 0x5003), unit) for unit in units}
    serials = {unit: unit for unit in units}

    def own(unit: int, address: int) -> int:
        if address == 0x5003:  # the low word of its energy
            return base[unit][address] + 1000
        return serials[unit] if address == 0x8901 else words(unit, address)

    # They refuse function 4, all with the same exception.
    slave = Slave(units, words=own, refuses=lambda request: request.function == 4)
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--addresses", "1-12", "--timeout-ms", "60"),
            *("--profiles", "abb-b23", "--json"),
        )
    assert code == 0, err
    found = json.loads(out)
    assert [meter["address"] for meter in found] == units
    assert {meter["profiles"][0]["profile"] for meter in found} == {"abb-b23"}


@pytest.mark.asyncio
async def test_a_bridge_that_hangs_up_is_called_again() -> None:
    units, words = meters(u5="eastron-sdm120")
    slave = Slave([4, *units], words=words, always={4: Fault("disconnect")})
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--addresses", "3-6", "--timeout-ms", "60"),
            *("--profiles", "eastron-sdm120", "--json"),
        )
    assert code == 0, err
    (meter,) = json.loads(out)
    assert (meter["address"], meter["profiles"][0]["profile"]) == (5, "eastron-sdm120")


@pytest.mark.asyncio
async def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    mine, theirs = pty.openpty()
    loop = asyncio.get_running_loop()
    seen = bytearray()
    loop.add_reader(mine, lambda: seen.extend(os.read(mine, 65536)))
    try:
        with PtySlave(Slave([2], refuses=lambda request: True), device):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *command.PROGRAM, "scan", "--serial", str(device)),
                *("--parity", "N", "--addresses", "1-20", "--timeout-ms", "40", "--quick"),
                stdout=asyncio.subprocess.PIPE,
                stderr=theirs,
                env=command.ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "160"},
            )
            out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        loop.remove_reader(mine)
        os.close(mine)
        os.close(theirs)
    assert process.returncode == 0
    assert b"1 found" in seen
    assert b"9600 8N1, address" in seen
    assert b"unknown" in out


@pytest.mark.asyncio
async def test_a_model_that_nearly_fits_is_named_with_what_does_not(tmp_path: Path) -> None:
    near = memory("abb-b23")
    units = [3]
    slave = Slave(
        units,
        words=lambda unit, address: near.get(address, 0),
        refuses=lambda request: request.address >= 0x8000,  # its type among them
    )
    async with TcpSlave(slave) as server:
        code, out, err = await run(
            *("--tcp", f"127.0.0.1:{server.port}", "--addresses", "3", "--timeout-ms", "60"),
            *("--profiles", "abb-b23", "--json"),
        )
    assert code == 0, err
    (meter,) = json.loads(out)
    assert meter["profiles"] == []
    assert meter["remarks"][0].startswith("nearest is abb-b23: phase 1 has a voltage (2")
    assert "but not: its type begins with B23" in meter["remarks"][0]
