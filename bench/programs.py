"""The product's own programs as child processes, with the files that they need.

It knows how to start and stop them, not what is measured of them.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.services import Mosquitto, ServerProcess, free_port

# As the broker file of the product has them: acks are given for whole groups of batches.
BROKER_CONFIG = "max_inflight_messages 1000\nmax_queued_messages 20000\nset_tcp_nodelay true\n"

READY_TIMEOUT_S = 60.0


@contextmanager
def running(process: ServerProcess) -> Iterator[None]:
    """Start a program; stop it in the end and see that it stopped."""
    process.start(READY_TIMEOUT_S)
    try:
        yield
    finally:
        process.stop()
        process.close()


@contextmanager
def broker() -> Iterator[Mosquitto]:
    """A Mosquitto that holds as much under way as the product's own file lets it."""
    with Mosquitto(BROKER_CONFIG) as started:
        yield started


def songlo(*arguments: str) -> list[str]:
    """The command line of one of the product's commands."""
    return [sys.executable, "-m", "songlo", *arguments]


def run_songlo(folder: Path, *arguments: str) -> None:
    """Run a command to its end. Raises ServiceFailed with its output."""
    process = ServerProcess(arguments[0], songlo(*arguments), folder / "command.log", lambda: True)
    process.start()
    process.wait(READY_TIMEOUT_S)
    process.close()


@contextmanager
def collector(folder: Path, port: int, readings: dict[str, Any]) -> Iterator[ServerProcess]:
    """A collector, migrated and started; who needs it at work must probe it."""
    config = folder / "collector.yaml"
    content = {
        "ledger": f"sqlite:///{folder / 'ledger.sqlite'}",
        "readings": readings,
        "broker": {"host": "127.0.0.1", "port": port},
        "api": {"port": free_port()},
    }
    config.write_text(yaml.safe_dump(content))
    run_songlo(folder, "collector", "migrate", "--config", str(config))
    process = ServerProcess(
        "collector",
        songlo("collector", "run", "--config", str(config)),
        folder / "collector.log",
        lambda: True,
    )
    with running(process):
        yield process


@contextmanager
def simulator(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A simulator; yields what it says when it is ready."""
    path = folder / "simulator.yaml"
    path.write_text(yaml.safe_dump({"directory": str(folder), **config}))
    log = folder / "simulator.log"

    def ready() -> bool:
        return log.exists() and any(line.startswith("{") for line in _whole_lines(log))

    command = songlo("simulator", "run", "--config", str(path))
    process = ServerProcess("simulator", command, log, ready)
    with running(process):
        said: dict[str, Any] = json.loads(
            next(line for line in _whole_lines(log) if line.startswith("{"))
        )
        yield said


def _whole_lines(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
