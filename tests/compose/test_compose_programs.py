"""The programs of docker-compose.yml that Debian has, run together with the compose's own files.

PostgreSQL, Mosquitto, the simulator, the gateway (over TLS) and the collector run as plain
processes with the commands, settings and health checks of docker-compose.yml; paths, host names
and ports are replaced by this machine's. InfluxDB is Debian's, which has no tokens. Grafana is not
in Debian: its queries are tested in tests/dashboards.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from contract.topics import BatchTopic, build
from dashboards import queries
from tests.compose.mqtt import peer
from tests.compose.plain import ROOT, PlainBroker, plain_broker
from tests.compose.test_compose_file import SERVICES
from tests.dashboards.interpolation import View, ask
from tests.services import InfluxDatabase, InfluxServer, ServerProcess, free_port
from tests.services.process import LOG_TAIL_CHARS, accepts_connections, find_program

SONGLO = [sys.executable, "-m", "songlo"]
COMMAND_TIMEOUT_S = 60
DELIVERY_TIMEOUT_S = 60
SCANS = 31  # half an hour, a scan a minute, both ends
METERS = 14


class Machine:
    """This machine in place of the containers: what stands for their paths, names and ports."""

    def __init__(self, folder: Path, broker: PlainBroker) -> None:
        self.folder = folder
        self.secrets = broker.secrets
        self.postgres_port, self.api_port, clock_port = free_port(), free_port(), free_port()
        self.line_port = _two_ports()
        gateway = self.secrets / "gateways" / "DEMO-T001"
        self._replacements = {
            "/run/secrets/": f"{self.secrets}/",
            "/etc/songlo/tls/broker-ca.pem": f"{self.secrets}/broker-ca.pem",
            "/etc/songlo/tls/gateway": str(gateway),
            "/etc/songlo/": f"{folder}/",
            "/var/lib/songlo-gateway": f"{folder}/gateway",
            "/tmp/simulator": f"{folder}/simulator",
            "-h 127.0.0.1 ": f"-h 127.0.0.1 -p {broker.port} ",
            "@postgres:5432": f"@127.0.0.1:{self.postgres_port}",
            "127.0.0.1:8000": f"127.0.0.1:{self.api_port}",
            "127.0.0.1:9000": f"127.0.0.1:{clock_port}",
            "host: simulator": "host: 127.0.0.1",
            "port: 5020": f"port: {self.line_port}",
            "port: 5021": f"port: {self.line_port + 1}",
            "port: 9000": f"port: {clock_port}",
            "port: 8000": f"port: {self.api_port}",
            "port: 1883": f"port: {broker.port}",
            "port: 8883": f"port: {broker.tls_port}",
            "host: broker": "host: localhost",
            "0.0.0.0": "127.0.0.1",
            "--host=127.0.0.1": f"--host=127.0.0.1 --port={self.postgres_port}",
        }
        self.clock = f"127.0.0.1:{clock_port}"

    def text(self, text: str) -> str:
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

    def install(self, source: str, name: str, more: str = "") -> Path:
        """A file of the repository with this machine's names in it."""
        path = self.folder / name
        path.write_text(self.text((ROOT / source).read_text(encoding="utf-8")) + more)
        return path

    def command(self, service: str) -> list[str]:
        """What the container of `service` runs."""
        return [*SONGLO, *(self.text(word) for word in SERVICES[service]["command"])]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def logs(self) -> str:
        """The end of every program's log."""
        return "\n".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-LOG_TAIL_CHARS:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def health_command(self, service: str) -> list[str]:
        """The service's health check."""
        kind, *words = SERVICES[service]["healthcheck"]["test"]
        words = [self.text(word).replace("$$", "$") for word in words]
        if kind == "CMD-SHELL":
            return ["sh", "-c", words[0]]
        # One word can have become two: a host and its port.
        flat = [part for w in words for part in (w.split() if w.startswith("--") else [w])]
        return [sys.executable if flat[0] == "python" else flat[0], *flat[1:]]

    def is_healthy(self, service: str) -> None:
        """Run the service's health check; raises AssertionError where it fails."""
        self.run(*self.health_command(service))

    def answers(self, service: str) -> bool:
        """Whether the service's health check succeeds."""
        command = self.health_command(service)
        done = subprocess.run(command, check=False, capture_output=True, timeout=COMMAND_TIMEOUT_S)
        return done.returncode == 0

    def start(self, stack: ExitStack, service: str, port: int | None = None) -> ServerProcess:
        process = ServerProcess(
            service,
            self.command(service),
            self.folder / f"{service}.log",
            lambda: port is None or accepts_connections(port),
        )
        stack.callback(process.close)
        process.start()
        return process


def _two_ports() -> int:
    """A free port whose successor is free too."""
    while accepts_connections((port := free_port()) + 1):
        pass
    return port


