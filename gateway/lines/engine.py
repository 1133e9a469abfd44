"""The Modbus line: one owner task that serves reads of meters, paced, retried, drained.

Owns what repeats and what is held back on a Modbus line. It must not know of slots or scans, nor
why a read is wanted.
"""

import asyncio
from collections.abc import Sequence

from contract.messages import MissingReason
from gateway.lines.endpoints import Endpoint, Framing, TcpEndpoint
from gateway.lines.modbus import (
    BadReplyError,
    DisconnectedError,
    ExceptionReplyError,
    ModbusConnection,
    ModbusError,
    NoReplyError,
)
from gateway.lines.owner import LineOwner
from gateway.lines.queue import Job
from gateway.lines.reading import PartReader, modbus_profile
from gateway.ports import Clock, InstalledMeter, ReadFailed

BUSY_PAUSE_S = 0.2

# A TCP connection on which so many requests in a row went unanswered may lead nowhere any more.
SILENT_REQUESTS_MAX = 8

_BUSY = frozenset({5, 6})  # acknowledge, device busy: the same request may succeed soon
_UNREACHED = frozenset({10, 11})  # a bridge says that it got no answer from the meter


class ModbusLine(LineOwner[ModbusConnection]):
    """One Modbus line as `gateway.ports.Line`: RTU on a serial port or over TCP, or Modbus TCP."""

    def __init__(
        self, name: str, endpoint: Endpoint, meters: Sequence[InstalledMeter], clock: Clock
    ) -> None:
        super().__init__(name, meters, clock)
        self._endpoint = endpoint
        self._late_until: dict[int | str, float] = {}
        self._silent_requests = 0
        self._reader = PartReader(endpoint, self.health, clock)

    async def _open(self) -> ModbusConnection:
        connection = ModbusConnection(self._endpoint)
        try:
            await connection.open()
        except DisconnectedError as error:
            connection.close()
            raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _reopened(self) -> None:
        self._reader.forget()

    def _held_until(self, job: Job) -> float:
        return self._late_until.get(job.meter.address, 0.0)

    async def _serve_one(self, connection: ModbusConnection, job: Job) -> None:
        try:
            values = await self._reader.read(connection, job.meter, job.part)
        except ReadFailed as failure:
            self._give_up(job, failure)
        except ModbusError as error:
            self._failed(connection, job, error)
        else:
            self._silent_requests = 0
            self._succeed(job, values)

    def _failed(self, connection: ModbusConnection, job: Job, error: ModbusError) -> None:
        """Try again later, behind what else waits, or give up."""
        now = asyncio.get_running_loop().time()
        not_before = 0.0
        if isinstance(error, NoReplyError | BadReplyError):
            not_before = self._hold(connection, job.meter, now)
        elif isinstance(error, ExceptionReplyError):
            not_before = now + BUSY_PAUSE_S
        failure = ReadFailed(_reason(error), str(error))
        if _may_pass(error):
            self._try_again(job, failure, not_before)
        else:
            self._give_up(job, failure)

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
        until = now + modbus_profile(meter).timing.late_after_timeout_s
        self._late_until[meter.address] = until
        return until


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
