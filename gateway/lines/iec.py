"""The IEC 62056-21 line: one owner task that reads meters one session at a time.

Owns what a read asks a meter for, when it is tried again, and which readout serves two parts. It
must not know the protocol's messages, slots or scans.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta, tzinfo

from contract.commands import ResultCode
from contract.messages import OTHER_METER, MissingReason
from gateway.lines.endpoints import IecEndpoint
from gateway.lines.iec_port import IecPort, SessionFailed
from gateway.lines.owner import LineOwner
from gateway.lines.queue import Job
from gateway.meters.meter_clock import ClockOrder, clock_ahead_s
from gateway.meters.plan import part_of
from gateway.meters.readout_decode import codes_of, decode_readout, stranger
from gateway.meters.readout_profile import ClockCodes, ReadBy, ReadoutProfile, ReadoutRegister
from gateway.ports import (
    Clock,
    ClockSetting,
    InstalledMeter,
    MeterValues,
    Part,
    Priority,
    ReadFailed,
)
from gateway.protocols.iec62056_21 import Session
from gateway.protocols.iec_events import (
    Block,
    Command,
    Event,
    Failure,
    Programming,
    Readout,
    Settings,
    Task,
)
from gateway.protocols.iec_messages import CommandType
from gateway.protocols.readout import ReadoutText, parse_data_sets

# A readout has both parts of a meter. A scan asks for energies first and comes back for the rest
# when all meters of the line have had their turn, which at 300 baud can take so long.
SHARED_S_MAX = 900.0
SHARED_ON_DEMAND_S_MAX = 10.0  # whoever asks on demand wants to know what is now

_REASONS = {
    Failure.SILENT: MissingReason.TIMEOUT,
    Failure.GARBLED: MissingReason.BAD_REPLY,
    Failure.REFUSED: MissingReason.EXCEPTION,
    Failure.BROKEN_OFF: MissingReason.EXCEPTION,
    Failure.TOO_LONG: MissingReason.BAD_REPLY,
}


@dataclass(frozen=True, slots=True)
class _Leftover:
    """The other part of a readout, and the event loop's time at which it came."""

    values: MeterValues
    at: float


