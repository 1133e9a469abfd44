"""The collector, put together: the only module that names its concrete parts.

It must not hold any rule of its own; it opens, connects, starts and stops.
"""

import contextlib
import faulthandler
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Protocol

import structlog
import uvicorn

from collector.clock import system_now
from collector.config import (
    CollectorConfig,
    CommandsConfig,
    ConfigError,
    DuckDbConfig,
    read_secret,
)
from collector.daily_validation import Daily, DailyValidation
from collector.errors import CollectorError
from collector.garbage import collect_garbage_seldom
from collector.intake.desk import CommandDesk, log_connection
from collector.intake.link import Link, start_of
from collector.intake.pipeline import Pipeline
from collector.intake.worker import IntakeWorker
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations.vee_files import load_limits
from collector.readings.port import ReadingStore, StoreUnavailable
from collector.supervision import Supervision

# How often the main thread looks for the end of a part, in seconds.
WATCH_S = 0.2

_log = structlog.get_logger(__name__)


class Role(StrEnum):
    """What a process does: take batches, answer requests, or both."""

    ALL = "all"
    INTAKE = "intake"
    API = "api"


def configure_logging() -> None:
    """Log to standard error: for people on a terminal, one JSON object a line otherwise."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def open_ledger(config: CollectorConfig) -> Ledger:
    """The ledger that the file names. Its schema is not looked at yet."""
    password = config.ledger_password_file
    return Ledger(config.ledger, password=None if password is None else read_secret(password))


def open_store(config: CollectorConfig) -> ReadingStore:
    """The reading store that the file names. Raises CollectorError if it cannot be opened."""
    readings = config.readings
    try:
        if isinstance(readings, DuckDbConfig):
            # Each store brings a large library: only the one that is used is loaded.
            from collector.readings.duckdb_store import DuckDbStore  # noqa: PLC0415

            return DuckDbStore(readings.path, memory_limit_mb=readings.memory_limit_mb)
        from collector.readings.influx_store import InfluxStore  # noqa: PLC0415

        token = "" if readings.token_file is None else read_secret(readings.token_file)
        return InfluxStore(readings.url, readings.org, readings.bucket, token, readings.timeout_s)
    except StoreUnavailable as error:
        raise CollectorError(
            str(error),
            code="store_unavailable",
            hint="one process at a time may have a DuckDB file open; see that none has,"
            " and that its folder exists and can be written",
        ) from error


def open_link(config: CollectorConfig, *, reader: bool = False) -> Link:
    """The link to the broker that the file names, not started; see Link for `reader`."""
    password = config.broker.password_file
    return Link(config.broker, None if password is None else read_secret(password), reader=reader)


def open_desk(config: CollectorConfig, ledger: Ledger) -> CommandDesk:
    """The desk that commands gateways, over a link of its own that is not started."""
    # A process that commands nobody needs no client of the broker: the receiver has intake's.
    from collector.intake.mqtt import DeskLink  # noqa: PLC0415

    broker = config.command_broker
    password = broker.password_file
    secret = None if password is None else read_secret(password)
    # Several processes may have the same identity, and the broker lets one client id live once.
    return CommandDesk(DeskLink(start_of(broker, secret, is_passing=True), log_connection), ledger)


@contextlib.contextmanager
def opened(config: CollectorConfig) -> Iterator[tuple[Ledger, ReadingStore]]:
    """Ledger, its schema checked, and reading store; closed at the end."""
    ledger = open_ledger(config)
    try:
        ledger.check_schema()
        store = open_store(config)
        try:
            yield ledger, store
        finally:
            store.close()
    finally:
        ledger.close()


def run(config: CollectorConfig, role: Role) -> None:
    """Run until SIGTERM or SIGINT: the group in hand is finished and acknowledged first.

    Raises ConfigError where another machine would be used without a secret, and CollectorError
    where it cannot start otherwise, or cannot go on without a person.
    """
    if config.open_doors:
        raise ConfigError(
            "\n".join(config.open_doors),
            hint="only what runs on this machine may be used without a secret:"
            " docs/collector-file.md",
        )
    # On SIGABRT, which the watchdog sends: where each thread stands goes to the journal.
    faulthandler.enable()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with opened(config) as (ledger, store):
        serve(config, role, ledger, store, stopping)


def serve(
    config: CollectorConfig,
    role: Role,
    ledger: Ledger,
    store: ReadingStore,
    stopping: threading.Event,
) -> None:
    """Run the parts of `role` over an open ledger and store until `stopping` is set or one ends."""
    collect_garbage_seldom()
    metrics = Metrics()
    worker = _worker(config, ledger, store, metrics) if role is not Role.API else None
    desk, server, daily = None, None, None
    if role is not Role.INTAKE:
        desk = None if config.commands is None else open_desk(config, ledger)
        daily = _daily(config, ledger, metrics) if config.vee.daily else None
        server = _Server(_server(config, ledger, store, metrics, (worker, desk, daily)))
    parts: list[_Part] = [part for part in (worker, desk, daily, server) if part is not None]
    supervision = Supervision.of_this_process()
    with ThreadPoolExecutor(max_workers=len(parts), thread_name_prefix="collector") as pool:
        running = [pool.submit(part.run) for part in parts]
        _log.info("collector_started", role=role.value)
        while not stopping.is_set():
            supervision.look(
                is_ready=server is None or server.started,
                hangs=worker is not None and worker.hangs,
            )
            if wait(running, timeout=WATCH_S, return_when=FIRST_COMPLETED).done:
                break
        supervision.stopping()
        for part in parts:
            part.stop()
        for ended in running:
            ended.result()
    _log.info("collector_stopped")


class _Part(Protocol):
    """Something that runs in a thread until it is stopped from another."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


