"""Hand-over files of a billing run, on both databases: what is billed, whole or in part."""

import csv
import hashlib
import io
import json
import re
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pypdfium2
import pytest
from typer.testing import CliRunner

from collector.billing.exports.cmis.table1 import Table1Reader
from collector.billing.exports.run_csv import run_csv
from collector.cli import app
from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations import exports
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    make_version,
    open_run,
    run_exceptions,
    version_lines,
)
from collector.operations.export_selection import Selection
from collector.operations.exports import By, Named
from collector.operations.run_exports import (
    RunExport,
    export_run_cmis,
    export_run_csv,
    export_run_json,
    export_run_statement,
    export_run_xlsx,
    fill_run_cmis,
)
from collector.operations.snapshots import create_snapshot
from collector.operations.vee_files import load_limits
from collector.registry.values import Role
from tests.ledger.building import ZONE, import_files, midnight, put

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
BILLED_BY = BilledBy(load_limits(None), ZONE)
BY = By("clerk", NOW, ZONE)
FIRST, SECOND, THIRD = (midnight(f"2026-{day}") for day in ("09-21", "10-01", "10-11"))

FILES = {
    "stations.csv": "station,name,commune,capacity_kva,unit\n"
    "T1,Trạm 1,Sông Lô,250,PA25SL\nT2,Trạm 2,Lập Thạch,400,PA25SL\n",
    "points.csv": "point,station,role,name\n"
    "P1,T1,household,Hộ một\nP2,T1,business,Xưởng mộc\nP3,T2,household,Hộ ba\n"
    "P4,T2,household,Hộ bốn\n",
    "meters.csv": "meter,model,resolution_wh,roll_over_wh\n"
    "M1,sdm120,10,100000000\nM2,sdm630,10,100000000\nM3,sdm120,10,100000000\n"
    "M4,sdm120,10,100000000\nM9,sdm120,10,100000000\n",
    "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    "P1,M1,2026-01-01,2026-10-05T09:00:00+07:00,,1030000\n"
    "P1,M9,2026-10-05T09:00:00+07:00,,0,\nP2,M2,2026-01-01,,,\nP3,M3,2026-01-01,,,\n"
    "P4,M4,2026-01-01,,,\n",
    "multipliers.csv": "point,from_at,multiplier\nP2,2026-01-01,40\n",
    "customers.csv": "customer,name,address\n"
    "PA25SL0000001,Nguyễn Thị & Con,Thôn 1\nPA25SL0000002,Xưởng Gỗ Đại Phát,Thôn 2\n",
    "contracts.csv": "contract,point,customer,from_at,to_at\n"
    "HD-1,P1,PA25SL0000001,2026-01-01,\nHD-2,P2,PA25SL0000002,2026-01-01,\n",
    "terms.csv": "contract,from_at,voltage_v,households,renters,renters_undeclared,registered_w\n"
    "HD-1,2026-01-01,220,3,,,\nHD-2,2026-01-01,380,,,,\n",
    "allocations.csv": "contract,from_at,register,position,percent,kwh,price_group\n"
    "HD-1,2026-01-01,1-0:1.8.0,1,70,,household\nHD-1,2026-01-01,1-0:1.8.0,2,30,,business\n"
    "HD-2,2026-01-01,1-0:1.8.0,1,100,,business\n",
    "books.csv": "book,name\nB01,Sổ một\n",
    "reading_days.csv": "book,from_at,reading_days\nB01,2026-01-01,1;11;21\n",
    "memberships.csv": "point,from_at,book,position\n"
    "P1,2026-01-01,B01,A10\nP2,2026-01-01,B01,A2\nP3,2026-01-01,B01,A1\n",
}


def acting(name: str) -> Acting:
    return Acting(name, NOW, "a test")


def district(ledger: Ledger, folder: Path) -> str:
    """Two periods of four points; the second run, with an exchange, approved and not exported."""
    report = import_files(ledger, folder / "registry", FILES)
    assert report.errors == ()
    put(ledger, FIRST, {"M1": 1_000_900, "M2": 500_005, "M3": 0, "M4": 7_000_000})
    put(ledger, SECOND, {"M1": 1_010_100, "M2": 501_007, "M3": 5_000, "M4": 7_010_000}, seq=2)
    put(ledger, THIRD, {"M9": 21_500, "M2": 502_509, "M3": 12_999, "M4": 7_020_000}, seq=3)
    approved(ledger, FIRST, SECOND)
    return approved(ledger, SECOND, THIRD, export=False)


