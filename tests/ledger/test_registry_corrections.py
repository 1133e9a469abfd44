"""Corrections of installations, multipliers and contracts: kept, told, billed once."""

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from collector.billing.run_values import LineKind
from collector.ledger import Ledger
from collector.operations.audit import list_audit
from collector.operations.balances import daily_balances
from collector.operations.billing_runs import make_version, version_lines
from collector.operations.findings import enter_index
from collector.operations.losses import Period, district_losses
from collector.operations.registry import ImportReport, import_registry
from collector.operations.registry_export import export_registry
from collector.operations.registry_history import point_history
from collector.registry.values import IndexSide
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put, write_files
from tests.ledger.test_billing_runs import BY, NOV, OCT, SEP, finish, opened, who
from tests.ledger.test_run_bills import estimate

LATER = midnight("2026-11-23")
EXCHANGED = midnight("2026-10-01")
INSTALLATIONS = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/a,M1,2026-01-01,2026-10-01,,1060000
T1/a,M3,2026-10-01,,0,
T1/b,M2,2026-01-01,,,
T1/head,M0,2026-01-01,,,
"""
SAID = {
    **FILES,
    "installations.csv": INSTALLATIONS,
    "multipliers.csv": "point,from_at,multiplier\nT1/head,2026-01-01,30\n",
    "customers.csv": "customer,name,address\nPA25SL0000001,,\nPA25SL0000002,,\n",
    "contracts.csv": "contract,point,customer,from_at,to_at\n"
    "HD-1,T1/a,PA25SL0000001,2026-01-01,2026-10-05\nHD-2,T1/b,PA25SL0000002,2026-01-01,\n",
    "terms.csv": "contract,from_at,voltage_v,households,renters,renters_undeclared,registered_w\n"
    "HD-1,2026-01-01,220,1,,,\n",
    "allocations.csv": "contract,from_at,register,position,percent,kwh,price_group\n"
    "HD-1,2026-01-01,1-0:1.8.0,1,100,,household\n",
}


@pytest.fixture
def exported(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A period in which a meter was exchanged, billed and exported; and the reads of the next."""
    assert import_files(ledger, tmp_path / "in", SAID).errors == ()
    put(ledger, SEP, {"M0": 100_000, "M1": 1_000_000, "M2": 5_000_000})
    put(ledger, OCT, {"M0": 110_000, "M3": 40_000, "M2": 5_200_000}, seq=2)
    finish(ledger, opened(ledger))
    put(ledger, NOV, {"M0": 130_000, "M3": 100_000, "M2": 5_400_000}, seq=3)
    return ledger


def correct(ledger: Ledger, tmp_path: Path, files: Mapping[str, str]) -> ImportReport:
    folder = write_files(tmp_path / "correction", files)
    return import_registry(ledger, folder, "clerk", NOW, zone=ZONE, correction="typed wrongly")


def next_lines(ledger: Ledger) -> dict[tuple[str, str], int | None]:
    """What the next period bills of points, and what it corrects."""
    run = opened(ledger, OCT, NOV)
    make_version(ledger, run, BY, who("an"))
    return {(line.point, line.kind.value): line.billed for line in version_lines(ledger, run)}


def received(ledger: Ledger) -> tuple[int | None, int | None]:
    """What T1 received on the period's first day, and in the period by the losses."""
    day = date(2026, 9, 20)
    [of_day] = daily_balances(ledger, station="T1", first_day=day, last_day=day, zone=ZONE)
    [loss] = district_losses(ledger, Period(SEP, OCT)).stations
    return of_day.balance.received_wh, loss.balance.received_wh


