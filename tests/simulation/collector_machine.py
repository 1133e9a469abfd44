"""A simulated collector: the product's worker, pipeline and ledger on a disk that forgets.

Owns the lives of one process, and its operator: backups, restores, what is said to the program
after them. The ledger object outlives its process's lives, because its compiled statements are
costly; nothing but connections is in it, and those are closed between two lives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from collector.billing.snapshot import snapshot_hash
from collector.errors import CollectorError, LedgerStateError, LedgerUnavailable
from collector.intake.pipeline import Pipeline
from collector.intake.worker import IntakeWorker, Pace
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations.delivery import replay, restored
from collector.operations.snapshots import create_snapshot, snapshot_lines
from collector.readings.port import ReadBlock, ReadingStore, Refused, StoreUnavailable
from collector.registry.values import Installation, Meter, Point, Role, Station
from tests.simulation.disk import Disk, Image
from tests.simulation.loop import Killed, Process, Signal, SimulatedEvent, SimulatedThread
from tests.simulation.network import CollectorLink, SimulatedBroker, retained_acks
from tests.simulation.world import START_AT, World

LEDGER_NAME = "ledger.sqlite3"
RESTART_S = 10.0


@dataclass(slots=True)
class StoreTrouble:
    """What is wrong with the reading store."""

    away_until_s: float = 0.0
    slow_until_s: float = 0.0


class TroubledStore:
    """A reading store that is away or slow, and a process that dies at it."""

    def __init__(self, inner: ReadingStore, machine: "CollectorMachine", world: World) -> None:
        self._inner = inner
        self._machine = machine
        self._world = world
        self._chance = world.chance("store")

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        trouble, machine = self._machine.trouble, self._machine
        machine.at("append")
        if self._world.now_s < trouble.away_until_s:
            self._world.count("reading store away")
            if self._chance.random() < 0.3:
                # When it raises, any part may have been written.
                self._inner.append(blocks[: len(blocks) // 2])
            raise StoreUnavailable("away")
        slow_s = 30.0 if self._world.now_s < trouble.slow_until_s else 0.01
        Process.current().sleep(slow_s * self._chance.random())
        machine.at("appending")
        half = len(blocks) // 2
        refused = self._inner.append(blocks[:half])
        machine.at("half appended")
        refused += self._inner.append(blocks[half:])
        machine.at("appended")
        return refused

    def close(self) -> None:
        self._inner.close()


class CollectorMachine:
    """One collector; see `start`. `pipeline_of` makes the pipeline, for whoever replaces a part."""

    def __init__(
        self,
        world: World,
        disk: Disk,
        ledger: Ledger,
        store: ReadingStore,
        broker: SimulatedBroker,
        *,
        tick_s: float,
        group_max: int,
    ) -> None:
        self.name = "collector"
        self.dead = True
        self.trouble = StoreTrouble()
        self.disk = disk
        disk.effect = self.effect
        self.ledger = ledger
        self.store = store
        self.backups: list[tuple[float, Image]] = []
        self.snapshots: dict[str, str] = {}  # the hash of each by its id
        self.restored_at_s: list[float] = []
        self.died_at_s: list[float] = []
        self.failure: BaseException | None = None
        self.held_max = 0
        self._world = world
        self._broker = broker
        self._tick_s = tick_s
        self._group_max = group_max
        self._chance = world.chance("collector")
        self._metrics = Metrics()
        self._link: CollectorLink | None = None
        self._worker: IntakeWorker | None = None
        self._stop: SimulatedEvent | None = None
        self._processes: list[Process] = []
        self._crash: tuple[str, int] | None = None
        self._power_cut = False
        self._after: Callable[[], None] = lambda: None
        self._must_say_restored = False
        self._is_stopping = False

    # -- its program

    def start(self) -> None:
        """Run the program; it is started again whenever it ends by itself."""
        if not self.dead:
            return
        self.dead = False
        self._is_stopping = False
        self._world.note("the collector starts")
        if self._must_say_restored:
            self._say_restored()
        link = CollectorLink(self, self._broker, self._world, "songlo-collector", self._idle_s)
        self._link = link
        self._stop = SimulatedEvent(self._pause)
        pace = Pace(
            monotonic_s=lambda: self._world.now_s,
            stop=self._stop,  # type: ignore[arg-type]  # has what is used of it
            pool=SimulatedThread(self._start_thread, self._wait_for),
        )
        pipeline = Pipeline(
            self.ledger,
            TroubledStore(self.store, self, self._world),  # type: ignore[arg-type]
            self._world.now,
            self._metrics,
        )
        self._worker = IntakeWorker(
            link=link,  # type: ignore[arg-type]  # the interface of Link
            ledger=self.ledger,
            pipeline=pipeline,
            metrics=self._metrics,
            now=self._world.now,
            group_max=self._group_max,
            tick_s=self._tick_s,
            pace=pace,
        )
        self._processes = [Process(self._world.loop, self._worker.run, self._ended)]

    def stop(self) -> None:
        """Ask the program to stop in order."""
        self._is_stopping = True
        if self._stop is not None:
            self._stop.set()
        if self._link is not None:
            self._link.news.ring()

    @property
    def is_running(self) -> bool:
        """Whether the program runs."""
        return not self.dead

    def _ended(self, error: BaseException | None) -> None:
        self.ledger.close()
        if self.dead:
            self._after()
            return
        self.dead = True
        if error is None and self._is_stopping:
            return
        if isinstance(error, LedgerStateError):
            self._world.count("collector refused to start")
            self._must_say_restored = True
        elif error is not None:
            self.failure = error
            return
        self._world.loop.call_later(RESTART_S, self.start)

    def _start_thread(self, work: Callable[[], None]) -> None:
        self._processes = [process for process in self._processes if process.is_running]
        self._processes.append(Process(self._world.loop, work, self._thread_ended))

    def _thread_ended(self, error: BaseException | None) -> None:
        if error is not None and not self.dead:
            self.failure = error

    def _wait_for(self, signal: Signal) -> None:
        Process.current().sleep(3600.0, signal)
        self.alive()

    def _pause(self, seconds: float) -> None:
        self.alive()
        assert self._worker is not None
        if not self._worker.ready.is_set():
            # It waits for its first connection, looking fifty times a second.
            seconds = max(seconds, 5.0)
        assert self._link is not None
        Process.current().sleep(seconds, self._link.news)
        self.alive()

    def _idle_s(self) -> float:
        """How long the worker's own affairs can wait."""
        worker = self._worker
        assert worker is not None
        self.held_max = max(self.held_max, len(worker._held))
        due_s = worker._next_tick_s - self._world.now_s
        if worker._held:
            due_s = min(due_s, worker._store_back_off.waiting_s)
        if worker._ack_due and self._link is not None and self._link.connected:
            due_s = 0.0
        return max(0.001, due_s + 0.001)

    # -- what befalls it

    def alive(self) -> None:
        """Ends whoever asks, where the process is dead."""
        if self.dead:
            raise Killed

    def at(self, kind: str) -> None:
        """An effect outside of the ledger's disk."""
        self.alive()
        self.effect(kind)
        self.alive()

    def effect(self, kind: str) -> None:
        """See Machine; dies here if it was told to."""
        if self._crash is None or self.dead or self._crash[0] != kind:
            return
        kind, left = self._crash
        if left > 0:
            self._crash = (kind, left - 1)
            return
        self._crash = None
        self.die(f"at {kind}", power=self._power_cut, after=self._after)

    def die_at(self, kind: str, count: int, *, power: bool, after: Callable[[], None]) -> None:
        """Die at an effect of this kind, after `count` others."""
        self._crash = (kind, count)
        self._power_cut = power
        self._after = after

    def die(self, where: str, *, power: bool, after: Callable[[], None]) -> None:
        """The process ends without a word, or the computer with it; `after` once all is still."""
        if self.dead:
            return
        self._crash = None
        self._world.count("collector power cut" if power else "collector killed")
        self._world.note(f"the collector dies {where}")
        self.died_at_s.append(self._world.now_s)
        chance = self._world.chance(f"ledger {self._world.now_s}")
        self.disk.die(self.disk.after_power_cut(chance) if power else self.disk.look())
        self.dead = True
        self._after = after
        self._world.loop.call_soon(self._kill)

    def _kill(self) -> None:
        if self._link is not None:
            self._link.stop()
        for process in self._processes:
            process.kill()

    def keep_backup(self) -> None:
        """Copy the ledger as it is now."""
        self.backups.append((self._world.now_s, self.disk.look()))

    def revive(self, *, backup: int | None = None, says_so: bool = True) -> None:
        """Start again on what the disk holds, or on a backup."""
        assert self.dead
        found = self.disk.image
        assert found is not None
        if backup is not None:
            _, found = self.backups[backup]
            self._world.count("ledger restored from a backup")
            self.restored_at_s.append(self._world.now_s)
            self._must_say_restored = says_so
        self.disk.put(found)
        self.start()

    def _say_restored(self) -> None:
        try:
            raised = restored(
                self.ledger,
                acks=retained_acks(self._broker),
                actor="operator",
                now=self._world.now(),
            )
        except LedgerUnavailable:
            self._world.loop.call_later(RESTART_S, lambda: None)
            return
        self._must_say_restored = False
        self._world.note(f"the operator says restored: {raised}")

    def ask_replay(self, from_at: datetime, to_at: datetime) -> None:
        """Someone orders a replay of a period."""
        try:
            report = replay(
                self.ledger, from_at=from_at, to_at=to_at, actor="operator", now=self._world.now()
            )
        except CollectorError as error:
            self._world.note(f"no replay: {error}")
            return
        self._world.count("replay ordered")
        self._world.note(f"replay of {report.batches} batches")

    def take_snapshot(self, from_at: datetime, to_at: datetime) -> str | None:
        """A clerk makes a billing snapshot of everything; its id."""
        try:
            head = create_snapshot(
                self.ledger,
                station=None,
                from_at=from_at,
                to_at=to_at,
                actor="clerk",
                now=self._world.now(),
            )
        except CollectorError as error:
            self._world.note(f"no snapshot: {error}")
            return None
        lines = list(snapshot_lines(self.ledger, head.id))
        self.snapshots[head.id] = snapshot_hash(None, head.from_at, head.to_at, lines)
        return head.id

    def settle(self) -> None:
        """Nothing befalls it any more."""
        self._crash = None
        self.disk.quota_bytes = None
        self.disk.sync_fails = 0
        self.trouble = StoreTrouble()


def make_ledger(path: Path, meters_by_station: dict[str, list[str]]) -> Image:
    """A ledger with its schema and a registry, as bytes; its folder is free again afterwards."""
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    installed_at = START_AT - timedelta(days=1)
    with ledger.begin() as uow:
        registry = uow.registry
        registry.add_stations([Station(name, name) for name in meters_by_station])
        serials = [(name, s) for name, each in meters_by_station.items() for s in each]
        registry.add_points([Point(f"p-{s}", name, Role.HOUSEHOLD, s) for name, s in serials])
        registry.add_meters([Meter(s, "simulated", 1) for _, s in serials])
        registry.add_installations([Installation(f"p-{s}", s, installed_at) for _, s in serials])
    ledger.close()
    return Image({path.name: path.read_bytes()})
