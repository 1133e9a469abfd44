"""Hand-over files from a ledger: streamed, recorded in the audit trail, the same bytes again."""

import csv
import hashlib
import io
import json
import re
from datetime import date, timedelta
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner

from collector.cli import app
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations.cmis_context import CmisDays
from collector.operations.export_selection import Selection
from collector.operations.exports import (
    By,
    Export,
    Named,
    export_bills,
    export_cmis,
    export_csv,
    export_json,
    export_statement,
    export_xlsx,
    fill_cmis,
    write_file,
)
from collector.operations.snapshots import create_snapshot
from collector.registry.values import Role
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put
from tests.unit.collector.exports.making import some_previews, their_file, their_row

BY = By("clerk", NOW, ZONE)
GOLDEN = Path(__file__).parents[1] / "golden" / "bills" / "b5-household-250.json"
FROM, TO = "2026-05-20", "2026-06-20"

INSTALLATIONS = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/head,M0,2026-01-01,,,
T1/a,M1,2026-01-01,2026-06-01T09:00:00+07:00,,1053000
T1/a,M3,2026-06-01T09:00:00+07:00,,300,
T1/b,M2,2026-01-01,,,
"""
THEIRS = (
    their_row(MA_DDO="T1/b", SERY_CTO="M2", CS_CU="99850"),
    their_row(MA_DDO="T1/a", SERY_CTO="M3", CS_CU="0"),
    their_row(MA_DDO="T1/z"),
)


def fill(ledger: Ledger, folder: Path) -> str:
    """A month of three points, one over an exchange and one over a roll-over; its snapshot."""
    import_files(ledger, folder / "registry", {**FILES, "installations.csv": INSTALLATIONS})
    put(ledger, midnight(FROM), {"M0": 5_000_000, "M1": 1_000_000, "M2": 99_850_000})
    put(ledger, midnight(TO), {"M0": 5_500_000, "M3": 101_900, "M2": 120_000}, seq=2)
    head = create_snapshot(
        ledger, station=None, from_at=midnight(FROM), to_at=midnight(TO), actor="clerk", now=NOW
    )
    return head.id


def entries(ledger: Ledger, action: str) -> list[dict[str, object]]:
    with ledger.read() as uow:
        return [dict(one.detail) for one in uow.audit.newest(50) if one.action == action]


def bytes_of(export: Export) -> bytes:
    return b"".join(export.pieces)


def test_a_new_cmis_file_is_recorded_and_the_same_again(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    export = export_cmis(ledger, snapshot, BY)
    content = bytes_of(export)
    found = re.findall(rb"<MA_DDO>(.*?)<.*?<SL_MOI>(\d+)<.*?<SL_THAO>(\d+)<", content, re.DOTALL)
    assert found == [(b"T1/a", b"101", b"53"), (b"T1/b", b"270", b"0"), (b"T1/head", b"500", b"0")]
    assert b"<MA_TRAM>T1</MA_TRAM>" in content
    assert b"<TTR_MOI>Q</TTR_MOI>" in content
    (entry,) = entries(ledger, "export.cmis")
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert (entry["rows"], entry["filled"], entry["bytes"]) == (3, 3, len(content))
    assert entry["snapshot_sha256"] == export.head.sha256
    later = By("another", NOW + timedelta(days=900), ZONE)
    assert bytes_of(export_cmis(ledger, snapshot, later)) == content


def test_their_file_is_filled_in_their_order(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    theirs = their_file(*THEIRS)
    export = fill_cmis(ledger, snapshot, Named(io.BytesIO(theirs), "june.xml"), BY)
    content = bytes_of(export)
    assert re.findall(rb"<MA_DDO>(.*?)</MA_DDO>", content) == [b"T1/b", b"T1/a", b"T1/z"]
    assert re.findall(rb"<SL_MOI>(\d+)<", content) == [b"270", b"101", b"0"]
    (entry,) = entries(ledger, "export.cmis")
    assert entry["source_sha256"] == hashlib.sha256(theirs).hexdigest()
    # The head meter is in the snapshot, and in no reading book of customers.
    assert entry["disagreements"] == {"not_in_file": 1, "unknown_point": 1}
    again = fill_cmis(ledger, snapshot, Named(io.BytesIO(theirs), "june.xml"), BY)
    assert bytes_of(again) == content


def test_dates_can_be_the_days_of_reading_instead(ledger: Ledger, tmp_path: Path) -> None:
    """Whether NGAY_CU and NGAY_MOI are included is to be confirmed: it is no reason to wait."""
    snapshot = fill(ledger, tmp_path)
    row = {**THEIRS[0], "NGAY_CU": "2026-05-19T00:00:00"}
    named = Named(io.BytesIO(their_file(row)), "x.xml")
    refused = fill_cmis(ledger, snapshot, named, BY)
    assert b"2026-06-19" not in bytes_of(refused)
    named = Named(io.BytesIO(their_file(row)), "x.xml")
    days = CmisDays(date(2026, 5, 19), date(2026, 6, 20))
    content = bytes_of(fill_cmis(ledger, snapshot, named, BY, days))
    assert b"<NGAY_MOI>2026-06-20T00:00:00</NGAY_MOI>" in content
    assert b"<SL_MOI>270</SL_MOI>" in content
    assert entries(ledger, "export.cmis")[0]["old_day"] == "2026-05-19"
    content = bytes_of(export_cmis(ledger, snapshot, BY, CmisDays(new=date(2026, 7, 1))))
    assert b"<THANG>6</THANG>" in content, "the month is that of the period's last day all the same"


def test_lines_as_csv_and_json_are_recorded_and_the_same_again(
    ledger: Ledger, tmp_path: Path
) -> None:
    snapshot = fill(ledger, tmp_path)
    export = export_csv(ledger, snapshot, BY)
    table = bytes_of(export)
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert [row["consumption_wh"] for row in rows] == ["53000", "101600", "270000", "500000"]
    assert export.tally.rows == 4
    (entry,) = entries(ledger, "export.csv")
    assert (entry["rows"], entry["bytes"]) == (4, len(table))
    assert entry["sha256"] == hashlib.sha256(table).hexdigest()
    assert entry["snapshot_sha256"] == export.head.sha256
    assert bytes_of(export_csv(ledger, snapshot, BY)) == table

    content = bytes_of(export_json(ledger, snapshot, BY))
    document = json.loads(content)
    (entry,) = entries(ledger, "export.json")
    assert (entry["rows"], entry["sha256"]) == (4, hashlib.sha256(content).hexdigest())
    # Whoever holds the document can check the snapshot's hash, as docs/snapshots.md says.
    kept = {key: document[key] for key in ("from_at", "lines", "station", "to_at")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == document["sha256"] == export.head.sha256
    assert bytes_of(export_json(ledger, snapshot, BY)) == content
    with pytest.raises(NotFound):
        export_csv(ledger, "none", BY)


def test_a_part_of_a_snapshot_says_what_was_selected(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    wanted = Selection(kind=Role.HOUSEHOLD)
    document = json.loads(bytes_of(export_json(ledger, snapshot, BY, wanted)))
    assert [line["meter"] for line in document["lines"]] == ["M1", "M3"]
    assert (document["selection"], document["line_count"]) == ({"kind": "household"}, 4)
    assert bytes_of(export_csv(ledger, snapshot, BY, wanted)).count(b"\n") == 3
    for action in ("export.csv", "export.json"):
        (entry,) = entries(ledger, action)
        assert (entry["rows"], entry["selection"]) == (2, {"kind": "household"})


def test_a_workbook_is_recorded_and_the_same_again(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    content = bytes_of(export_xlsx(ledger, snapshot, BY))
    sheet = openpyxl.load_workbook(io.BytesIO(content), data_only=True)["Chỉ số"]
    assert [row[9].value for row in sheet.iter_rows(min_row=4)] == [53, 101.6, 270, 500, 924.6]
    (entry,) = entries(ledger, "export.xlsx")
    assert (entry["rows"], entry["sha256"]) == (4, hashlib.sha256(content).hexdigest())
    assert bytes_of(export_xlsx(ledger, snapshot, BY)) == content


def test_a_statement_is_recorded_and_the_same_again(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    content = bytes_of(export_statement(ledger, snapshot, BY))
    assert content.startswith(b"%PDF-")
    assert bytes_of(export_statement(ledger, snapshot, BY)) == content
    export = export_statement(ledger, snapshot, BY, "T1/a")
    assert bytes_of(export) != content
    assert export.tally.rows == 2, "both meters of the exchange"
    of_point, _, first = entries(ledger, "export.statement")
    assert (first["rows"], first["point"]) == (4, None)
    assert first["sha256"] == hashlib.sha256(content).hexdigest()
    assert (of_point["rows"], of_point["point"]) == (2, "T1/a")
    with pytest.raises(NotFound, match="T1/z"):
        export_statement(ledger, snapshot, BY, "T1/z")


def test_bill_previews_are_recorded_by_their_source(ledger: Ledger) -> None:
    previews = some_previews()
    content = b"".join(export_bills(ledger, previews, "june.csv", BY))
    with ledger.read() as uow:
        (entry,) = uow.audit.newest(5)
    assert (entry.action, entry.subject, entry.detail["rows"]) == ("export.bills", "june.csv", 3)
    assert entry.detail["total_vnd"] == sum(preview.total_vnd for preview in previews)
    assert entry.detail["sha256"] == hashlib.sha256(content).hexdigest()
    assert b"".join(export_bills(ledger, previews, "june.csv", BY)) == content
    with pytest.raises(InvalidRequest, match="no bills"):
        export_bills(ledger, [], "june.csv", BY)


def test_what_breaks_off_is_not_recorded(ledger: Ledger, tmp_path: Path) -> None:
    snapshot = fill(ledger, tmp_path)
    next(export_cmis(ledger, snapshot, BY).pieces)
    assert len(entries(ledger, "export.cmis")) == 1, "one piece: it was recorded before it"
    cut = their_file(*THEIRS * 300)[:-100]
    output = tmp_path / "out.xml"
    output.write_bytes(b"what was there")
    with pytest.raises(InvalidRequest, match="well-formed"):
        write_file(
            fill_cmis(ledger, snapshot, Named(io.BytesIO(cut), "cut.xml"), BY).pieces, output
        )
    assert output.read_bytes() == b"what was there"
    assert list(tmp_path.glob("tmp*")) == []
    assert len(entries(ledger, "export.cmis")) == 1


def test_a_period_of_parts_of_days_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    head = create_snapshot(
        ledger,
        station=None,
        from_at=midnight(FROM) + timedelta(hours=1),
        to_at=midnight(TO),
        actor="clerk",
        now=NOW,
    )
    with pytest.raises(InvalidRequest, match="no midnight"):
        export_cmis(ledger, head.id, BY)
    with pytest.raises(NotFound):
        export_cmis(ledger, "none", BY)


@pytest.fixture
def command(tmp_path: Path) -> tuple[list[str], str]:
    """Options that name a collector file, and a snapshot of its ledger."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    snapshot = fill(ledger, tmp_path)
    ledger.close()
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: sqlite:///{tmp_path / 'ledger.db'}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
    )
    return ["-c", str(config)], snapshot


