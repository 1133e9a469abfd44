"""Workbooks, read back by a reader that is not the writer's: the same numbers, the same bytes."""

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from collector.billing.exports import xlsx
from collector.billing.exports.xlsx import previews_xlsx, snapshot_xlsx
from collector.billing.rating.preview import BillPreview, preview_hash
from collector.billing.values import SnapshotHead, SnapshotLine
from collector.civil import zone_info
from collector.errors import InvalidRequest
from tests.unit.collector.exports.making import (
    FROM_AT,
    NORMAL,
    POINT,
    TO_AT,
    line,
    some_previews,
)

ZONE = zone_info("Asia/Ho_Chi_Minh")
CREATED_AT = datetime(2026, 6, 20, 1, 2, 3, tzinfo=UTC)
LINES = [
    line(12_345_678, 12_400_000),
    line(1, 3, point="=1+1", meter="0012", multiplier=Fraction(1, 3)),
    line(0, 7_000, point="P3", register=NORMAL, multiplier=40),
    line(None, 5_000, point="P4"),
    line(0, 10**15 + 1, point="P5", consumption=None),
]


def head(lines: Iterable[SnapshotLine]) -> SnapshotHead:
    return SnapshotHead(
        "id-1", None, FROM_AT, TO_AT, CREATED_AT, "clerk", len(list(lines)), "ab" * 32
    )


def made(lines: list[SnapshotLine], folder: Path) -> bytes:
    stream = io.BytesIO()
    assert snapshot_xlsx(head(lines), iter(lines), ZONE, stream, str(folder)) == len(lines)
    assert list(folder.iterdir()) == [], "nothing is left behind"
    return stream.getvalue()


def rows(content: bytes, sheet: str, *, values: bool = True) -> list[list[Any]]:
    book = openpyxl.load_workbook(io.BytesIO(content), data_only=values)
    return [[cell.value for cell in row] for row in book[sheet].iter_rows()]


def test_numbers_are_numbers_and_exact(tmp_path: Path) -> None:
    title, _, heads, *found = rows(made(LINES, tmp_path), "Chỉ số")
    assert "id-1" in title[0]
    assert heads[4] == "Chỉ số đầu (kWh)\nIndex from (kWh)"
    first = found[0]
    assert first[:4] == [POINT, "M1", "1-0:1.8.0", "KT"]
    assert first[4:6] == [12345.678, 12400]
    midnights = [datetime.fromisoformat(day) for day in ("2026-05-20", "2026-06-20")]
    assert first[6:8] == midnights, "the utility's"
    assert first[8:] == [1, 54.322, "A"]
    assert found[1][0] == "=1+1", "a name is a name and no formula"
    assert found[1][1] == "0012"
    assert found[1][8] == "1/3"
    assert found[2][3] == "BT"
    assert found[3][4] is None
    assert found[4][5] == "1000000000000.001", "what a double would not show exactly is text"


def test_sums_are_of_each_register_and_those_of_the_cells(tmp_path: Path) -> None:
    content = made(LINES, tmp_path)
    *_, total, by_rate = rows(content, "Chỉ số")
    assert total[0] == "Tổng · Total 1-0:1.8.0"
    assert (total[9], by_rate[9]) == (54.323, 280)
    of_cells: dict[str, Decimal] = {}
    for row in rows(content, "Chỉ số")[3:-2]:
        of_cells[row[2]] = of_cells.get(row[2], Decimal(0)) + Decimal(str(row[9] or 0))
    assert of_cells == {"1-0:1.8.0": Decimal("54.323"), NORMAL: Decimal(280)}
    formulas = rows(content, "Chỉ số", values=False)[-2:]
    assert formulas[0][9] == '=SUMIF($C$4:$C$8,"1-0:1.8.0",$J$4:$J$8)'


def test_the_sheet_can_be_worked_with(tmp_path: Path) -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(made(LINES, tmp_path)))["Chỉ số"]
    assert sheet.freeze_panes == "B4"
    assert sheet.auto_filter.ref == "A3:K8"
    assert sheet.column_dimensions["A"].width >= 20
    assert sheet["E4"].number_format == "#,##0.000"


def test_the_same_snapshot_has_the_same_bytes_dated_as_it_is(tmp_path: Path) -> None:
    content = made(LINES, tmp_path)
    assert made(LINES, tmp_path) == content
    properties = openpyxl.load_workbook(io.BytesIO(content)).properties
    assert properties.created == CREATED_AT.replace(tzinfo=None)
    empty = made([], tmp_path)
    assert len(rows(empty, "Chỉ số")) == 3


def test_a_sheet_that_would_be_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS_MAX", xlsx.ROWS_KEPT + 2)
    with pytest.raises(InvalidRequest, match="2 rows"):
        made(LINES, tmp_path)
    monkeypatch.setattr(xlsx, "SHEET_ROWS_MAX", xlsx.ROWS_KEPT + 2)
    with pytest.raises(InvalidRequest, match="2 rows"):
        bills_of(some_previews(), tmp_path)


def test_a_snapshot_that_breaks_off_leaves_no_workbook(tmp_path: Path) -> None:
    def broken() -> Iterator[SnapshotLine]:
        yield LINES[0]
        raise InvalidRequest("gone")

    stream = io.BytesIO()
    with pytest.raises(InvalidRequest, match="gone"):
        snapshot_xlsx(head(LINES), broken(), ZONE, stream, str(tmp_path))
    assert stream.getvalue() == b""


def bills_of(previews: list[BillPreview], folder: Path) -> bytes:
    stream = io.BytesIO()
    previews_xlsx(iter(previews), CREATED_AT, stream, str(folder))
    return stream.getvalue()


def test_bill_previews_with_their_lines_and_sums(tmp_path: Path) -> None:
    previews = some_previews()
    content = bills_of(previews, tmp_path)
    title, _, _, *bills, total = rows(content, "Tạm tính")
    assert "không phải hóa đơn" in title[0]
    assert [row[0] for row in bills] == [preview.bill for preview in previews]
    assert bills[0][1] == datetime.combine(previews[0].from_day, datetime.min.time())
    assert bills[0][10] == preview_hash(previews[0])
    assert total[8] == sum(preview.total_vnd for preview in previews)
    assert total[8] == sum(row[8] for row in bills)
    _, _, _, *lines, sum_of_lines = rows(content, "Chi tiết")
    assert len(lines) == sum(len(one.lines) + len(one.reactive) for one in previews)
    assert sum(row[11] for row in lines) == sum_of_lines[11] == total[6]
    assert bills_of(previews, tmp_path) == content
