"""Maximum demands are frozen beside runs and snapshots, on both databases, and go to CMIS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from collector.billing.demand import PeakDemand
from collector.ledger import Ledger
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    make_version,
    open_run,
    run_exceptions,
    verify_runs,
)
from collector.operations.demands import demands_hash
from collector.operations.exports import By, export_cmis
from collector.operations.run_exports import export_run_cmis
from collector.operations.snapshots import create_snapshot
from collector.operations.vee_files import load_limits
from contract.registers import DEMAND_MAX, IMPORT_ACTIVE
from tests.ledger.building import FILES, ZONE, import_files, midnight, put
from tests.ledger.test_run_exports import rows_of

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
FIRST, LAST = midnight("2026-10-01"), midnight("2026-10-11")
BY = By("clerk", NOW, ZONE)
BILLED_BY = BilledBy(load_limits(None), ZONE)


def fill(ledger: Ledger, folder: Path) -> None:
    """T1/b is behind a transformer; its meter's demand was 3 kW, then reset, then 2.5 kW."""
    files = {**FILES, "multipliers.csv": "point,from_at,multiplier\nT1/b,2026-01-01,40\n"}
    import_files(ledger, folder / "registry", files)
    for number in range(11):
        at = FIRST + timedelta(days=number)
        put(ledger, at, {"M0": 10_000 * number, "M1": 2_000 * number}, seq=number + 1)
        demand = 3_000 if number == 0 else 1_200 if number < 6 else 2_500
        registers = (IMPORT_ACTIVE, DEMAND_MAX)
        put(ledger, at, {"M2": [500 * number, demand]}, registers=registers, seq=number + 100)


def acting(name: str) -> Acting:
    return Acting(name, NOW, "a test")


EXPECTED = [PeakDemand("T1/b", "M2", 100_000, midnight("2026-10-06"))]


def test_a_run_freezes_them_and_cmis_gets_them(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    run = open_run(
        ledger, from_at=FIRST, to_at=LAST, zone=ZONE, by_whom=acting("an"), scope=Scope()
    ).run
    made = make_version(ledger, run, BILLED_BY, acting("an"))
    with ledger.read() as uow:
        assert uow.demands.of(run, 1) == EXPECTED
        (entry,) = (one for one in uow.audit.newest(9) if one.action == "billing.make")
    assert entry.detail["demands_sha256"] == demands_hash(EXPECTED)
    for cause in {one.cause for one in run_exceptions(ledger, run, BILLED_BY) if one.blocks}:
        accept_exceptions(ledger, run, cause, acting("an"))
    approve_run(ledger, run, made.version.sha256, BILLED_BY, acting("bình"))
    # What comes later changes nothing of it.
    put(ledger, LAST, {"M2": 9_999}, registers=(DEMAND_MAX,), offset=timedelta(seconds=9), seq=999)
    rows = rows_of(b"".join(export_run_cmis(ledger, run, BY).pieces))
    found = {row["MA_DDO"]: (row.get("PMAX"), row.get("NGAY_PMAX")) for row in rows}
    assert found == {
        "T1/a": (None, None),
        "T1/b": ("100", "2026-10-06T00:00:00"),
        "T1/head": (None, None),
    }
    assert verify_runs(ledger) == []
    for statement in (
        "UPDATE maximum_demands SET power_w = 1",
        "DELETE FROM maximum_demands",
    ):
        with pytest.raises(DBAPIError), ledger._engine.begin() as connection:
            connection.execute(text(statement))


def test_a_snapshot_freezes_them_too(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    head = create_snapshot(ledger, station=None, from_at=FIRST, to_at=LAST, actor="clerk", now=NOW)
    with ledger.read() as uow:
        assert uow.demands.of(head.id) == EXPECTED
    rows = rows_of(b"".join(export_cmis(ledger, head.id, BY).pieces))
    assert [row.get("PMAX") for row in rows] == [None, "100", None]
