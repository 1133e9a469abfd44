"""A parent that has the programs imported, and forks one whenever it is told to.

Nothing of a program has run in it before the fork, so its child is the program as `songlo` starts
it, without the seconds that imports take. It speaks one JSON object a line on its standard input
and output, and ends with its input; it reads and writes no file of a program.
"""

import json
import os
import sys
from pathlib import Path

import collector.app
import collector.cli
import collector.readings.duckdb_store
import gateway.app
import gateway.cli
import songlo.cli

READY = collector.app, collector.cli, collector.readings.duckdb_store, gateway.app, gateway.cli


def become(words: list[str], log: str) -> None:
    """In the child: the program `songlo WORDS`, its output at the end of `log`."""
    os.setsid()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for fd, stream in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(fd, stream)
    os.chdir(Path(log).parent)
    sys.argv = ["songlo", *words]
    songlo.cli.main()


def ended(pid: int) -> int | None:
    """How the child ended: its code, or minus its signal; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return None if found == 0 else os.waitstatus_to_exitcode(status)


def main() -> None:
    """Serve until the input ends."""
    answer: dict[str, object] = {"ready": True}
    while True:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            return
        ask = json.loads(line)
        if ask["op"] == "poll":
            answer = {"code": ended(ask["pid"])}
            continue
        pid = os.fork()
        if pid == 0:
            become(ask["words"], ask["log"])
            return
        answer = {"pid": pid}


if __name__ == "__main__":
    main()