@dataclass(slots=True)
class _Heard:
    """What a session has brought so far."""

    texts: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Keep the text of blocks; an answer without its code gets that of the command."""
        if isinstance(event, Block):
            is_bare = event.command is not None and event.text.lstrip().startswith("(")
            code = event.command.data.partition("(")[0] if event.command and is_bare else ""
            self.texts.append(code + event.text)

    def readout(self) -> ReadoutText:
        """All of it."""
        return ReadoutText([item for text in self.texts for item in parse_data_sets(text)])


@dataclass(slots=True, eq=False)
class _ClockJob(Job):
    """Setting a clock, which waits its turn like a read; `setting` is what became of it."""

    order: ClockOrder | None = None
    setting: ClockSetting | None = None


class IecLine(LineOwner[IecPort]):
    """A line of IEC 62056-21 meters as `gateway.ports.Line`, told apart by device address.

    An energy read always goes to the meter. If that is by data readout, the momentary read that
    follows is answered from the same readout, once, and never from that of an earlier one. `zone`
    is what the meters' own clocks are set to.
    """

    def __init__(
        self,
        name: str,
        endpoint: IecEndpoint,
        meters: Sequence[InstalledMeter],
        clock: Clock,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(name, meters, clock)
        self._endpoint = endpoint
        self._zone = zone
        self._leftovers: dict[str, _Leftover] = {}
        self._silence_s = 0.0  # an answer to a session that failed may come until then

    async def read(
        self,
        meter: InstalledMeter,
        part: Part,
        priority: Priority,
        attempts: int | None = None,
    ) -> MeterValues:
        """Queue one read and wait for it. Raises ReadFailed."""
        leftover = self._leftovers.pop(meter.serial, None)
        if part is Part.MOMENTARY and leftover is not None:
            is_on_demand = priority is Priority.ON_DEMAND
            age_s_max = SHARED_ON_DEMAND_S_MAX if is_on_demand else SHARED_S_MAX
            if asyncio.get_running_loop().time() - leftover.at <= age_s_max:
                return leftover.values
        return await super().read(meter, part, priority, attempts)

    async def set_clock(self, meter: InstalledMeter, limit_s: float) -> ClockSetting:
        """See `gateway.ports.ClockLine`."""
        codes = readout_profile(meter).clock
        if codes is None or codes.write is None:
            text = f"the profile {meter.profile.name} has no way to set a clock"
            return ClockSetting(ResultCode.NOT_SUPPORTED, text)
        async with self._room:
            loop = asyncio.get_running_loop()
            order = ClockOrder(codes, self._zone, limit_s)
            job = _ClockJob(
                meter, Part.ENERGY, Priority.ON_DEMAND, loop.create_future(), order=order
            )
            self._queue.put(job, loop.time())
            self._wake()
            await job.outcome
            assert job.setting is not None
            return job.setting

    async def _open(self) -> IecPort:
        port = IecPort(self._endpoint)
        try:
            await port.open()
        except BaseException:
            port.close()
            raise
        return port

    async def _serve_one(self, connection: IecPort, job: Job) -> None:
        if isinstance(job, _ClockJob):
            await self._serve_clock(connection, job)
            return
        profile = readout_profile(job.meter)
        registers = _registers(profile, job.part)
        if not registers:
            self._succeed(
                job, MeterValues(self._clock.now(), {}, arrived_s=self._clock.monotonic_s())
            )
            return
        begun_s = self._clock.monotonic_s()
        try:
            readout = await self._converse(
                connection, job.meter, profile, self._task(profile, registers)
            )
            values = self._decoded(job.meter, profile, registers, readout)
            values = replace(values, clock_ahead_s=self._clock_ahead_s(profile, readout, begun_s))
        except SessionFailed as error:
            self._failed(job, error)
        except ReadFailed as failure:
            self._give_up(job, failure)
        else:
            if profile.read_by is ReadBy.READOUT and job.part is Part.ENERGY:
                self._keep_other_part(job.meter, profile, values, readout)
            self._succeed(job, values)

    async def _converse(
        self,
        port: IecPort,
        meter: InstalledMeter,
        profile: ReadoutProfile,
        task: Task,
    ) -> ReadoutText:
        """Everything that the meter said in one session."""
        session = Session(task, str(meter.address), self._settings(profile))
        silence_s = max(self._silence_s, profile.timing.session_pause_ms / 1000)
        heard = _Heard()
        health, meter_health = self.health, self.health.meters[meter.serial]
        health.requests += 1
        meter_health.requests += 1
        begun_at = asyncio.get_running_loop().time()
        try:
            await port.converse(session, silence_s, on_event=heard.take)
        except SessionFailed as error:
            is_timed_out = error.failure is Failure.SILENT
            self._silence_s = _drain_s(profile, is_timed_out=is_timed_out)
            raise
        # What was asked for twice may come twice, the second time after the end.
        self._silence_s = _drain_s(profile) if session.was_repeated else 0.0
        health.replies += 1
        meter_health.replies += 1
        meter_health.round_trip_s = port.last_byte_at - begun_at
        meter_health.answered_at = health.answered_at = self._clock.now()
        return heard.readout()

    async def _serve_clock(self, port: IecPort, job: _ClockJob) -> None:
        """Compare the meter's clock and set it; one that failed is not tried again by itself."""
        assert job.order is not None
        profile, order = readout_profile(job.meter), job.order
        password = self._endpoint.password or profile.password

        async def drift_of(*writing: Command) -> float | None:
            identity = tuple(
                Command(CommandType.READ, f"{code}()") for code in profile.identity[:1]
            )
            task = Programming((*identity, *writing, *order.reading()), password)
            readout = await self._converse(port, job.meter, profile, task)
            self._refuse_stranger(job.meter, profile, readout)
            return order.drift_s(readout, self._clock.now())

        try:
            drift_s = await drift_of()
            setting = order.judge(drift_s, self._clock.now())
            if setting is None:
                assert drift_s is not None
                after_s = await drift_of(*order.writing(drift_s, self._clock.now))
                setting = order.outcome(drift_s, after_s)
        except SessionFailed as error:
            self._give_up(job, ReadFailed(_REASONS[error.failure], error.detail))
        except ReadFailed as failure:
            self._give_up(job, failure)
        else:
            job.setting = setting
            self._succeed(job, MeterValues(self._clock.now(), {}))

    def _decoded(
        self,
        meter: InstalledMeter,
        profile: ReadoutProfile,
        registers: tuple[ReadoutRegister, ...],
        readout: ReadoutText,
    ) -> MeterValues:
        """The values of a readout.

        Raises SessionFailed if it is another meter's, ReadFailed if it has no value.
        """
        arrived_at, arrived_s = self._clock.now(), self._clock.monotonic_s()
        self._refuse_stranger(meter, profile, readout)
        decoded = decode_readout(registers, readout)
        if all(value is None for value in decoded.values.values()):
            raise ReadFailed(MissingReason.NOT_AVAILABLE, "no register has a value")
        return MeterValues(arrived_at, decoded.values, decoded.partial, arrived_s)

    def _clock_ahead_s(
        self, profile: ReadoutProfile, readout: ReadoutText, begun_s: float
    ) -> float | None:
        ended_at = self._clock.now()
        lasted_s = self._clock.monotonic_s() - begun_s
        begun_at = ended_at - timedelta(seconds=lasted_s)
        codes = profile.clock or ClockCodes()
        return clock_ahead_s(codes, readout, self._zone, begun_at, ended_at)

    def _refuse_stranger(
        self, meter: InstalledMeter, profile: ReadoutProfile, readout: ReadoutText
    ) -> None:
        """Raises SessionFailed if what answered is another meter."""
        other = stranger(profile, readout, meter.serial, str(meter.address))
        if other is not None:
            self._silence_s = _drain_s(profile)
            detail = f"{OTHER_METER}{other}; compare its plate with the station file"
            raise SessionFailed(Failure.GARBLED, detail)

    def _keep_other_part(
        self,
        meter: InstalledMeter,
        profile: ReadoutProfile,
        values: MeterValues,
        readout: ReadoutText,
    ) -> None:
        others = _registers(profile, Part.MOMENTARY)
        if others:
            decoded = decode_readout(others, readout)
            kept = replace(values, values=decoded.values, partial=decoded.partial)
            self._leftovers[meter.serial] = _Leftover(kept, asyncio.get_running_loop().time())

    def _failed(self, job: Job, error: SessionFailed) -> None:
        health = self.health
        if error.failure is Failure.SILENT:
            health.timeouts += 1
        elif error.failure in (Failure.REFUSED, Failure.BROKEN_OFF):
            health.exceptions += 1
        else:
            health.bad_replies += 1
        failure = ReadFailed(_REASONS[error.failure], error.detail)
        if error.failure is Failure.REFUSED:
            self._give_up(job, failure)
        else:
            self._try_again(job, failure)

    def _task(self, profile: ReadoutProfile, registers: tuple[ReadoutRegister, ...]) -> Task:
        if profile.read_by is ReadBy.READOUT:
            return Readout()
        codes = (*profile.identity[:1], *codes_of(registers))
        password = self._endpoint.password or profile.password
        commands = tuple(Command(CommandType.READ, f"{code}()") for code in codes)
        return Programming(commands, password)

    def _settings(self, profile: ReadoutProfile) -> Settings:
        endpoint = self._endpoint
        return Settings(
            characters=endpoint.characters,
            baud=endpoint.baud,
            baud_max=min(endpoint.baud_max, profile.baud_max),
            changeover=endpoint.changeover,
            wake_up=endpoint.wake_up,
            reaction_max_s=profile.timing.reaction_max_ms / 1000,
            character_gap_max_s=profile.timing.character_gap_ms / 1000,
        )


def readout_profile(meter: InstalledMeter) -> ReadoutProfile:
    """The profile of a meter on such a line, where station files allow no other kind."""
    assert isinstance(meter.profile, ReadoutProfile)
    return meter.profile


def _drain_s(profile: ReadoutProfile, *, is_timed_out: bool = False) -> float:
    """How long no answer can come any more: from the last message, or from when it was given up."""
    timing = profile.timing
    waited_ms = 0 if is_timed_out else timing.reaction_max_ms
    return (waited_ms + timing.after_failure_ms) / 1000


def _registers(profile: ReadoutProfile, part: Part) -> tuple[ReadoutRegister, ...]:
    return tuple(mapped for mapped in profile.registers if part_of(mapped) is part)
