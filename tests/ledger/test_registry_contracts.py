"""The registry for bills: files in, the same files out, and everything that is refused."""

import shutil
import stat
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations import registry_workbook
from collector.operations.registry_export import export_registry
from collector.operations.registry_history import (
    book_periods,
    book_points,
    point_at,
    point_history,
)
from collector.operations.registry_import import ImportReport, import_registry
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight

GOLDEN = Path(__file__).parents[1] / "golden" / "registry"
GOLDEN_FILES = {path.name: path.read_text("utf-8") for path in GOLDEN.glob("*.csv")}
DATED = ("contract_terms", "allocations", "reading_days", "memberships", "transfers", "inspections")


def load(ledger: Ledger, source: Path, *, dry_run: bool = False) -> ImportReport:
    return import_registry(ledger, source, "tester", NOW, zone=ZONE, dry_run=dry_run)


def export(ledger: Ledger, target: Path) -> dict[str, int]:
    return export_registry(ledger, target, "tester", NOW, zone=ZONE)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.csv")}


@pytest.fixture
def golden(ledger: Ledger) -> Ledger:
    report = load(ledger, GOLDEN)
    assert report.errors == ()
    return ledger


def test_the_golden_files_come_back_byte_for_byte(golden: Ledger, tmp_path: Path) -> None:
    counts = export(golden, tmp_path / "out")
    assert contents(tmp_path / "out") == GOLDEN_FILES
    assert counts["allocations.csv"] == 13
    again = load(golden, tmp_path / "out")
    assert again.written
    assert sum(again.added.values()) == again.completed == again.corrected_customers == 0
    assert again.unchanged == sum(counts.values())
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, "names and addresses are in it"
    with pytest.raises(InvalidRequest, match="cannot be written"):
        export(golden, tmp_path / "out")
    with golden.read() as uow:
        trail = uow.audit.newest(10)
    assert [entry.action for entry in trail].count("registry.export") == 2
    assert "Hoa" not in repr(trail)


def test_a_workbook_is_the_same_as_the_files(golden: Ledger, tmp_path: Path) -> None:
    export(golden, tmp_path / "out.xlsx")
    again = load(golden, tmp_path / "out.xlsx")
    assert again.written
    assert again.unchanged == sum(text.count("\n") - 1 for text in GOLDEN_FILES.values())
    book = load_workbook(tmp_path / "out.xlsx")
    assert book["customers"]["A2"].value == "PA25SL0000001"
    # As a person saves it: numbers and dates of their own kinds, and formatted rows below.
    book["meters"]["E2"].value = 6
    book["memberships"]["B2"].value = datetime(2026, 1, 1)  # noqa: DTZ001
    book["allocations"]["E9"].value = 66.67
    book["allocations"]["D3"].value = 2.0
    book["points"]["A30"].number_format = "@"
    book.create_sheet("notes").append(["=1+1"])
    book.save(tmp_path / "saved.xlsx")
    assert load(golden, tmp_path / "saved.xlsx").unchanged == again.unchanged


def test_a_sheets_bad_row_is_named(ledger: Ledger, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.create_sheet("stations")
    for row in (["station", "name"], ["S1", "one"], [], ["S2", None]):
        sheet.append(row)
    book.save(tmp_path / "in.xlsx")
    report = load(ledger, tmp_path / "in.xlsx")
    assert [str(error) for error in report.errors] == [
        "sheet stations, row 4, column name: must not be empty"
    ]


def _formula(path: Path) -> None:
    book = Workbook()
    book.create_sheet("stations").append(["station", "=1+1"])
    book.save(path)


def _other(path: Path) -> None:
    Workbook().save(path)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 50_000_000)


def _half(path: Path) -> None:
    Workbook().save(path)
    path.write_bytes(path.read_bytes()[:-200])


def _empty_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types")


def _entities(path: Path) -> None:
    laugh = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE t [<!ENTITY l0 "ha">{laugh}]><t>&l11;</t>'
    book = Workbook()
    book.create_sheet("stations").append(["station", "name"])
    book.save(path.with_suffix(".tmp"))
    with zipfile.ZipFile(path.with_suffix(".tmp")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, text if name == "xl/worksheets/sheet2.xml" else old.read(name))


