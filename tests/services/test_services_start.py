"""The servers for tests do what the other tests rely on."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.services import InfluxDatabase, MissingProgram, Mosquitto, PostgresServer, ServiceFailed
from tests.services.process import accepts_connections, find_program


def test_broker_keeps_its_port(mosquitto: Mosquitto) -> None:
    port = mosquitto.port
    mosquitto.kill()
    assert not accepts_connections(port)
    mosquitto.restart()
    assert accepts_connections(port)
    mosquitto.stop()
    assert not accepts_connections(port)


def test_broken_configuration_shows_the_log(mosquitto_broker: Callable[..., Any]) -> None:
    with pytest.raises(ServiceFailed, match="no_such_option"):
        mosquitto_broker("no_such_option 1")


def test_missing_program_names_the_package() -> None:
    with pytest.raises(MissingProgram, match=r"package songlo-nothing\..*make test"):
        find_program("songlo-nothing", "songlo-nothing")


def test_databases_are_new(postgres_server: PostgresServer, postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql+psycopg://")
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE t (x bigint)")
        connection.execute("INSERT INTO t VALUES (1)")
    postgres_server.restart()
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    postgres_server.kill()
    postgres_server.start()
    other = postgres_server.create_database()
    with psycopg.connect(other.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (0,)
    postgres_server.drop_database(other)


def test_influx_keeps_its_data(influx: InfluxDatabase) -> None:
    influx.server.stop()
    influx.server.start()
    influx.server.kill()
    influx.server.start()
    answer = json.loads(influx.server.query("SHOW DATABASES"))
    assert [influx.bucket] in answer["results"][0]["series"][0]["values"]
