"""`songlo gateway read` beyond the registers: what a meter says of itself, and its words kept."""

from pathlib import Path

import pytest

from gateway.lines.endpoints import TcpEndpoint
from gateway.meters.vectors import VECTORS_SUFFIX, mistakes, parse_vectors
from gateway.profiles import ProfileLibrary, built_in
from gateway.read_once import words_once
from tests.gateway_lines.slave import Fault, PtySlave, Slave, TcpSlave
from tests.gateway_lines.test_read_command import _run

MODELS = ["abb-b23", "carlo-gavazzi-em24", "schneider-iem3155", "eastron-sdm630"]


def _memory(name: str) -> dict[int, int]:
    text = (built_in() / f"{name}{VECTORS_SUFFIX}").read_text()
    return parse_vectors(text, name).vectors[0].memory()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", MODELS)
async def test_a_dump_over_tcp_is_what_the_vectors_were(name: str, tmp_path: Path) -> None:
    memory = _memory(name)
    slave = Slave([1], words=lambda unit, address: memory.get(address, 0))
    file = tmp_path / "captured.yaml"
    async with TcpSlave(slave) as server:
        arguments = ["--profile", name, "--address", "1", "--tcp", f"127.0.0.1:{server.port}"]
        code, out, err = await _run(*arguments, "--dump", str(file))
        again, _, refusal = await _run(*arguments, "--dump", str(file))
    assert code == 0, err
    assert "compare them with the display" in err
    profile = ProfileLibrary().get_modbus(name)
    (vector,) = parse_vectors(file.read_text(), "captured.yaml").vectors
    assert mistakes(profile, vector) == []
    wanted = {a for mapped in profile.registers for a in range(mapped.address, mapped.end)}
    assert vector.memory() == {address: memory.get(address, 0) for address in wanted}
    for attribute in profile.attributes:
        assert f"{attribute.name}: " in out
    assert (again, "exists already" in refusal) == (2, True)


@pytest.mark.asyncio
async def test_a_meter_that_is_busy_or_loses_a_request_is_asked_again(tmp_path: Path) -> None:
    memory = _memory("eastron-sdm120")
    slave = Slave([1], words=lambda unit, address: memory.get(address, 0))
    profile = ProfileLibrary().get_modbus("eastron-sdm120")
    async with TcpSlave(slave) as server:
        slave.script[1].extend([Fault("exception", code=6), Fault("silent")])
        endpoint = TcpEndpoint("127.0.0.1", server.port)
        words = await words_once(endpoint, profile, 1)
    assert [request.address for request in slave.requests] == [0x00, 0x00, 0x00, 0x48]
    assert {address: words[address] for address in memory} == memory


@pytest.mark.asyncio
async def test_what_a_meter_refuses_is_left_out_on_a_serial_line(tmp_path: Path) -> None:
    """An EM24 without exported energy, without a serial number, and with gaps that it refuses."""
    memory = _memory("carlo-gavazzi-em24")
    for address in (*range(0x5C, 0x5E), *range(0x1300, 0x1307)):
        memory.pop(address, None)
    slave = Slave(
        [3],
        words=lambda unit, address: memory[address],
        refuses=lambda request: any(
            address not in memory
            for address in range(request.address, request.address + request.count)
        ),
    )
    device, file = tmp_path / "line.tty", tmp_path / "captured.yaml"
    with PtySlave(slave, device):
        code, out, err = await _run(
            *("--profile", "carlo-gavazzi-em24", "--address", "3", "--serial", str(device)),
            *("--baud", "9600", "--dump", str(file)),
        )
    assert code == 0, err
    assert "model code: 71" in out
    assert "serial" not in out
    (vector,) = parse_vectors(file.read_text(), "captured.yaml").vectors
    assert vector.expect["1-0:1.8.0"] == 12_345_600
    assert "1-0:2.8.0" not in vector.expect
    assert len(vector.expect) == 16