def test_a_removal_index_is_corrected_and_the_next_period_has_its_line(
    exported: Ledger, tmp_path: Path
) -> None:
    text_ = INSTALLATIONS.replace("1060000", "1075000")
    report = correct(exported, tmp_path, {"installations.csv": text_})
    assert (report.errors, report.corrected, report.unchanged) == ((), 1, 3)
    assert report.touched is not None
    assert report.touched.points == ("T1/a",)
    assert len(report.touched.exported_runs) == 1
    lines = next_lines(exported)
    assert lines["T1/a", LineKind.CORRECTION.value] == 15_000
    assert lines["T1/a", "consumption"] == 60_000
    assert ("T1/b", LineKind.CORRECTION.value) not in lines
    with exported.read() as uow:
        (kept,) = uow.replaced_rows.of("installations", ["T1/a"])
    assert (kept.version, kept.row["removal_index_wh"]) == (1, 1_060_000)
    [entry] = list_audit(exported, limit=1, action="registry.import")
    assert entry.detail["reason"] == "typed wrongly"
    (said,) = entry.detail["changed"]
    assert (said["old"]["removal_index_wh"], said["new"]["removal_index_wh"]) == (
        1_060_000,
        1_075_000,
    )
    assert correct(exported, tmp_path, {"installations.csv": text_}).unchanged == 4
    (was,) = [one for one in point_history(exported, "T1/a", ZONE) if one.what == "corrected"]
    assert "removal_index_wh 1060000" in was.text


def test_an_exchange_is_moved_to_its_true_time(exported: Ledger, tmp_path: Path) -> None:
    moved = (
        "point,meter,installed_at,removed_at,install_index_wh,instead_of\n"
        "T1/a,M1,2026-01-01,2026-10-02T09:00:00+07:00,,\n"
        "T1/a,M3,2026-10-02T09:00:00+07:00,,20,2026-10-01\n"
    )
    assert import_files(exported, tmp_path / "in", {"installations.csv": moved}).errors != ()
    report = correct(exported, tmp_path, {"installations.csv": moved})
    assert (report.errors, report.corrected) == ((), 2)
    assert report.touched is not None
    assert (report.touched.from_at, len(report.touched.exported_runs)) == (EXCHANGED, 1)
    with exported.read() as uow:
        first, second, *_ = uow.registry.installations("T1")
    assert first.removed_at == second.installed_at
    assert (first.removal_indices, second.install_indices) == (
        {IMPORT_ACTIVE: 1_060_000},
        {IMPORT_ACTIVE: 20},
    )
    # The new meter began at 20 Wh, which is below what is billed: nothing changes.
    assert ("T1/a", LineKind.CORRECTION.value) not in next_lines(exported)


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ("T1/a,M3,2026-10-02,,0,2026-10-03\n", "instead_of"),
        ("T1/a,M3,2026-09-01,,0,2026-10-01\n", "point"),
        ("T1/a,M2,2026-10-01,,0,\n", "meter"),
        ("T1/a,M1,2026-01-01,,,\n", "point"),
    ],
)
def test_a_correction_must_stand_beside_the_rest(
    exported: Ledger, tmp_path: Path, rows: str, column: str
) -> None:
    head = "point,meter,installed_at,removed_at,install_index_wh,instead_of\n"
    report = correct(exported, tmp_path, {"installations.csv": head + rows})
    assert [error.column for error in report.errors] == [column]


def test_two_meters_that_were_mixed_up_change_places(exported: Ledger, tmp_path: Path) -> None:
    rows = "point,meter,installed_at,removed_at\nT1/b,M0,2026-01-01,\nT1/head,M2,2026-01-01,\n"
    report = correct(exported, tmp_path, {"installations.csv": rows})
    assert (report.errors, report.corrected) == ((), 2)
    with exported.read() as uow:
        found = {row.point: row.meter for row in uow.registry.installations()}
    assert (found["T1/b"], found["T1/head"]) == ("M0", "M2")


