"""Station files from the collector, put in force and proven: the shell around judging and storing.

Owns the steps from a message that came to a station file that is confirmed or taken back, and what
is reported of them. It must not know how parts are restarted.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from contract.signed_config import SignedConfig
from gateway.config import StationConfig
from gateway.config_store import NOT_CONFIRMED, ConfigStore, Held, Trial
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.port_checks import port_problems
from gateway.ports import Clock, Line, Part, Priority, ReadFailed
from gateway.pulse import Pulse
from gateway.remote_config import Bad, Good, Station, judge
from gateway.scan import Scanner
from gateway.telling import Teller

EVENT = "config"
KEEP_RETRY_S = 1.0
LAST_KEEP_TRIES_MAX = 5  # of what is told before a restart, which must not wait for the outbox
PROBE_PAUSE_S = 2.0  # between two rounds of asking whether any meter of a line answers
TIME_CHECK_S = 0.2  # between two looks whether the time has become known

# A step judges one station file and tries its ports, or is one call of the outbox, on a card that
# may be busy with its own affairs. Longer, and it hangs.
STEP_S_MAX = 900.0

log = structlog.get_logger("gateway.config")


class ConfigReporter:
    """Keeps events about the station file in the outbox. `kept` is called after each."""

    def __init__(
        self, teller: Teller, outbox: OutboxThread, clock: Clock, kept: Callable[[], None]
    ) -> None:
        self._teller = teller
        self._outbox = outbox
        self._clock = clock
        self._kept = kept

    def knows_time(self) -> bool:
        """Whether events can be dated and sent."""
        return self._teller.knows_time()

    async def report(
        self, detail: str, pulse: Pulse | None = None, *, tries_max: int | None = None
    ) -> None:
        """Keep one event; tries again while the outbox takes nothing, with a beat of `pulse`.

        After `tries_max` it is noted, to be kept with whatever is next, by another run if need be.
        """
        log.warning("event", type=EVENT, detail=detail)
        drafts = self._teller.tell(EVENT, detail)
        tries = 0
        while True:
            if pulse is not None:
                pulse.beat()
            try:
                await self._outbox.append(drafts, at=self._clock.now())
            except OutboxUnavailable:
                tries += 1
                if tries == tries_max:
                    if drafts:
                        self._teller.note(EVENT, detail)
                    return
                await asyncio.sleep(KEEP_RETRY_S)
            else:
                self._kept()
                return


class ConfigService:
    """Takes what comes under `config`. `restart` ends this run of the parts for another."""

    def __init__(  # noqa: PLR0913  what is in force, and what follows from another
        self,
        config: StationConfig,
        folder: Path,
        local: str,
        store: ConfigStore,
        reporter: ConfigReporter,
        *,
        answering: Callable[[], Sequence[str]],
        restart: Callable[[], None],
    ) -> None:
        self._config = config
        self._folder = folder
        self._local = local
        self._store = store
        self._reporter = reporter
        self._answering = answering
        self._restart = restart
        self._newest: bytes | None = None
        self._arrived = asyncio.Event()
        self._pulse = Pulse("config", STEP_S_MAX)
        self.pulses = (self._pulse,)

    def receive(self, payload: bytes) -> None:
        """A configuration came; only the newest is looked at."""
        self._newest = payload
        self._arrived.set()

    async def run(self) -> None:
        """Judge what comes until cancelled."""
        while True:
            self._pulse.rest()
            await self._arrived.wait()
            self._pulse.beat()
            self._arrived.clear()
            payload, self._newest = self._newest, None
            if payload is not None:
                try:
                    await self._take(payload)
                except OSError as error:
                    log.error("the configuration cannot be stored", error=str(error))  # noqa: TRY400 no trace

    async def _take(self, payload: bytes) -> None:
        station = Station(self._config, self._folder, self._store.status, self._is_signed)
        found = await asyncio.to_thread(judge, payload, station)
        if isinstance(found, Good):
            in_use = [line.endpoint for line in self._config.lines]
            problems = await asyncio.to_thread(port_problems, found.config, in_use)
            if not problems:
                await self._put_in_force(found)
                return
            found = Bad(found.signed.version, "port", "; ".join(problems))
        if isinstance(found, Bad):
            news = await asyncio.to_thread(
                self._store.refuse, found.version, found.code, found.text
            )
            if news:
                await self._reporter.report(
                    f"version {found.version} refused ({found.code}): {found.text}", self._pulse
                )

    async def _put_in_force(self, good: Good) -> None:
        assert self._config.remote is not None
        version = good.signed.version
        trial = Trial(version, self._config.remote.confirm_within_s, tuple(self._answering()))
        held = Held(version, good.signed.station_file)
        log.warning("a new station file is begun", version=version)
        await asyncio.to_thread(self._store.accept, held, trial, self._local)
        self._restart()

    def _is_signed(self, signed: SignedConfig) -> bool:
        # Loaded when it is needed, which is once in the life of most gateways' processes.
        from gateway.signature import is_signed_by  # noqa: PLC0415

        assert self._config.remote is not None
        return is_signed_by(self._config.remote.public_key, signed)


class ConfigTrial:
    """Proves the station file on trial, or takes it back. `restart` begins the one before it.

    `connected` says whether the broker is. While it is and only the time is not known, the trial's
    time stands still: nothing can be acknowledged yet, and another file could be sent.
    """

    def __init__(  # noqa: PLR0913  what proves it, and what follows
        self,
        trial: Trial,
        store: ConfigStore,
        reporter: ConfigReporter,
        scanner: Scanner,
        lines: Sequence[Line],
        *,
        acked: asyncio.Event,
        connected: Callable[[], bool],
        restart: Callable[[], None],
    ) -> None:
        self._connected = connected
        self._trial = trial
        self._store = store
        self._reporter = reporter
        self._scanner = scanner
        self._lines = lines
        self._acked = acked
        self._restart = restart
        self.pulses: tuple[Pulse, ...] = ()  # it is over by itself, within the trial's time

    async def run(self) -> None:
        """Return when it is confirmed; when it is taken back, `restart` has been called."""
        trial = self._trial
        missing = "the broker was not reached and the time did not become known"
        try:
            left_s = await self._wait_for_time(trial.confirm_within_s)
            async with asyncio.timeout(left_s):
                missing = "the outbox took nothing"
                # The event is the batch that the collector is to acknowledge.
                await self._reporter.report(f"version {trial.version} is begun, on trial")
                missing = "the collector acknowledged no batch"
                await self._acked.wait()
                missing = "no meter answers where some did before"
                await self._lines_answer()
        except TimeoutError:
            await self._take_back(f"{missing} within {trial.confirm_within_s:g} s")
            return
        try:
            confirmed = await asyncio.to_thread(self._store.confirm, trial.version)
        except OSError as error:
            # It stays on trial, and is confirmed after the next start.
            log.error("that it is confirmed cannot be stored", error=str(error))  # noqa: TRY400 no trace
            return
        if confirmed:
            await self._reporter.report(f"version {trial.version} is confirmed")

    async def _wait_for_time(self, left_s: float) -> float:
        """Return when the time is known, with what is left of the trial's. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        while not self._reporter.knows_time():
            begun_s = loop.time()
            await asyncio.sleep(TIME_CHECK_S)
            if not self._connected():
                left_s -= loop.time() - begun_s
                if left_s <= 0:
                    raise TimeoutError
        return left_s

    async def _take_back(self, text: str) -> None:
        version = self._trial.version
        what = f"version {version} taken back ({NOT_CONFIRMED}): {text}"
        try:
            if not await asyncio.to_thread(self._store.roll_back, version, NOT_CONFIRMED, text):
                return  # another is being put in force
        except OSError as error:
            log.error("what is taken back cannot be stored", error=str(error))  # noqa: TRY400 no trace
            what = f"version {version} does not work: {text}; it may be begun again, for that"
            what += f" it is taken back cannot be stored: {error}"
        else:
            now = self._store.status.version
            which = f"version {now}" if now else "the gateway's own file"
            what += f"; {which} is in force again"
        await self._reporter.report(what, tries_max=LAST_KEEP_TRIES_MAX)
        self._restart()

    async def _lines_answer(self) -> None:
        """Return when on each line that answered before, some meter does."""
        before = set(self._trial.lines)
        wanted = [line for line in self._lines if line.name in before]
        if before and not wanted:
            wanted = list(self._lines)  # all were given other names
        async with asyncio.TaskGroup() as group:
            for line in wanted:
                group.create_task(self._line_answers(line))

    async def _line_answers(self, line: Line) -> None:
        while True:
            for meter in line.meters:
                await self._scanner.index_done()
                for part in Part:
                    try:
                        read = await line.read(meter, part, Priority.INTERVAL)
                    except ReadFailed:
                        continue
                    if read.values:
                        return
            await asyncio.sleep(PROBE_PAUSE_S)
