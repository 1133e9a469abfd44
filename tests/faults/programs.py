"""The programs under test as processes, forked by a parent that has them imported already."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
POLL_S = 0.005


class Forks:
    """The parent; `start` gives a running program. What still runs is killed at the end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.preloaded"]
        self._parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._lock = threading.Lock()
        self._running: set[Forked] = set()
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in list(self._running):
            one.kill()
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait(20)

    def start(self, words: list[str], log: Path) -> "Forked":
        """`songlo WORDS` as a process of its own, its output at the end of `log`."""
        answer = self.ask({"op": "start", "words": words, "log": str(log)})
        forked = Forked(self, int(str(answer["pid"])))
        self._running.add(forked)
        return forked

    def ask(self, request: dict[str, object]) -> dict[str, object]:
        with self._lock:
            assert self._parent.stdin is not None
            self._parent.stdin.write(json.dumps(request) + "\n")
            self._parent.stdin.flush()
            return self._answer()

    def forget(self, forked: "Forked") -> None:
        self._running.discard(forked)

    def _answer(self) -> dict[str, object]:
        assert self._parent.stdout is not None
        line = self._parent.stdout.readline()
        assert line, f"the parent of the programs ended with code {self._parent.wait(5)}"
        answer: dict[str, object] = json.loads(line)
        return answer


class Forked:
    """One of them, used as a `subprocess.Popen` is."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self._forks = forks
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        if self._code is None:
            code = self._forks.ask({"op": "poll", "pid": self.pid})["code"]
            if isinstance(code, int):
                self._code = code
                self._forks.forget(self)
        return self._code

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        end_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end_s:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to it and to the processes that it started, as a power cut takes them all."""
        if self.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group of its own yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            self.wait()
