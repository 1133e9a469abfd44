"""Who has a file or a port locked: the process and its command, as far as Linux tells.

Looks and never waits. It must not know what the file is for.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

_LOCKS = Path("/proc/locks")
_LOCK_FIELDS_MIN = 6


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever holds a lock; 0 and "" for what cannot be seen from here."""

    pid: int = 0
    command: str = ""

    def __str__(self) -> str:
        """As people are told."""
        if not self.pid:
            return "another program"
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


def holder_of(path: Path) -> Holder | None:
    """Who holds an flock(2) on `path`; None if nobody does or there is no such file.

    The lock is tried for an instant, shared, so that an answer can be had without /proc.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _from_proc(os.fstat(descriptor).st_ino)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _from_proc(inode: int) -> Holder:
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return Holder()
    for line in lines:
        fields = line.split()
        if len(fields) < _LOCK_FIELDS_MIN or fields[1] != "FLOCK":
            continue
        if fields[5].rpartition(":")[2] == str(inode) and fields[4].isdecimal():
            pid = int(fields[4])
            return Holder(pid, _command(pid))
    return Holder()


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode("utf-8", "replace") for word in words)[:120]
