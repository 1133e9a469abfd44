"""Commands carried out: remembered, done, reported as events, answered.

The thin shell around `gateway.commands`. Owns the order of these steps and what waits; it must not
know how meters are read or how a restart is done.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

import structlog

from contract.commands import Command, CommandKind, Detail, Result, ResultCode
from contract.limits import RESULT_BYTES_MAX, TEXT_CHARS_MAX
from contract.messages import Clock as ClockState
from contract.messages import Scan, ScanKind, decode_batch, encode
from gateway import command_memory
from gateway.anchor import anchor
from gateway.batches import MeterMissing, MeterRow, redated, scan_drafts
from gateway.clock import STEP_MIN_S
from gateway.command_memory import Begun, MemoryFull
from gateway.commands import (
    HARMLESS,
    UNSYNCED_TEXT,
    Accept,
    Refuse,
    Repeat,
    Situation,
    decide,
    expired_text,
)
from gateway.mailbox import Mailbox
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.outbox_values import Draft
from gateway.ports import Clock, ClockSetting, ReadFailed
from gateway.pulse import Pulse
from gateway.scan import Scanner
from gateway.schedule import Schedule, Slot, off_grid
from gateway.telling import Teller

INBOX_MAX = 32  # commands that came and were not looked at; more are dropped, and said so once
RUN_S_MAX = 600.0  # of one command, whatever its expiry says: the clock may not be synchronised
# A meter whose turn comes later within a read is missing, and what was read before is told: the
# slowest session, at 300 baud, takes less than the rest.
READ_BEGUN_S_MAX = 300.0

# A read on demand is not begun so close to an index slot, and waits till its scan has begun.
INDEX_MARGIN = timedelta(seconds=5)
INDEX_BEGINS_WITHIN = timedelta(seconds=1)
TURN_POLL_S = 0.25

KEEP_TRIES_MAX = 30
KEEP_RETRY_S = 1.0
LAST_WORDS_S = 3.0  # how long an answer may take to leave before the parts are restarted
LAST_WORDS_POLL_S = 0.05

# A step is some calls of the outbox, on a card that may be busy with its own affairs; one that
# carries out a command may take RUN_S_MAX besides. Longer, and it hangs.
STEP_S_MAX = 900.0

EVENT = "command"

log = structlog.get_logger("gateway.commands")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What commands reach beyond meters.

    `problems` gives what keeps the station file from being read again; `restart` ends this run of
    the parts for another. `set_clock` sets one meter's clock.
    """

    version: str
    config_version: Callable[[], int]
    problems: Callable[[], Awaitable[list[str]]]
    restart: Callable[[], None]
    set_clock: Callable[[str], Awaitable[ClockSetting]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A result to be, and what is to be kept with it."""

    code: ResultCode
    text: str
    detail: Detail = field(default_factory=Detail)
    drafts: Sequence[Draft] = ()
    ok: bool = False


_INTERRUPTED = _Outcome(
    ResultCode.INTERRUPTED,
    "the gateway was restarted while it was carried out; whether it was is not known",
)


class CommandService:
    """Serves the commands of one gateway. `kept` is called after each commit to the outbox."""

    def __init__(  # noqa: PLR0913  this is where commands meet the parts
        self,
        teller: Teller,
        mailbox: Mailbox,
        outbox: OutboxThread,
        scanner: Scanner,
        schedule: Schedule,
        clock: Clock,
        abilities: Abilities,
        *,
        kept: Callable[[], None],
    ) -> None:
        self._teller = teller
        self._mailbox = mailbox
        self._outbox = outbox
        self._scanner = scanner
        self._schedule = schedule
        self._clock = clock
        self._abilities = abilities
        self._kept = kept
        self._began_s = monotonic()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._arrived = asyncio.Event()
        self._jobs: asyncio.Queue[Accept] = asyncio.Queue()
        self._working = 0
        self._in_hand: set[str] = set()  # begun by this run, and not concluded yet
        self._dropped = 0
        self._taking = Pulse("commands", STEP_S_MAX)
        self._doing = Pulse("command", STEP_S_MAX)
        self.pulses = (self._taking, self._doing)

    def receive(self, command: str, payload: bytes) -> None:
        """A command came under its topic's id."""
        if len(self._inbox) >= INBOX_MAX:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("commands come faster than they are looked at; some are dropped")
            return
        self._inbox.append((command, payload))
        self._arrived.set()

    async def run(self) -> None:
        """Serve until cancelled; first say which commands an earlier run left undone."""
        await self._report_interrupted()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_all())
            group.create_task(self._work())

    # -- taking

    async def _take_all(self) -> None:
        while True:
            self._taking.rest()
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                self._taking.beat()
                await self._take(*self._inbox.popleft())
            self._dropped = 0

    async def _take(self, command: str, payload: bytes) -> None:
        try:
            known = await self._outbox.transact(lambda db: command_memory.find(db, command))
            match decide(command, payload, self._situation(known)):
                case Accept() as accepted:
                    await self._begin(accepted)
                case Refuse() as refused:
                    await self._refuse(command, refused)
                case Repeat() as repeated:
                    self._mailbox.say(command, repeated.result)
                case _ if known is not None and command not in self._in_hand:
                    # Begun by an earlier run, or what became of it could not be kept.
                    await self._conclude(known, _INTERRUPTED)
                case _:
                    pass
        except OutboxUnavailable as error:
            text = f"the gateway cannot remember it now, so it is not carried out: {error}"
            self._answer(command, self._result(command, _Outcome(ResultCode.UNAVAILABLE, text)))

    def _situation(self, known: Begun | None) -> Situation:
        return Situation(
            now=self._clock.now(),
            clock=self._clock.state(),
            waiting=self._jobs.qsize() + self._working,
            meters=frozenset(self._scanner.serials),
            known=known is not None,
            answer=None if known is None else known.result,
        )

    async def _begin(self, accepted: Accept) -> None:
        command = accepted.command
        begun = Begun(command.id, command.kind, command.issuer, command.expires_at)
        try:
            await self._outbox.transact(command_memory.begin(begun, self._clock.now()))
        except MemoryFull:
            text = "too many commands are remembered; send it again when some have expired"
            self._answer(command.id, self._result(command.id, _Outcome(ResultCode.BUSY, text)))
            return
        self._in_hand.add(command.id)
        log.info("command", id=command.id, kind=command.kind, issuer=command.issuer)
        if accepted.kind is CommandKind.PING:
            await self._conclude(begun, self._ping())
        else:
            self._jobs.put_nowait(accepted)

    async def _refuse(self, command: str, refused: Refuse) -> None:
        log.warning("a command is refused", id=command, code=refused.code, text=refused.text)
        outcome = _Outcome(refused.code, refused.text)
        result = self._result(command, outcome)
        if refused.audited:
            begun = Begun(command, refused.kind, refused.issuer, self._clock.now())
            await self._outbox.append(self._event(begun, outcome), at=self._clock.now())
            self._kept()
        self._answer(command, result)

    async def _report_interrupted(self) -> None:
        try:
            left = await self._outbox.transact(command_memory.unfinished)
        except OutboxUnavailable as error:
            # Whoever asks for one of them again is told then.
            log.error("commands of the last run cannot be looked up", error=str(error))  # noqa: TRY400 no trace
            return
        for begun in left:
            await self._conclude(begun, _INTERRUPTED)

    # -- doing

    async def _work(self) -> None:
        while True:
            self._doing.rest()
            accepted = await self._jobs.get()
            self._doing.beat(RUN_S_MAX)
            self._working = 1
            command = accepted.command
            begun = Begun(command.id, command.kind, command.issuer, command.expires_at)
            outcome = await self._carry_out(accepted)
            await self._conclude(begun, outcome)
            self._working = 0
            if accepted.kind is CommandKind.RELOAD and outcome.ok:
                await self._last_words()
                self._abilities.restart()

    async def _carry_out(self, accepted: Accept) -> _Outcome:
        command = accepted.command
        if (reason := self._why_not_now(command)) is not None:
            return reason
        try:
            async with asyncio.timeout(RUN_S_MAX):
                match accepted.kind:
                    case CommandKind.READ:
                        return await self._read(command)
                    case CommandKind.SET_CLOCK:
                        return await self._set_clock(command)
                    case _:
                        return await self._reload()
        except TimeoutError:
            return _Outcome(ResultCode.FAILED, f"not done within {RUN_S_MAX:.0f} s")

    def _why_not_now(self, command: Command) -> _Outcome | None:
        """What forbids now what was allowed when the command came; None if nothing does."""
        if not self._in_time(command):
            return _Outcome(ResultCode.EXPIRED, expired_text(command.expires_at, self._clock.now()))
        if command.kind not in HARMLESS and self._clock.state() is not ClockState.SYNCED:
            return _Outcome(ResultCode.CLOCK_UNSYNCED, UNSYNCED_TEXT)
        return None

    def _in_time(self, command: Command) -> bool:
        is_known = self._clock.state() is ClockState.SYNCED
        return not is_known or self._clock.now() < command.expires_at

    def _ping(self) -> _Outcome:
        detail = Detail(
            uptime_s=int(monotonic() - self._began_s),
            version=self._abilities.version,
            clock=self._clock.state(),
            config_version=self._abilities.config_version(),
        )
        return _Outcome(ResultCode.DONE, "here", detail, ok=True)

    async def _read(self, command: Command) -> _Outcome:
        serials = command.arguments.meters or self._scanner.serials
        begun, end_s = anchor(self._clock), monotonic() + READ_BEGUN_S_MAX
        results = await self._scanner.read_on_demand(
            serials,
            turn=self._turn,
            still_wanted=lambda: self._in_time(command) and monotonic() < end_s,
        )
        begun_at, ended = begun.at, anchor(self._clock)
        if abs(begun.step_s(ended)) > STEP_MIN_S:
            # The clock was put right meanwhile, so it was wrong before.
            results, begun_at = redated(results, ended), ended.instant(begun.s)
        slot = Slot(off_grid(self._schedule, begun_at), ScanKind.ON_DEMAND)
        drafts = scan_drafts(self._teller.origin(), slot, results)
        scan = _told(slot, results, drafts)
        had = sum(isinstance(item, MeterRow) for item in results)
        code = ResultCode.DONE if had == len(results) else ResultCode.PARTIAL
        if not had:
            code = ResultCode.FAILED
        detail = Detail(scan=scan, reads=had, clock=self._clock.state())
        text = f"{had} of {len(results)} meters were read"
        if not self._teller.knows_time():
            # A read with a wrong date would stand in the way of the true one.
            text += "; they are told and not kept: the time is not known"
            drafts = []
        return _Outcome(code, text, detail, drafts, ok=bool(had))

    async def _turn(self) -> None:
        """Wait while the lines belong to an index scan, or are about to."""
        while True:
            await self._scanner.index_done()
            now = self._clock.now()
            slot = self._schedule.next_after(now - INDEX_BEGINS_WITHIN)
            if slot.kind is not ScanKind.INDEX or now < slot.at - INDEX_MARGIN:
                return
            await asyncio.sleep(TURN_POLL_S)

    async def _set_clock(self, command: Command) -> _Outcome:
        (serial,) = command.arguments.meters or ("",)
        await self._turn()
        if (reason := self._why_not_now(command)) is not None:
            return reason
        try:
            setting = await self._abilities.set_clock(serial)
        except ReadFailed as failure:
            return _Outcome(ResultCode.FAILED, str(failure))
        detail = Detail(drift_s=setting.drift_s, drift_after_s=setting.drift_after_s)
        return _Outcome(setting.code, setting.text, detail, ok=setting.code is ResultCode.DONE)

    async def _reload(self) -> _Outcome:
        problems = await self._abilities.problems()
        if problems:
            detail = Detail(problems=[text[:TEXT_CHARS_MAX] for text in problems[:100]])
            text = f"the station file is not in order: {problems[0]}"
            return _Outcome(ResultCode.REFUSED, text, detail)
        return _Outcome(ResultCode.DONE, "the station file is read again now", ok=True)

    async def _last_words(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                while self._mailbox.next() is not None:  # noqa: ASYNC110 within a deadline
                    await asyncio.sleep(LAST_WORDS_POLL_S)

    # -- reporting

    async def _conclude(self, begun: Begun, outcome: _Outcome) -> None:
        """Keep the event, the result and what was read in one transaction; then answer."""
        result = self._result(begun.id, outcome)
        drafts = [*outcome.drafts, *self._event(begun, outcome)]
        also = command_memory.finish(begun.id, result)
        for attempt in range(KEEP_TRIES_MAX):
            try:
                await self._outbox.append(drafts, at=self._clock.now(), also=also)
            except OutboxUnavailable as error:
                if attempt == 0:
                    log.error("the outbox takes nothing", error=str(error))  # noqa: TRY400 no trace
                await asyncio.sleep(KEEP_RETRY_S)
            else:
                self._kept()
                break
        else:
            log.error("what became of a command could not be kept", id=begun.id)
        self._in_hand.discard(begun.id)
        self._answer(begun.id, result)

    def _result(self, command: str, outcome: _Outcome) -> bytes:
        def made(detail: Detail) -> bytes:
            return encode(
                Result(
                    v=1,
                    id=command,
                    ok=outcome.ok,
                    code=outcome.code.value,
                    at=self._clock.now(),
                    text=outcome.text[:TEXT_CHARS_MAX],
                    detail=detail,
                )
            )

        payload = made(outcome.detail)
        if len(payload) > RESULT_BYTES_MAX:
            return made(Detail(reads=outcome.detail.reads))
        return payload

    def _event(self, begun: Begun, outcome: _Outcome) -> list[Draft]:
        what = f"{begun.id} {begun.kind} by {begun.issuer}"
        return self._teller.tell(EVENT, f"{what}: {outcome.code.value}: {outcome.text}")

    def _answer(self, command: str, result: bytes) -> None:
        self._mailbox.say(command, result)


def _told(
    slot: Slot, results: Sequence[MeterRow | MeterMissing], drafts: Sequence[Draft]
) -> Scan | None:
    """What a result says of a scan: values where one batch has them all, and what is missing."""
    if len(drafts) == 1:
        return decode_batch(drafts[0].payload).scan
    missing = [(i.serial, i.reason.value) for i in results if isinstance(i, MeterMissing)]
    return Scan(slot.kind, slot.at, [], missing)
