"""Fixtures that every test may use: real servers, started at their first use and shared.

Servers live for the session, databases for a test. It knows nothing of the product.
"""

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.services import InfluxDatabase, InfluxServer, Mosquitto, PostgresServer, ServerProcess

# A shell starts what is to run in the background with Ctrl-C ignored, and everything started from
# there inherits it: the programs under test would not hear it either.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine's load than of the product.
settings.register_profile("songlo", deadline=None)
settings.load_profile("songlo")

# The first of the seeds that the simulation tries, given on to workers; `clock`: others each time.
# The same ones by default while one fresh seed in thousands still finds something
# (docs/reliability.md): a suite that fails by the hour it is run at says nothing of a change.
FIRST_SEED = "SONGLO_FIRST_SEED"
FIRST_SEED_DEFAULT = "5000000"
FRESH = "clock"
_SEEDS_APART = 1_000
_SEED_MAX = 2**31


def pytest_configure() -> None:
    """Choose it by the clock, if it is wanted so."""
    if os.environ.setdefault(FIRST_SEED, FIRST_SEED_DEFAULT) == FRESH:
        os.environ[FIRST_SEED] = str(int(time.time()) * _SEEDS_APART % _SEED_MAX)


def pytest_report_header() -> str:
    """Say it."""
    first = os.environ[FIRST_SEED]
    return f"simulation: seeds from {first} on (again with {FIRST_SEED}={first})"


_servers = pytest.StashKey[list[ServerProcess]]()


@pytest.fixture(autouse=True)
def _logging_ends_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test runs in this process logs to a stream that is closed afterwards."""
    configure = structlog.configure

    def uncached(**settings: Any) -> None:  # noqa: ANN401  whatever structlog can be told
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    structlog.reset_defaults()


def _remember(request: pytest.FixtureRequest, *processes: ServerProcess) -> None:
    request.config.stash.setdefault(_servers, []).extend(processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the servers' logs beside a failure."""
    report = yield
    if report.failed:
        for process in item.config.stash.get(_servers, []):
            if tail := process.log_tail():
                report.sections.append((f"log of {process.name}", tail))
    return report


@pytest.fixture
def mosquitto_broker(request: pytest.FixtureRequest) -> Iterator[Callable[..., Mosquitto]]:
    """Starts brokers: mosquitto_broker(extra_config="", persistence=False); gone after the test."""
    with ExitStack() as stack:

        def start(extra_config: str = "", *, persistence: bool = False) -> Mosquitto:
            broker = Mosquitto(extra_config, persistence=persistence)
            stack.callback(broker.close)
            _remember(request, broker.process)
            broker.start()
            return broker

        yield start


@pytest.fixture
def mosquitto(mosquitto_broker: Callable[..., Mosquitto]) -> Mosquitto:
    """One broker for this test alone: anonymous clients, no persistence."""
    return mosquitto_broker()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    with PostgresServer() as server:
        _remember(request, server.process)
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new empty database: `postgresql+psycopg://…`."""
    postgres_server.start()
    url = postgres_server.create_database()
    yield url
    postgres_server.start()
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def influx_server(request: pytest.FixtureRequest) -> Iterator[InfluxServer]:
    """The session's InfluxDB behind nginx."""
    with InfluxServer() as server:
        _remember(request, server.influxd, server.nginx)
        yield server


@pytest.fixture
def influx(influx_server: InfluxServer) -> Iterator[InfluxDatabase]:
    """A new empty database; the test may stop its server."""
    influx_server.start()
    database = influx_server.create_database()
    yield database
    influx_server.start()
    influx_server.drop_database(database)
