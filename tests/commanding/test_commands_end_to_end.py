"""Command line, API, broker with its real access rules, gateway and meters: all of them at once."""

import asyncio
import json
import re
import stat
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from collector.config import load_config
from tests.commanding import shell
from tests.compose.plain import PlainBroker, plain_broker
from tests.gateway_control.site import thousands
from tests.gateway_lines.slave import Slave, TcpSlave
from tests.services import free_port

pytestmark = pytest.mark.timeout(180)

GATEWAY = "PA25SL-T012"
PASSWORD = "gateway-password"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainBroker]:
    with plain_broker(
        tmp_path_factory.mktemp("broker"), passwords={GATEWAY: PASSWORD, "witness": "w"}
    ) as started:
        yield started


class Shell:
    """Runs commands of `songlo collector`, one after another."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, shell.__file__, str(folder / "shell.log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def run(self, *arguments: str, code: int = 0) -> str:
        answer = await asyncio.to_thread(self._ask, arguments)
        assert answer["code"] == code, answer
        return str(answer["output"])

    def _ask(self, arguments: tuple[str, ...]) -> dict[str, object]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture
def collector_shell(tmp_path: Path) -> Iterator[Shell]:
    started = Shell(tmp_path)
    yield started
    started.close()


class Site:
    """A folder with the files of a collector and of a gateway, and their processes."""

    def __init__(self, folder: Path, broker: PlainBroker, line: int, shell: Shell) -> None:
        self.shell = shell
        self.folder = folder
        self.api_port = free_port()
        self.file = folder / "collector.yaml"
        self.plain = folder / "plain.yaml"  # without an identity that may send commands
        secrets = broker.secrets
        text = (
            f"ledger: sqlite:///{folder}/ledger.db\n"
            f"readings: {{store: duckdb, path: {folder}/readings.duckdb}}\n"
            f"broker: {{host: 127.0.0.1, port: {broker.port}, username: intake,"
            f" password_file: {secrets}/broker_intake_password}}\n"
            f"api: {{port: {self.api_port}}}\n"
        )
        self.plain.write_text(text)
        self.file.write_text(
            f"{text}commands: {{username: commands,"
            f" password_file: {secrets}/broker_commands_password}}\n"
        )
        (folder / "password").write_text(PASSWORD)
        self.station = folder / "station.yaml"
        self.broker_port, self.line = broker.port, line
        self.station.write_text(self.station_text(2))

    def station_text(self, meters: int) -> str:
        listed = "\n".join(
            f"      - {{serial: m{n}, address: {n}, profile: eastron-sdm120}}"
            for n in range(1, meters + 1)
        )
        return (
            f"station: {GATEWAY}\ndata: data\n"
            "clock: {before_sync: send}\n"  # whatever this machine's is
            f"broker: {{host: 127.0.0.1, port: {self.broker_port}, username: {GATEWAY},"
            " password_file: password}\n"
            "config: {public_key_file: fleet.pub, confirm_within_s: 60}\n"
            "schedule: {interval_min: 1440, index_at: []}\n"
            f"lines:\n  - name: bridge-1\n    modbus_tcp: {{host: 127.0.0.1, port: {self.line}}}\n"
            f"    meters:\n{listed}\n"
        )

    async def run(self, *arguments: str, code: int = 0, file: Path | None = None) -> str:
        return await self.shell.run(*arguments, "--config", str(file or self.file), code=code)

    async def ask(self, key: str, path: str, body: object = None) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )

        def fetch() -> dict[str, object]:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return dict(json.load(answer))

        return await asyncio.to_thread(fetch)


def start(folder: Path, name: str, file: Path) -> subprocess.Popen[bytes]:
    """One of the two programs, its journal in the folder."""
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "songlo", name, "run", "--config", str(file)],
            stderr=log,
            stdout=log,
        )


@asynccontextmanager
async def site(folder: Path, broker: PlainBroker, shell: Shell) -> AsyncIterator[Site]:
    slave = Slave(range(1, 10), words=thousands)
    async with TcpSlave(slave) as server:
        made = Site(folder, broker, server.port, shell)
        await shell.run("config", "keygen", str(folder / "fleet"))
        await made.run("migrate")
        with ExitStack() as stack:
            for name, file in (("collector", made.file), ("gateway", made.station)):
                process = start(folder, name, file)
                stack.callback(process.wait, 20)
                stack.callback(process.terminate)
            ready = f"http://127.0.0.1:{made.api_port}/metrics"

            def has_heard() -> bool:
                try:
                    with urllib.request.urlopen(ready, timeout=5) as answer:
                        return b"songlo_intake_connected 1.0" in answer.read()
                except OSError:
                    return False

            async with asyncio.timeout(40):
                while not await asyncio.to_thread(has_heard):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.05)
            yield made


@pytest.mark.asyncio
async def test_commands_and_station_files_from_the_desk_to_the_meter(  # noqa: PLR0915  one story
    tmp_path: Path, broker: PlainBroker, collector_shell: Shell
) -> None:
    async with site(tmp_path, broker, collector_shell) as running:
        send = ("command", "send", "--gateway", GATEWAY)

        key = (await running.run("key", "add", "desk", "--scope", "command:send")).split()[-1]
        async with asyncio.timeout(40):
            while not (await running.ask(key, "/v1/gateways"))["gateways"]:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.1)

        # A person at the command line.
        said = await running.run(*send, "ping")
        assert re.search(r"done: here \([\d.]+ s\)", said)
        assert "its own file" in said
        said = await running.run(*send, "read", "--meter", "m1")
        assert "meter m1" in said
        assert re.search(r"1-0:1\.8\.0 +1000000 Wh", said)
        said = await running.run(*send, "read", "--meter", "m9", code=1)
        assert "unknown_meter: not in the station file: m9" in said

        # A program: what it sent is answered while nobody waits.
        sent = await running.ask(
            key, f"/v1/gateways/{GATEWAY}/commands", {"kind": "read", "meters": ["m2"]}
        )
        path = f"/v1/gateways/{GATEWAY}/commands/{sent['id']}"
        async with asyncio.timeout(40):
            while True:
                found = await running.ask(key, path)
                if found["state"] == "answered" and found["event"]:
                    break
                await asyncio.sleep(0.05)
        assert found["result"]["code"] == "done"  # type: ignore[index]  # JSON
        said = await running.run("command", "show", str(sent["id"]), "--gateway", GATEWAY)
        assert f"{sent['id']} read by desk: done" in said
        assert str(sent["id"]) in await running.run("command", "list", "--gateway", GATEWAY)

        # Without the identity for commands the broker passes nothing on.
        said = await running.run(*send, "ping", "--wait", "1", code=1, file=running.plain)
        assert "no result within 1 s" in said

        # A station file: signed, sent, confirmed; then one that is refused.
        show = ("config", "show", "--gateway", GATEWAY)
        said = await running.run(*show)
        assert "in force: the gateway's own file" in said
        assert "at the broker: none" in said
        coming = tmp_path / "coming.yaml"
        coming.write_text(running.station_text(3))
        publish = ("config", "publish", str(coming), "--key", str(tmp_path / "fleet.key"))
        assert "would send version 1" in await running.run(*publish, "--dry-run")
        assert "at the broker: none" in await running.run(*show)
        assert "it is confirmed" in await running.run(*publish, "--wait", "40")
        said = await running.run(*show)
        assert "in force: version 1\n" in said
        assert "at the broker: version 1" in said
        assert "meter m3" in await running.run(*send, "read", "--meter", "m3")
        coming.write_text(running.station_text(3).replace("address: 3", "address: 1"))
        said = await running.run(*publish, "--wait", "40", code=1)
        assert "refused (invalid)" in said
        assert "already taken" in said
        signed = tmp_path / "signed.json"
        await collector_shell.run(
            "config", "sign", str(coming), "--key", str(tmp_path / "fleet.key"),
            "--version", "1", "--output", str(signed),
        )  # fmt: skip
        said = await running.run("config", "publish", str(signed), code=1)
        assert "has accepted version 1 before" in said
        events = (await running.ask(key, f"/v1/gateways/{GATEWAY}/events?limit=100"))["events"]
        details = [event["detail"] for event in events]  # type: ignore[attr-defined]  # JSON
        assert any("version 1 is confirmed" in detail for detail in details)
        assert any("version 2 refused (invalid)" in detail for detail in details)


@pytest.mark.asyncio
async def test_a_private_key_that_others_can_read_signs_nothing(
    tmp_path: Path, collector_shell: Shell
) -> None:
    station = tmp_path / "station.yaml"
    station.write_text("station: T1\nconfig: {public_key_file: x}\n")
    run = collector_shell.run
    assert "fleet.pub" in await run("config", "keygen", str(tmp_path / "fleet"))
    private, public = tmp_path / "fleet.key", tmp_path / "fleet.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    words = ("config", "sign", str(station), "--version", "7", "--output", str(tmp_path / "out"))
    assert "version 7 for gateway T1" in await run(*words, "--key", str(private))
    assert "exists and is kept" in await run("config", "keygen", str(tmp_path / "fleet"), code=1)
    private.chmod(0o640)
    said = await run(*words, "--key", str(private), code=1)
    assert "can be read by others" in said
    private.chmod(0o600)
    public.chmod(0o600)
    assert "holds no private key" in await run(*words, "--key", str(public), code=1)
    station.write_text("station: T1\n")
    assert "no section 'config'" in await run(*words, "--key", str(private), code=1)


def test_the_identity_for_commands_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "collector.yaml"
    text = (
        "ledger: sqlite:///x\nreadings: {store: duckdb, path: y}\n"
        "broker: {host: h, port: 8883, username: intake, password_file: p, shared_group: null}\n"
    )
    path.write_text(text)
    broker = load_config(path).command_broker
    assert (broker.host, broker.username, broker.client_id) == ("h", "intake", "songlo-commands")
    path.write_text(f"{text}commands: {{username: commands, password_file: q}}\n")
    broker = load_config(path).command_broker
    assert (broker.port, broker.username, str(broker.password_file)) == (8883, "commands", "q")
