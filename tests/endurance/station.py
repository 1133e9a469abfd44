"""A gateway as a process, with meters on sockets and a clock that its test rules.

Every meter's energy follows from its address and the instant, so that what arrives can be checked
without asking what was sent.
"""

import asyncio
import json
import re
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

import yaml

from contract.messages import Scan
from gateway.outbox import FILE_NAME
from tests.gateway_delivery.collecting import until
from tests.gateway_delivery.replaying import ReplayServer
from tests.gateway_lines.slave import Fault, Slave, TcpSlave

NAME = "PA25SL-T012"
START = datetime(2026, 1, 1, 17, tzinfo=UTC)  # 00:00 in Hanoi
PROFILE = "eastron-sdm120"
ENERGY = "1-0:1.8.0"
FIRST_ENERGY_ADDRESS = 0x48  # of PROFILE: import, as float32 kWh
# What a bridge says at once of a meter that is silent (Modbus application protocol 1.1b3, 7).
DEAD = Fault("exception", code=11)
SCAN_S_MAX = 60.0
COMMAND = [sys.executable, "-m", "songlo", "gateway", "run", "--config"]


class Running(Protocol):
    """What is needed of a process, whoever started it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, number: int, /) -> None: ...


def energy_kwh(address: int, at: datetime) -> int:
    """What the meter at `address` of its line shows: different for each, more in each minute."""
    return address * 40_000 + int((at - START).total_seconds() // 60)


@dataclass
class Station:
    """`lines` lines of `meters_per_line` meters each, and what is needed to start their gateway."""

    folder: Path
    broker_port: int
    lines: int = 2
    meters_per_line: int = 8
    interval_min: int = 30
    more: dict[str, object] = field(default_factory=dict)  # of the station file
    clock: ReplayServer = field(default_factory=lambda: ReplayServer(START, START))
    bridges: list[TcpSlave] = field(default_factory=list)
    process: Running | None = None

    @property
    def outbox(self) -> Path:
        return Path(str(self.more.get("data", self.folder / "data"))) / FILE_NAME

    @property
    def interval(self) -> timedelta:
        return timedelta(minutes=self.interval_min)

    @property
    def serials(self) -> list[str]:
        """In the order of the station file."""
        return [self.serial(n, a) for n in range(self.lines) for a in self.addresses]

    @property
    def addresses(self) -> range:
        return range(1, self.meters_per_line + 1)

    @staticmethod
    def serial(line: int, address: int) -> str:
        return f"m{line}{address:03d}"

    def slots(self, last: datetime) -> list[datetime]:
        """All slots from the start to `last`."""
        return [START + n * self.interval for n in range((last - START) // self.interval + 1)]

    @property
    def dead(self) -> list[str]:
        """The serials of those that never answer."""
        return [
            self.serial(number, address)
            for number, bridge in enumerate(self.bridges)
            for address in bridge.slave.always
        ]

    def kill_every_second_meter(self) -> None:
        for bridge in self.bridges:
            bridge.slave.always.update(dict.fromkeys(self.addresses[::2], DEAD))

    def file(self) -> Path:
        path = self.folder / "station.yaml"
        lines = [
            {
                "name": f"bridge-{number}",
                "modbus_tcp": {"host": "127.0.0.1", "port": bridge.port},
                "meters": [
                    {"serial": self.serial(number, a), "address": a, "profile": PROFILE}
                    for a in self.addresses
                ],
            }
            for number, bridge in enumerate(self.bridges)
        ]
        content: dict[str, object] = {
            "station": NAME,
            "data": str(self.folder / "data"),
            "broker": {"host": "127.0.0.1", "port": self.broker_port},
            "schedule": {"interval_min": self.interval_min, "index_window_min": 0},
            "clock": {"replay": f"127.0.0.1:{self.clock.port}"},
            "lines": lines,
        }
        path.write_text(yaml.safe_dump(content | self.more))
        return path

    # -- the process

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*COMMAND, str(self.file())], stderr=log)

    async def stop(self) -> None:
        """Ask it to end, which must be in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.process.wait, 20)
        self.process = None
        assert code == 0, (self.folder / "log").read_text()[-4000:]

    def rss_kb(self, key: str = "VmRSS") -> int:
        """The process's memory now; the most that it ever was, as `VmHWM`."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{key}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    def waiting(self) -> int:
        """How many batches its outbox holds that it does not know to be delivered."""
        with closing(sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)) as db:
            (count,) = db.execute("SELECT count(*) FROM batches WHERE acked = 0").fetchone()
        return int(count)

    async def run_to(self, at: datetime, deadline_s: float = SCAN_S_MAX) -> None:
        """Let the gateway's time go on to `at`; returns when all slots till then are kept."""
        await self.clock.extend(at)
        await until(partial(self._waits_beyond, at), f"the slots to {at}", deadline_s)

    def _waits_beyond(self, at: datetime) -> bool:
        """It waits for nothing before it has kept what was due."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-4000:]
        if len(self.clock.requests) == 0:
            return False
        request = json.loads(self.clock.requests[-1])
        return request["op"] == "wait" and datetime.fromisoformat(request["until"]) > at


def check_scan(station: Station, scan: Scan) -> None:
    """Those that answer with what they had to show at the slot; the dead ones as missing."""
    assert sorted(serial for serial, _ in scan.missing) == station.dead
    found = {
        read[0]: read[2][table.registers.index(ENERGY)]
        for table in scan.tables
        for read in table.reads
    }
    assert found == {
        station.serial(number, address): 1000 * energy_kwh(address, scan.slot)
        for number, bridge in enumerate(station.bridges)
        for address in station.addresses
        if address not in bridge.slave.always
    }


@asynccontextmanager
async def standing(station: Station) -> AsyncIterator[Station]:
    """The station with its meters and its clock, and its gateway when the block starts it."""
    async with AsyncExitStack() as stack:
        await station.clock.start()
        stack.push_async_callback(station.clock.stop)
        for _ in range(station.lines):
            slave = Slave(list(station.addresses), words=partial(word_at, station.clock))
            station.bridges.append(await stack.enter_async_context(TcpSlave(slave)))
        try:
            yield station
        finally:
            if station.process is not None:
                station.process.kill()
                await asyncio.to_thread(station.process.wait, 20)


def word_at(clock: ReplayServer, unit: int, address: int) -> int:
    """A register of PROFILE: the energies are `energy_kwh`, everything else is 230."""
    is_energy = FIRST_ENERGY_ADDRESS <= address < FIRST_ENERGY_ADDRESS + 8
    value = energy_kwh(unit, clock.now) if is_energy else 230
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return int(low if address % 2 else high)
