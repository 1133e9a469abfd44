"""The gateway as a whole: the one module that names concrete parts and puts them together.

Owns the order of starting and stopping. It must not decide anything that a part could decide.
"""

import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

import structlog

from contract.messages import Clock as ClockState
from gateway.clock import ReplayClock, SystemClock
from gateway.config import LineConfig, StationConfig
from gateway.control import Control
from gateway.lines.endpoints import Endpoint, IecEndpoint, SerialEndpoint, TcpEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.iec import IecLine
from gateway.mailbox import Mailbox
from gateway.meters.profile import Parity
from gateway.mqtt import Broker
from gateway.outbox import FILE_NAME, Outbox
from gateway.outbox_file import OutboxUnavailable
from gateway.outbox_thread import OutboxThread
from gateway.polling import Poller
from gateway.ports import Clock
from gateway.protocols.iec_characters import Characters
from gateway.scan import Scanner
from gateway.services import Parts, wire_services
from gateway.station_file import Iec62056Section, ModbusRtuSection
from gateway.uplink import Identity, Uplink

HOUSEKEEPING_S = 3_600.0
EPOCH_BYTES = 16
STATUSES_UNDER_WAY_MAX = 20

log = structlog.get_logger("gateway")


class _Stop(Exception):
    """Ends the task group from within: the gateway was asked to stop."""


async def run_station(config: StationConfig, control: Control) -> None:
    """Run the gateway of one station until `control.halt`. Raises OutboxError at the start."""
    clock = await _clock(config)
    outbox = OutboxThread(
        Outbox.open(
            config.data / FILE_NAME,
            station=config.station,
            epoch=secrets.token_hex(EPOCH_BYTES),
            bytes_max=config.outbox.bytes_max,
        )
    )
    try:
        await _run_parts(config, clock, outbox, control)
    finally:
        outbox.close()
        if isinstance(clock, ReplayClock):
            await clock.close()
    log.info("stopped", station=config.station)


async def _run_parts(
    config: StationConfig, clock: Clock, outbox: OutboxThread, control: Control
) -> None:
    lines = [_line(line, clock) for line in config.lines]
    scanner = Scanner(lines, clock, config.heads)
    mailbox = Mailbox(config.gateway)
    uplink = Uplink(
        _broker(config),
        Identity(config.gateway, config.station, _version()),
        config.uplink,
        outbox,
        clock,
        scanner.status,
        mailbox=mailbox,
        config=control.config_status,
    )
    services = wire_services(
        config, control, Parts(lines, scanner, outbox, clock, uplink, mailbox), _version()
    )
    poller = Poller(
        config.station,
        config.schedule,
        scanner,
        outbox,
        clock,
        kept=uplink.wake,
    )
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
            group.create_task(_keep_house(outbox, clock, config.outbox.keep_days), name="house")
            group.create_task(_stop_when(control.halt), name="stop")
    except* _Stop:
        pass


async def _stop_when(stop: asyncio.Event) -> None:
    await stop.wait()
    raise _Stop


async def _keep_house(outbox: OutboxThread, clock: Clock, keep_days: int) -> None:
    """Forget delivered batches that are old enough; only when the time can be trusted."""
    while True:
        if clock.state() is ClockState.SYNCED:
            try:
                gone = await outbox.purge(clock.now() - timedelta(days=keep_days))
                log.debug("old delivered batches were forgotten", batches=gone)
            except OutboxUnavailable as error:
                log.error("the outbox cannot be tidied", error=str(error))  # noqa: TRY400 no trace
        await asyncio.sleep(HOUSEKEEPING_S)


async def _clock(config: StationConfig) -> SystemClock | ReplayClock:
    if config.replay is None:
        return SystemClock()
    clock = ReplayClock(*config.replay)
    await clock.start()
    return clock


def _line(line: LineConfig, clock: Clock) -> ModbusLine | IecLine:
    endpoint: Endpoint
    if isinstance(line.endpoint, Iec62056Section):
        return IecLine(line.name, _iec_endpoint(line.endpoint, line.password), line.meters, clock)
    if isinstance(line.endpoint, ModbusRtuSection):
        port = line.endpoint
        endpoint = SerialEndpoint(port.device, port.baud, Parity(port.parity), port.stop_bits)
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

    asyncio.run(guarded())
