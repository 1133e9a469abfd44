"""The whole system as running programs: simulator, broker, collector, gateway.

It starts them in the order in which they need each other and stops them in reverse. Tests use the
same class and kill its programs; it must not know what a healthy outcome is.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from collector.ledger import Ledger
from collector.operations.keys import add_key
from collector.operations.registry import import_registry
from songlo.demo.api import CollectorApi, wait_healthy
from songlo.demo.clock import ClockControl
from songlo.demo.files import (
    Station,
    collector_file,
    ledger_url,
    registry_files,
    simulator_file,
    station_file,
    station_of,
)
from songlo.demo.options import DemoOptions
from songlo.demo.programs import (
    Program,
    ProgramFailed,
    free_port,
    python_module,
    wait_for_port,
)

SIMULATOR_READY_TIMEOUT_S = 90.0
KEY_NAME = "demo"
KEY_SCOPES = ("read", "snapshot", "admin")


class System:
    """A running demo in `directory`. Use `running_system` to get one."""

    def __init__(self, options: DemoOptions, directory: Path, now: datetime) -> None:
        """Writes nothing and starts nothing yet. `now` dates the registry and the key."""
        self._now = now
        self.options = options
        self.directory = directory
        self.broker_address = options.broker or ("127.0.0.1", free_port())
        self.broker: Program | None = None
        self.simulator = self._songlo("simulator", "run", "--config", "simulator.yaml")
        self.collector = self._songlo("collector", "run", "--config", "collector.yaml")
        self.gateway = self._songlo("gateway", "run", "--config", "station.yaml")
        self.station: Station
        self.clock: ClockControl
        self.key = ""
        self.api: CollectorApi

    def start(self) -> None:
        """Start everything; returns once the collector is healthy and the gateway runs."""
        self._start_broker()
        self.station = self._start_simulator()
        self.clock = ClockControl(self.station.clock)
        self._prepare_collector()
        self.api = CollectorApi(f"http://127.0.0.1:{self.options.api_port}", self.key)
        self.collector.start()
        wait_healthy(self.api, self.collector.check)
        self.write_station_file(self.options)
        self.gateway.start()

    def stop(self) -> None:
        """Stop everything that runs, the gateway first."""
        if hasattr(self, "clock"):
            self.clock.close()
        for program in (self.gateway, self.collector, self.simulator, self.broker):
            if program is not None:
                program.stop()

    def check(self) -> None:
        """Raises ProgramFailed when a program that should run does not."""
        for program in (self.gateway, self.collector, self.simulator, self.broker):
            if program is not None:
                program.check()

    def write_station_file(self, options: DemoOptions) -> None:
        """Write the gateway's station file anew; the gateway reads it when it starts."""
        station_file(options, self.station, self.broker_address, self.directory)

    def _songlo(self, *arguments: str) -> Program:
        *words, name = arguments
        command = python_module("songlo", *words, str(self.directory / name))
        return Program(arguments[0], command, self.directory)

    def _start_broker(self) -> None:
        if self.options.broker is not None:
            return
        port = self.broker_address[1]
        self.broker = Program(
            "broker", python_module("songlo.demo.broker", str(port)), self.directory
        )
        self.broker.start()
        wait_for_port(port, self.broker)

    def _start_simulator(self) -> Station:
        simulator_file(self.options, self.directory)
        ready = self.directory / "simulator.ready"
        self.simulator.start(output=ready)
        deadline = time.monotonic() + SIMULATOR_READY_TIMEOUT_S
        while not (text := ready.read_text()).endswith("\n"):
            self.simulator.check()
            if time.monotonic() > deadline:
                raise ProgramFailed(
                    f"the simulator was not ready within {SIMULATOR_READY_TIMEOUT_S:.0f} s:\n"
                    f"{self.simulator.log_tail()}"
                )
            time.sleep(0.05)
        return station_of(text)

    def _prepare_collector(self) -> None:
        collector_file(self.options, self.broker_address, self.directory)
        folder = registry_files(self.options, self.station, self.directory)
        ledger = Ledger(ledger_url(self.options, self.directory))
        try:
            ledger.migrate()
            import_registry(ledger, folder, actor=KEY_NAME, now=self._now)
            self.key = add_key(ledger, name=KEY_NAME, scopes=KEY_SCOPES, now=self._now)
        finally:
            ledger.close()


@contextmanager
def running_system(options: DemoOptions, directory: Path, now: datetime) -> Iterator[System]:
    """A started System; everything is stopped at the end, however the block ends."""
    system = System(options, directory, now)
    try:
        system.start()
        yield system
    finally:
        system.stop()
