"""One server process: found, started in its own process group, waited for, and always ended.

It knows nothing of what the server does; readiness is a function that the caller gives.
"""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.02
LOG_TAIL_CHARS = 4000
# Below the range from which the kernel takes ports for outgoing connections, so that a port stays
# free while its server is down for a restart.
PORTS = range(10_000, 32_000)


class MissingProgram(Exception):
    """A program that the tests need is not installed; the text says how to get it."""


class ServiceFailed(Exception):
    """A server did not start or stop as it should; the text ends with its log."""


def find_program(name: str, package: str, folders: Sequence[str | Path] = ()) -> str:
    """The path of `name`, from PATH, the sbin folders or `folders`. Raises MissingProgram."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, folders)])
    found = shutil.which(name, path=search)
    if found is None:
        raise MissingProgram(
            f"{name} is not installed: it is in the Debian package {package}. "
            "Run `make test` as root, which installs everything that the tests need "
            "(scripts/test-dependencies), or install the package yourself."
        )
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, outside the ephemeral range."""
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            # Connections of a killed server in TIME_WAIT are no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise ServiceFailed("no free TCP port was found")


def accepts_connections(port: int) -> bool:
    """Whether something accepts TCP connections on 127.0.0.1:`port`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class ServerProcess:
    """A command that runs until it is stopped; its output goes to `log`.

    `ready` is polled until it is true. `user` is the account to run as (only for root).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        ready: Callable[[], bool],
        *,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._ready = ready
        self._user = user
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """The process id; raises ServiceFailed when it is not running."""
        if self._process is None:
            raise ServiceFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it and return when it is ready. Does nothing when it is running."""
        if self.running:
            return
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.log.parent,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        deadline = time.monotonic() + timeout_s
        while not self._ready():
            if self._process.poll() is not None:
                raise self._failed(f"ended with code {self._process.returncode} while starting")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failed(f"was not ready within {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def wait(self, timeout_s: float) -> None:
        """Wait for it to end by itself. Raises ServiceFailed for a failure or if it does not."""
        if self._process is None:
            return
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self._failed(f"did not end within {timeout_s:.0f} s") from None
        if code != 0:
            raise self._failed(f"ended with code {code}")

    def stop(self) -> None:
        """Ask it to end, and wait; what outlives STOP_TIMEOUT_S is killed and reported."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise self._failed(f"did not stop within {STOP_TIMEOUT_S:.0f} s") from None
        self.kill()

    def kill(self) -> None:
        """SIGKILL to its whole process group, at once; does nothing when it is not running."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and forget it."""
        self.kill()
        atexit.unregister(self.kill)

    def log_tail(self) -> str:
        """The last LOG_TAIL_CHARS of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-LOG_TAIL_CHARS:]

    def _failed(self, what: str) -> ServiceFailed:
        return ServiceFailed(f"{self.name} {what}; its log ends:\n{self.log_tail()}")
