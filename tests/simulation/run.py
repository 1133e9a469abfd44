"""One simulation from its seed to the verdict."""

import asyncio
import gc
import logging
import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import msgspec
import structlog

from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import ReadingStore
from contract.messages import Clock as ClockState
from contract.messages import decode_batch, encode
from contract.topics import BatchTopic, build
from gateway import app as gateway_app
from gateway import outbox_room
from tests.bad_lines.virtual_time import Deadlock
from tests.simulation import disk as disk_layer
from tests.simulation.clock import Step
from tests.simulation.collector_machine import (
    LEDGER_NAME,
    CollectorMachine,
    make_ledger,
)
from tests.simulation.disk import Disk, Image
from tests.simulation.gateway_machine import GatewayMachine
from tests.simulation.judge import judge
from tests.simulation.loop import CPU_MAX_S, TIMERS_MAX, Endless, Loop, bounded
from tests.simulation.memory_store import MemoryData, MemoryStore
from tests.simulation.meters import Truth, installed
from tests.simulation.network import Network, SimulatedBroker
from tests.simulation.plan import Blow, Fault, Plan, plan
from tests.simulation.world import World

GATEWAYS_MAX = 4
METERS_MAX = 3
STOP_S = 60.0
_HOUR_MS = 3_600_000
# Quotas of a card and of the ledger's disk beyond what they hold when they fill up.
ROOM_BYTES = 20_000


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    digest: int
    gateway_s: float
    faults: Counter[str]
    violations: list[str]
    batches: int = 0
    log: list[str] = field(default_factory=list)


