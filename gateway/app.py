"""The gateway as a whole: the one module that names concrete parts and puts them together.

Owns the order of starting and stopping. It must not decide anything that a part could decide.
"""

import asyncio
import faulthandler
import logging
import random
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import structlog

from contract.messages import Clock as ClockState
from contract.messages import LineStatus
from gateway.clock import ReplayClock, SystemClock
from gateway.config import LineConfig, StationConfig
from gateway.control import Control
from gateway.credentials import BadCredentials, concern
from gateway.health_book import HealthBook
from gateway.keeping import Keeper
from gateway.lines.endpoints import Endpoint, Framing, IecEndpoint, SerialEndpoint, TcpEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.iec import IecLine
from gateway.mailbox import Mailbox
from gateway.meters.profile import Parity
from gateway.mqtt import Broker
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.polling import Poller
from gateway.ports import Clock, Line
from gateway.protocols.iec_characters import Characters
from gateway.pulse import Pulse
from gateway.scan import Scanner
from gateway.services import Parts, wire_services
from gateway.station_file import Iec62056Section, ModbusRtuOverTcpSection, ModbusRtuSection
from gateway.undated import Undated, boot_id
from gateway.uplink import Identity, Surroundings, Uplink

HOUSEKEEPING_S = 3_600.0
EPOCH_BYTES = 16
STATUSES_UNDER_WAY_MAX = 20
HOUSE_STEP_S_MAX = 900.0  # forgetting what a long absence has left, on a busy card

log = structlog.get_logger("gateway")


class WatchedLine(Line, Protocol):
    """A line that shows that its owner task is alive."""

    @property
    def pulse(self) -> Pulse:
        """The pulse of the owner task."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway runs: its clock, this start of the computer, its lines, the way outside."""

    clock: Clock
    boot: str
    lines: Sequence[WatchedLine]
    surroundings: Surroundings


class _Stop(Exception):
    """Ends the task group from within: the gateway was asked to stop."""


async def run_station(config: StationConfig, control: Control) -> None:
    """Run the gateway of one station until `control.halt`. Raises OutboxError at the start."""
    clock = await _clock(config)
    if config.replay is None:
        _say_certificate(config, clock)
    # In a thread: a gigabyte on a slow card takes minutes to check, and the watchdog is to be fed.
    outbox = OutboxThread(
        await asyncio.to_thread(
            Outbox.open,
            config.data / FILE_NAME,
            station=config.station,
            epoch=secrets.token_hex(EPOCH_BYTES),
            bytes_max=config.outbox.bytes_max,
        )
    )
    try:
        lines = [line_of(line, clock, config.schedule.zone) for line in config.lines]
        await run_parts(config, Place(clock, boot_id(), lines, Surroundings()), outbox, control)
    finally:
        await asyncio.to_thread(outbox.close)
        if isinstance(clock, ReplayClock):
            await clock.close()
    log.info("stopped", station=config.station)


async def run_parts(
    config: StationConfig, place: Place, outbox: OutboxThread, control: Control
) -> None:
    """Run the gateway's parts at `place` over an open outbox until `control.halt`."""
    clock, lines = place.clock, place.lines
    # The station's name: two gateways never try their dead meters in step, and a replay repeats.
    chance = random.Random(config.station)  # noqa: S311 spreads load, guards nothing
    health = HealthBook(
        lines,
        clock,
        chance,
        meter_drift_s=config.clock.meter_drift_s,
        probing=config.replay is None,
    )
    for occurrence in control.process.untold:
        health.remember(occurrence)
    scanner = Scanner(lines, clock, config.heads, health=health)
    mailbox = Mailbox(config.gateway)
    uplink = Uplink(
        _broker(config),
        Identity(config.gateway, config.station, _version()),
        config.uplink,
        outbox,
        clock,
        scanner.status,
        place.surroundings,
        mailbox=mailbox,
        config=control.config_status,
    )
    keeper = Keeper(config.station, outbox, clock, health, kept=uplink.wake)
    undated = Undated(
        scanner,
        keeper,
        clock,
        boot=place.boot,
        hold=config.clock.before_sync == "hold",
    )
    poller = Poller(config.schedule, scanner, clock, keeper, undated)
    parts = Parts(lines, scanner, outbox, clock, uplink, mailbox, undated)
    services = wire_services(config, control, parts, _version())
    house = Pulse("house", HOUSE_STEP_S_MAX)
    pulses = [*(line.pulse for line in lines), poller.pulse, uplink.pulse, house]
    pulses += [pulse for service in services for pulse in service.pulses]
    control.process.signs.begin(pulses, lambda: _status_text(scanner.status(), uplink.is_connected))
    meters = sum(len(line.meters) for line in config.lines)
    log.info("started", station=config.station, epoch=outbox.epoch, meters=meters)
    try:
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(line.run(), name=f"line {line.name}")
            group.create_task(poller.run(), name="polling")
            group.create_task(uplink.run(), name="uplink")
            for service in services:
                group.create_task(service.run(), name=type(service).__name__)
            group.create_task(
                _keep_house(outbox, clock, config.outbox.keep_days, house), name="house"
            )
            group.create_task(_stop_when(control.halt), name="stop")
    except* _Stop:
        pass
    finally:
        control.process.signs.end()
        # By a clock that goes on: a replay's begins anew with each run.
        control.process.untold = health.occurrences() if config.replay is None else []