def _postgres(stack: ExitStack, machine: Machine) -> None:
    """PostgreSQL as the image makes and starts it, with Debian's programs."""
    service = SERVICES["postgres"]
    environment = service["environment"]
    password = (machine.secrets / "postgres_password").read_text()
    account = "postgres" if os.geteuid() == 0 else None
    # Not under pytest's folder, which belongs to its user alone.
    home = Path(tempfile.mkdtemp(prefix="songlo-compose-"))
    stack.callback(shutil.rmtree, home, ignore_errors=True)
    (home / "password").write_text(password)
    if account is not None:
        for path in (home, home / "password"):
            shutil.chown(path, account, account)
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    initdb = find_program("initdb", "postgresql", binaries)
    made = subprocess.run(
        [
            *(initdb, f"--username={environment['POSTGRES_USER']}", "--no-sync"),
            *(f"--pwfile={home / 'password'}", f"--pgdata={home / 'data'}"),
            *environment["POSTGRES_INITDB_ARGS"].split(),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=home,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
        timeout=COMMAND_TIMEOUT_S,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    program, *settings = service["command"]
    process = ServerProcess(
        "postgres",
        [
            *(find_program(program, "postgresql", binaries), "-D", str(home / "data")),
            *("-p", str(machine.postgres_port), "-c", "listen_addresses=127.0.0.1"),
            *("-c", f"unix_socket_directories={home}", *settings),
        ],
        home / "log",
        lambda: machine.answers("postgres"),
        user=account,
    )
    stack.callback(process.close)
    process.start()
    where = f"host=127.0.0.1 port={machine.postgres_port} user={environment['POSTGRES_USER']}"
    with psycopg.connect(f"{where} dbname=postgres password={password}", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{environment["POSTGRES_DB"]}"'.encode())
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"{where} dbname=songlo password=songlo")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("compose")
    with plain_broker(folder, passwords={"witness": "witness-password"}) as broker:
        yield Machine(folder, broker)


@pytest.fixture
def influxdb(influx_server: InfluxServer) -> Iterator[InfluxDatabase]:
    """The database that the compose's InfluxDB makes when it is set up."""
    influx_server.start()
    name = SERVICES["influxdb"]["environment"]["DOCKER_INFLUXDB_INIT_BUCKET"]
    influx_server.query(f'CREATE DATABASE "{name}"')
    database = InfluxDatabase(influx_server, influx_server.url, "songlo", name, "unchecked")
    yield database
    influx_server.drop_database(database)


def _get(machine: Machine, path: str, key: str) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(
        f"http://127.0.0.1:{machine.api_port}{path}", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.timeout(180)
def test_the_demo_profile_delivers_what_it_reads(
    machine: Machine, influxdb: InfluxDatabase
) -> None:
    with ExitStack() as stack:
        _postgres(stack, machine)
        machine.is_healthy("postgres")
        machine.is_healthy("broker")
        config = machine.install("firmware_config/collector/compose.yaml", "collector.yaml")
        config.write_text(config.read_text().replace("http://influxdb:8086", influxdb.url))
        shutil.copytree(ROOT / "firmware_config/demo/registry", machine.folder / "registry")
        machine.run(*machine.command("migrate"))
        machine.run(*machine.command("registry"))
        machine.start(stack, "collector", machine.api_port)
        machine.is_healthy("collector")
        # Time is the one thing that is not the compose's: half an hour at full speed.
        simulator = machine.install("firmware_config/demo/simulator.yaml", "simulator.yaml")
        text = simulator.read_text()
        simulator.write_text(text.replace("end: 2026-11-01", "end: 2026-11-01T00:30:00+07:00"))
        machine.start(stack, "simulator", machine.line_port)
        machine.is_healthy("simulator")
        clock = f'clock: {{replay: "{machine.clock}"}}\n'
        machine.install("firmware_config/demo/station.yaml", "station.yaml", clock)
        machine.start(stack, "gateway")
        key = machine.run(*SONGLO, "collector", "key", "add", "test", "-c", str(config)).strip()

        view = View(
            "DEMO-T001",
            ["2026000001"],
            datetime.fromisoformat("2026-10-31T17:00:00+00:00"),
            datetime.fromisoformat("2026-10-31T17:31:00+00:00"),
            cadence="1m",
            meters=str(METERS),
        )
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while len(rate := _rates(influxdb, view)) < SCANS or set(rate) != {100}:
            assert time.monotonic() < deadline, f"{rate}\n{machine.logs()}"
            time.sleep(0.2)
        machine.is_healthy("gateway")
        machine.run(*SONGLO, "collector", "verify", "-c", str(config))
        (gateway,) = _get(machine, "/v1/gateways", key)["gateways"]
        assert gateway["gateway"] == "DEMO-T001"
        _no_stranger_can_send(machine)


def _rates(database: InfluxDatabase, view: View) -> list[float]:
    """The collection rate of each slot that has any read."""
    series = ask(database, view.interpolate(queries.COLLECTION_RATE))
    return [value for one in series for _, value in one.points if value]


def _no_stranger_can_send(machine: Machine) -> None:
    """The collector's own identity may not send batches in a gateway's name."""
    port = int(machine.text("port: 1883").removeprefix("port: "))
    password = (machine.secrets / "broker_intake_password").read_text()
    with (
        peer(port, "witness", "witness-password") as witness,
        peer(port, "intake", password) as intake,
    ):
        witness.subscribe("songlo/#")
        witness.arrived()  # what is retained
        intake.publish(build(BatchTopic("DEMO-T001", "0" * 32, 1)), b"{}")
        assert not [topic for topic, _ in witness.arrived() if "/batches/" in topic]
