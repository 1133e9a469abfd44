"""Driving a demo system through trouble: the same three days, whatever happens meanwhile."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from songlo.demo.api import ApiError
from songlo.demo.options import DemoOptions, period
from songlo.demo.programs import free_port
from songlo.demo.replay import Progress, progress, slots_reached
from songlo.demo.report import Outcome, conclude
from songlo.demo.system import System, running_system

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DEADLINE_S = 240.0


def three_days(**changes: object) -> DemoOptions:
    """Three days in January on LV2.101: 145 slots of 100 meters."""
    start_at, end_at = period(date(2026, 1, 12), 3, None, 30, date(2026, 11, 20))
    options = DemoOptions(start_at, end_at, api_port=free_port(), resend_after_s=2)
    return replace(options, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ended:
    """How a run ended: the collector's figures, and the snapshot's lines as bytes."""

    progress: Progress
    outcome: Outcome
    lines: bytes

    @property
    def sha256(self) -> str:
        return self.outcome.snapshot_sha256


@contextmanager
def system_in(directory: Path, options: DemoOptions) -> Iterator[System]:
    with running_system(options, directory, NOW) as system:
        yield system


def wait_for_slot(system: System, slot: int) -> None:
    """Return once the replay's clock has reached the slot of that number (the first is 1)."""
    deadline = time.monotonic() + DEADLINE_S
    while slots_reached(system.options, system.clock.now()) < slot:
        assert time.monotonic() < deadline, f"slot {slot} was not reached"
        time.sleep(0.01)


def present(system: System) -> Progress | None:
    """How far the collector is, None while it does not answer."""
    try:
        return progress(system)
    except ApiError as error:
        if error.status not in {0, 503}:
            raise
        return None


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.1)


def wait_for_end(system: System) -> Ended:
    """Wait until every slot of every meter is accounted for; then take the snapshot."""
    deadline = time.monotonic() + DEADLINE_S
    last = None
    while last is None or not last.complete:
        assert time.monotonic() < deadline, f"still {last}"
        system.check()
        last = present(system)
        time.sleep(0.1)
    outcome = conclude(system, last)
    path = f"/v1/snapshots/{outcome.snapshot_id}/lines.csv"
    return Ended(last, outcome, b"".join(system.api.stream(path)))


def copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of a database in use, as `songlo` backups are made."""
    with sqlite3.connect(source) as db, sqlite3.connect(target) as copy:
        db.backup(copy)
    db.close()
    copy.close()


def slot_at(options: DemoOptions, number: int) -> datetime:
    """The instant of the slot of that number (the first is 1)."""
    return options.start_at + timedelta(minutes=options.interval_min) * (number - 1)
