"""Text that a spreadsheet would run, in every table that people open: shielded; numbers stay."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import openpyxl
import pytest

from collector.balance.export import csv_bytes
from collector.billing.exports.csv_export import csv_pieces, snapshot_csv
from collector.billing.exports.previews import previews_csv
from collector.billing.exports.xlsx import previews_xlsx
from collector.registry.cells import tame_cell
from tests.unit.collector.exports.making import line, some_previews

RUN = [
    "=1+1",
    "+84 912",
    "-1+2",
    "-cmd|' /C calc'!A1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "'=1",
    "＝1+1",
]
KEPT = ["Trạm 1", "3-1", "", "-12", "-1.2500", "0.0000", "12,5", "1/3", "2026-06-19", "'a"]


def shown(text: str) -> str:
    """What a table has of it: an apostrophe before it, no carriage return in it."""
    return "'" + text.replace("\r", "\n")


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("text", RUN)
def test_text_that_would_run_has_an_apostrophe(text: str) -> None:
    assert tame_cell(text) == shown(text)


def test_a_carriage_return_begins_no_row() -> None:
    content = csv_bytes(("commune", "loss_wh"), [("Sông Lô\r\n=1+1\r=2", 1)])
    assert rows(content)[1:] == [["Sông Lô\n=1+1\n=2", "1"]]


@pytest.mark.parametrize("cell", [*KEPT, None, -12, 0, 10**15])
def test_numbers_and_ordinary_text_are_as_they_were(cell: str | int | None) -> None:
    assert tame_cell(cell) == cell


@pytest.mark.parametrize("text", RUN)
def test_bill_previews(text: str) -> None:
    (preview, *_) = some_previews()
    lines = tuple(msgspec.structs.replace(one, point=text) for one in preview.lines)
    named = msgspec.structs.replace(preview, bill=text, what_if=text, lines=lines)
    _, first, *_, last = rows(b"".join(previews_csv([named])))
    assert (first[0], first[3], first[15]) == (shown(text),) * 3
    assert int(last[14]) == preview.total_vnd


@pytest.mark.parametrize("text", RUN)
def test_lines_of_snapshots_runs_and_bills(text: str) -> None:
    one = replace(line(1, 3), point=text, meter=text, consumption=-2)
    (_, found) = rows(b"".join(snapshot_csv([one])))
    assert (found[0], found[1], found[8]) == (shown(text), shown(text), "-2")
    (_, found) = rows(b"".join(csv_pieces(("contract", "total_vnd"), [
        {"contract": text, "total_vnd": -5_000},
    ])))  # fmt: skip
    assert found == [shown(text), "-5000"]


@pytest.mark.parametrize("text", RUN)
def test_balances_have_communes_as_people_wrote_them(text: str) -> None:
    content = csv_bytes(("commune", "loss_wh", "loss_percent"), [(text, -12, "-1.2500")])
    assert rows(content) == [
        ["commune", "loss_wh", "loss_percent"],
        [shown(text), "-12", "-1.2500"],
    ]


@pytest.mark.parametrize("text", [one for one in RUN if one.isprintable()])
def test_workbooks_have_text_and_no_formula(tmp_path: Path, text: str) -> None:
    (preview, *_) = some_previews()
    lines = tuple(msgspec.structs.replace(one, point=text) for one in preview.lines)
    named = msgspec.structs.replace(preview, bill=text, what_if=text, lines=lines)
    stream = io.BytesIO()
    previews_xlsx([named], datetime(2026, 7, 1, tzinfo=UTC), stream, str(tmp_path))
    book = openpyxl.load_workbook(io.BytesIO(stream.getvalue()))
    for sheet, column in (("Tạm tính", 1), ("Tạm tính", 10), ("Chi tiết", 1), ("Chi tiết", 2)):
        cell = book[sheet].cell(4, column)
        assert (cell.value, cell.data_type) == (text, "s")