class _Server:
    """The API's server as a part."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server

    def run(self) -> None:
        self._server.run()

    def stop(self) -> None:
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        return self._server.started


def _worker(
    config: CollectorConfig, ledger: Ledger, store: ReadingStore, metrics: Metrics
) -> IntakeWorker:
    return IntakeWorker(
        link=open_link(config),
        ledger=ledger,
        pipeline=Pipeline(ledger, store, system_now, metrics),
        metrics=metrics,
        now=system_now,
        group_max=config.intake.group_max,
        tick_s=config.intake.tick_s,
    )


def _daily(config: CollectorConfig, ledger: Ledger, metrics: Metrics) -> DailyValidation:
    # Not with the reading store: what a day's voltages show is asked for with `vee run`.
    return DailyValidation(
        ledger,
        metrics,
        system_now,
        Daily(
            zone=config.zone,
            after=timedelta(minutes=config.vee.daily_after_min),
            days=config.vee.daily_days,
            limits=partial(load_limits, config.vee.limits_file),
        ),
    )


def _server(
    config: CollectorConfig,
    ledger: Ledger,
    store: ReadingStore,
    metrics: Metrics,
    parts: tuple[IntakeWorker | None, CommandDesk | None, DailyValidation | None],
) -> uvicorn.Server:
    worker, desk, daily = parts
    # A process that only takes batches needs no web framework.
    from collector.api.app import create_app  # noqa: PLC0415
    from collector.api.serving import server_of  # noqa: PLC0415
    from collector.operations.billing_settings import billing_rules  # noqa: PLC0415
    from collector.operations.losses import load_settings  # noqa: PLC0415
    from collector.web.context import Context  # noqa: PLC0415
    from collector.web.rates import Rates  # noqa: PLC0415

    context = Context(
        ledger,
        store,
        config.zone,
        system_now,
        metrics_registry=metrics.registry,
        intake=None if worker is None else worker.troubles,
        validation=None if daily is None else daily.troubles,
        sender=desk,
        command_lifetime_s=(config.commands or CommandsConfig()).lifetime_s,
        loss_settings=load_settings(config.balance.losses_file, config.zone),
        billing=billing_rules(config),
        limits=partial(load_limits, config.vee.limits_file),
        rates=Rates(
            burst=config.api.requests_burst,
            per_s=config.api.requests_per_s,
            at_once=config.api.requests_at_once,
        ),
    )
    return server_of(create_app(context), config.api)
