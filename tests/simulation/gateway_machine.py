"""A simulated gateway: the product's own parts on a disk that forgets and a clock that lies.

Owns the lives of one computer: starts the program, kills it, cuts its power, puts an old image of
its card back. What the program commits is written down for the judge.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from contract.messages import Ack
from contract.messages import Clock as ClockState
from gateway.app import Place, run_parts
from gateway.config import StationConfig
from gateway.control import Control
from gateway.mqtt import Broker, Message
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_file import OutboxError, OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import BatchKey, Draft, Late, SlotDone
from gateway.ports import InstalledMeter
from gateway.schedule import Schedule
from gateway.station_file import (
    BrokerSection,
    ClockSection,
    CommandsSection,
    OutboxSection,
    UplinkSection,
)
from gateway.uplink import Surroundings
from tests.simulation.clock import SimulatedClock, Step
from tests.simulation.disk import Disk, Image
from tests.simulation.loop import HOST
from tests.simulation.meters import SimulatedLine, Truth
from tests.simulation.network import GatewayConnection, SimulatedBroker
from tests.simulation.world import World

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
RESTART_S = 10.0
CALL_S = 0.002  # what a call of the outbox takes, at least


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that the outbox said was kept; `is_sure` unless the machine died in the call."""

    payload: bytes
    at_s: float
    slot_at: datetime | None
    is_sure: bool


