"""`songlo gateway watch`: a table of what meters say, and what to try where one does not."""

import asyncio
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from tests.commissioning import command
from tests.commissioning.command import ENVIRONMENT, PROGRAM, rtu_line, run, start, station_file
from tests.commissioning.meters import hasty, meters
from tests.gateway_iec.meter import MeterLine, household
from tests.gateway_lines.slave import PtySlave, Slave


@pytest.mark.asyncio
async def test_each_meter_is_read_once_and_shown(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120", u9="eastron-sdm630")
    device = tmp_path / "tty"
    path = station_file(tmp_path, rtu_line(device, M3="eastron-sdm120", M9="eastron-sdm630"))
    with PtySlave(Slave(units, words=words), device):
        code, out, err = await run("watch", "--config", str(path), "--once")
    assert (code, err) == (0, "")
    head, first, second = out.splitlines()
    assert head.split() == [
        *("line", "address", "meter", "profile", "energy", "power", "age", "ok", "time", "state"),
    ]
    assert first.split()[:4] == ["rs485-1", "3", "M3", "eastron-sdm120"]
    assert "1234.560 kWh" in first
    assert "1/1" in first
    assert first.endswith("ok")
    assert second.split()[:4] == ["rs485-1", "9", "M9", "eastron-sdm630"]


@pytest.mark.asyncio
async def test_a_meter_that_fails_is_named_with_what_to_try(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120")
    device = tmp_path / "tty"
    model = hasty(tmp_path, "eastron-sdm120")
    path = station_file(tmp_path, rtu_line(device, M3=model, M4=model), profiles=[str(tmp_path)])
    with PtySlave(Slave(units, words=words), device):
        code, out, err = await run("watch", "--config", str(path), "--once")
    assert (code, err) == (1, "")
    assert "timeout: no reply in time" in out
    assert "rs485-1, meter M4 (address 4): The others on this line answer" in out


@pytest.mark.asyncio
async def test_a_silent_line_brings_advice_for_the_line(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    model = hasty(tmp_path, "eastron-sdm120")
    path = station_file(tmp_path, rtu_line(device, M3=model, M4=model), profiles=[str(tmp_path)])
    with PtySlave(Slave([]), device):
        code, out, _ = await run("watch", "--config", str(path), "--once")
    assert code == 1
    assert "meters M3 (address 3), M4 (address 4): No meter of this line answers" in out


@pytest.mark.asyncio
async def test_iec_meters_are_watched_too(tmp_path: Path) -> None:
    device = tmp_path / "tty"
    line = {
        "name": "iec-1",
        "iec62056_21": {"device": str(device), "baud": 300},
        "meters": [{"serial": "111", "address": "111", "profile": "landis-gyr-zmd"}],
    }
    path = station_file(tmp_path, line)
    with MeterLine(device, household("111"), sign_on_rate=300):
        code, out, err = await run("watch", "--config", str(path), "--once", "--line", "iec-1")
    assert (code, err) == (0, "")
    assert "12345.670 kWh" in out


@pytest.mark.asyncio
async def test_a_live_table_is_drawn_on_a_terminal(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120")
    device = tmp_path / "tty"
    path = station_file(tmp_path, rtu_line(device, M3="eastron-sdm120"))
    mine, theirs = pty.openpty()
    loop = asyncio.get_running_loop()
    seen = bytearray()
    loop.add_reader(mine, lambda: seen.extend(os.read(mine, 65536)))
    try:
        with PtySlave(Slave(units, words=words), device):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *PROGRAM, "watch", "--config", str(path), "--every", "0.2"),
                stdout=theirs,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "160"},
            )
            async with asyncio.timeout(30):
                while b"4/4" not in seen:  # noqa: ASYNC110 the other program's doing
                    await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), 20)
    finally:
        loop.remove_reader(mine)
        os.close(mine)
        os.close(theirs)
    assert (process.returncode, err) == (0, b"")
    assert b"1234.560 kWh" in seen
    assert b"Ctrl-C ends it" in seen


@pytest.mark.asyncio
async def test_rows_go_on_where_no_terminal_is(tmp_path: Path) -> None:
    units, words = meters(u3="eastron-sdm120")
    device = tmp_path / "tty"
    path = station_file(tmp_path, rtu_line(device, M3="eastron-sdm120"))
    with PtySlave(Slave(units, words=words), device):
        process = await start("watch", "--config", str(path), "--every", "0.1")
        assert process.stdout is not None
        async with asyncio.timeout(30):
            lines = [(await process.stdout.readline()).decode() for _ in range(6)]
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert [" 1/1 " in lines[1], " 2/2 " in lines[3], " 3/3 " in lines[5]] == [True] * 3


@pytest.mark.asyncio
async def test_lines_of_a_running_gateway_are_refused_and_the_gateway_named(
    tmp_path: Path,
) -> None:
    units, words = meters(u3="eastron-sdm120")
    device = tmp_path / "tty"
    path = station_file(tmp_path, rtu_line(device, M3="eastron-sdm120"))
    with PtySlave(Slave(units, words=words), device):
        gateway = await command.start("run", "--config", str(path))
        try:
            async with asyncio.timeout(30):
                while not (tmp_path / "data" / "outbox.sqlite3").exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            code, out, err = await run("watch", "--config", str(path), "--once")
        finally:
            gateway.terminate()
            await asyncio.wait_for(gateway.communicate(), 20)
    assert (code, out) == (3, "")
    assert f"rs485-1: in use by process {gateway.pid}" in err
    assert "which is the gateway" in err
    assert "systemctl stop songlo-gateway" in err


@pytest.mark.asyncio
async def test_an_unknown_line_is_named(tmp_path: Path) -> None:
    path = station_file(tmp_path, rtu_line(tmp_path / "tty", M3="eastron-sdm120"))
    code, out, err = await run("watch", "--config", str(path), "--line", "rs485-2")
    assert (code, out) == (2, "")
    assert "there is no 'rs485-2'; there are: rs485-1" in err