def approved(ledger: Ledger, first: datetime, last: datetime, *, export: bool = True) -> str:
    run = open_run(
        ledger, from_at=first, to_at=last, zone=ZONE, by_whom=acting("an"), scope=Scope()
    ).run
    exclude_point(ledger, run, "P4", acting("an"), include=False)
    made = make_version(ledger, run, BILLED_BY, acting("an"))
    for cause in {one.cause for one in run_exceptions(ledger, run, BILLED_BY) if one.blocks}:
        accept_exceptions(ledger, run, cause, acting("an"))
    approve_run(ledger, run, made.version.sha256, BILLED_BY, acting("bình"))
    if export:
        export_run(ledger, run, BILLED_BY, acting("an"))
    return run


def content(export: RunExport) -> bytes:
    return b"".join(export.pieces)


def rows_of(content: bytes) -> list[dict[str, str]]:
    reader = Table1Reader(io.BytesIO(content), "x.xml")
    return [{name: cell.text for name, cell in row.items()} for row in reader.rows()]


def test_a_new_file_has_what_the_run_bills_and_the_registry_knows(
    ledger: Ledger, tmp_path: Path
) -> None:
    run = district(ledger, tmp_path)
    export = export_run_cmis(ledger, run, BY)
    made = content(export)
    third, second, first, left_out = rows_of(made)
    assert [row["MA_DDO"] for row in (third, second, first)] == ["P3", "P2", "P1"], "A1, A2, A10"
    assert first == {
        "MA_KHANG": "PA25SL0000001",
        "MA_DDO": "P1",
        "MA_DVIQLY": "PA25SL",
        "MA_GC": "A10",
        "MA_QUYEN": "B01",
        "MA_TRAM": "T1",
        "LOAI_BCS": "KT",
        "TEN_KHANG": "Nguyễn Thị & Con",
        "DIA_CHI": "Thôn 1",
        "SO_HO": "3",
        "SERY_CTO": "M9",
        "HSN": "1",
        "CS_CU": "0",
        "NGAY_CU": "2026-10-01T00:00:00",
        "CS_MOI": "21",
        "SL_MOI": "21",
        "CHUOI_GIA": "KT: 70%*household, 30%*business",
        "KY": "2",
        "THANG": "10",
        "NAM": "2026",
        "NGAY_MOI": "2026-10-10T00:00:00",
        "SL_THAO": "20",
    }
    assert (second["CS_CU"], second["CS_MOI"], second["SL_MOI"]) == ("501", "502.5", "60")
    assert second["HSN"] == "40"
    assert (third["CS_CU"], third["SL_MOI"]) == ("5", "7")
    assert left_out["MA_DDO"] == "P4"
    assert "CS_MOI" not in left_out
    assert export.tally.by_reason() == {"held": 1}
    billed = sum(line.billed or 0 for line in version_lines(ledger, run))
    assert export.tally.energy_kwh * 1000 == billed
    with ledger.read() as uow:
        (entry,) = (one for one in uow.audit.newest(20) if one.action == "export.cmis")
    detail = dict(entry.detail)
    assert (entry.subject, detail["rows"], detail["state"]) == (run, 4, "approved")
    assert detail["sha256"] == hashlib.sha256(made).hexdigest()
    assert detail["version_sha256"] == export.version.sha256
    assert "Nguyễn" not in repr(detail)


def test_an_export_and_a_later_read_change_no_byte(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)
    makers = (
        export_run_cmis, export_run_csv, export_run_json, export_run_xlsx, export_run_statement,
    )  # fmt: skip
    first = [content(make(ledger, run, BY)) for make in makers]
    export_run(ledger, run, BILLED_BY, acting("an"))
    put(ledger, THIRD - timedelta(hours=1), {"M3": 12_000}, seq=9)
    later = By("another", NOW + timedelta(days=900), ZONE)
    assert [content(make(ledger, run, later)) for make in makers] == first


