"""What the kernel says of a process: memory and processor time. It knows nothing of the process."""

import os
import re
from pathlib import Path

BYTES_PER_MB = 1_000_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The most resident memory that it ever had, in MB (of 1,000,000 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    # The kernel counts both lazily: the present can seem to be above the high-water mark.
    return max(_kib(status, "VmHWM"), _kib(status, "VmRSS")) * 1024 / BYTES_PER_MB


def tree_mb(pid: int) -> float:
    """What it and the processes that it started have resident now, in MB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [Path(entry) for entry in os.scandir(f"/proc/{pid}/task")]
        for thread in threads:
            if thread.name != str(pid):
                children += (thread / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    mine = 0.0 if own is None else int(own[1]) * 1024 / BYTES_PER_MB
    return mine + sum(tree_mb(int(child)) for child in children)


def cpu_s(pid: int) -> float:
    """Processor seconds of all its threads so far, its own and the kernel's for it."""
    # The name, in brackets, may hold spaces; what follows does not (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS_PER_S


def _kib(status: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1])