def _wide(path: Path) -> None:
    book = Workbook()
    sheet = book.create_sheet("stations")
    sheet.append(["station", "name"])
    sheet["XFD2"].number_format = "@"
    book.save(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_wide, "a row of 16384 cells"),
        (_formula, "formula"),
        (_other, "no sheet of the registry"),
        (_bomb, "unpack"),
        (_half, "no sound workbook"),
        (_empty_archive, "no sound workbook"),
        (_entities, "no sound workbook"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0"), "no sound workbook"),
        (lambda _path: None, "cannot be read"),
    ],
)
def test_what_is_no_workbook_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "in.xlsx")
    with pytest.raises(InvalidRequest, match=reason):
        registry_workbook.read_workbook(tmp_path / "in.xlsx", ["stations.csv"])


def test_the_bounds_of_a_workbook_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Workbook()
    for _ in range(30):
        book.worksheets[0].append(["x"] * 10)
    book.worksheets[0].title = "stations"
    book.save(tmp_path / "in.xlsx")
    bounds = {
        "WORKBOOK_BYTES_MAX": "larger", "UNPACKED_BYTES_MAX": "unpack", "RATIO_MAX": "unpack",
        "MEMBERS_MAX": "parts", "ROWS_MAX": "rows", "COLUMNS_MAX": "columns",
    }  # fmt: skip
    for name, reason in bounds.items():
        with monkeypatch.context() as patch:
            patch.setattr(registry_workbook, name, 1)
            with pytest.raises(InvalidRequest, match=reason):
                registry_workbook.read_workbook(tmp_path / "in.xlsx", ["stations.csv"])