def test_a_first_index_is_corrected_though_one_meter_was_there_all_the_time(
    ledger: Ledger, tmp_path: Path
) -> None:
    rows = INSTALLATIONS.replace("T1/b,M2,2026-01-01,,,", "T1/b,M2,2026-09-25,,100000,")
    import_files(ledger, tmp_path / "in", {**SAID, "installations.csv": rows})
    put(ledger, SEP, {"M0": 100_000, "M1": 1_000_000})
    put(ledger, OCT, {"M0": 110_000, "M3": 40_000, "M2": 200_000}, seq=2)
    finish(ledger, opened(ledger))
    put(ledger, NOV, {"M0": 130_000, "M3": 100_000, "M2": 400_000}, seq=3)
    fixed = rows.replace("100000,\nT1/head", "150000,\nT1/head")
    assert correct(ledger, tmp_path, {"installations.csv": fixed}).corrected == 1
    assert next_lines(ledger)["T1/b", LineKind.CORRECTION.value] == -50_000


def test_a_multiplier_corrected_back_dated_recomputes_days_losses_and_bills(
    exported: Ledger, tmp_path: Path
) -> None:
    put(exported, midnight("2026-09-21"), {"M0": 101_000, "M1": 1_001_000, "M2": 5_001_000}, seq=4)
    assert received(exported) == (30_000, 300_000)
    rows = "point,from_at,multiplier\nT1/head,2026-01-01,40\n"
    refused = import_files(exported, tmp_path / "in", {"multipliers.csv": rows})
    assert [error.column for error in refused.errors] == ["multiplier"]
    report = correct(exported, tmp_path, {"multipliers.csv": rows})
    assert (report.corrected, report.added["multipliers"]) == (1, 0)
    assert report.touched is not None
    assert (report.touched.points, report.touched.to_at) == (("T1/head",), None)
    assert len(report.touched.exported_runs) == 1
    assert received(exported) == (40_000, 400_000)
    lines = next_lines(exported)
    assert lines["T1/head", LineKind.CORRECTION.value] == 100_000
    assert lines["T1/head", "consumption"] == 800_000
    [entry] = list_audit(exported, limit=1, action="registry.import")
    (said,) = entry.detail["changed"]
    assert (said["old"]["multiplier"], said["new"]["multiplier"]) == ("30", "40")
    with exported.read() as uow:
        (kept,) = uow.replaced_rows.of("multipliers", ["T1/head"])
        (ratio,) = uow.registry.multipliers()
    assert (kept.row["multiplier"], ratio.ratio) == ("30", Fraction(40))
    assert ratio.index_side is IndexSide.SECONDARY


def test_a_correction_that_was_wrong_itself_is_taken_back_by_the_next_period(
    exported: Ledger, tmp_path: Path
) -> None:
    """The registry says again what was billed at first; what was billed since has to follow."""
    ratio = "point,from_at,multiplier\nT1/head,2026-01-01,40\n"
    index = INSTALLATIONS.replace("1060000", "1075000")
    wrong = {"multipliers.csv": ratio, "installations.csv": index}
    assert correct(exported, tmp_path, wrong).corrected == 2
    finish(exported, opened(exported, OCT, NOV))
    right = {"multipliers.csv": ratio.replace("40", "30"), "installations.csv": INSTALLATIONS}
    assert correct(exported, tmp_path, right).corrected == 2
    put(exported, LATER, {"M0": 140_000, "M3": 150_000, "M2": 5_600_000}, seq=5)
    run = opened(exported, NOV, LATER)
    finish(exported, run)
    found = [line for line in version_lines(exported, run) if line.cites]
    assert sorted((line.point, line.billed or 0) for line in found) == [
        ("T1/a", -15_000), ("T1/head", -200_000), ("T1/head", -100_000),
    ]  # fmt: skip
    with exported.read() as uow:
        lines = [one.line for one in uow.billing_runs.exported(None, midnight("2026-01-01"))]
    total = sum(line.billed or 0 for line in lines if line.point == "T1/head")
    assert total == 30 * (140_000 - 100_000)