def test_their_file_comes_back_with_every_row_once(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)
    new = content(export_run_cmis(ledger, run, BY))
    waiting = re.sub(rb" *<(CS_MOI|SL_MOI|NGAY_MOI|SL_THAO)>.*\n", b"", new)
    export = fill_run_cmis(ledger, run, Named(io.BytesIO(waiting), "their.xml"), BY)
    assert content(export) == new
    assert export.tally.by_reason() == {"held": 1}
    assert export.tally.filled == 3
    again = fill_run_cmis(ledger, run, Named(io.BytesIO(new), "new.xml"), BY)
    assert content(again) == new
    # An old index that is not where the chain went on.
    wrong = waiting.replace(b"<CS_CU>501<", b"<CS_CU>500<")
    export = fill_run_cmis(ledger, run, Named(io.BytesIO(wrong), "wrong.xml"), BY)
    assert content(export).count(b"<CS_MOI>") == 2
    assert export.tally.by_reason() == {"held": 1, "old_index_differs": 1}


def test_csv_and_json_are_the_versions_lines(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)
    lines = version_lines(ledger, run)
    assert content(export_run_csv(ledger, run, BY)) == b"".join(run_csv(lines))
    document = json.loads(content(export_run_json(ledger, run, BY)))
    assert (document["run"], document["version"], document["line_count"]) == (run, 1, len(lines))
    assert [line["billed_wh"] for line in document["lines"]] == [line.billed for line in lines]
    part = export_run_csv(ledger, run, BY, Selection(station="T1"))
    rows = list(csv.DictReader(io.StringIO(content(part).decode())))
    assert {row["point"] for row in rows} == {"P1", "P2"}
    assert part.tally.rows == len(rows) == 3


def test_a_workbook_adds_up_to_what_is_billed(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)
    made = content(export_run_xlsx(ledger, run, BY))
    sheet = openpyxl.load_workbook(io.BytesIO(made), data_only=True)["Chỉ số"]
    rows: list[tuple[Any, ...]] = list(sheet.iter_rows(min_row=4, values_only=True))
    lines = [row for row in rows if row[1]]
    assert [row[0] for row in lines] == ["P1", "P1", "P2", "P3", "P4"]
    billed = sum(line.billed or 0 for line in version_lines(ledger, run))
    assert sum(round(1000 * (row[12] or 0)) for row in lines) == billed
    (total,) = (row for row in rows if not row[1])
    assert round(1000 * total[12]) == billed


def test_a_statement_names_kinds_and_what_was_chosen(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)
    export = export_run_statement(ledger, run, BY, Selection(book="B01", kind=Role.BUSINESS))
    document = pypdfium2.PdfDocument(content(export))
    text = " ".join(document[0].get_textpage().get_text_bounded().split())
    document.close()
    assert "Chọn: sổ B01; loại điểm đo kinh doanh" in text
    assert "Kỳ ghi chỉ số từ ngày 01/10/2026 đến hết ngày 10/10/2026" in text
    assert "P2 M2 KT tiêu thụ 01/10/2026 501,000 502,500 40 60,000 A" in text
    assert export.tally.rows == 1


def test_a_part_is_by_book_commune_station_and_kind(ledger: Ledger, tmp_path: Path) -> None:
    run = district(ledger, tmp_path)

    def points(**named: Any) -> list[str]:  # noqa: ANN401  the selection's own names
        export = export_run_cmis(ledger, run, BY, wanted=Selection(**named))
        return [row["MA_DDO"] for row in rows_of(content(export))]

    assert points(book="B01") == ["P3", "P2", "P1"]
    assert points(commune="Lập Thạch") == ["P3", "P4"]
    assert points(station="T1") == ["P2", "P1"]
    assert points(kind=Role.HOUSEHOLD) == ["P3", "P1", "P4"]
    assert points(book="B01", commune="Sông Lô", kind=Role.HOUSEHOLD) == ["P1"]
    with ledger.read() as uow:
        newest = next(one for one in uow.audit.newest(5) if one.action == "export.cmis")
    assert newest.detail["selection"] == {
        "book": "B01", "commune": "Sông Lô", "kind": "household",
    }  # fmt: skip
    for named, error, said in (
        (Selection(book="B77"), NotFound, "B77"),
        (Selection(commune="Nowhere"), NotFound, "Nowhere"),
        (Selection(station="T9"), NotFound, "T9"),
        (Selection(station="T1", commune="Lập Thạch"), InvalidRequest, "no line"),
        (Selection(kind=Role.HEAD), InvalidRequest, "kind head"),
    ):
        with pytest.raises(error, match=said):
            export_run_cmis(ledger, run, BY, wanted=named)
    head = create_snapshot(
        ledger, station=None, from_at=FIRST, to_at=SECOND, actor="clerk", now=NOW
    )
    of_part = exports.export_cmis(ledger, head.id, BY, wanted=Selection(station="T2"))
    assert [row["MA_DDO"] for row in rows_of(b"".join(of_part.pieces))] == ["P3", "P4"]
    with pytest.raises(InvalidRequest, match="kind head"):
        exports.export_xlsx(ledger, head.id, BY, Selection(kind=Role.HEAD))


