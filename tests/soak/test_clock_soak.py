"""Case 13: the real gateway under a computer's clock that is put a year forward and back.

The clock is libfaketime's (Debian package libfaketime): it fakes the time of day alone, by an
offset that the test writes to a file while the program runs.
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.readings.duckdb_store import DuckDbStore
from tests.endurance.station import COMMAND, ENERGY, NAME, START, energy_kwh
from tests.faults.programs import Forks
from tests.faults.world import World, started, until, world

pytestmark = [pytest.mark.soak, pytest.mark.asyncio, pytest.mark.timeout(300)]

YEAR = timedelta(days=365)
# Eight seconds before a slot, and long enough ago for a year forward to be in the past.
BEGIN = datetime.now(UTC).replace(second=52) - timedelta(days=400)
# Where the clock is put, one after the other: a year forward, right again, a year back, right.
STEPS = (
    BEGIN + YEAR,
    BEGIN + timedelta(minutes=10),
    BEGIN - YEAR,
    BEGIN + timedelta(minutes=20),
)
FUTURE = BEGIN + 2 * YEAR  # of the collector, which keeps what comes from there aside


def library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, "libfaketime is not installed: apt-get install libfaketime"
    return found[0]


class FakedClock:
    """The gateway's time of day, as an offset from the real one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def put_to(self, at: datetime) -> None:
        offset_s = at.timestamp() - time.time()
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+.3f}")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


async def test_case_13_a_clock_that_is_a_year_off_and_right_again_costs_nothing(
    tmp_path: Path, forks: Forks
) -> None:
    clock = FakedClock(tmp_path / "offset")
    clock.put_to(BEGIN)
    async with world(tmp_path, forks) as made:
        made.station.interval_min = 1
        made.station.more["clock"] = {"before_sync": "send"}
        made.start_collector()
        await made.subscribed()
        command = [sys.executable, *COMMAND[1:], str(made.station.file())]
        made.station.process = started(command, tmp_path / "log", clock.environment())
        await next_scan(made, 0)
        for at in STEPS:
            before = scans(made)
            clock.put_to(at)
            await next_scan(made, before)
        clock.put_to(FUTURE)
        aside = "SELECT count(*) FROM quarantine WHERE code = 'bad_instant'"
        await until(lambda: made.one(aside) >= 2, "what comes from the future is kept aside", 70)
        before = scans(made)
        clock.put_to(BEGIN + timedelta(minutes=30))
        await next_scan(made, before)
        made.injected.append(f"clock put to {len(STEPS) + 2} other times, years forward and back")
        made.quiet()
        await made.settle()
        check(made)


def scans(made: World) -> int:
    return made.one("SELECT count(*) FROM receipts WHERE content = 'scan'")


async def next_scan(made: World, before: int) -> None:
    await until(lambda: scans(made) > before, "a scan under the new time", 60 + 10)


def check(made: World) -> None:
    """Each batch once, no slot twice, every value the meter's own; and the steps are told of."""
    report = made.report()
    print(f"case 13: {'; '.join(made.injected)}: {report.line()}")  # noqa: T201
    assert report.missing == report.stowaway == []
    assert report.doubled == 0
    store = DuckDbStore(made.ledger.parent / "reads.duckdb")
    first = BEGIN - 2 * YEAR
    reads = list(store.station_reads(NAME, first, first + 6 * YEAR, [ENERGY]))
    store.close()
    assert len(reads) == made.one("SELECT sum(reads) FROM receipts")
    for read in reads:
        assert read.values[ENERGY] == 1000 * energy_kwh(int(read.meter[2:]), START)
    years = {round((read.at - BEGIN) / YEAR) for read in reads}
    assert years == {-1, 0, 1}, "nothing from the future"
    jumps = made.one("SELECT count(*) FROM events WHERE type = 'clock_jump'")
    assert jumps >= 2, "backward steps are events"
