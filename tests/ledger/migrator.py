"""Migrating a ledger and being killed before the n-th statement; called in a process of its own."""

import os
import signal

from sqlalchemy import event

from collector.ledger import Ledger


def main(url: str, last: int) -> int:
    """Migrate; the number of statements, if none of them was number `last` (from 1)."""
    ledger = Ledger(url)
    count = 0

    def before(*_: object) -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(ledger._engine, "before_cursor_execute", before)
    ledger.migrate()
    return count
