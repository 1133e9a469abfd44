"""Whether anybody is at an address of a Modbus line, by the cheapest request and what comes of it.

Knows frames, exceptions and damaged replies. It must not know profiles, nor what is done with
whoever is found.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from contract.messages import MissingReason
from gateway.lines.endpoints import Endpoint, Framing
from gateway.lines.modbus import (
    EXCEPTION_BIT,
    REPLY_CHARS,
    REQUEST_CHARS,
    BadReplyError,
    DisconnectedError,
    ExceptionReplyError,
    ModbusConnection,
    NoReplyError,
    is_whole_frame,
)
from gateway.meters.checks import RegistersQuestion
from gateway.ports import ReadFailed
from gateway.search.values import Presence

GARBLED_ATTEMPTS = 3  # damaged replies to so many requests in a row are no accident
SILENCE_S_MAX = 2.0
UNREACHED = frozenset({10, 11})  # a bridge says that nobody answers behind it

_EXCEPTION_BYTES = 5
_REGISTERS_BYTES_MIN = 5


@dataclass(frozen=True, slots=True)
class Signal:
    """What an address did: who it seems to be, how fast, and the bytes of its reply.

    `late_units` are others that were heard meanwhile, answering an earlier request.
    """

    presence: Presence | None
    round_trip_s: float = 0.0
    reply: bytes = b""
    late_units: frozenset[int] = frozenset()


async def presence_of(
    connection: ModbusConnection,
    endpoint: Endpoint,
    unit: int,
    question: RegistersQuestion,
    timeout_s: float,
) -> Signal:
    """What `unit` does with `question`. Raises ReadFailed (line_down) if the connection is lost."""
    chars = REQUEST_CHARS + REPLY_CHARS + 2 * question.count
    limit_s = timeout_s + endpoint.wire_s(chars)
    loop = asyncio.get_running_loop()
    heard: set[int] = set()
    for _ in range(GARBLED_ATTEMPTS):
        await _silence(connection, endpoint)
        begun_at = loop.time()
        reply = b""
        try:
            reply = await connection.read(
                unit, question.function, question.address, question.count, limit_s
            )
        except ExceptionReplyError as error:
            if error.code in UNREACHED:
                return Signal(None, late_units=frozenset(heard))
            reply = bytes((error.code,))
        except BadReplyError as error:
            reply = str(error).encode()
        except NoReplyError as error:
            units = set(_units(error.received))
            heard |= units
            if unit in units:
                return Signal(Presence.ANSWERS, loop.time() - begun_at, error.received)
            if not error.received or units:
                return Signal(None, late_units=frozenset(heard - {unit}))
            continue
        except DisconnectedError as error:
            raise ReadFailed(MissingReason.LINE_DOWN, str(error)) from error
        took_s = loop.time() - begun_at
        return Signal(Presence.ANSWERS, took_s, reply, frozenset(heard - {unit}))
    return Signal(Presence.GARBLED, late_units=frozenset(heard - {unit}))


async def _silence(connection: ModbusConnection, endpoint: Endpoint) -> None:
    """Wait until the line has been silent for as long as the standard asks."""
    if endpoint.framing is not Framing.RTU:
        return
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + SILENCE_S_MAX
    while (now := loop.time()) < give_up_at:
        remaining = connection.last_byte_at + endpoint.silence_s - now
        if remaining <= 0:
            return
        await asyncio.sleep(remaining)


def _units(received: bytes) -> Iterator[int]:
    """The units of whole frames within what came: answers to requests that were given up."""
    start = 0
    while start + _EXCEPTION_BYTES <= len(received):
        is_exception = bool(received[start + 1] & EXCEPTION_BIT)
        length = _EXCEPTION_BYTES if is_exception else received[start + 2] + _REGISTERS_BYTES_MIN
        frame = received[start : start + length]
        if len(frame) == length and is_whole_frame(frame):
            yield frame[0]
            start += length
        else:
            start += 1