def test_the_command_writes_reports_and_says_so(
    command: tuple[list[str], str], tmp_path: Path
) -> None:
    config, snapshot = command
    base = ["export", "cmis", *config, "--snapshot", snapshot]
    new = tmp_path / "new.xml"
    result = CliRunner().invoke(app, [*base, "--output", str(new)])
    assert (result.exit_code, result.stdout) == (
        0,
        "Số dòng: 3; đã ghi: 3; không phải thực đo: 0; cần xem lại: 0\n",
    ), result.output
    assert b"<SL_THAO>53</SL_THAO>" in new.read_bytes()
    assert new.stat().st_mode & 0o077 == 0, "names of customers are for its owner"
    theirs, filled, report = (tmp_path / name for name in ("their.xml", "back.xml", "look.csv"))
    theirs.write_bytes(their_file(*THEIRS))
    options = ["--fill", str(theirs), "--report", str(report), "-l", "en"]
    result = CliRunner().invoke(app, [*base, *options, "--output", str(filled)])
    assert result.exit_code == 3
    assert "row 3  T1/z  KT  the point is not in the snapshot" in result.stderr
    assert report.read_text().splitlines() == [
        "row,point,register,reason,theirs,ours",
        "3,T1/z,KT,unknown_point,,",
        ",T1/head,KT,not_in_file,,M0",
    ]
    before = theirs.read_bytes()
    result = CliRunner().invoke(app, [*base, *options, "--output", str(theirs)])
    assert (result.exit_code, theirs.read_bytes()) == (1, before), "theirs is evidence"
    missing = ["--fill", str(tmp_path / "none.xml"), "--output", str(filled)]
    assert CliRunner().invoke(app, [*base, *missing]).exit_code == 1
    odd = ["--old-day", "hôm qua", "--output", str(filled)]
    assert "is no date" in CliRunner().invoke(app, [*base, *odd]).stderr
    nowhere = ["--output", str(tmp_path / "no" / "x.xml")]
    result = CliRunner().invoke(app, [*base, *nowhere])
    assert "cannot be written" in result.stderr


