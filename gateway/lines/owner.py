"""The owner of a line: its queue, opening and reopening, and what becomes of reads that fail.

What every kind of line has in common, whatever is spoken on it. It must not know protocols, slots
or scans, nor why a read is wanted.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from contract.messages import MissingReason
from gateway.lines.health import LineHealth, LineState, MeterHealth
from gateway.lines.queue import Job, ReadQueue
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, Priority, ReadFailed
from gateway.pulse import Pulse

QUEUE_MAX = 1024  # several parts of every meter that a line can have; more callers wait for room
READ_ATTEMPTS = 3
BACK_OFF_MIN_S = 0.5
BACK_OFF_MAX_S = 30.0
# A step of a line is an opening or one read, at most an IEC 62056-21 session at 300 baud, which its
# port ends after 600 s. Whatever takes longer hangs.
STEP_S_MAX = 900.0

_log = structlog.get_logger("gateway.line")


class Connection(Protocol):
    """An open port or connection; `on_lost` is called when it is lost."""

    on_lost: Callable[[], None]

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


_Connection = TypeVar("_Connection", bound=Connection)


class LineOwner(ABC, Generic[_Connection]):
    """A line as `gateway.ports.Line`, but for how it is opened and how one read is served.

    `health` and `pulse` may be read at any time; only the line writes them.
    """

    def __init__(self, name: str, meters: Sequence[InstalledMeter], clock: Clock) -> None:
        self._name = name
        self._meters = tuple(meters)
        self._clock = clock
        self._queue = ReadQueue()
        self._room = asyncio.Semaphore(QUEUE_MAX)
        self._waiter: asyncio.Future[None] | None = None
        self._serving: Job | None = None
        self._back_off_s = BACK_OFF_MIN_S
        self._log = _log.bind(line=name)
        self.pulse = Pulse(f"line {name}", STEP_S_MAX)
        self.health = LineHealth(meters={meter.serial: MeterHealth() for meter in self._meters})

    # -- what a kind of line decides

    @abstractmethod
    async def _open(self) -> _Connection:
        """A new connection. Raises ReadFailed with the reason; nothing is left open then."""

    @abstractmethod
    async def _serve_one(self, connection: _Connection, job: Job) -> None:
        """Try one read: `_succeed`, `_try_again` or `_give_up`."""

    def _held_until(self, job: Job) -> float:
        """The event loop's time before which the meter of `job` must be left alone."""
        return 0.0

    def _reopened(self) -> None:
        """The line is up after it had been down."""

    # -- what all have in common

    @property
    def name(self) -> str:
        """The line's name in the station file."""
        return self._name

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        """Its meters, in the order of the station file."""
        return self._meters

    async def read(
        self,
        meter: InstalledMeter,
        part: Part,
        priority: Priority,
        attempts: int | None = None,
    ) -> MeterValues:
        """Queue one read and wait for it. Raises ReadFailed.

        Where `attempts` does not say how often it is tried: READ_ATTEMPTS times if the meter
        answered last time, once if it did not.
        """
        async with self._room:
            loop = asyncio.get_running_loop()
            job = Job(meter, part, priority, loop.create_future(), attempts_max=attempts)
            self._queue.put(job, loop.time())
            self._wake()
            return await job.outcome

    async def run(self) -> None:
        """Own the line until cancelled: serve the queue, one request at a time."""
        try:
            while True:
                connection = await self._connect()
                try:
                    await self._serve(connection)
                finally:
                    connection.close()
                self.health.state = LineState.OPENING
                if not len(self._queue):
                    await self._wait(self._next_back_off())
        finally:
            self.health.state = LineState.DOWN
            self._refuse_all("the line is closing")

    async def _connect(self) -> _Connection:
        """The open connection; reads that come while it cannot be opened are refused at once."""
        while True:
            self.pulse.beat()
            try:
                connection = await self._open()
            except ReadFailed as failure:
                self._mark_down(failure.detail)
                await self._refuse_for(self._next_back_off(), failure.detail)
            else:
                connection.on_lost = self._wake
                self._mark_up()
                return connection

    async def _serve(self, connection: _Connection) -> None:
        """Serve reads until the connection is lost."""
        loop = asyncio.get_running_loop()
        while connection.is_open:
            self.pulse.beat()
            now = loop.time()
            job = self._queue.pop(now)
            if job is None:
                next_at = self._queue.next_at()
                await self._wait(None if next_at is None else next_at - now)
            elif (held_until := self._held_until(job)) > now:
                self._queue.put(job, now, held_until)
            else:
                self._serving = job
                await self._serve_one(connection, job)
                self._serving = None

    def _succeed(self, job: Job, values: MeterValues) -> None:
        self._back_off_s = BACK_OFF_MIN_S
        self.health.meters[job.meter.serial].failed_in_a_row = 0
        if not job.outcome.done():
            job.outcome.set_result(values)

    def _try_again(self, job: Job, failure: ReadFailed, not_before: float = 0.0) -> None:
        """Later, behind what else waits; or give up."""
        job.attempts += 1
        health = self.health.meters[job.meter.serial]
        attempts_max = job.attempts_max or (1 if health.failed_in_a_row else READ_ATTEMPTS)
        if job.attempts < attempts_max:
            self._queue.put(job, asyncio.get_running_loop().time(), not_before)
        else:
            self._give_up(job, failure)

    def _give_up(self, job: Job, failure: ReadFailed) -> None:
        if failure.reason is not MissingReason.LINE_DOWN:
            self.health.meters[job.meter.serial].failed_in_a_row += 1
        if not job.outcome.done():
            job.outcome.set_exception(failure)

    def _mark_up(self) -> None:
        if self.health.state is LineState.DOWN:
            self._log.info("line is up again")
            self._reopened()
        self.health.state = LineState.UP
        self.health.detail = ""
        self.health.opened += 1

    def _mark_down(self, detail: str) -> None:
        if self.health.state is not LineState.DOWN:
            self._log.warning("line is down", detail=detail)
        self.health.state = LineState.DOWN
        self.health.detail = detail

    def _next_back_off(self) -> float:
        """Seconds to wait before the next opening: growing, with jitter; small after success."""
        delay = self._back_off_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_MAX_S)
        return delay

    async def _refuse_for(self, delay_s: float, detail: str) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + delay_s
        while (remaining := until - loop.time()) > 0:
            self._refuse_all(detail)
            await self._wait(remaining)

    def _refuse_all(self, detail: str) -> None:
        jobs = self._queue.take_all()
        if self._serving is not None:
            jobs.append(self._serving)
            self._serving = None
        for job in jobs:
            self._give_up(job, ReadFailed(MissingReason.LINE_DOWN, detail))

    async def _wait(self, timeout_s: float | None) -> None:
        """Return when a read comes, the connection is lost, or the time is over."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self.pulse.rest()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