def folder() -> Path:
    """Where this process's simulated disks are: in memory, where there is such a place."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"songlo-simulation-{os.getpid()}"


@lru_cache(maxsize=1)
def _prepared() -> tuple[Ledger, Image]:
    """Once in a process: the layer under SQLite, the ledger, and what an empty one holds."""
    disk_layer.install()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    # The ballast asks the file system for its room, which here is the simulated disk's affair.
    outbox_room.Ballast._free_bytes = _free_bytes  # type: ignore[method-assign, assignment]
    made = folder() / "made"
    made.mkdir(parents=True, exist_ok=True)
    meters = {
        f"g{n}": [meter.serial for meter in installed(f"g{n}", METERS_MAX)]
        for n in range(1, GATEWAYS_MAX + 1)
    }
    image = make_ledger(made / LEDGER_NAME, meters)
    shutil.rmtree(made)
    gc.collect()
    gc.freeze()
    return Ledger(f"sqlite:///{folder() / 'ledger' / LEDGER_NAME}"), image


def _free_bytes(ballast: outbox_room.Ballast) -> int:
    disk = Disk.of(ballast._path)
    assert disk is not None
    return disk.free_bytes()


def simulate(
    seed: int,
    *,
    logs: bool = False,
    cpu_max_s: float = CPU_MAX_S,
    timers_max: int = TIMERS_MAX,
) -> Outcome:
    """Run one seed and judge what it left. A run that does not end is a violation, too."""
    ledger, image = _prepared()
    chosen = plan(seed)
    gc.disable()
    loop = Loop(timers_max)
    world = World(seed, loop, logs=logs)
    outcome = Outcome(seed, 0, chosen.lasts_s * chosen.gateways, world.faults, [])
    try:
        with bounded(cpu_max_s):
            _run(world, chosen, ledger, image, outcome)
    except (Endless, Deadlock) as error:
        told = f"no end at {world.now_s:.0f} s of {chosen.lasts_s:.0f}: {error}"
        outcome.violations.insert(0, told)
    finally:
        outcome.digest, outcome.log = world.digest, world.log or []
        ledger.close()
        loop.close()
        shutil.rmtree(folder(), ignore_errors=True)
        disk_layer.forget_all()
        gc.collect()
        # What is left, compiled statements for the most part, is for good.
        gc.freeze()
    return outcome


def _run(world: World, chosen: Plan, ledger: Ledger, image: Image, outcome: Outcome) -> None:
    run = _Run(world, chosen, ledger, image)
    problems = outcome.violations
    world.loop.set_exception_handler(lambda _, context: problems.append(f"error: {context}"))
    gateway_app.HOUSEKEEPING_S = chosen.settings.house_s
    world.loop.run_until_complete(run.main())
    if run.collector.failure is not None:
        problems.append(f"the collector failed: {run.collector.failure!r}")
    problems += [
        f"the program of {gateway.name} crashed: {_causes(error)}"
        for gateway in run.gateways
        for error in gateway.crashes
    ]
    problems += judge(world, chosen, run.gateways, run.collector, run.truth)
    outcome.batches = sum(len(gateway.record.committed) for gateway in run.gateways)


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_causes(one) for one in error.exceptions)
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{error!r} in " + " < ".join(frame.name for frame in reversed(frames))


class _Run:
    """The machines of one run, and what is done to them."""

    def __init__(self, world: World, chosen: Plan, ledger: Ledger, image: Image) -> None:
        self.world = world
        self.plan = chosen
        self.truth = Truth()
        self.network = Network(world, chosen.weather)
        self.broker = SimulatedBroker(world, self.network, chosen.queue_max)
        self.gateways = [
            GatewayMachine(
                world,
                f"g{n}",
                folder() / f"g{n}",
                self.broker,
                chosen.settings,
                installed(f"g{n}", chosen.meters),
                self.truth,
                partial(self._clock_steps, n - 1),
            )
            for n in range(1, chosen.gateways + 1)
        ]
        disk = Disk(folder() / "ledger")
        disk.put(image)
        store: ReadingStore = MemoryStore(MemoryData())
        if chosen.duckdb:
            # DuckDB knows a file again that this process has open, were it another by now.
            store = DuckDbStore(folder() / f"reads-{world.seed}.duckdb")
        self.collector = CollectorMachine(
            world,
            disk,
            ledger,
            store,
            self.broker,
            tick_s=chosen.tick_s,
            group_max=chosen.group_max,
        )
        self._chance = world.chance("blows")

    async def main(self) -> None:
        world, chosen = self.world, self.plan
        self.collector.start()
        for gateway in self.gateways:
            # Nobody starts at the same moment.
            world.loop.call_later(self._chance.uniform(0, 3600), gateway.start)
        for blow in chosen.blows:
            world.loop.call_at(blow.at_s, self._strike, blow)
        await asyncio.sleep(chosen.calm_at_s)
        self._calm()
        await asyncio.sleep(chosen.lasts_s - world.now_s)
        for gateway in self.gateways:
            gateway.stop()
        await asyncio.sleep(STOP_S)
        self.collector.stop()
        await asyncio.sleep(STOP_S)
        while any(gateway.is_running for gateway in self.gateways) or self.collector.is_running:
            await asyncio.sleep(1.0)
            if world.now_s > chosen.lasts_s + 3600:
                raise AssertionError("somebody does not stop when asked to")

    def _calm(self) -> None:
        world = self.world
        world.note("calm")
        world.is_calm = True
        self.network.weather = type(self.network.weather)()
        # What was lost without a trace comes again on a new connection.
        self._miss(self.collector.name)
        for gateway in self.gateways:
            gateway.settle()
        self.collector.settle()

    # -- faults

    def _strike(self, blow: Blow) -> None:
        if self.world.is_calm:
            return
        self.world.note(f"blow {blow.fault} {blow.lasts_s:.0f} s {blow.effect} {blow.number}")
        self._actions[blow.fault](self, blow)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it then, or when calm comes, if that is before."""
        left_s = self.plan.calm_at_s - self.world.now_s - 1.0
        self.world.loop.call_later(max(0.5, min(seconds, left_s)), action)

    def _kill_gateway(self, blow: Blow) -> None:
        machine = self.gateways[blow.gateway]
        power = blow.fault is Fault.GATEWAY_POWER
        after = partial(self._later, blow.lasts_s, machine.revive)
        if blow.effect == "now":
            machine.die("suddenly", power=power, after=after)
        else:
            machine.die_at(blow.effect, blow.number, power=power, after=after)

    def _restore_gateway(self, blow: Blow) -> None:
        machine = self.gateways[blow.gateway]
        if machine.dead:
            return
        machine.keep_image()
        number = len(machine.images) - 1
        revive = partial(machine.revive, image=number)
        after = partial(self._later, 600.0 * self._chance.random(), revive)
        self._later(blow.lasts_s, partial(machine.die, "and its card", power=True, after=after))

    def _fill_gateway(self, blow: Blow) -> None:
        machine = self.gateways[blow.gateway]
        self.world.count("gateway disk full")
        machine.record.overflowed = True
        machine.disk.quota_bytes = machine.disk.used_bytes() + ROOM_BYTES * blow.number
        self._later(blow.lasts_s, partial(setattr, machine.disk, "quota_bytes", None))

    def _fail_gateway_syncs(self, blow: Blow) -> None:
        self.world.count("gateway sync failed")
        self.gateways[blow.gateway].disk.sync_fails = 1 + blow.number % 5

    def _slow_gateway(self, blow: Blow) -> None:
        self.world.count("gateway card slow")
        self.gateways[blow.gateway].slow_until_s = self.world.now_s + blow.lasts_s

    def _cut_gateway(self, blow: Blow) -> None:
        self._cut(self.gateways[blow.gateway].name, blow.lasts_s)

    def _cut_collector(self, blow: Blow) -> None:
        self._cut(self.collector.name, blow.lasts_s)

    def _cut(self, name: str, seconds: float) -> None:
        self.world.count("partition")
        seconds = min(seconds, self.plan.calm_at_s - self.world.now_s)
        self.network.cut(name, seconds)
        if seconds > 45.0:
            self.world.loop.call_later(45.0, self._miss, name)

    def _miss(self, name: str) -> None:
        """Whoever is behind a partition is missed, and misses."""
        if name == self.collector.name:
            for session in self.broker.sessions.values():
                if session.link is not None:
                    session.link.lose("keepalive")
        elif (connection := self.broker.connections.get(name)) is not None:
            connection.lose("keepalive")

    def _step_clock(self, _: Blow) -> None:
        self.world.count("clock step")  # laid down in _clock_steps

    def _silence_meter(self, blow: Blow) -> None:
        self.world.count("meter silent")
        machine = self.gateways[blow.gateway]
        serial = f"{machine.name}-m{1 + blow.number % self.plan.meters}"
        machine.silent_until_s[serial] = self.world.now_s + min(blow.lasts_s, 3600.0)

    def _crash_broker(self, blow: Blow) -> None:
        forgets = blow.fault is Fault.BROKER_FORGETS
        self.world.count("broker lost everything" if forgets else "broker away")
        seconds = min(blow.lasts_s, self.plan.calm_at_s - self.world.now_s)
        self.broker.crash(seconds, forgets=forgets)

    def _kill_collector(self, blow: Blow) -> None:
        machine = self.collector
        power = blow.fault is not Fault.COLLECTOR_KILL
        after = partial(self._after_collector, blow)
        if blow.effect == "now":
            machine.die("suddenly", power=power, after=after)
        else:
            machine.die_at(blow.effect, blow.number, power=power, after=after)

    def _after_collector(self, blow: Blow) -> None:
        if blow.fault is Fault.COLLECTOR_SITE and not self.world.is_calm:
            # A moment later: what the collector has sent may still leave.
            self.world.count("broker lost everything")
            self.world.loop.call_later(
                5.0, partial(self.broker.crash, 30.0 + blow.lasts_s / 2, forgets=True)
            )
        self._later(60.0 + blow.lasts_s, self.collector.revive)

    def _fill_collector(self, blow: Blow) -> None:
        self.world.count("collector disk full")
        disk = self.collector.disk
        disk.quota_bytes = disk.used_bytes() + ROOM_BYTES * blow.number
        self._later(blow.lasts_s, partial(setattr, disk, "quota_bytes", None))

    def _fail_collector_syncs(self, blow: Blow) -> None:
        self.world.count("collector sync failed")
        self.collector.disk.sync_fails = 1 + blow.number % 5

    def _restore_ledger(self, blow: Blow) -> None:
        machine = self.collector
        if machine.dead:
            return
        machine.keep_backup()
        number = len(machine.backups) - 1
        # Where the broker may have lost its acks nobody else can tell.
        losses = (Fault.BROKER_FORGETS, Fault.COLLECTOR_SITE)
        forgets = any(blow.fault in losses for blow in self.plan.blows)
        says_so = forgets or self._chance.random() < 0.5
        revive = partial(machine.revive, backup=number, says_so=says_so)
        after = partial(self._later, 600.0 * self._chance.random(), revive)
        self._later(blow.lasts_s, partial(machine.die, "and its ledger", power=True, after=after))

    def _lose_store(self, blow: Blow) -> None:
        # Its own count is that of the appends that failed.
        self.collector.trouble.away_until_s = self.world.now_s + blow.lasts_s

    def _slow_store(self, blow: Blow) -> None:
        self.world.count("reading store slow")
        self.collector.trouble.slow_until_s = self.world.now_s + blow.lasts_s

    def _replay(self, blow: Blow) -> None:
        if self.collector.dead:
            return
        now = self.world.now()
        self.collector.ask_replay(now - timedelta(seconds=blow.lasts_s), now)

    def _forge(self, blow: Blow) -> None:
        """Another batch under a number that is taken: a card that was cloned, or worse."""
        machine = self.gateways[blow.gateway]
        restores = any(blow.fault is Fault.LEDGER_BACKUP for blow in self.plan.blows)
        taken = sorted(machine.record.acked, key=lambda key: (key.epoch, key.seq))
        if restores or not taken:
            return
        key = self._chance.choice(taken)
        batch = decode_batch(machine.record.committed[key].payload)
        if batch.scan is None:
            return
        self.world.count("forged batch")
        tables = [
            msgspec.structs.replace(
                table,
                reads=[(m, at, [v and v + 7 for v in row], q) for m, at, row, q in table.reads],
            )
            for table in batch.scan.tables
        ]
        scan = msgspec.structs.replace(batch.scan, tables=tables)
        payload = encode(msgspec.structs.replace(batch, scan=scan, station="forged"))
        topic = build(BatchTopic(machine.name, key.epoch, key.seq))
        self.broker.arrive(topic, payload, retain=False)

    _actions: ClassVar[dict[Fault, Callable[["_Run", Blow], None]]] = {
        Fault.GATEWAY_KILL: _kill_gateway,
        Fault.GATEWAY_POWER: _kill_gateway,
        Fault.GATEWAY_IMAGE: _restore_gateway,
        Fault.GATEWAY_DISK_FULL: _fill_gateway,
        Fault.GATEWAY_SYNC: _fail_gateway_syncs,
        Fault.GATEWAY_SLOW: _slow_gateway,
        Fault.GATEWAY_CUT: _cut_gateway,
        Fault.GATEWAY_CLOCK: _step_clock,
        Fault.METER_SILENT: _silence_meter,
        Fault.BROKER: _crash_broker,
        Fault.BROKER_FORGETS: _crash_broker,
        Fault.COLLECTOR_KILL: _kill_collector,
        Fault.COLLECTOR_POWER: _kill_collector,
        Fault.COLLECTOR_SITE: _kill_collector,
        Fault.COLLECTOR_CUT: _cut_collector,
        Fault.COLLECTOR_DISK_FULL: _fill_collector,
        Fault.COLLECTOR_SYNC: _fail_collector_syncs,
        Fault.LEDGER_BACKUP: _restore_ledger,
        Fault.STORE_AWAY: _lose_store,
        Fault.STORE_SLOW: _slow_store,
        Fault.REPLAY: _replay,
        Fault.FORGERY: _forge,
    }

    # -- clocks

    def _clock_steps(self, gateway: int, booted_s: float) -> list[Step]:
        """The clock of a boot: unset at first in some, put wrong and right again in others."""
        chance = random.Random(f"{self.plan.seed}/clock/{gateway}/{booted_s}")
        blows = [b for b in self.plan.blows if b.fault is Fault.GATEWAY_CLOCK]
        calm_s = self.plan.calm_at_s
        steps = [Step(booted_s, 0, ClockState.SYNCED)]
        set_s = booted_s
        if blows and chance.random() < 0.6 and booted_s < calm_s - 60:
            self.world.count("clock unset at boot")
            behind_ms = chance.choice((5_000, _HOUR_MS, 40 * _HOUR_MS, 60 * 8766 * _HOUR_MS))
            set_s = min(calm_s, booted_s + chance.choice((30.0, 600.0, 90_000.0)) * chance.random())
            steps = [
                Step(booted_s, -behind_ms, ClockState.UNSYNCED),
                Step(set_s, 0, ClockState.SYNCED),
            ]
        for blow in blows:
            if blow.gateway != gateway or blow.at_s <= set_s:
                continue
            ahead_ms = chance.choice((-1, 1)) * chance.choice(
                (2_000, 240_000, _HOUR_MS, 30 * _HOUR_MS, 8766 * _HOUR_MS)
            )
            end_s = min(calm_s, blow.at_s + blow.lasts_s)
            steps = [step for step in steps if not blow.at_s <= step.at_s <= end_s]
            steps += [
                Step(blow.at_s, ahead_ms, ClockState.SYNCED),
                Step(end_s, 0, ClockState.SYNCED),
            ]
        return sorted(steps, key=lambda step: step.at_s)
