"""Child processes of the demo: started, watched, stopped, and killed where a test wants it.

It knows how to run a program and keep its log, not what any program does.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STOP_TIMEOUT_S = 15.0
LOG_TAIL_BYTES = 4000


class ProgramFailed(RuntimeError):
    """A program of the demo ended by itself or did not get ready; the text has its log's end."""


class Program:
    """One child process with its log file; may be started again after it ended."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        """Nothing is started yet. The log goes to `directory/<name>.log`."""
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process's id. Raises ProgramFailed when it is not running."""
        self.check()
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, output: Path | None = None) -> None:
        """Start it in a process group of its own; standard output goes to `output` if given."""
        assert not self.running, f"{self.name} runs already"
        with self.log_path.open("ab") as log, contextlib.ExitStack() as stack:
            stdout = stack.enter_context(output.open("wb")) if output is not None else log
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises ProgramFailed when the process is not running."""
        if not self.running:
            code = None if self._process is None else self._process.returncode
            raise ProgramFailed(
                f"{self.name} is not running (exit code {code}). Its log, {self.log_path}, "
                f"ends with:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        """The last lines of the log, for a person."""
        if not self.log_path.exists():
            return "(nothing)"
        return self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """Ask it to end, and kill it when it has not within STOP_TIMEOUT_S."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL to the whole process group, as a power cut would end it."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this installation with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def free_port() -> int:
    """A TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_for_port(port: int, program: Program, timeout_s: float = 20.0) -> None:
    """Return once something listens on 127.0.0.1:`port`. Raises ProgramFailed."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        program.check()
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise ProgramFailed(f"{program.name} did not listen on port {port} within {timeout_s:.0f} s")