@dataclass(slots=True)
class Record:
    """What one gateway has done, for the judge."""

    committed: dict[BatchKey, Committed] = field(default_factory=dict)
    # Batches that were on a card that was replaced by an older image of it.
    taken_away: set[BatchKey] = field(default_factory=set)
    # Batches that became delivered by an ack.
    acked: set[BatchKey] = field(default_factory=set)
    overflowed: bool = False
    boots: dict[str, SimulatedClock] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a gateway is set up, the same for all of a run."""

    interval_min: int
    index_minutes: tuple[int, ...]
    hold: bool
    bytes_max: int
    status_every_s: float
    window: int
    card_s: float  # how long its card may take for a call, at most
    house_s: float
    keep_days: int  # after delivery; longer than any backup of the ledger is old


class RecordedOutbox(Outbox):
    """The outbox, and beside it what it said of what it kept."""

    disk: Disk
    record: Record
    now_s: Callable[[], float]
    began: Callable[[datetime], None]

    def append(
        self,
        drafts: Sequence[Draft],
        *,
        at: datetime,
        done: Sequence[SlotDone] = (),
        late: Late | None = None,
        release: int | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> list[BatchKey]:
        first = self._next
        keys = [BatchKey(self.epoch, first + n) for n in range(len(drafts))]
        try:
            kept = super().append(drafts, at=at, done=done, late=late, release=release, also=also)
        except OutboxUnavailable:
            # Whether a commit whose sync failed is kept, only its file knows.
            self._write_down(keys, drafts, is_sure=False)
            raise
        self._write_down(kept, drafts, is_sure=not self.disk.dead)
        return kept

    def begin_after(self, to_at: datetime) -> None:
        super().begin_after(to_at)
        if not self.disk.dead:
            self.began(to_at)

    def apply_acks(self, acks: Sequence[Ack]) -> set[BatchKey]:
        delivered = super().apply_acks(acks)
        if not self.disk.dead:
            self.record.acked |= delivered
        return delivered

    def _write_down(
        self, keys: Sequence[BatchKey], drafts: Sequence[Draft], *, is_sure: bool
    ) -> None:
        for key, draft in zip(keys, drafts, strict=True):
            # The same key again: the call before it failed, and nothing of it was kept.
            self.record.committed[key] = Committed(
                draft.payload, self.now_s(), draft.slot_at, is_sure
            )


class GatewayMachine:
    """One gateway's computer; see `start`. `clock_steps` lays down the clock of each boot."""

    def __init__(
        self,
        world: World,
        name: str,
        folder: Path,
        broker: SimulatedBroker,
        settings: Settings,
        meters: Sequence[InstalledMeter],
        truth: Truth,
        clock_steps: Callable[[float], list[Step]],
    ) -> None:
        self.name = name
        self.dead = True
        self.record = Record()
        self.silent_until_s: dict[str, float] = {}
        self.images: list[tuple[float, Image, set[BatchKey]]] = []
        self.slow_until_s = 0.0
        self.disk = Disk(folder, self.effect)
        self.crash_in: dict[str, int] = {}
        self.crashes: list[Exception] = []  # of the program by itself
        self._world = world
        self._folder = folder
        self._broker = broker
        self._settings = settings
        self._installed = meters
        self.meters = [meter.serial for meter in meters]
        self.first_slot_at: datetime | None = None
        self._truth = truth
        self._clock_steps = clock_steps
        self._chance: random.Random = world.chance(f"gateway {name}")
        self._clock: SimulatedClock | None = None
        self._lives = 0
        self._boots = 0
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._busy_until_s = 0.0
        self._connection: GatewayConnection | None = None
        self._power_cut = False
        self._after: Callable[[], None] = lambda: None

    # -- its program

    def start(self) -> None:
        """Run the program; it is started again whenever it ends by itself."""
        if self._task is not None:
            return
        self.dead = False
        self._lives += 1
        if self._clock is None:
            self._boots += 1
            boot = f"{self.name}-boot-{self._boots}"
            now_s = self._world.now_s
            self._clock = SimulatedClock(self._world, boot, now_s, self._clock_steps(now_s))
            self.record.boots[boot] = self._clock
        self._stop = asyncio.Event()
        self._task = self._world.loop.create_task(self._live(self._lives))

    def stop(self) -> None:
        """Ask the program to stop in order."""
        self._stop.set()

    @property
    def is_running(self) -> bool:
        """Whether the program runs."""
        return self._task is not None

    async def _live(self, life: int) -> None:
        HOST.set(self)
        self._world.note(f"{self.name} starts, life {life}")
        again = True
        try:
            await self._run()
        except OutboxError as error:
            # Without its path, which is another one in each process.
            told = str(error).replace(str(self._folder), "")
            self._world.note(f"{self.name} cannot start: {told}")
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001  the service manager starts it again
            if not self.dead:
                self.crashes.append(error)
        else:
            again = not self._stop.is_set()
        finally:
            self._task = None
        was_dead, self.dead = self.dead, True
        if was_dead:
            self._after()
        elif again:
            self._world.loop.call_later(RESTART_S, self.start)

    async def _run(self) -> None:
        settings, clock = self._settings, self._clock
        assert clock is not None
        outbox = self._open()
        thread = OutboxThread(outbox)
        line = SimulatedLine(self._world, clock, self._truth, self._installed, self.silent_until_s)
        surroundings = Surroundings(
            connect=self._connect,
            monotonic_s=lambda: self._world.now_s,
            uniform=self._chance.uniform,
        )
        config = StationConfig(
            station=self.name,
            gateway=self.name,
            data=self._folder,
            schedule=Schedule(
                ZONE,
                settings.interval_min,
                settings.index_minutes,
                index_window_min=180,
                index_retry_s=1800,
            ),
            broker=BrokerSection("simulated"),
            password=None,
            tls=None,
            uplink=UplinkSection(
                window=settings.window,
                status_every_s=settings.status_every_s,
                resend_after_s=600.0,
                resend_after_max_s=3600.0,
            ),
            outbox=OutboxSection(bytes_max=settings.bytes_max, keep_days=settings.keep_days),
            replay=None,
            clock=ClockSection(before_sync="hold" if settings.hold else "send"),
            commands=CommandsSection(),
            remote=None,
            lines=(),
            heads=frozenset(),
        )
        control = Control(self._folder, "", _no_problems, halt=self._stop)
        try:
            await run_parts(config, Place(clock, clock.boot, [line], surroundings), thread, control)
        finally:
            thread.close()

    def _open(self) -> Outbox:
        epoch = f"{self._chance.getrandbits(128):032x}"
        outbox = RecordedOutbox.open(
            self._folder / FILE_NAME,
            station=self.name,
            epoch=epoch,
            bytes_max=self._settings.bytes_max,
        )
        assert isinstance(outbox, RecordedOutbox)
        outbox.disk, outbox.record = self.disk, self.record
        outbox.now_s = lambda: self._world.now_s
        outbox.began = self._began
        if self.dead:
            outbox.close()
            raise asyncio.CancelledError
        return outbox

    def _began(self, after_at: datetime) -> None:
        """The gateway deals with slots from here on, for the first time or after a step back."""
        if self.first_slot_at is None:
            self.first_slot_at = after_at + timedelta(milliseconds=1)

    def _connect(
        self,
        broker: Broker,
        will: Message,
        *,
        received: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> GatewayConnection:
        self._connection = GatewayConnection(
            self, self._broker, self._world, broker, will, received, ended
        )
        return self._connection

    def in_thread(self, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        """The outbox's thread: one call after the other, each as long as the card takes."""
        loop, life = self._world.loop, self._lives
        future: asyncio.Future[Any] = loop.create_future()
        slow_s = 20.0 if self._world.now_s < self.slow_until_s else 0.0
        took_s = CALL_S + (self._settings.card_s + slow_s) * self._chance.random()
        begin_s = max(self._busy_until_s, self._world.now_s)
        self._busy_until_s = begin_s + took_s

        def run() -> None:
            if self._is_dead() or life != self._lives or future.cancelled():
                return
            self.effect("call")
            if self._is_dead():
                return
            try:
                result, error = work(), None
            except Exception as raised:  # noqa: BLE001  it is the caller's to see
                result, error = None, raised
            if self._is_dead():
                return
            self.effect("called")
            if self._is_dead() or future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        loop.call_at(self._busy_until_s, run)
        return future

    def _is_dead(self) -> bool:
        return self.dead

    # -- what befalls it

    def effect(self, kind: str) -> None:
        """See Machine; dies here if it was told to."""
        left = self.crash_in.get(kind)
        if left is None or self.dead:
            return
        if left > 0:
            self.crash_in[kind] = left - 1
            return
        del self.crash_in[kind]
        self.die(f"at {kind}", power=self._power_cut, after=self._after)

    def die_at(self, kind: str, count: int, *, power: bool, after: Callable[[], None]) -> None:
        """Die at an effect of this kind, after `count` others."""
        self.crash_in = {kind: count}
        self._power_cut = power
        self._after = after

    def die(self, where: str, *, power: bool, after: Callable[[], None]) -> None:
        """The program ends without a word, or with it the computer; `after` once all is still."""
        if self.dead:
            return
        self.crash_in.clear()
        self._world.count("gateway power cut" if power else "gateway killed")
        self._world.note(f"{self.name} dies {where}")
        chance = self._world.chance(f"card {self.name} {self._lives}")
        self.disk.die(self.disk.after_power_cut(chance) if power else self.disk.look())
        self.dead = True
        self._after = after
        self._busy_until_s = 0.0
        if power:
            self._clock = None
        if (connection := self._connection) is not None:
            # A killed program's socket is closed by the system; a computer's is missed later.
            self._world.loop.call_later(45.0 if power else 0.01, connection.lose, "gone")
        assert self._task is not None
        self._world.loop.call_soon(self._task.cancel)

    def keep_image(self) -> None:
        """Remember the card as it is now."""
        if not self.dead:
            self.images.append((self._world.now_s, self.disk.look(), set(self.record.committed)))

    def revive(self, *, image: int | None = None) -> None:
        """Start again on what the disk holds, or on an image that was kept."""
        found = self.disk.image
        assert found is not None
        assert self.dead
        if image is not None:
            _, found, known = self.images[image]
            self._world.count("gateway image restored")
            self.record.taken_away |= self.record.committed.keys() - known
            self._clock = None
        self.disk.put(found)
        self.start()

    def settle(self) -> None:
        """Nothing befalls it any more."""
        self.crash_in.clear()
        self.disk.quota_bytes = None
        self.disk.sync_fails = 0
        self.silent_until_s.clear()
        self.slow_until_s = 0.0


def grid(settings: Settings, first: datetime, last: datetime) -> list[datetime]:
    """The slots of a gateway in a time."""
    schedule = Schedule(ZONE, settings.interval_min, settings.index_minutes)
    return [slot.at for slot in schedule.between(first - timedelta(milliseconds=1), last)]


def right_clock(booted_s: float) -> list[Step]:
    """A clock that is right from the start."""
    return [Step(booted_s, 0, ClockState.SYNCED)]


async def _no_problems() -> list[str]:
    """Nobody commands a restart here."""
    return []
