"""The intake worker: takes groups of messages through the pipeline and answers with acks.

Owns waiting, order and trying again; it must not know how a batch is stored. Several processes may
run one worker each, on a shared subscription and the same ledger.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import structlog

from collector.clock import Now
from collector.errors import LedgerStateError, LedgerUnavailable
from collector.intake.batch import Message, Taken
from collector.intake.judge import Claim
from collector.intake.link import Link
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.readings.port import StoreUnavailable
from contract.messages import Ack, encode

# Batches that are in the ledger and wait for the reading store, in memory, at most: 64 kB each.
# Beyond that a batch's reads are let go of; it is not acknowledged, so its gateway sends it again.
HELD_MAX = 2_000

BACK_OFF_MIN_S = 0.2
BACK_OFF_MAX_S = 15.0

# How long one wait for messages lasts: how soon a stop, a reconnect or a tick is noticed.
POLL_S = 0.2

# A step of the worker is a group's way into ledger and reading store, or one attempt at it. Longer
# than this, in seconds, and it hangs; a store that is away fails sooner, and is tried again.
STEP_S_MAX = 900.0

# Acks read and published in one go where those of many gateways are due.
ACKS_AT_ONCE = 200

_STATUS_SUFFIX = "/status"

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a worker waits: the time that passes, the wish that it stop, its second thread."""

    monotonic_s: Callable[[], float] = time.monotonic
    stop: threading.Event = field(default_factory=threading.Event)
    pool: Executor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="intake-append")
    )