def test_the_report_runs_nothing_that_their_file_says(
    command: tuple[list[str], str], tmp_path: Path
) -> None:
    config, snapshot = command
    theirs, filled, report = (tmp_path / name for name in ("their.xml", "back.xml", "look.csv"))
    theirs.write_bytes(
        their_file(their_row(MA_DDO="=1+1"), their_row(MA_DDO="T1/a", SERY_CTO="M3", CS_CU="-7"))
    )
    options = ["--fill", str(theirs), "--report", str(report), "--output", str(filled)]
    result = CliRunner().invoke(app, ["export", "cmis", *config, "--snapshot", snapshot, *options])
    assert result.exit_code == 3, result.output
    lines = report.read_text().splitlines()
    assert "1,'=1+1,KT,unknown_point,," in lines
    assert any(row.startswith("2,T1/a,KT,") and ",-7," in row for row in lines), lines


def test_commands_of_lines_as_csv_and_json(command: tuple[list[str], str], tmp_path: Path) -> None:
    config, snapshot = command
    for form, begins in (("csv", b"point,meter,"), ("json", b'{"id":"')):
        output = tmp_path / f"lines.{form}"
        base = ["export", form, *config, "--output", str(output)]
        result = CliRunner().invoke(app, [*base, "--snapshot", snapshot])
        assert (result.exit_code, result.stdout) == (
            0,
            f"4 rows of snapshot {snapshot} in {output}\n",
        ), result.output
        assert output.read_bytes().startswith(begins)
        assert output.stat().st_mode & 0o077 == 0
        result = CliRunner().invoke(app, [*base, "--snapshot", snapshot])
        assert (result.exit_code, "is there already" in result.stderr) == (1, True)
        both = CliRunner().invoke(app, [*base, "--force", "--snapshot", snapshot, "--run", "R"])
        assert (both.exit_code, "whose file is it?" in both.stderr) == (1, True)


def test_commands_of_workbooks_and_papers(command: tuple[list[str], str], tmp_path: Path) -> None:
    config, snapshot = command
    book = tmp_path / "book.xlsx"
    options = [*config, "--snapshot", snapshot, "--output", str(book)]
    result = CliRunner().invoke(app, ["export", "xlsx", *options])
    assert (result.exit_code, book.read_bytes()[:2]) == (0, b"PK"), result.output
    bills = ["export", "bills", *config, "--input", str(GOLDEN), "--output"]
    for name in ("bills.xlsx", "bills.pdf"):
        result = CliRunner().invoke(app, [*bills, str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "bills.pdf").read_bytes()[:5] == b"%PDF-"
    options[-1] = str(tmp_path / "statement.pdf")
    result = CliRunner().invoke(app, ["export", "statement", *options, "--point", "T1/a"])
    assert "2 rows of snapshot" in result.output
    result = CliRunner().invoke(app, [*bills, str(tmp_path / "bills.doc")])
    assert result.exit_code == 1
    assert "neither .xlsx nor .pdf" in result.stderr
