"""Lines as a station file describes them: a serial server, and meters set to another byte order."""

import asyncio
from pathlib import Path

import pytest

from gateway.app import line_of
from gateway.config import StationConfig, parse_station
from gateway.lines.endpoints import Framing, TcpEndpoint
from gateway.lines.engine import ModbusLine
from gateway.ports import Part, Priority
from tests.gateway_lines.bench import StillClock
from tests.gateway_lines.slave import Slave, TcpSlave

IMPORT = "1-0:1.8.0"
WORDS = {0x0048: 0x449A, 0x0049: 0x51EC}  # 1234.56 kWh as the SDM120 sends it


def station(port: int, kind: str) -> StationConfig:
    return parse_station(
        f"""\
station: T1
data: data
broker: {{host: 127.0.0.1}}
lines:
  - name: server
    {kind}: {{host: 127.0.0.1, port: {port}}}
    meters:
      - {{serial: plain, address: 1, profile: eastron-sdm120}}
      - {{serial: swapped, address: 2, profile: eastron-sdm120, order: CDAB}}
      - {{serial: as_well, address: 3, profile: eastron-sdm120, order: CDAB}}
""",
        "station.yaml",
        Path("/nowhere"),
    )


@pytest.mark.parametrize(("kind", "rtu"), [("modbus_rtu_over_tcp", True), ("modbus_tcp", False)])
@pytest.mark.asyncio
async def test_meters_of_either_order_behind_a_server(kind: str, rtu: bool) -> None:
    def words(unit: int, address: int) -> int:
        return WORDS.get(address if unit == 1 else address ^ 1, 0)

    async with TcpSlave(Slave([1, 2, 3], words=words), rtu=rtu) as server:
        config = station(server.port, kind).lines[0]
        line = line_of(config, StillClock(), station(server.port, kind).schedule.zone)
        assert isinstance(line, ModbusLine)
        async with asyncio.TaskGroup() as group:
            owner = group.create_task(line.run())
            for meter in config.meters:
                read = await line.read(meter, Part.ENERGY, Priority.INTERVAL)
                assert read.values[IMPORT] == 1_234_560, meter.serial
            owner.cancel()
    plain, swapped, as_well = (meter.profile for meter in config.meters)
    assert swapped is as_well, "their requests are planned once"
    assert swapped != plain


def test_a_reply_through_a_serial_server_may_take_the_time_of_its_line() -> None:
    through = TcpEndpoint("h", 4001, Framing.RTU, 9600)
    assert through.wire_s(96) == pytest.approx(0.11)
    assert through.silence_s == pytest.approx(3.5 * 11 / 9600)
    assert TcpEndpoint("h", 4001, Framing.RTU, 38_400).silence_s == 0.00175
    assert TcpEndpoint("h", 502).wire_s(96) == TcpEndpoint("h", 502).silence_s == 0.0