async def _stop_when(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stop


async def _keep_house(outbox: OutboxThread, clock: Clock, keep_days: int, pulse: Pulse) -> None:
    """Forget delivered batches that are old enough; only when the time can be trusted."""
    counted_s = clock.monotonic_s()
    while True:
        pulse.beat()
        if clock.state() is ClockState.SYNCED:
            before_at, now_s = clock.now() - timedelta(days=keep_days), clock.monotonic_s()
            try:
                gone = await outbox.purge(before_at, ran_s=now_s - counted_s, keep_days=keep_days)
                counted_s = now_s
                log.debug("old delivered batches were forgotten", batches=gone)
            except OutboxUnavailable as error:
                log.error("the outbox cannot be tidied", error=str(error))  # noqa: TRY400 no trace
        pulse.rest()
        await asyncio.sleep(HOUSEKEEPING_S)


def _status_text(lines: Sequence[LineStatus], is_connected: bool) -> str:
    """One line for `systemctl status`: how the last scan went, and whether the broker is there."""
    answered = ", ".join(f"{line.line} {line.answered} of {line.meters}" for line in lines)
    broker = "connected" if is_connected else "not connected"
    return f"broker {broker}; meters that answered the last scan: {answered}"


async def _clock(config: StationConfig) -> SystemClock | ReplayClock:
    if config.replay is None:
        return SystemClock()
    clock = ReplayClock(*config.replay)
    await clock.start()
    return clock


def line_of(line: LineConfig, clock: Clock, zone: tzinfo) -> ModbusLine | IecLine:
    """The line that a station file describes."""
    endpoint: Endpoint
    if isinstance(line.endpoint, Iec62056Section):
        iec = _iec_endpoint(line.endpoint, line.password)
        return IecLine(line.name, iec, line.meters, clock, zone)
    if isinstance(line.endpoint, ModbusRtuSection):
        port = line.endpoint
        endpoint = SerialEndpoint(port.device, port.baud, Parity(port.parity), port.stop_bits)
    elif isinstance(line.endpoint, ModbusRtuOverTcpSection):
        server = line.endpoint
        endpoint = TcpEndpoint(server.host, server.port, Framing.RTU, server.baud)
    else:
        endpoint = TcpEndpoint(line.endpoint.host, line.endpoint.port)
    return ModbusLine(line.name, endpoint, line.meters, clock)


def _iec_endpoint(section: Iec62056Section, password: str | None) -> IecEndpoint:
    return IecEndpoint(
        device=section.device,
        baud=section.baud,
        baud_max=section.baud_max,
        changeover=section.changeover,
        characters=Characters(section.characters),
        wake_up=section.wake_up,
        password=password,
    )


def _broker(config: StationConfig) -> Broker:
    broker = config.broker
    return Broker(
        host=broker.host,
        port=broker.port,
        client_id=f"songlo-gateway-{config.gateway}",
        keepalive_s=broker.keepalive_s,
        username=broker.username,
        password=config.password,
        tls=config.tls,
        inflight_max=config.uplink.window + STATUSES_UNDER_WAY_MAX,
    )


def _say_certificate(config: StationConfig, clock: Clock) -> None:
    if config.tls is None:
        return
    try:
        said = concern(config.tls, config.gateway, clock.now())
    except BadCredentials as error:
        said = str(error)
    if said:
        log.warning("certificate", concern=said)


@cache
def _version() -> str:
    try:
        return version("songlo")
    except PackageNotFoundError:
        return ""


def configure_logging(level: int = logging.INFO) -> None:
    """Log to stderr: for people on a terminal, else one logfmt line an event for the journal."""
    renderer: Callable[..., str | bytes]
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    else:
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main` with an event that SIGTERM and SIGINT set."""

    async def guarded() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    # On SIGABRT, which the watchdog sends: where each thread stands goes to the journal.
    faulthandler.enable()
    asyncio.run(guarded())
