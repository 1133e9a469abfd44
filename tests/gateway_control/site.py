"""A gateway that runs in the test's event loop, its meters, its broker and both of its partners."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from contract.messages import Event, Scan, Status, decode_batch
from gateway.running import serve
from tests.gateway_control.desk import PUBLIC, Desk
from tests.gateway_delivery.collecting import Collecting
from tests.gateway_lines.slave import Slave, TcpSlave

NAME = "PA25SL-T012"

# How long a station file is on trial: those that fail need not take long, others never do.
QUICK_S, SLOW_S = 1.0, 60.0


def thousands(_unit: int, address: int) -> int:
    """Every 32-bit number of a meter is 1000.0."""
    return 0 if address % 2 else 0x447A


def station_text(broker: int, line: int, meters: int = 3, *, confirm_s: float | None = None) -> str:
    """A station file with one Modbus TCP line; it takes others if `confirm_s` is given.

    It works whether or not this machine's clock is synchronised.
    """
    listed = "\n".join(
        f"      - {{serial: m{n}, address: {n}, profile: eastron-sdm120}}"
        for n in range(1, meters + 1)
    )
    key = f"config: {{public_key_file: config.pub, confirm_within_s: {confirm_s}}}\n"
    remote = "" if confirm_s is None else key
    return f"""\
station: {NAME}
data: data
clock: {{before_sync: send}}
broker: {{host: 127.0.0.1, port: {broker}}}
uplink: {{resend_after_s: 0.5, status_every_s: 1}}
schedule: {{interval_min: 1440, index_at: []}}
{remote}lines:
  - name: bridge-1
    modbus_tcp: {{host: 127.0.0.1, port: {line}}}
    meters:
{listed}
"""


@dataclass
class Site:
    """Everything, running."""

    path: Path
    broker: int
    slave: Slave
    line: int
    collector: Collecting
    desk: Desk
    stop: asyncio.Event

    def text(self, meters: int = 3, *, confirm_s: float = SLOW_S) -> str:
        """A station file for this site that takes configurations."""
        return station_text(self.broker, self.line, meters, confirm_s=confirm_s)

    def events(self, kind: str) -> list[Event]:
        """The events of one type that the collector has, in the order of their batches."""
        return events_of(self.collector, kind)

    def scans(self) -> list[Scan]:
        """The scans that the collector has."""
        batches = [decode_batch(payload) for payload in list(self.collector.payloads.values())]
        return [batch.scan for batch in batches if batch.scan is not None]

    @property
    def status(self) -> Status:
        """The newest status."""
        return self.collector.statuses[-1] if self.collector.statuses else Status(1, False)


def events_of(collector: Collecting, kind: str) -> list[Event]:
    """The events of one type that a collector has."""
    batches = [decode_batch(payload) for payload in list(collector.payloads.values())]
    return [event for batch in batches for event in batch.events or () if event.type == kind]


@asynccontextmanager
async def site(
    folder: Path,
    broker: int,
    *,
    confirm_s: float | None = None,
    acks: bool = True,
    write: Callable[[Path], None] = lambda _: None,
) -> AsyncIterator[Site]:
    """A gateway with three meters; `write` may put files beside its station file."""
    slave = Slave(range(1, 10), words=thousands)
    stop = asyncio.Event()
    path = folder / "station.yaml"
    (folder / "config.pub").write_text(PUBLIC)
    async with AsyncExitStack() as stack:
        line = (await stack.enter_async_context(TcpSlave(slave))).port
        if not path.exists():
            path.write_text(station_text(broker, line, confirm_s=confirm_s))
        write(folder)
        collector = stack.enter_context(Collecting(broker, NAME, acks=acks))
        desk = stack.enter_context(Desk(broker, NAME))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        task = group.create_task(serve(path, stop))
        running = Site(path, broker, slave, line, collector, desk, stop)
        await until_online(running, task)
        try:
            yield running
        finally:
            stop.set()


async def until_online(running: Site, task: "asyncio.Task[None]") -> None:
    """Wait for the gateway's first status."""
    async with asyncio.timeout(20):
        while not running.status.online:
            assert not task.done(), "the gateway did not start"
            await asyncio.sleep(0.01)
