"""Figure `district_postgres`: the district's snapshots on PostgreSQL, against what they may take.

The same district is lived through twice, with a ledger of SQLite and with one of PostgreSQL
(durable, as it is installed). Two scans a day, for no more of them are billed. Files that differ
fail it.
"""

import hashlib
import tempfile
from datetime import date
from pathlib import Path

from bench.district import DISAGREES, LIMITS, PERIODS, TODAY
from bench.figure import Figure, Requirement
from bench.isolated import run_isolated
from songlo.demo.district.options import STATIONS_DEFAULT, district_options
from songlo.demo.district.run import run_district
from tests.services import PostgresServer

INTERVAL_MIN = 720
STEPS = ("snapshot", "bill previews", "workbook", "CMIS file")

_Run = tuple[dict[str, float], dict[str, str]]


def measure() -> Figure:
    """The figure: the greatest share on PostgreSQL; the same on SQLite is in the detail."""
    sqlite_s, sqlite_files = run_isolated(_run, None, TODAY)
    with PostgresServer(durable=True) as server:
        server.start()
        postgres_s, postgres_files = run_isolated(_run, server.create_database(), TODAY)
    differ = sorted(
        name
        for name in sqlite_files.keys() | postgres_files.keys()
        if sqlite_files.get(name) != postgres_files.get(name)
    )
    greatest = max(value / LIMITS[step] for step, value in postgres_s.items())
    return Figure(
        "district_postgres",
        DISAGREES if differ or not sqlite_files else greatest,
        "of what it may take",
        requirement=Requirement("value", "<=", 1.0),
        detail={
            "postgresql": {step: round(value, 3) for step, value in postgres_s.items()},
            "sqlite": {step: round(value, 3) for step, value in sqlite_s.items()},
            "limits": {step: LIMITS[step] for step in postgres_s},
            "files_compared": len(sqlite_files),
            "files_that_differ": differ,
        },
    )


def _run(ledger_url: str | None, today: date) -> _Run:
    options = district_options(
        stations=STATIONS_DEFAULT, interval_min=INTERVAL_MIN, seed=1, start=None, today=today
    )
    with tempfile.TemporaryDirectory(prefix="songlo-bench-") as name:
        outcome = run_district(options, Path(name), _ignore, ledger_url=ledger_url)
        files = {
            f"{period.last:%Y-%m}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for period in outcome.periods
            for path in period.files
            # A workbook's title names the run, which is another one each time.
            if path.suffix != ".xlsx"
        }
    seconds = outcome.timings.seconds
    assert outcome.holds, [check.name for check in outcome.checks if not check.holds]
    return {step: seconds[step] / PERIODS for step in STEPS}, files


def _ignore(what: str, done: int, total: int) -> None:
    del what, done, total
