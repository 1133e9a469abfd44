"""A gateway that a test drives by hand, and a collector's intake in a thread."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from collector.clock import Now, system_now
from collector.config import BrokerConfig
from collector.intake.link import Link
from collector.intake.pipeline import Pipeline
from collector.intake.worker import IntakeWorker
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.readings.port import ReadBlock, ReadingStore, Refused, StoredRead, StoreUnavailable
from contract import topics
from contract.messages import (
    Ack,
    Batch,
    Clock,
    EpochStatus,
    MeterRead,
    Scan,
    ScanKind,
    Status,
    Table,
    Value,
    decode_ack,
    encode,
)

_T = TypeVar("_T")

WAIT_S = 15.0
SLOT = datetime(2026, 1, 1, tzinfo=UTC)
REGISTERS = ["1-0:1.8.0", "1-0:32.7.0"]
STATION = "PA25SL-T012"


def until(what: Callable[[], _T], why: str, timeout_s: float = WAIT_S) -> _T:
    """The first true answer of `what`; fails with `why` when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{why} (waited {timeout_s} s)"
        time.sleep(0.01)


def scan(
    number: int,
    *,
    kind: ScanKind = ScanKind.INDEX,
    meters: Sequence[str] = ("M1", "M2"),
    missing: Sequence[tuple[str, str]] = (),
    energy: int = 1_000,
    clock: Clock = Clock.SYNCED,
) -> Batch:
    """The scan of the half hour `number` after SLOT; each meter has its energy and a voltage."""
    values: list[Value] = [energy + 10 * number, 230.5]
    reads: list[MeterRead] = [(meter, 400, values, 0) for meter in meters]
    return Batch(
        v=1,
        station=STATION,
        clock=clock,
        scan=Scan(
            kind=kind,
            slot=SLOT + timedelta(minutes=30 * number),
            tables=[Table(registers=REGISTERS, reads=reads)] if reads else [],
            missing=list(missing),
        ),
    )


class Gateway:
    """A gateway as the broker sees it. `acks` are all that came, in order."""

    def __init__(self, port: int, name: str = "GW1") -> None:
        self.name = name
        self.epoch = uuid.uuid4().hex
        self.acks: list[Ack] = []
        self._count = 0
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topics.ack_filter(name), 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _d, m: self.acks.append(decode_ack(bytes(m.payload)))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, seq: int, batch: Batch | bytes, *, epoch: str | None = None) -> None:
        payload = batch if isinstance(batch, bytes) else encode(batch)
        topic = topics.build(topics.BatchTopic(self.name, epoch or self.epoch, seq))
        self.publish(topic, payload)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def status(self, message: Status, *, retain: bool = True) -> None:
        self.publish(topics.build(topics.StatusTopic(self.name)), encode(message), retain=retain)

    def upto(self, epoch: str | None = None) -> int:
        """What the newest ack says of an epoch; -1 where it says nothing."""
        for ack in reversed(self.acks):
            for entry in ack.epochs:
                if entry.epoch == (epoch or self.epoch):
                    return entry.upto
            return -1
        return -1

    def wait_acked(self, upto: int, *, epoch: str | None = None, timeout_s: float = WAIT_S) -> None:
        until(lambda: self.upto(epoch) == upto, f"no ack up to {upto}", timeout_s)

    @property
    def generation(self) -> int:
        return self.acks[-1].generation if self.acks else 0


def status(
    *epochs: tuple[str, int, int], count: int = 1, generation: int = 0, online: bool = True
) -> Status:
    """A status that lists `epochs` as (epoch, oldest, next), the current one first."""
    return Status(
        v=1,
        online=online,
        station=STATION,
        count=count,
        generation=generation,
        epochs=[EpochStatus(*entry) for entry in epochs],
    )


@dataclass
class Intake:
    """A running worker."""

    worker: IntakeWorker
    metrics: Metrics
    future: Future[None]

    def figure(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def intake(
    ledger: Ledger,
    store: ReadingStore,
    port: int,
    *,
    shared_group: str | None = None,
    now: Now = system_now,
    pipeline: Callable[[Pipeline], Pipeline] = lambda made: made,
    link: Callable[[BrokerConfig], Link] = lambda config: Link(config, None),
    expect: type[BaseException] | None = None,
) -> Iterator[Intake]:
    """A worker until the block ends; fails if it ended by itself with anything but `expect`."""
    metrics = Metrics()
    config = BrokerConfig(host="127.0.0.1", port=port, shared_group=shared_group)
    worker = IntakeWorker(
        link=link(config),
        ledger=ledger,
        pipeline=pipeline(Pipeline(ledger, store, now, metrics)),
        metrics=metrics,
        now=now,
        group_max=50,
        tick_s=0.2,
    )
    with ThreadPoolExecutor(1) as pool:
        running = Intake(worker, metrics, pool.submit(worker.run))
        try:
            until(lambda: worker.ready.is_set() or running.future.done(), "intake does not start")
            yield running
        finally:
            worker.stop()
            error = running.future.exception(WAIT_S)
            if error is not None and (expect is None or not isinstance(error, expect)):
                raise error
    assert expect is None or isinstance(error, expect), f"the worker did not end with {expect}"


class CrashError(Exception):
    """Stands for the end of the process at a chosen point."""


@dataclass
class TroubledStore:
    """A store that fails on demand before, or after, the real one has appended."""

    inner: ReadingStore
    down: bool = False
    crash_before: bool = False
    crash_after: bool = False
    refuse: set[str] = field(default_factory=set)
    attempts: int = 0

    def append(self, blocks: Sequence[ReadBlock]) -> list[Refused]:
        self.attempts += 1
        if self.down:
            raise StoreUnavailable("taken down by the test")
        if self.crash_before:
            raise CrashError("before the append")
        refused = self.inner.append(blocks)
        for block in blocks:
            refused += [
                Refused(block, read, "refused by the test")
                for read in block.reads
                if read[0] in self.refuse
            ]
        if self.crash_after:
            raise CrashError("after the append")
        return refused

    def readings(
        self, meter: str, from_at: datetime, to_at: datetime, limit: int = 100_000
    ) -> Iterator[StoredRead]:
        return self.inner.readings(meter, from_at, to_at, limit)

    def station_reads(
        self, station: str, from_at: datetime, to_at: datetime, registers: Sequence[str]
    ) -> Iterator[StoredRead]:
        return self.inner.station_reads(station, from_at, to_at, registers)

    def count(self, from_at: datetime, to_at: datetime) -> int:
        return self.inner.count(from_at, to_at)

    def compact(self) -> int:
        return self.inner.compact()

    def close(self) -> None:
        self.inner.close()


def stored(store: ReadingStore) -> int:
    """How many meter reads the store holds."""
    return store.count(SLOT - timedelta(days=2), SLOT + timedelta(days=60))