class _BackOff:
    """When to try again: after a growing pause while it fails."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._pause_s = 0.0
        self._due_at_s = 0.0

    @property
    def waiting_s(self) -> float:
        """Seconds until the next try; 0 when it may be made now."""
        return max(0.0, self._due_at_s - self._monotonic_s())

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._pause_s > 0

    def failed(self) -> None:
        """The try failed."""
        self._pause_s = min(BACK_OFF_MAX_S, max(BACK_OFF_MIN_S, 2 * self._pause_s))
        self._due_at_s = self._monotonic_s() + self._pause_s

    def worked(self) -> None:
        """The try worked."""
        self._pause_s = self._due_at_s = 0.0


class _Finishing(NamedTuple):
    """A group that is claimed and being appended and completed on the second thread."""

    future: Future[dict[str, Ack]]
    claim: Claim
    messages: list[Message]


class IntakeWorker:
    """One worker over one link. `run` is its thread's body; `ready` says that it takes batches."""

    def __init__(  # noqa: PLR0913  the worker is where all parts of intake meet
        self,
        *,
        link: Link,
        ledger: Ledger,
        pipeline: Pipeline,
        metrics: Metrics,
        now: Now,
        group_max: int,
        tick_s: float,
        pace: Pace | None = None,
    ) -> None:
        pace = pace or Pace()
        self._monotonic_s = pace.monotonic_s
        self._link = link
        self._ledger = ledger
        self._pipeline = pipeline
        self._metrics = metrics
        self._now = now
        self._group_max = group_max
        self._tick_s = tick_s
        self.ready = threading.Event()
        self._stop = pace.stop
        self._held: deque[Taken] = deque()
        self._store_back_off = _BackOff(self._monotonic_s)
        self._ack_due: dict[str, None] = {}
        self._published: dict[str, tuple[int, int]] = {}
        self._connection = 0
        # While one group is appended, which is mostly waiting for disks, the next is decoded.
        self._pool = pace.pool
        self._finishing: _Finishing | None = None
        self._next_tick_s = 0.0
        self._went_round_s = self._monotonic_s()
        self._reaches_broker = False

    @property
    def hangs(self) -> bool:
        """Whether a step takes longer than any may; may be asked from any thread."""
        return self._monotonic_s() - self._went_round_s > STEP_S_MAX

    def troubles(self) -> dict[str, str]:
        """By part what keeps batches from being taken, empty where it is well; from any thread."""
        return {
            "broker": ""
            if self._reaches_broker
            else "no connection to the broker: see that it runs, and in its log whether it takes"
            " this collector's name, password and certificate",
            "intake": f"a step has taken longer than {STEP_S_MAX:.0f} s: start the collector again"
            if self.hangs
            else "",
        }

    def stop(self) -> None:
        """Have `run` return after the group in hand; may be called from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped. Raises LedgerStateError where a person must act first."""
        self._link.start()
        try:
            if self._wait_for_connection():
                # Before anything else, so that the broker keeps what comes from now on.
                self._link.subscribe()
                self._refuse_if_behind()
            self.ready.set()
            while not self._stop.is_set():
                self._turn()
            self._finish()
        finally:
            self._pool.shutdown()
            self._link.stop()
            self._metrics.connected.set(0)

    def _turn(self) -> None:
        """One round: what is due, then the next group of messages."""
        self._went_round_s = self._monotonic_s()
        try:
            self._greet()
            if self._monotonic_s() >= self._next_tick_s:
                self._tick()
            self._publish_due()
            self._append_held()
        except LedgerUnavailable as error:
            self._ledger_down(error)
            self._stop.wait(BACK_OFF_MIN_S)
        messages = self._link.take(self._group_max, POLL_S if self._finishing is None else 0)
        batches = [message for message in messages if not message.topic.endswith(_STATUS_SUFFIX)]
        statuses = [message for message in messages if message.topic.endswith(_STATUS_SUFFIX)]
        if batches:
            self._begin(batches)
        else:
            self._finish()
        if statuses:
            # After all batches before it: a status says what can no longer come.
            self._finish()
            acks = self._until_ledger(lambda: self._pipeline.take_statuses(statuses))
            if acks is not None:
                self._publish(acks)
                self._link.done(statuses)

    # --- connection ---------------------------------------------------------------------------

    def _wait_for_connection(self) -> bool:
        while not self._link.connected:
            self._went_round_s = self._monotonic_s()
            if self._stop.wait(0.02):
                return False
        return True

    def _refuse_if_behind(self) -> None:
        """Compare the ledger with what was acknowledged before, as the broker retains it."""
        acks = self._link.collect_acks()
        back_off = _BackOff(self._monotonic_s)
        while not self._stop.is_set():
            self._went_round_s = self._monotonic_s()
            try:
                with self._ledger.read() as uow:
                    behind = [
                        gateway
                        for gateway, ack in sorted(acks.items())
                        if not uow.delivery.progress.covers(gateway, ack)
                    ]
            except LedgerUnavailable as error:
                back_off.failed()
                self._ledger_down(error)
                self._stop.wait(back_off.waiting_s)
                continue
            if behind:
                raise LedgerStateError(
                    f"the broker holds acks that are ahead of this ledger, of gateway"
                    f" {', '.join(behind[:5])}{' and others' if len(behind) > 5 else ''}:"
                    " the ledger is older than what was acknowledged",
                    hint="if it was restored from a backup, say so: songlo collector restored;"
                    " if the broker is another one's, use another",
                )
            return

    def _greet(self) -> None:
        """After every connection: subscribe, and say to all gateways what is stored."""
        connected = self._reaches_broker = self._link.connected
        self._metrics.connected.set(connected)
        if connected and self._link.connections != self._connection:
            connection = self._link.connections
            self._link.subscribe()
            with self._ledger.read() as uow:
                names = uow.delivery.generations.all()
            self._ack_due.update(dict.fromkeys(sorted(names)))
            self._connection = connection

    # --- groups -------------------------------------------------------------------------------

    def _begin(self, messages: list[Message]) -> None:
        """Claim a group while the one before it is being finished, then set it going."""
        claim = self._until_ledger(lambda: self._pipeline.claim(messages))
        self._finish()
        if claim is None:
            return
        if claim.pending and (self._held or self._store_back_off.failing):
            self._hold(claim.pending)
            claim.pending = []
        self._finishing = _Finishing(self._pool.submit(self._conclude, claim), claim, messages)

    def _conclude(self, claim: Claim) -> dict[str, Ack]:
        """On the second thread: what remains to be done for a group that is claimed."""
        if not claim.pending and not claim.settled:
            return {}
        refused = self._pipeline.append(claim.pending)
        return self._pipeline.complete(claim.pending, refused, claim.settled)

    def _finish(self) -> None:
        """Wait for the group that was set going, and answer; however long the ledger is away."""
        if self._finishing is None:
            return
        future, claim, messages = self._finishing
        self._finishing = None
        back_off = _BackOff(self._monotonic_s)
        while True:
            self._went_round_s = self._monotonic_s()
            try:
                acks = future.result()
                break
            except StoreUnavailable as error:
                self._store_down(error)
                self._hold(claim.pending)
                claim.pending = []
            except LedgerUnavailable as error:
                back_off.failed()
                self._ledger_down(error)
                if self._stop.wait(back_off.waiting_s):
                    return
            future = self._pool.submit(self._conclude, claim)
        self._metrics.ledger_up.set(1)
        self._publish(acks)
        # Held ones too: they are in the ledger, and more must come in while the store is away.
        self._link.done(messages)

    def _until_ledger(self, step: Callable[[], _T]) -> _T | None:
        """Take a step, again while the ledger is away; None if stopped before it worked."""
        back_off = _BackOff(self._monotonic_s)
        while True:
            self._went_round_s = self._monotonic_s()
            try:
                result = step()
            except LedgerUnavailable as error:
                back_off.failed()
                self._ledger_down(error)
                if self._stop.wait(back_off.waiting_s):
                    return None
            else:
                self._metrics.ledger_up.set(1)
                return result

    def _hold(self, pending: Iterable[Taken]) -> None:
        for taken in pending:
            if len(self._held) < HELD_MAX:
                self._held.append(taken)
            else:
                self._pipeline.let_go([taken])
                self._metrics.dropped.labels("held").inc()
        self._metrics.held.set(len(self._held))

    def _append_held(self) -> None:
        if not self._held or self._store_back_off.waiting_s:
            return
        group = [self._held[index] for index in range(min(self._group_max, len(self._held)))]
        try:
            refused = self._pipeline.append(group)
        except StoreUnavailable as error:
            self._store_down(error)
            return
        self._store_back_off.worked()
        self._metrics.store_up.set(1)
        self._publish(self._pipeline.complete(group, refused, ()))
        for _ in group:
            self._held.popleft()
        self._metrics.held.set(len(self._held))

    def _store_down(self, error: StoreUnavailable) -> None:
        self._store_back_off.failed()
        self._metrics.store_up.set(0)
        _log.error("store_unavailable", reason=str(error), held=len(self._held))

    def _ledger_down(self, error: LedgerUnavailable) -> None:
        self._metrics.ledger_up.set(0)
        _log.error("ledger_unavailable", reason=str(error))

    # --- acks ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What others changed: replays, other workers, entries to be tried again."""
        self._next_tick_s = self._monotonic_s() + self._tick_s
        if self._link.dropped:
            self._metrics.dropped.labels("inbox").inc(self._link.dropped)
            self._link.dropped = 0
        if not self._store_back_off.waiting_s:
            try:
                self._publish(self._pipeline.retry())
            except StoreUnavailable as error:
                self._store_down(error)
        with self._ledger.read() as uow:
            positions = uow.delivery.progress.positions(self._now())
        self._ack_due.update(
            dict.fromkeys(
                gateway
                for gateway, position in sorted(positions.items())
                if self._published.get(gateway) != position
            )
        )
        self._metrics.ledger_up.set(1)

    def _publish_due(self) -> None:
        """Publish the acks that are due, some at a time, as the ledger has them now."""
        if not self._ack_due or not self._link.connected:
            return
        names = list(self._ack_due)[:ACKS_AT_ONCE]
        with self._ledger.read() as uow:
            acks = uow.delivery.progress.acks(names, self._now())
        for name in names:
            del self._ack_due[name]
        self._publish(acks)

    def _publish(self, acks: Mapping[str, Ack]) -> None:
        for gateway, ack in acks.items():
            if self._link.publish_ack(gateway, encode(ack)):
                self._metrics.acks.inc()
                self._published[gateway] = (
                    ack.generation,
                    sum(entry.upto for entry in ack.epochs),
                )
            else:
                self._ack_due[gateway] = None
