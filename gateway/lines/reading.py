"""One part of one meter over an open connection: its blocks in turn, paced, split where refused.

Remembers which blocks a meter takes. Queues, retries and reconnection are the engine's.
"""

import asyncio
from dataclasses import dataclass

import structlog

from contract.messages import MissingReason
from gateway.lines.endpoints import Endpoint, Framing
from gateway.lines.health import LineHealth
from gateway.lines.modbus import (
    REPLY_CHARS,
    REQUEST_CHARS,
    BadReplyError,
    ExceptionReplyError,
    ModbusConnection,
    NoReplyError,
)
from gateway.meters.decode import BlockDecoder, Value
from gateway.meters.plan import Block, halves, part_of, plan
from gateway.meters.profile import MeterProfile
from gateway.ports import Clock, InstalledMeter, MeterValues, Part, ReadFailed

PACING_MAX_S = 2.0  # a line that is never silent is not waited for any longer

# The event loop's timers are up to so much late, which would add a hundredth to each exchange at
# 9600 baud; the last bit of a pause is waited for awake.
TIMER_COARSE_S = 0.001

_ILLEGAL_ADDRESS = 2
_ILLEGAL_VALUE = 3  # what some meters say to a block that is too long
_SPLIT_ON = frozenset({_ILLEGAL_ADDRESS, _ILLEGAL_VALUE})

_log = structlog.get_logger("gateway.line")


@dataclass(frozen=True, slots=True)
class _Step:
    """A block and what decodes it."""

    block: Block
    decoder: BlockDecoder


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a part is read: its registers in the order of the profile, its blocks."""

    registers: tuple[str, ...]
    steps: tuple[_Step, ...]


class PartReader:
    """Reads parts of meters; `sent_at` is the event loop's time at which it last sent a request."""

    def __init__(self, endpoint: Endpoint, health: LineHealth, clock: Clock) -> None:
        self._endpoint = endpoint
        self._is_rtu = endpoint.framing is Framing.RTU
        self._health = health
        self._clock = clock
        self._recipes: dict[tuple[int, Part], _Recipe] = {}
        self._learnt: dict[tuple[str, Part], _Recipe] = {}
        self._last: InstalledMeter | None = None
        self.sent_at = 0.0

    def forget(self) -> None:
        """Forget what meters refused: another one may be at their address now."""
        self._learnt.clear()

    async def read(
        self, connection: ModbusConnection, meter: InstalledMeter, part: Part
    ) -> MeterValues:
        """Every register of `part`, once over the wire. Raises ModbusError or ReadFailed.

        A block that the meter refuses for its address or length is split, down to single
        registers; those that are refused alone have no value. If none has one, the read fails.
        """
        profile = modbus_profile(meter)
        recipe = self._learnt.get((meter.serial, part)) or self._recipe(profile, part)
        if not recipe.registers:
            return MeterValues(self._clock.now(), {}, arrived_s=self._clock.monotonic_s())
        values: dict[str, Value] = dict.fromkeys(recipe.registers)
        waiting = list(reversed(recipe.steps))
        taken: list[_Step] = []
        partial = False
        refusal: ExceptionReplyError | None = None
        while waiting:
            step = waiting.pop()
            try:
                payload = await self._request(connection, meter, step.block)
            except ExceptionReplyError as error:
                if error.code not in _SPLIT_ON:
                    raise
                refusal = error
                smaller = halves(step.block)
                waiting.extend(_step(profile, block) for block in reversed(smaller))
                if not smaller and not step.block.registers[0].optional:
                    partial = True
                    taken.append(step)
            else:
                values.update(step.decoder.decode(payload))
                taken.append(step)
        arrived_at, arrived_s = self._clock.now(), self._clock.monotonic_s()
        if all(value is None for value in values.values()):
            raise refusal or ReadFailed(MissingReason.NOT_AVAILABLE, "no register has a value")
        if refusal is not None and tuple(taken) != recipe.steps:
            self._learnt[meter.serial, part] = _Recipe(recipe.registers, tuple(taken))
            _log.debug("meter refused a block", meter=meter.serial, requests=len(taken))
        return MeterValues(arrived_at, values, partial, arrived_s)

    def _recipe(self, profile: MeterProfile, part: Part) -> _Recipe:
        # By identity: a line's meters hold on to their profiles, and hashing one takes long.
        key = (id(profile), part)
        if (recipe := self._recipes.get(key)) is None:
            recipe = self._recipes[key] = _Recipe(
                tuple(mapped.obis for mapped in profile.registers if part_of(mapped) is part),
                tuple(_step(profile, block) for block in plan(profile, part)),
            )
        return recipe

    async def _request(
        self, connection: ModbusConnection, meter: InstalledMeter, block: Block
    ) -> bytes:
        if self._is_rtu:
            await self._pace(connection, meter)
        chars = REQUEST_CHARS + REPLY_CHARS + 2 * block.count
        timing = modbus_profile(meter).timing
        timeout_s = timing.response_timeout_ms / 1000 + self._endpoint.wire_s(chars)
        health = self._health
        meter_health = health.meters[meter.serial]
        health.requests += 1
        meter_health.requests += 1
        loop = asyncio.get_running_loop()
        assert isinstance(meter.address, int), "Modbus addresses are numbers"
        self._last = meter
        self.sent_at = loop.time()
        try:
            payload = await connection.read(
                meter.address, block.function, block.address, block.count, timeout_s
            )
        except NoReplyError:
            health.timeouts += 1
            raise
        except BadReplyError:
            health.bad_replies += 1
            raise
        except ExceptionReplyError:
            health.exceptions += 1
            self._answered(meter, connection)
            raise
        self._answered(meter, connection)
        return payload

    def _answered(self, meter: InstalledMeter, connection: ModbusConnection) -> None:
        health = self._health.meters[meter.serial]
        self._health.replies += 1
        health.replies += 1
        health.round_trip_s = connection.last_byte_at - self.sent_at
        health.answered_at = self._health.answered_at = self._clock.now()

    async def _pace(self, connection: ModbusConnection, meter: InstalledMeter) -> None:
        """Wait until the line has been silent for as long as the standard and the meters ask.

        Bytes that come meanwhile, such as a reply sent twice, start the silence anew.
        """
        loop = asyncio.get_running_loop()
        silence_s = max(self._endpoint.silence_s, self._pause_s(meter))
        give_up_at = loop.time() + PACING_MAX_S + silence_s
        while (now := loop.time()) < give_up_at:
            await _take_in_what_came()
            remaining = connection.last_byte_at + silence_s - now
            if remaining <= 0:
                return
            await asyncio.sleep(max(0.0, remaining - TIMER_COARSE_S))

    def _pause_s(self, meter: InstalledMeter) -> float:
        last = self._last
        if last is None:
            return 0.0
        if last.address == meter.address:
            return modbus_profile(meter).timing.frame_pause_ms / 1000
        pauses = (
            pause
            for timing in (modbus_profile(last).timing, modbus_profile(meter).timing)
            for pause in (timing.frame_pause_ms, timing.id_switch_pause_ms)
        )
        return max(pauses) / 1000


def modbus_profile(meter: InstalledMeter) -> MeterProfile:
    """The profile of a meter on a Modbus line, where station files allow no other kind."""
    assert isinstance(meter.profile, MeterProfile)
    return meter.profile


async def _take_in_what_came() -> None:
    """Let the event loop hand over bytes that lie in the port: once to find them, once to read."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _step(profile: MeterProfile, block: Block) -> _Step:
    return _Step(block, BlockDecoder(profile, block))