# What is added to the golden registry, where the error is, and what it says.
REFUSED = [
    ("contracts.csv", "HD-9,SL01/zz,PA25SL0000001,2026-01-01,", "point", "not known"),
    ("contracts.csv", "HD-9,SL01/own,PA25SL9999999,2026-01-01,", "customer", "not known"),
    ("contracts.csv", "HD-9,SL01/b,PA25SL0000001,2026-05-01,", "point", "two contracts at once"),
    ("contracts.csv", "HD-9,SL01/a,PA25SL0000001,2026-08-14,2026-08-15", "point", "at once"),
    ("contracts.csv", "HD-9,SL01/own,PA25SL0000001,2026-05-01,2026-05-01", "to_at", "after"),
    ("contracts.csv", "HD-9,SL01/own,PA25SL0000001,2026-05-01T08:00:00+07:00,", "from_at", "00:00"),
    ("contracts.csv", "HD-002,SL01/a,PA25SL0000001,2026-08-15,", "customer", "contradicts"),
    ("customers.csv", "=cmd,x,y", "customer", "no code"),
    ("customers.csv", "PA25SL0000009,=1+1,", "name", "must not begin with ="),
    ("terms.csv", "HD-003,2026-05-01,220,1,2,,", "households", "one of"),
    ("terms.csv", "HD-001,2026-08-15,220,,,,", "from_at", "not in force"),
    ("terms.csv", "HD-003,2026-01-01,220,3,,,", "households", "contradicts"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.0,1,70,,household", "percent", "70 together"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.0,1,100,,villa", "price_group", "no tariff"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.0,1,100,50,household", "percent", "either"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.0,1,,50,household", "percent", "0 together"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.1,1,100,,household", "register", "a list is"),
    ("allocations.csv", "HD-003,2026-01-01,1-0:1.8.0,2,50,,business", "from_at", "whole"),
    ("allocations.csv", "HD-003,2026-05-01,1-0:1.8.0,1,0,,household", "percent", "no per cent"),
    ("reading_days.csv", "SL-A01,2026-05-01,32", "reading_days", "no reading day"),
    ("reading_days.csv", "SL-A01,2026-05-01,29", "reading_days", "no reading day"),
    ("reading_days.csv", "SL-A01,2026-05-01,20;10", "reading_days", "ascending"),
    ("reading_days.csv", "SL-A01,2026-05-01,1;2;3;4", "reading_days", "more than 3"),
    ("reading_days.csv", "SL-A09,2026-05-01,20", "book", "not known"),
    ("memberships.csv", "SL01/zz,2026-05-01,SL-A01,A1", "point", "not known"),
    ("memberships.csv", "SL01/b,2026-05-01,SL-A09,A1", "book", "not known"),
    ("memberships.csv", "SL01/b,2026-05-01,SL-A01,", "position", "position"),
    ("transfers.csv", "SL01/b,2026-05-01T00:30:00+07:00,SL02", "from_at", "00:00"),
    ("transfers.csv", "SL01/b,2026-05-01,SL99", "station", "not known"),
    ("transfers.csv", "SL01/b,2026-05-01,SL01", "station", "already"),
    ("transfers.csv", "SL01/a,2026-11-01,SL02", "station", "already"),
    ("transfers.csv", "SL01/head,2026-05-01,SL02", "point", "stays"),
    ("multipliers.csv", "SL01/b,2026-05-01,0,", "multiplier", "no multiplier"),
    ("multipliers.csv", "SL01/b,2026-05-01,40,primary", "multiplier", "multiplier is 1"),
    ("installations.csv", "SL01/b,M-A,2026-05-01,,,", "point", "at once"),
    ("installations.csv", "SL01/zz,M-A,2027-05-01,,,", "point", "not known"),
    ("inspections.csv", "M-ZZ,2026-05-01,,", "meter", "not known"),
    ("inspections.csv", "M-A,2026-05-01,2026-13-01,", "calibration_due", "no date"),
    ("points.csv", "SL01/x,SL01,sub_meter,x,", "parent", "a sub_meter has a parent"),
    ("points.csv", "SL01/x,SL01,household,x,SL01/b", "parent", "nothing else"),
    ("points.csv", "SL01/x,SL01,sub_meter,x,SL01/zz", "parent", "not known"),
    ("points.csv", "SL01/x,SL01,sub_meter,x,SL01/x", "parent", "behind itself"),
    ("points.csv", "SL01/b1,SL01,sub_meter,x,SL01/a", "parent", "contradicts"),
    ("stations.csv", "SL01,Trạm Đồng Thịnh 1,Đồng Thịnh,250,dedicated,,", "kind", "contradicts"),
    ("stations.csv", "SL03,x,,,private,,", "kind", "none of"),
    ("meters.csv", "M-A,sdm120,10,1000000000,5", "digits", "contradicts"),
]


def test_every_bad_row_is_refused_with_its_place(golden: Ledger, tmp_path: Path) -> None:
    before = export(golden, tmp_path / "before")
    for number, (file, row, column, reason) in enumerate(REFUSED):
        folder = tmp_path / str(number)
        folder.mkdir()
        header = GOLDEN_FILES[file].splitlines()[0]
        (folder / file).write_text(f"{header}\n{row}\n", "utf-8")
        report = load(golden, folder)
        found = [(error.file, error.row, error.column) for error in report.errors]
        assert (file, 2, column) in found, (row, report.errors)
        assert any(error.column == column and reason in error.reason for error in report.errors), (
            row,
            report.errors,
        )
        assert not report.written
    assert export(golden, tmp_path / "after") == before


def test_sub_meters_may_not_go_round(ledger: Ledger, tmp_path: Path) -> None:
    rows = "T1/x,T1,sub_meter,x,T1/y\nT1/y,T1,sub_meter,y,T1/x\nT1/z,T1,sub_meter,z,T1/y\n"
    points = "point,station,role,name,parent\n" + rows
    report = import_files(ledger, tmp_path / "in", {**FILES, "points.csv": points})
    circles = [error.row for error in report.errors if "behind itself" in error.reason]
    assert circles == [2, 3]


def test_sub_meters_of_sub_meters_come_in_any_order(ledger: Ledger, tmp_path: Path) -> None:
    rows = "T1/1,T1,sub_meter,x,T1/2\nT1/2,T1,sub_meter,y,T1/a\nT1/a,T1,household,a,\n"
    files = {
        "stations.csv": FILES["stations.csv"],
        "points.csv": "point,station,role,name,parent\n" + rows,
    }
    report = import_files(ledger, tmp_path / "in", files)
    assert (report.errors, report.added["points"]) == ((), 3)


def test_what_was_imported_without_new_columns_can_be_completed(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "old", FILES)
    export(ledger, tmp_path / "before")
    # An old folder knows none of the new columns, and none of them comes back.
    assert contents(tmp_path / "before") == FILES | {
        "points.csv": "point,station,role,name\nT1/a,T1,household,Nguyễn Văn A\n"
        'T1/b,T1,business,"Xưởng mộc, B"\nT1/head,T1,head,Công tơ tổng\n',
        "installations.csv": contents(tmp_path / "before")["installations.csv"],
    }
    more = {
        "stations.csv": "station,name,commune,capacity_kva,kind\nT1,Trạm 1,Sông Lô,250,public\n",
        "meters.csv": "meter,model,resolution_wh,roll_over_wh,digits\nM1,sdm120,10,100000000,5\n",
    }
    report = import_files(ledger, tmp_path / "more", more)
    assert (report.errors, report.completed) == ((), 2)
    # The old files again say nothing of what they do not know.
    again = import_files(ledger, tmp_path / "old", FILES)
    assert (again.errors, again.completed, again.unchanged) == ((), 0, 11)
    export(ledger, tmp_path / "after")
    assert "T1,Trạm 1,Sông Lô,250,public\n" in contents(tmp_path / "after")["stations.csv"]


def test_a_contract_ends_and_a_customers_name_is_put_right(golden: Ledger, tmp_path: Path) -> None:
    files = {
        "contracts.csv": "contract,point,customer,from_at,to_at\n"
        "HD-003,SL01/b,PA25SL0000002,2026-01-01,2026-11-01\n"
        "HD-007,SL01/b,PA25SL0000001,2026-11-01,\n",
        "customers.csv": "customer,name,address\nPA25SL0000001,Nguyễn Thị Hoà,\n",
    }
    report = import_files(golden, tmp_path / "in", files)
    assert (report.errors, report.closed_contracts, report.corrected_customers) == ((), 1, 1)
    assert report.warnings == (
        "contract HD-007 has no terms from its beginning on: it cannot be billed",
        "contract HD-007 has no allocation of prices from its beginning on: it cannot be billed",
    )
    with golden.read() as uow:
        first = uow.contracts.customers()[0]
        [entry] = uow.audit.newest(1)
    assert (first.name, first.address) == ("Nguyễn Thị Hoà", "Thôn Chiến Thắng, Đồng Thịnh")
    assert entry.detail["corrected_customers"] == ["PA25SL0000001"]
    assert "Hoà" not in repr(entry)


CORRECTIONS = {
    "terms.csv": ["HD-001,2026-01-01,220,4,,,"],
    "allocations.csv": ["HD-001,2026-01-01,1-0:1.8.0,1,100,,business"],
    "memberships.csv": ["SL01/a,2026-01-01,SL-A01,A7"],
    "reading_days.csv": ["SL-A01,2025-12-01,19"],
    "transfers.csv": ["SL01/a,2026-10-01,SL01"],
    "inspections.csv": ["M-A,2025-12-20T09:00:00+07:00,2030-12-31,"],
}


def test_a_correction_takes_the_place_of_a_row_and_keeps_it(golden: Ledger, tmp_path: Path) -> None:
    files = {
        name: "\n".join([GOLDEN_FILES[name].splitlines()[0], *rows, ""])
        for name, rows in CORRECTIONS.items()
    }
    assert {error.file for error in import_files(golden, tmp_path / "in", files).errors} == {*files}
    for reason in ("", "  "):
        with pytest.raises(InvalidRequest, match="needs a reason"):
            import_registry(golden, tmp_path / "in", "x", NOW, zone=ZONE, correction=reason)
    for _ in range(2):
        # The same correction again changes nothing.
        report = import_registry(
            golden, tmp_path / "in", "tester", NOW, zone=ZONE, correction="typed wrongly"
        )
        assert report.errors == ()
    assert (report.corrected, report.unchanged) == (0, 6)
    held = point_at(golden, "SL01/a", midnight("2026-10-02"))
    assert held.station == "SL01", "the transfer never was"
    held = point_at(golden, "SL01/a", midnight("2026-02-01"))
    assert held.terms is not None
    assert held.membership is not None
    assert (held.terms.households, held.membership.position) == (4, "A7")
    assert [(row.price_group, row.percent_hundredths) for row in held.allocation] == [
        ("business", 100_00)
    ]
    [period] = book_periods(golden, "SL-A01", date(2026, 9, 1), ZONE)
    assert period.reading_day == 19
    export(golden, tmp_path / "out")
    assert contents(tmp_path / "out")["inspections.csv"].splitlines()[1] == (
        "M-A,2025-12-20T09:00:00+07:00,2030-12-31,"
    )
    with golden._engine.connect() as connection:
        for table, kept in (("contract_terms", 8), ("allocations", 14), ("memberships", 7)):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == kept
    with golden.read() as uow:
        entry = next(one for one in uow.audit.newest(5) if "reason" in one.detail)
    assert entry.detail["reason"] == "typed wrongly"
    assert "terms HD-001 2025-12-31T17:00:00Z" in entry.detail["corrected"]


def test_a_correction_is_checked_like_anything_else(golden: Ledger, tmp_path: Path) -> None:
    header = GOLDEN_FILES["allocations.csv"].splitlines()[0]
    (tmp_path / "allocations.csv").write_text(
        f"{header}\nHD-001,2026-01-01,1-0:1.8.0,1,99,,business\n"
    )
    report = import_registry(golden, tmp_path, "x", NOW, zone=ZONE, correction="typed wrongly")
    assert [error.column for error in report.errors] == ["percent"]
    assert not report.written


def test_what_held_for_a_point(golden: Ledger) -> None:
    early = point_at(golden, "SL01/a", midnight("2026-08-14"))
    assert early.contract is not None
    assert early.membership is not None
    assert early.terms is not None
    assert (early.station, early.contract.contract, early.membership.position) == (
        "SL01",
        "HD-001",
        "A10",
    )
    assert (early.terms.households, len(early.allocation)) == (1, 2)
    late = point_at(golden, "SL01/a", midnight("2026-10-01"))
    assert late.contract is not None
    assert (late.station, late.contract.contract) == ("SL02", "HD-002")
    with pytest.raises(NotFound):
        point_at(golden, "SL01/zz", NOW)
    [period] = book_periods(golden, "SL-A01", date(2026, 9, 1), ZONE)
    assert [row.point for row in book_points(golden, period)] == [
        "SL01/ubnd",
        "SL01/b",
        "SL01/b1",
        "SL01/a",
    ]
    [period] = book_periods(golden, "SL-A01", date(2026, 10, 1), ZONE)
    assert "SL01/ubnd" not in [row.point for row in book_points(golden, period)]
    with pytest.raises(NotFound, match="no reading book"):
        book_periods(golden, "none", date(2026, 9, 1), ZONE)


def test_a_points_history_is_told_in_order_and_without_names(golden: Ledger) -> None:
    history = point_history(golden, "SL01/a", ZONE)
    assert [(entry.what, entry.text) for entry in history if entry.what != "inspection"] == [
        ("point", "household at station SL01"),
        ("meter", "M-A installed at 0 Wh"),
        ("contract", "HD-001 with customer PA25SL0000001 until 2026-08-15"),
        ("terms", "HD-001: 220 V, 1 households"),
        ("prices", "HD-001: 1-0:1.8.0 70%*household; 30%*business"),
        ("book", "SL-A01, position A10"),
        ("meter", "M-A removed at 12398200 Wh"),
        ("meter", "M-A2 installed at 300 Wh"),
        ("contract", "HD-002 with customer PA25SL0000002"),
        ("terms", "HD-002: 220 V, 3 renters"),
        ("prices", "HD-002: 1-0:1.8.0 100%*household"),
        ("station", "SL02"),
    ]
    assert "calibration due 2031-12-31, seals PA25-000123" in repr(history)
    assert "Hoa" not in repr(history)


@pytest.mark.parametrize("action", ["UPDATE {} SET from_at = from_at", "DELETE FROM {}"])
def test_the_database_refuses_to_amend_dated_facts(golden: Ledger, action: str) -> None:
    for table in DATED:
        statement = action.format(table)
        if table == "inspections":
            statement = statement.replace("from_at", "inspected_at")
        with (
            pytest.raises(IntegrityError, match="append-only"),
            golden._engine.begin() as connection,
        ):
            connection.execute(text(statement))


def test_a_file_of_a_folder_may_be_absent(golden: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    shutil.copy(GOLDEN / "allocations.csv", folder)
    assert load(golden, folder, dry_run=True).unchanged == 13


def test_instants_are_the_zones_own(golden: Ledger) -> None:
    with golden.read() as uow:
        [transfer] = uow.registry.transfers()
    assert transfer.from_at == datetime(2026, 9, 30, 17, tzinfo=UTC)
