"""The line engine: one owner task that serves reads of meters over one Modbus line.

Owns pacing, retries, the splitting of refused blocks and reconnection. It must not know of slots
or scans, nor why a read is wanted.
"""

import asyncio
import random
from collections.abc import Sequence

import structlog

from contract.messages import MissingReason
from gateway.lines.endpoints import Endpoint, Framing, TcpEndpoint
from gateway.lines.health import LineHealth, LineState, MeterHealth
from gateway.lines.modbus import (
    BadReplyError,
    DisconnectedError,
    ExceptionReplyError,
    ModbusConnection,
    ModbusError,
    NoReplyError,
)
from gateway.lines.queue import Job, ReadQueue
from gateway.lines.reading import PartReader
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, Priority, ReadFailed

QUEUE_MAX = 1024  # several parts of every meter that a line can have; more callers wait for room
READ_ATTEMPTS = 3
BACK_OFF_MIN_S = 0.5
BACK_OFF_MAX_S = 30.0
BUSY_PAUSE_S = 0.2

# A TCP connection on which so many requests in a row went unanswered may lead nowhere any more.
SILENT_REQUESTS_MAX = 8

_BUSY = frozenset({5, 6})  # acknowledge, device busy: the same request may succeed soon
_UNREACHED = frozenset({10, 11})  # a bridge says that it got no answer from the meter

_log = structlog.get_logger("gateway.line")


class ModbusLine:
    """One Modbus line as `gateway.ports.Line`: RTU on a serial port or over TCP, or Modbus TCP.

    `health` may be read at any time; only the line writes it.
    """

    def __init__(
        self, name: str, endpoint: Endpoint, meters: Sequence[InstalledMeter], clock: Clock
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._meters = tuple(meters)
        self._clock = clock
        self._queue = ReadQueue()
        self._room = asyncio.Semaphore(QUEUE_MAX)
        self._waiter: asyncio.Future[None] | None = None
        self._serving: Job | None = None
        self._late_until: dict[int, float] = {}
        self._silent_requests = 0
        self._back_off_s = BACK_OFF_MIN_S
        self._log = _log.bind(line=name)
        self.health = LineHealth(meters={meter.serial: MeterHealth() for meter in self._meters})
        self._reader = PartReader(endpoint, self.health, clock)

    @property
    def name(self) -> str:
        """The line's name in the station file."""
        return self._name

    @property
    def meters(self) -> Sequence[InstalledMeter]:
        """Its meters, in the order of the station file."""
        return self._meters

    async def read(self, meter: InstalledMeter, part: Part, priority: Priority) -> MeterValues:
        """Queue one read and wait for it. Raises ReadFailed.

        A meter that answered last time is tried READ_ATTEMPTS times, one that did not only once.
        """
        async with self._room:
            loop = asyncio.get_running_loop()
            job = Job(meter, part, priority, loop.create_future())
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

    async def _connect(self) -> ModbusConnection:
        """The open connection; reads that come while it cannot be opened are refused at once."""
        while True:
            connection = ModbusConnection(self._endpoint)
            try:
                await connection.open()
            except DisconnectedError as error:
                connection.close()
                self._mark_down(str(error))
                await self._refuse_for(self._next_back_off(), str(error))
            except BaseException:
                connection.close()
                raise
            else:
                connection.on_lost = self._wake
                self._mark_up()
                return connection

    async def _serve(self, connection: ModbusConnection) -> None:
        """Serve reads until the connection is lost."""
        loop = asyncio.get_running_loop()
        while connection.is_open:
            now = loop.time()
            job = self._queue.pop(now)
            if job is None:
                next_at = self._queue.next_at()
                await self._wait(None if next_at is None else next_at - now)
            elif (late_until := self._late_until.get(job.meter.address, 0.0)) > now:
                self._queue.put(job, now, late_until)
            else:
                self._serving = job
                await self._serve_one(connection, job)
                self._serving = None

    async def _serve_one(self, connection: ModbusConnection, job: Job) -> None:
        try:
            values = await self._reader.read(connection, job.meter, job.part)
        except ReadFailed as failure:
            self._give_up(job, failure)
        except ModbusError as error:
            self._failed(connection, job, error)
        else:
            self._silent_requests = 0
            self._back_off_s = BACK_OFF_MIN_S
            health = self.health.meters[job.meter.serial]
            if health.failed_in_a_row:
                self._log.info("meter answers again", meter=job.meter.serial)
            health.failed_in_a_row = 0
            if not job.outcome.done():
                job.outcome.set_result(values)

    def _failed(self, connection: ModbusConnection, job: Job, error: ModbusError) -> None:
        """Try again later, behind what else waits, or give up."""
        now = asyncio.get_running_loop().time()
        not_before = 0.0
        if isinstance(error, NoReplyError | BadReplyError):
            not_before = self._hold(connection, job.meter, now)
        elif isinstance(error, ExceptionReplyError):
            not_before = now + BUSY_PAUSE_S
        job.attempts += 1
        health = self.health.meters[job.meter.serial]
        attempts_max = 1 if health.failed_in_a_row else READ_ATTEMPTS
        if job.attempts < attempts_max and _may_pass(error):
            self._queue.put(job, now, not_before)
        else:
            self._give_up(job, ReadFailed(_reason(error), str(error)))

    def _hold(self, connection: ModbusConnection, meter: InstalledMeter, now: float) -> float:
        """Leave a meter alone until no late reply can be taken for the answer to a new request.

        Returns until when. Over Modbus TCP the transaction number tells replies apart, but a
        connection that has been silent for long is given up.
        """
        self._silent_requests += 1
        if isinstance(self._endpoint, TcpEndpoint) and self._silent_requests >= SILENT_REQUESTS_MAX:
            self._silent_requests = 0
            connection.close()
        if self._endpoint.framing is Framing.TCP:
            return 0.0
        until = now + meter.profile.timing.late_after_timeout_s
        self._late_until[meter.address] = until
        return until

    def _give_up(self, job: Job, failure: ReadFailed) -> None:
        health = self.health.meters[job.meter.serial]
        if not health.failed_in_a_row and failure.reason is not MissingReason.LINE_DOWN:
            self._log.warning(
                "meter cannot be read",
                meter=job.meter.serial,
                address=job.meter.address,
                reason=failure.reason.value,
                detail=failure.detail,
            )
        if failure.reason is not MissingReason.LINE_DOWN:
            health.failed_in_a_row += 1
        if not job.outcome.done():
            job.outcome.set_exception(failure)

    def _mark_up(self) -> None:
        if self.health.state is LineState.DOWN:
            self._log.info("line is up again")
            self._reader.forget()
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


def _may_pass(error: ModbusError) -> bool:
    """Whether the same request may succeed when it is repeated."""
    if isinstance(error, ExceptionReplyError):
        return error.code in _BUSY | _UNREACHED
    return True


def _reason(error: ModbusError) -> MissingReason:
    match error:
        case DisconnectedError():
            return MissingReason.LINE_DOWN
        case BadReplyError():
            return MissingReason.BAD_REPLY
        case ExceptionReplyError() if error.code not in _UNREACHED:
            return MissingReason.EXCEPTION
        case _:
            return MissingReason.TIMEOUT
