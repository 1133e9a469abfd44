"""A few questions to one meter over a connection of their own: for people at the command line.

Paces and repeats what it asks. It must not know what the answers mean, and is not for scans,
whose lines have one owner each.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contract.messages import MissingReason
from gateway.lines.endpoints import Endpoint, Framing
from gateway.lines.modbus import (
    REPLY_CHARS,
    REQUEST_CHARS,
    BadReplyError,
    DisconnectedError,
    ExceptionReplyError,
    ModbusConnection,
    NoReplyError,
)
from gateway.meters.checks import Answer, ObjectQuestion, Question, Refused
from gateway.meters.profile import Timing
from gateway.ports import ReadFailed

ATTEMPTS = 3
_BUSY = frozenset({5, 6})  # acknowledge, device busy: the same request may succeed soon
_BUSY_PAUSE_S = 0.2
_OBJECTS_CHARS = 125  # a device identification of three names, more or less


class Asker:
    """Asks one meter, one question at a time, each up to `attempts` times."""

    def __init__(
        self,
        connection: ModbusConnection,
        endpoint: Endpoint,
        address: int,
        timing: Timing,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._attempts = attempts
        self._connection = connection
        self._endpoint = endpoint
        self._address = address
        self._timing = timing

    async def ask(self, question: Question) -> Answer:
        """The bytes of the registers, Refused, or None where no attempt brought anything whole.

        Raises ReadFailed (line_down) when the connection is lost.
        """
        answer: Answer = None
        for _ in range(self._attempts):
            await self._pace()
            try:
                return await self._ask_once(question)
            except ExceptionReplyError as error:
                answer = Refused(error.code)
                if error.code not in _BUSY:
                    return answer
                await asyncio.sleep(_BUSY_PAUSE_S)
            except (NoReplyError, BadReplyError):
                if self._endpoint.framing is Framing.RTU:
                    await asyncio.sleep(self._timing.late_after_timeout_s)
            except DisconnectedError as error:
                raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
        return answer

    async def _ask_once(self, question: Question) -> Answer:
        timeout_s = self._timing.response_timeout_ms / 1000
        if isinstance(question, ObjectQuestion):
            timeout_s += self._endpoint.wire_s(REQUEST_CHARS + REPLY_CHARS + _OBJECTS_CHARS)
            reply = await self._connection.identify(self._address, question.number, timeout_s)
            return reply.objects.get(question.number)
        timeout_s += self._endpoint.wire_s(REQUEST_CHARS + REPLY_CHARS + 2 * question.count)
        return await self._connection.read(
            self._address, question.function, question.address, question.count, timeout_s
        )

    async def _pace(self) -> None:
        if self._endpoint.framing is Framing.RTU:
            pause_s = max(self._endpoint.silence_s, self._timing.frame_pause_ms / 1000)
            passed_s = asyncio.get_running_loop().time() - self._connection.last_byte_at
            await asyncio.sleep(max(0.0, pause_s - passed_s))


@asynccontextmanager
async def asking(endpoint: Endpoint, address: int, timing: Timing) -> AsyncIterator[Asker]:
    """An open connection to the meter at `address`; closed at the end.

    Raises ReadFailed (line_down) if it cannot be opened.
    """
    connection = ModbusConnection(endpoint)
    try:
        await connection.open()
        yield Asker(connection, endpoint, address, timing)
    except DisconnectedError as error:
        raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
    finally:
        connection.close()