def test_an_exchange_that_is_told_two_periods_late_is_billed_by_both_meters(
    ledger: Ledger, tmp_path: Path
) -> None:
    """The new meter was read all the time; at the ends of exported periods it stands in."""
    rows = INSTALLATIONS.splitlines(keepends=True)
    unknown = "".join([rows[0], "T1/a,M1,2026-01-01,,,\n", *rows[3:]])
    assert import_files(ledger, tmp_path / "in", {**SAID, "installations.csv": unknown}).written
    put(ledger, SEP, {"M0": 100_000, "M1": 1_000_000, "M2": 5_000_000})
    put(ledger, OCT, {"M0": 110_000, "M2": 5_200_000, "M3": 40_000}, seq=2)
    put(ledger, NOV, {"M0": 130_000, "M2": 5_400_000, "M3": 240_000}, seq=3)
    for at, value in ((OCT, 1_117_000), (NOV, 1_309_000)):
        enter_index(ledger, estimate("T1/a", "M1", at, value), NOW)
    finish(ledger, opened(ledger))
    finish(ledger, opened(ledger, OCT, NOV))
    assert import_files(ledger, tmp_path / "in", {"installations.csv": INSTALLATIONS}).written
    put(ledger, LATER, {"M0": 140_000, "M2": 5_600_000, "M3": 290_000}, seq=5)
    run = opened(ledger, NOV, LATER)
    finish(ledger, run)
    found = [line for line in version_lines(ledger, run) if line.point == "T1/a"]
    assert sorted(line.billed or 0 for line in found) == [-17_000, 8_000, 50_000]
    with ledger.read() as uow:
        lines = [one.line for one in uow.billing_runs.exported({"T1/a"}, midnight("2026-01-01"))]
    assert sum(line.billed or 0 for line in lines) == 60_000 + 290_000


def test_the_ends_of_contracts_are_corrected_and_an_export_is_what_can_be_imported(
    exported: Ledger, ledger: Ledger, tmp_path: Path
) -> None:
    rows = (
        "contract,point,customer,from_at,to_at\n"
        "HD-1,T1/a,PA25SL0000002,2026-02-01,2026-10-12\nHD-2,T1/a,PA25SL0000002,2026-01-01,\n"
    )
    report = correct(exported, tmp_path, {"contracts.csv": rows})
    assert {error.column for error in report.errors} == {"point"}
    rows = rows.replace("HD-2,T1/a,PA25SL0000002,2026-01-01,\n", "")
    report = correct(exported, tmp_path, {"contracts.csv": rows})
    assert (report.errors, report.corrected, report.warnings) == ((), 1, ())
    with exported.read() as uow:
        contract = uow.contracts.load().contracts["HD-1"]
        (kept,) = uow.replaced_rows.of("contracts", ["HD-1"])
    assert (contract.from_at, contract.to_at) == (midnight("2026-02-01"), midnight("2026-10-12"))
    assert kept.row["customer"] == "PA25SL0000001"
    export_registry(exported, tmp_path / "out", "clerk", NOW, zone=ZONE)
    terms = (tmp_path / "out" / "terms.csv").read_text("utf-8").splitlines()
    assert terms[1:] == ["HD-1,2026-02-01,220,1,,,"]
    again = Ledger(f"sqlite:///{tmp_path / 'again.db'}")
    again.migrate()
    copy = import_registry(again, tmp_path / "out", "clerk", NOW, zone=ZONE)
    again.close()
    assert copy.errors == ()


def test_what_was_replaced_never_changes(exported: Ledger, tmp_path: Path) -> None:
    rows = "point,from_at,multiplier\nT1/head,2026-01-01,40\n"
    correct(exported, tmp_path, {"multipliers.csv": rows})
    for statement in ("UPDATE replaced_rows SET name = 'x'", "DELETE FROM replaced_rows"):
        with pytest.raises(DBAPIError), exported._engine.begin() as connection:
            connection.execute(text(statement))
