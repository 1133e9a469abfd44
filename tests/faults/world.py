"""A real broker, gateway and collector as processes, with a toxic proxy on each way to the broker.

The meters are sockets whose energies follow from the instant (tests.endurance.station), the
gateway's time is ruled by the test, and what became of each batch is read from the outbox, the
ledger and the reading store by themselves.
"""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import yaml

from collector.readings.duckdb_store import DuckDbStore
from collector.readings.influx_store import InfluxStore
from collector.readings.port import ReadingStore, StoredRead
from tests.endurance.station import (
    ENERGY,
    NAME,
    START,
    Running,
    Station,
    energy_kwh,
    standing,
)
from tests.faults.programs import Forked, Forks
from tests.faults.proxy import ToxicProxy
from tests.gateway_delivery.collecting import until as until_in
from tests.services import InfluxDatabase, Mosquitto, free_port

DEADLINE_S = 45.0
Key = tuple[str, int]


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait till `condition` holds; a loaded machine is given time."""
    await until_in(lambda: bool(condition()), what, deadline_s)


@dataclass(frozen=True)
class Report:
    """What became of the batches that the outbox has kept, in the words of VerneMQ's tests.

    `duplicate` counts deliveries that came again and changed nothing; `late` what had not arrived
    when the faults ended. A batch that is doubled is in the ledger under two numbers; a read that
    is wrong has another energy than its meter had; one that is unread and listed is in a gap.
    """

    admitted: int
    duplicate: int
    missing: list[Key]
    stowaway: list[Key]
    late: int
    doubled: int
    wrong: list[tuple[str, datetime]]
    unread: int
    listed: int

    def line(self) -> str:
        return (
            f"admitted {self.admitted}, duplicate {self.duplicate}, missing {len(self.missing)}, "
            f"stowaway {len(self.stowaway)}, late {self.late}, doubled {self.doubled}, "
            f"wrong {len(self.wrong)}, unread {self.unread} of which listed {self.listed}"
        )

    def check(self) -> None:
        """Everything once, right, and nothing else; what was not read is listed as a gap."""
        assert self.missing == [], self.line()
        assert self.stowaway == [], self.line()
        assert self.doubled == 0, self.line()
        assert self.wrong == [], self.line()
        assert self.unread == self.listed, self.line()


class ForkedStation(Station):
    """Its gateway is forked, and started with what the world gives it."""

    forks: Forks

    def start(self) -> None:
        words = ["gateway", "run", "--config", str(self.file())]
        self.process = self.forks.start(words, self.folder / "log")


@dataclass
class World:
    """What a case has at hand; `quiet` is to be called when its faults have ended."""

    folder: Path
    forks: Forks
    broker: Mosquitto
    gateway_way: ToxicProxy
    collector_way: ToxicProxy
    station: ForkedStation
    influx: InfluxDatabase | None = None  # in the place of DuckDB
    collector: Forked | None = None
    injected: list[str] = field(default_factory=list)
    shown_kwh: Callable[[str, datetime], int] | None = None  # where meters show something of theirs
    read_late: int = 0  # batches between slots with one index that a slot's own lists as missing
    _late: set[Key] = field(default_factory=set)

    @property
    def ledger(self) -> Path:
        return self.folder / "collector" / "ledger.sqlite"

    # -- the collector

    def write_collector_file(self, number: int = 0, **broker: object) -> Path:
        """A collector file: one ledger for all that there are, a reading store for each."""
        folder = self.ledger.parent
        config = folder / f"collector{number or ''}.yaml"
        readings: dict[str, object] = {
            "store": "duckdb",
            "path": str(folder / f"reads{number or ''}.duckdb"),
        }
        if self.influx is not None:
            token = folder / "token"
            token.write_text(self.influx.token)
            readings = {
                "store": "influxdb",
                "url": self.influx.url,
                "org": self.influx.org,
                "bucket": self.influx.bucket,
                "token_file": str(token),
            }
        content: dict[str, object] = {
            "ledger": f"sqlite:///{self.ledger}",
            "readings": readings,
            "broker": {"host": "127.0.0.1", "port": self.collector_way.port} | broker,
            "intake": {"tick_s": 0.2},
            "api": {"port": free_port()},
        }
        config.write_text(yaml.safe_dump(content))
        return config

    def collector_command(self, word: str, *more: str, number: int = 0) -> Forked:
        config = self.ledger.parent / f"collector{number or ''}.yaml"
        words = ["collector", word, *more, "--config", str(config)]
        return self.forks.start(words, self.folder / f"collector-{word}.log")

    def start_collector(self) -> None:
        self.collector = self.collector_command("run", "--role", "intake")

    async def subscribed(self, client_id: str = "songlo-collector") -> None:
        """Wait until the broker has its subscription to batches."""
        line = re.compile(rf": {client_id}\S* 1 .*batch")
        log = self.broker.process.log
        await until(lambda: line.search(log.read_text()), f"{client_id} has subscribed")

    def start_another(self, number: int) -> Forked:
        """One more of them, whose file has been written."""
        return self.collector_command("run", "--role", "intake", number=number)

    def kill_collector(self) -> None:
        assert self.collector is not None
        self.collector.kill()
        self.collector = None

    async def stop_collector(self) -> None:
        assert self.collector is not None
        self.collector.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.collector.wait, 30) == 0, self.collector_log()
        self.collector = None

    def collector_log(self) -> str:
        return (self.folder / "collector-run.log").read_text()

    # -- the gateway

    async def kill_gateway(self) -> None:
        assert self.station.process is not None
        await asyncio.to_thread(self.station.process.kill)
        self.station.process = None

    def gateway_log(self) -> str:
        return (self.folder / "log").read_text()

    async def slots_to(self, number: int) -> None:
        """Let the gateway go on until it has kept the slot of that number (the first is 0)."""
        await self.station.run_to(START + number * self.station.interval, DEADLINE_S)

    # -- what the files say

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(query).fetchall()

    def one(self, query: str) -> int:
        """The one integer that the query gives; 0 where it gives none."""
        found = self.rows(query)
        return int(str(found[0][0] or 0)) if found else 0

    def kept(self) -> set[Key]:
        """Every batch that the gateway's outbox has."""
        return self._outbox("SELECT epoch, seq FROM batches JOIN epochs ON epochs.id = epoch_id")

    def arrived(self, *, complete: bool = True) -> set[Key]:
        """Every batch of the gateway that the ledger has."""
        where = "AND completed_at IS NOT NULL" if complete else ""
        query = f"SELECT epoch, seq FROM receipts WHERE gateway = '{NAME}' {where}"
        return {(str(epoch), int(str(seq))) for epoch, seq in self.rows(query)}

    def acked(self) -> set[Key]:
        """What the gateway has been told that it may forget."""
        query = "SELECT epoch, seq FROM batches JOIN epochs ON epochs.id = epoch_id WHERE acked = 1"
        return self._outbox(query)

    def _outbox(self, query: str) -> set[Key]:
        uri = f"file:{self.station.outbox}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as db:
            return {(str(epoch), int(seq)) for epoch, seq in db.execute(query)}

    def payloads(self) -> dict[Key, bytes]:
        """The bytes of every batch in the outbox."""
        query = (
            "SELECT epoch, seq, payload FROM batches JOIN epochs ON epochs.id = epoch_id "
            "JOIN payloads ON payloads.id = batches.id ORDER BY batches.id"
        )
        uri = f"file:{self.station.outbox}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as db:
            return {(str(epoch), int(seq)): payload for epoch, seq, payload in db.execute(query)}

    def payload_bytes(self, last: int) -> int:
        """How many bytes the newest batches are together."""
        return sum(map(len, list(self.payloads().values())[-last:]))

    def cpu_s(self) -> float:
        """Seconds that the gateway has computed so far."""
        assert self.station.process is not None
        text = Path(f"/proc/{self.station.process.pid}/stat").read_text()
        user, system = text.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    # -- the end

    def quiet(self) -> None:
        """The faults have ended: what is not there by now is late."""
        self._late = self.kept() - self.arrived()

    async def settle(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the gateway knows that all is delivered, and end both programs in order."""
        await until(lambda: self.station.waiting() == 0, "all is delivered", deadline_s)
        await self.station.stop()
        await self.stop_collector()

    def report(self) -> Report:
        """After `settle`: the files against each other and against the meters."""
        kept, arrived = self.kept(), self.arrived()
        scans = "FROM receipts WHERE content = 'scan' AND completed_at IS NOT NULL"
        wrong, reads = self._stored()
        slots = len(self.station.slots(self.station.clock.now))
        return Report(
            admitted=len(kept),
            duplicate=self.one(f"SELECT duplicates FROM gateways WHERE gateway = '{NAME}'"),
            missing=sorted(kept - arrived),
            stowaway=sorted(self.arrived(complete=False) - kept),
            late=len(self._late),
            doubled=self.one(f"SELECT count(*) - count(DISTINCT slot) {scans}") - self.read_late,
            wrong=wrong,
            unread=slots * len(self.station.serials) - (reads - self.read_late),
            listed=self._listed(),
        )

    def _listed(self) -> int:
        """How many meter reads the ledger's gaps stand for: all of a slot's where it names none."""
        count = 0
        query = "SELECT first_at, last_at, every_s, meters FROM gaps WHERE first_at IS NOT NULL"
        for row in self.rows(query):
            first_ms, last_ms, every_s = (int(str(one or 0)) for one in row[:3])
            slots = 1 if every_s == 0 else (last_ms - first_ms) // (1000 * every_s) + 1
            count += slots * (len(json.loads(str(row[3]))) or len(self.station.serials))
        return count

    def _stored(self) -> tuple[list[tuple[str, datetime]], int]:
        """The reads that are wrong, and how many there are; indices of the ledger as well."""
        address = {
            self.station.serial(line, at): at
            for line in range(self.station.lines)
            for at in self.station.addresses
        }
        end = self.station.clock.now + self.station.interval
        found: list[StoredRead] = []
        for store in self._stores():
            found += store.station_reads(NAME, START, end, [ENERGY])
            store.close()
        energies = [(read.meter, read.at, read.values[ENERGY]) for read in found]
        for meter, ms, value in self.rows(
            f"SELECT meter, at, value FROM index_reads WHERE register = '{ENERGY}'"
        ):
            at = datetime.fromtimestamp(int(str(ms)) / 1000, START.tzinfo)
            energies.append((str(meter), at, int(str(value))))
        shown_kwh = self.shown_kwh or (lambda meter, at: energy_kwh(address[meter], at))
        wrong = [
            (meter, at)
            for meter, at, energy_wh in energies
            if energy_wh != 1000 * shown_kwh(meter, at)
        ]
        return wrong, len({(read.meter, read.at) for read in found})

    def _stores(self) -> Iterator[ReadingStore]:
        if self.influx is not None:
            one = self.influx
            yield InfluxStore(one.url, one.org, one.bucket, one.token, 10.0)
        for path in self.ledger.parent.glob("reads*.duckdb"):
            yield DuckDbStore(path)

    def tell(self, case: int) -> Report:
        """Print what was injected and what became of it; fails unless all is there once."""
        report = self.report()
        print(f"case {case:02}: {'; '.join(self.injected)}: {report.line()}")  # noqa: T201
        report.check()
        return report


@asynccontextmanager
async def world(
    folder: Path,
    forks: Forks,
    *,
    broker_config: str = "",
    meters: int = 3,
    disk: Path | None = None,
    influx: InfluxDatabase | None = None,
    **more: object,
) -> AsyncIterator[World]:
    """All of it but the two programs, which the case starts. `more` is for the station file."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(f"log_type subscribe\n{broker_config}"))
        gateway_way = await stack.enter_async_context(ToxicProxy(broker.port))
        collector_way = await stack.enter_async_context(ToxicProxy(broker.port))
        options: dict[str, object] = {"uplink": {"resend_after_s": 1, "resend_after_max_s": 2}}
        station = ForkedStation(
            folder, gateway_way.port, lines=1, meters_per_line=meters, more=options | more
        )
        station.forks = forks
        await stack.enter_async_context(standing(station))
        made = World(folder, forks, broker, gateway_way, collector_way, station, influx)
        (folder / "collector").mkdir() if disk is None else (folder / "collector").symlink_to(disk)
        made.write_collector_file()
        migrate = made.collector_command("migrate")
        assert await asyncio.to_thread(migrate.wait, DEADLINE_S) == 0
        try:
            yield made
        finally:
            if made.collector is not None:
                await asyncio.to_thread(made.collector.kill)


def started(command: list[str], log: Path, environment: dict[str, str]) -> Running:
    """A program that is not forked: with an environment of its own."""
    with log.open("ab") as output:
        return subprocess.Popen(command, stderr=output, env=environment)
