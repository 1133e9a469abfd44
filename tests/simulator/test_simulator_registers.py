"""Every model's registers, read over a real socket and compared with the truth."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from simulator.app import Simulator
from simulator.config import LinesConfig, SimulatorConfig
from simulator.readings import Meter
from simulator.truth import Moment, to_ms
from tests.simulator.raw_modbus import START_AT, RawClient, small_config

AT = START_AT + timedelta(hours=19, minutes=37, seconds=11)


@asynccontextmanager
async def running(config: SimulatorConfig) -> AsyncIterator[tuple[Simulator, RawClient]]:
    simulator = Simulator(config)
    ready = await simulator.start()
    simulator.clock.wait(to_ms(AT), lambda: None)
    lines = ready["lines"]
    assert isinstance(lines, list)
    client = await RawClient.connect(lines[0]["host"], lines[0]["port"])
    try:
        yield simulator, client
    finally:
        await client.close()
        await simulator.stop()


def register(meter: Meter, initial: int, thousandths: int) -> int:
    """What the meter shows: its first index and what came since, floored to its resolution."""
    shown = initial + thousandths // 1000
    return shown - shown % meter.resolution_wh


def f32(data: bytes, register_offset: int) -> float:
    return float(struct.unpack_from(">f", data, 2 * register_offset)[0])


@pytest.mark.asyncio
@pytest.mark.parametrize("model", ["eastron-sdm120", "eastron-sdm630"])
async def test_an_eastron_shows_the_truth_in_float32_kwh(tmp_path: Path, model: str) -> None:
    async with running(small_config(tmp_path, model=model)) as (simulator, client):
        moment = simulator.station.truth.at(AT)
        for meter in simulator.station.meters:
            column = meter.column
            data = await client.read(meter.address, 4, 0x0000, 80)
            energies = [round(f32(data, 0x48 + offset) * 100) * 10 for offset in (0, 2, 4, 6)]
            assert energies == [
                register(meter, meter.initial_wh, int(moment.import_mwh[column])),
                0,
                register(meter, meter.initial_varh, int(moment.import_mvarh[column])),
                register(meter, 0, int(moment.export_mvarh[column])),
            ]
            assert energies[0] > meter.initial_wh
            assert f32(data, 0x00) == pytest.approx(moment.voltage_v[column])
            power = f32(data, 0x0C if model == "eastron-sdm120" else 0x34)
            assert power == pytest.approx(moment.power_w[column])
            assert f32(data, 0x46) == 50.0


@pytest.mark.asyncio
async def test_an_sdm630_shows_its_phases(tmp_path: Path) -> None:
    async with running(small_config(tmp_path, model="eastron-sdm630")) as (simulator, client):
        moment = simulator.station.truth.at(AT)
        for meter in simulator.station.meters:
            data = await client.read(meter.address, 4, 0x0156, 40)
            total = meter.initial_wh * 1000 + int(moment.import_mwh[meter.column])
            for phase in range(3):
                assert round(f32(data, 4 + 2 * phase) * 100) == total // 3 // 10_000
            data = await client.read(meter.address, 4, 0x0000, 0x3E)
            power, reactive = (moment.power_w[meter.column], moment.reactive_var[meter.column])
            apparent = math.hypot(power, reactive)
            for phase in range(3):
                assert f32(data, 0x06 + 2 * phase) == pytest.approx(
                    apparent / 3 / moment.voltage_v[meter.column]
                )
                assert f32(data, 0x0C + 2 * phase) == pytest.approx(power / 3)
                assert f32(data, 0x18 + 2 * phase) == pytest.approx(reactive / 3)


@pytest.mark.asyncio
async def test_an_abb_shows_the_truth_in_integers(tmp_path: Path) -> None:
    async with running(small_config(tmp_path, model="abb-b23")) as (simulator, client):
        moment = simulator.station.truth.at(AT)
        for meter in simulator.station.meters:
            taken, given = struct.unpack(">QQ", await client.read(meter.address, 3, 0x5000, 8))
            shown = register(meter, meter.initial_wh, int(moment.import_mwh[meter.column]))
            assert (taken * 10, given) == (shown, 0)
            data = await client.read(meter.address, 3, 0x5B00, 62)
            volts = struct.unpack_from(">3I", data)
            assert volts == (round(float(moment.voltage_v[meter.column]) * 10),) * 3
            powers = struct.unpack_from(">4i", data, 2 * 0x14)
            assert powers[0] == round(moment.power_w[meter.column] * 100)
            assert sum(powers[1:]) == pytest.approx(powers[0], abs=2)
            assert struct.unpack_from(">H", data, 2 * 0x2C) == (5000,)


@pytest.mark.asyncio
async def test_a_one_phase_abb_says_that_it_has_no_other_phases(tmp_path: Path) -> None:
    config = small_config(tmp_path, grid="LV2.101")
    async with running(config) as (simulator, client):
        meter = next(
            one
            for one in simulator.station.meters
            if one.model == "abb-b23" and one.role == "household"
        )
        data = await client.read(meter.address, 3, 0x5B00, 62)
        assert struct.unpack_from(">3I", data)[1:] == (2**32 - 1,) * 2
        assert struct.unpack_from(">4i", data, 2 * 0x14)[2:] == (2**31 - 1,) * 2
        assert struct.unpack_from(">4h", data, 2 * 0x3A)[2:] == (2**15 - 1,) * 2
        data = await client.read(meter.address, 3, 0x5460, 24)
        phases = struct.unpack(">6Q", data)
        assert phases[1:3] == phases[4:6] == (2**64 - 1,) * 2
        assert phases[0] * 10 > meter.initial_wh


@pytest.mark.asyncio
async def test_an_iem_shows_the_truth_to_the_watt_hour(tmp_path: Path) -> None:
    async with running(small_config(tmp_path, model="schneider-iem3155")) as (simulator, client):
        moment: Moment = simulator.station.truth.at(AT)
        for meter in simulator.station.meters:
            column = meter.column
            data = await client.read(meter.address, 3, 0x0C83, 24)
            taken, given = struct.unpack_from(">qq", data)
            assert taken == meter.initial_wh + int(moment.import_mwh[column]) // 1000
            assert given == 0
            reactive = struct.unpack_from(">qq", data, 2 * 0x10)
            assert reactive == (
                meter.initial_varh + int(moment.import_mvarh[column]) // 1000,
                int(moment.export_mvarh[column]) // 1000,
            )
            data = await client.read(meter.address, 3, 0x0BB7, 112)
            assert f32(data, 0x0BD3 - 0x0BB7) == pytest.approx(moment.voltage_v[column])
            assert f32(data, 0x0BF3 - 0x0BB7) * 1000 == pytest.approx(moment.power_w[column])
            assert f32(data, 0x0C25 - 0x0BB7) == 50.0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("model", "request_", "code"),
    [
        ("eastron-sdm630", (4, 0x0000, 81), 2),  # more than 40 parameters
        ("eastron-sdm630", (4, 0x0000, 126), 3),
        ("eastron-sdm630", (4, 0x0000, 0), 3),
        ("eastron-sdm630", (3, 0x0000, 2), 1),
        ("eastron-sdm630", (4, 0x0180, 4), 2),
        ("eastron-sdm120", (4, 0x015A, 2), 2),
        ("abb-b23", (3, 0x5007, 2), 2),
        ("abb-b23", (4, 0x5000, 4), 1),
        ("schneider-iem3155", (3, 0x0C26, 4), 2),
    ],
)
async def test_what_a_model_refuses(
    tmp_path: Path, model: str, request_: tuple[int, int, int], code: int
) -> None:
    async with running(small_config(tmp_path, model=model)) as (_, client):
        assert await client.read(1, *request_) == bytes([code])


@pytest.mark.asyncio
async def test_gaps_read_as_fill_or_are_refused(tmp_path: Path) -> None:
    async with running(small_config(tmp_path, model="eastron-sdm120")) as (_, client):
        assert await client.read(1, 4, 0x0002, 4) == bytes(8)
    async with running(small_config(tmp_path, model="abb-b23")) as (_, client):
        assert await client.read(1, 3, 0x5B06, 6) == b"\xff" * 12
    strict = small_config(tmp_path, model="abb-b23", lines=LinesConfig(strict_gaps=True))
    async with running(strict) as (_, client):
        assert await client.read(1, 3, 0x5B00, 62) == b"\x02"
        assert len(await client.read(1, 3, 0x5B00, 6)) == 12


@pytest.mark.asyncio
async def test_requests_may_be_sent_ahead_and_in_pieces(tmp_path: Path) -> None:
    async with running(small_config(tmp_path)) as (_, client):
        for _ in range(50):
            client.send(1, struct.pack(">BHH", 3, 0x5000, 4))
        replies = [await client.receive() for _ in range(50)]
        assert [reply[0] for reply in replies] == list(range(1, 51))
        assert len({reply[2] for reply in replies}) == 1
        writer = client._writer
        for byte in struct.pack(">HHHBBHH", 77, 0, 6, 1, 3, 0x5000, 4):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await client.receive())[0] == 77


@pytest.mark.asyncio
async def test_an_address_without_a_meter_and_noise(tmp_path: Path) -> None:
    async with running(small_config(tmp_path)) as (_, client):
        assert await client.read(200, 3, 0x5000, 4) == b"\x0b"
        client._writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(asyncio.IncompleteReadError):
            await client.receive()
