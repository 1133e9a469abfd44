"""The gateway from its start to its end: one run of its parts after another.

Owns which station file each run is of: the gateway's own, or one from the collector. It must not
know what the parts do.
"""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from gateway.app import run_station
from gateway.config import StationConfig, StationFileError
from gateway.config_store import LOCAL, Choice, ConfigStore
from gateway.control import Control, Process
from gateway.in_force import OwnFile, parsed
from gateway.outbox_file import OutboxError
from gateway.port_checks import port_problems
from gateway.watchdog import ServiceManager, Signs, watch

INVALID = "invalid"
NO_START = "no_start"

log = structlog.get_logger("gateway")


async def serve(path: Path, stop: asyncio.Event) -> None:
    """Run the gateway whose own station file is at `path` until `stop` is set.

    The parts are restarted within the process: when a station file came from the collector, was
    taken back, or a reload was commanded. Raises StationFileError and OutboxError at the start.
    """
    process = Process()
    failed: list[OutboxError | StationFileError] = []

    async def run() -> None:
        try:
            await _run_on(path, process, stop)
        except (OutboxError, StationFileError) as error:
            failed.append(error)
        finally:
            watching.cancel()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(process.signs, stop))
        group.create_task(run())
    if failed:
        raise failed[0]


async def _run_on(path: Path, process: Process, stop: asyncio.Event) -> None:
    """One run after another. Raises StationFileError and OutboxError."""
    while not stop.is_set():
        config, control = await asyncio.to_thread(prepare, path)
        control.process = process
        try:
            await _run(config, control, stop)
        except OutboxError as error:
            if not await asyncio.to_thread(_take_back, control, str(error)):
                raise


async def _watch(signs: Signs, stop: asyncio.Event) -> None:
    """Tell the service manager of all runs as of one gateway, until `stop`.

    It is ready when the first has begun. Whoever stops has the service manager's time for it.
    """

    async def tell() -> None:
        await signs.begun.wait()
        await watch(ServiceManager.of_this_process(), signs.pulses, signs.status)

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(tell())
        await stop.wait()
        telling.cancel()


async def _run(config: StationConfig, control: Control, stop: asyncio.Event) -> None:
    """One run, ended by its control or by `stop`. Raises OutboxError."""
    failed: list[OutboxError] = []

    async def run() -> None:
        try:
            await run_station(config, control)
        except OutboxError as error:
            failed.append(error)
        finally:
            halting.cancel()

    async with asyncio.TaskGroup() as group:
        halting = group.create_task(_halt_when(stop, control))
        group.create_task(run())
    if failed:
        raise failed[0]


async def _halt_when(stop: asyncio.Event, control: Control) -> None:
    await stop.wait()
    control.halt.set()


def prepare(path: Path) -> tuple[StationConfig, Control]:
    """The station file to run now, and the control of that run. Raises StationFileError."""
    own = OwnFile.read(path)
    if own.folder is None:
        config = own.must()
        return config, Control(path, own.text, partial(_problems, path, None, config))
    store = ConfigStore(own.folder)
    while True:
        choice = _choose(store, own)
        if choice.held is None:
            config = own.must()
            break
        try:
            config = parsed(choice.held, path)
            break
        except StationFileError as error:
            version = choice.held.version
            log.error("a station file cannot be used", version=version, error=str(error))  # noqa: TRY400 no trace
            if choice.trial is None or not _rolled_back(store, version, INVALID, str(error)):
                config, choice = own.must(), Choice(None)
                break
    version = LOCAL if choice.held is None else choice.held.version
    problems = partial(_problems, path, store, config)
    return config, Control(path, own.text, problems, version, store, choice.trial)


def _choose(store: ConfigStore, own: OwnFile) -> Choice:
    try:
        return store.begin(None if own.config is None else own.text)
    except OSError as error:
        # A start that cannot be counted must not be of a station file on trial.
        log.error("the configuration's files cannot be written", error=str(error))  # noqa: TRY400 no trace
        good = store.last_good
        return Choice(None if good is None or good.version == LOCAL else good)


def _rolled_back(store: ConfigStore, version: int, code: str, text: str) -> bool:
    try:
        return store.roll_back(version, code, text)
    except OSError:
        return False


def _take_back(control: Control, text: str) -> bool:
    """Whether the run that failed was of a station file on trial, which is now taken back."""
    log.error("the gateway cannot start", error=text)
    if control.trial is None or control.store is None:
        return False
    return _rolled_back(control.store, control.version, NO_START, text)


async def _problems(path: Path, store: ConfigStore | None, present: StationConfig) -> list[str]:
    return await asyncio.to_thread(_problems_of_restart, path, store, present)


def _problems_of_restart(
    path: Path, store: ConfigStore | None, present: StationConfig
) -> list[str]:
    """What would keep the station file that a restart would take from being used."""
    try:
        own = OwnFile.read(path)
        if store is not None and store.status.version and not store.is_changed(own.text):
            return []
        return port_problems(own.must(), [line.endpoint for line in present.lines])
    except StationFileError as error:
        return error.problems
