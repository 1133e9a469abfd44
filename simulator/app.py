"""A running simulator: the station's meters on their lines and the clock they live by.

Owns the wiring and the order of starting and stopping; every part is somebody else's.
"""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from simulator.bank import Device, make_devices
from simulator.clock import ClockServer, ReplayClock
from simulator.config import SimulatorConfig
from simulator.faults import FaultPlan
from simulator.modbus_rtu import ModbusRtuLine
from simulator.modbus_tcp import ModbusTcpLine
from simulator.readings import Meter
from simulator.station import Station, build_station, write_truth
from simulator.truth import from_ms, to_ms
from simulator.wire import WireTiming

TRUTH_FILE = "truth.csv"


class Simulator:
    """One virtual station on real sockets and terminals, from `start` until `stop`."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self.station: Station = build_station(config)
        self.clock = ReplayClock(
            to_ms(config.instant(config.start)), to_ms(config.instant(config.end))
        )
        self._clock_server = ClockServer(self.clock, before_live=self._reach_the_present)
        self._lines: list[ModbusTcpLine | ModbusRtuLine] = []

    async def start(self) -> dict[str, object]:
        """Start everything; returns what the ready line says, ready to be written as JSON."""
        truth_path = self._write_truth()
        rules = self._config.fault_rules()
        devices = make_devices(
            self.station.meters,
            self.station.truth,
            clock_ms=self.clock.now_ms,
            strict_gaps=self._config.lines.strict_gaps,
            faults=FaultPlan(rules, seed=self._config.seed) if rules else None,
        )
        by_serial = {device.meter.serial: device for device in devices}
        lines = []
        for number, (name, meters) in enumerate(self.station.lines):
            units = {meter.address: by_serial[meter.serial] for meter in meters}
            place = await self._start_line(number, name, units)
            lines.append({"name": name, **place, "meters": [_described(one) for one in meters]})
        host, port = await self._clock_server.start(
            self._config.clock.host, self._config.clock.port
        )
        return {"clock": f"{host}:{port}", "lines": lines, "truth": str(truth_path)}

    async def stop(self) -> None:
        """Stop everything; the truth file stays."""
        await self._clock_server.stop()
        for line in self._lines:
            await line.stop()

    def _write_truth(self) -> Path:
        directory = Path(self._config.directory)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / TRUTH_FILE
        with path.open("w", encoding="utf-8") as file:
            write_truth(self.station, self._config.truth_instants(), file)
        return path

    async def _start_line(
        self, number: int, name: str, units: dict[int, Device]
    ) -> dict[str, object]:
        config = self._config.lines
        if config.kind == "tcp":
            tcp = ModbusTcpLine(units)
            self._lines.append(tcp)
            host, port = await tcp.start(config.host, config.port and config.port + number)
            return {"kind": "tcp", "host": host, "port": port}
        timing = WireTiming(
            baud=config.baud,
            parity=config.parity,
            stop_bits=config.stop_bits,
            turnaround_s=config.turnaround_ms / 1000,
        )
        rtu = ModbusRtuLine(units, timing)
        self._lines.append(rtu)
        device = rtu.start(Path(self._config.directory) / f"{name}.tty")
        return {
            "kind": "rtu",
            "device": device,
            "baud": config.baud,
            "parity": config.parity,
            "stop_bits": config.stop_bits,
            "turnaround_ms": config.turnaround_ms,
        }

    def _reach_the_present(self) -> None:
        # Done before the clock is let go: between two polls of a live station nothing may stall.
        self.station.truth.extend_to(from_ms(self.clock.real_ms()))


async def serve(config: SimulatorConfig, ready: Callable[[dict[str, object]], None]) -> None:
    """Run a simulator until SIGTERM or SIGINT; `ready` is told where everything is."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    simulator = Simulator(config)
    try:
        ready(await simulator.start())
        await stopping.wait()
    finally:
        await simulator.stop()


def _described(meter: Meter) -> dict[str, object]:
    return {
        "serial": meter.serial,
        "address": meter.address,
        "model": meter.model,
        "point": meter.point,
        "role": meter.role,
        "resolution_wh": meter.resolution_wh,
    }
