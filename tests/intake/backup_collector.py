"""A collector's intake as a process, without API: run by the backup test, ended by SIGTERM."""

import contextlib
import signal
import sys
import threading
from pathlib import Path

from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from tests.intake.kit import intake


def main() -> None:
    url, readings, port, ready = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with (
        contextlib.closing(Ledger(url)) as ledger,
        contextlib.closing(DuckDbStore(readings)) as store,
        intake(ledger, store, int(port)),
    ):
        Path(ready).touch()
        stop.wait()


if __name__ == "__main__":
    main()
