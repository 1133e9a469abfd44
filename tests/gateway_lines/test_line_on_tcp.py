"""The line engine on real TCP connections: Modbus TCP, and RTU frames through a serial server."""

import asyncio

import pytest

from contract.messages import MissingReason
from gateway.lines.endpoints import Framing, TcpEndpoint
from gateway.lines.health import LineState
from gateway.meters.profile import Timing
from gateway.ports import Part, Priority, ReadFailed
from tests.gateway_lines.bench import VOLTAGE, energies, meters, profile, running, truth
from tests.gateway_lines.slave import Fault, Slave, TcpSlave

INTERVAL = Priority.INTERVAL


def _endpoint(server: TcpSlave, *, rtu: bool = False) -> TcpEndpoint:
    return TcpEndpoint("127.0.0.1", server.port, Framing.RTU if rtu else Framing.TCP)


@pytest.mark.parametrize("rtu", [False, True])
@pytest.mark.asyncio
async def test_many_meters_behind_one_connection(rtu: bool) -> None:
    installed = meters(profile(), *range(1, 51))
    async with (
        TcpSlave(Slave(range(1, 51)), rtu=rtu) as server,
        running(_endpoint(server, rtu=rtu), installed) as line,
    ):
        for meter in installed:
            read = await line.read(meter, Part.ENERGY, INTERVAL)
            assert read.values == energies(meter.address)
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    "kind", ["silent", "truncated", "wrong_number", "short", "disconnect", "duplicate", "bytewise"]
)
@pytest.mark.asyncio
async def test_after_one_fault_the_value_is_right(kind: str) -> None:
    installed = meters(profile(), 1, 2)
    slave = Slave([1, 2])
    async with TcpSlave(slave) as server, running(_endpoint(server), installed) as line:
        for faults in ([Fault(kind)], [Fault("none"), Fault(kind)]):
            slave.script[1].extend(faults)
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)
            assert (await line.read(installed[1], Part.ENERGY, INTERVAL)).values == energies(2)
        repeated = len(slave.asked(1)) - 4
        assert repeated >= (0 if kind in ("duplicate", "bytewise") else 2)
        reconnects = {"truncated": 2, "disconnect": 2}.get(kind, 0)
        assert line.health.opened == 1 + reconnects


@pytest.mark.parametrize("rtu", [False, True])
@pytest.mark.parametrize("late_s", [0.10, 0.15, 0.20])
@pytest.mark.asyncio
async def test_a_late_reply_never_answers_the_next_request(late_s: float, rtu: bool) -> None:
    """The next requests are answered slowly, so that the reply comes while one is waited for."""
    installed = meters(profile(), 1)
    slave = Slave([1])
    async with (
        TcpSlave(slave, rtu=rtu) as server,
        running(_endpoint(server, rtu=rtu), installed) as line,
    ):
        slave.script[1] += [Fault("late", delay_s=late_s), *[Fault("slow", delay_s=0.05)] * 4]
        async with asyncio.TaskGroup() as group:
            late = group.create_task(line.read(installed[0], Part.MOMENTARY, INTERVAL))
            also = group.create_task(line.read(installed[0], Part.ENERGY, INTERVAL))
        assert late.result().values == {VOLTAGE: float(truth(1, VOLTAGE))}
        assert also.result().values == energies(1)


@pytest.mark.asyncio
async def test_a_bridge_that_goes_away_and_comes_back() -> None:
    installed = meters(profile(), 1)
    server = TcpSlave(Slave([1]))
    async with server:
        pass  # only to have a port that nobody listens on
    async with running(_endpoint(server), installed) as line:
        with pytest.raises(ReadFailed, match="Connect") as caught:
            await line.read(installed[0], Part.ENERGY, INTERVAL)
        assert caught.value.reason is MissingReason.LINE_DOWN
        down = line.health.state
        async with server, asyncio.timeout(10):
            while line.health.state is not LineState.UP:  # noqa: ASYNC110 - health has no event
                await asyncio.sleep(0.02)
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)
            server.drop()
            assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1), (
                "a connection that was closed while idle is opened again for the next read"
            )
    assert down is LineState.DOWN


@pytest.mark.asyncio
async def test_a_connection_that_leads_nowhere_is_given_up() -> None:
    """The peer takes requests and never answers, as after a cut that nobody was told of."""
    installed = meters(profile(timing=Timing(response_timeout_ms=10)), *range(1, 11))
    slave = Slave(range(1, 11), always={unit: Fault("silent") for unit in range(1, 11)})
    async with TcpSlave(slave) as server, running(_endpoint(server), installed) as line:
        for meter in installed:
            with pytest.raises(ReadFailed) as caught:
                await line.read(meter, Part.ENERGY, INTERVAL)
            assert caught.value.reason is MissingReason.TIMEOUT
        assert line.health.opened == 1 + 30 // 8
        slave.always.clear()
        assert (await line.read(installed[0], Part.ENERGY, INTERVAL)).values == energies(1)