def test_a_draft_is_nobodys_truth(ledger: Ledger, tmp_path: Path) -> None:
    district(ledger, tmp_path)
    with pytest.raises(NotFound, match="no run"):
        export_run_cmis(ledger, "none", BY)
    with ledger.read() as uow:
        (waiting,) = uow.billing_runs.unfinished()
    export_run(ledger, waiting.run, BILLED_BY, acting("an"))
    put(ledger, THIRD + timedelta(days=10), {"M9": 30_000}, seq=12)
    draft = open_run(
        ledger,
        from_at=THIRD,
        to_at=THIRD + timedelta(days=10),
        zone=ZONE,
        by_whom=acting("an"),
        scope=Scope(station="T1"),
    ).run
    for _ in range(2):
        with pytest.raises(Conflict, check=lambda error: error.code == "not_approved"):
            export_run_xlsx(ledger, draft, BY)
        make_version(ledger, draft, BILLED_BY, acting("an"))


def test_the_commands_write_whole_files_and_say_why_not(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    ledger.migrate()
    run = district(ledger, tmp_path)
    ledger.close()
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: {url}\nreadings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
    )
    target = tmp_path / "out"

    def command(name: str, *options: str) -> tuple[int, str]:
        base = ["export", name, "-c", str(config), "--output", str(target)]
        result = CliRunner().invoke(app, [*base, *options])
        return result.exit_code, result.output

    for name, begins in (("csv", b"point,"), ("json", b'{"run"'), ("xlsx", b"PK"),
                         ("statement", b"%PDF-")):  # fmt: skip
        code, said = command(name, "--run", run, "--force")
        assert (code, f"5 rows of run {run}, version 1" in said) == (0, True), said
        assert target.read_bytes().startswith(begins)
        assert target.stat().st_mode & 0o077 == 0
    code, said = command("cmis", "--run", run, "--force", "-l", "en")
    assert (code, "left out of the billing run" in said) == (3, True), said
    code, said = command("cmis", "--run", run, "--book", "B01", "--force")
    assert (code, "Số dòng: 3; đã ghi: 3" in said) == (0, True), said
    before = target.read_bytes()
    for name, options, reason in (
        ("csv", ["--run", run], "is there already"),
        ("xlsx", ["--run", "none", "--force"], "there is no run 'none'"),
        ("xlsx", ["--force"], "whose file is it?"),
        ("cmis", ["--run", run, "--snapshot", "x", "--force"], "whose file is it?"),
        ("statement", ["--run", run, "--point", "P9", "--force"], "no line of it is of point P9"),
        ("json", ["--run", run, "--commune", "Nowhere", "--force"], "no station is in commune"),
    ):
        code, said = command(name, *options)
        assert (code, reason in said) == (1, True), said
        assert "hint:" in said
        assert target.read_bytes() == before
    assert list(tmp_path.glob("tmp*")) == []


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_bytes(b"what was there")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InvalidRequest, match="cannot be written") as caught:
            exports.write_file([b"x" * 64_000] * 4, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "make room" in caught.value.hint
    assert target.read_bytes() == b"what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(InvalidRequest, match="cannot be written") as caught:
        exports.write_file([b"x"], tmp_path / "nowhere" / "out.csv")
    assert "folder of yours" in caught.value.hint
