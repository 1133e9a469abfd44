"""Papers as PDF: read and drawn again by a reader that is not the writer's."""

import io
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from collector.billing.exports.numbers_vi import hundredths, in_words, kilo
from collector.billing.exports.papers import bills_pdf, statement_pdf
from collector.billing.exports.pdf import WIDTH, Paper, wrapped
from collector.billing.rating.preview import preview_hash
from collector.billing.values import LineQuality, SnapshotHead, SnapshotLine
from collector.civil import zone_info
from tests.unit.collector.exports.making import (
    FROM_AT,
    NORMAL,
    OFF_PEAK,
    PEAK,
    TO_AT,
    exchanged,
    line,
    some_previews,
)

ZONE = zone_info("Asia/Ho_Chi_Minh")
CREATED_AT = datetime(2026, 6, 20, 1, 2, tzinfo=UTC)
# Every letter of Vietnamese with its marks, as a name may have it.
ALPHABET = "aàảãáạăằẳẵắặâầẩẫấậeèẻẽéẹêềểễếệiìỉĩíịoòỏõóọôồổỗốộơờởỡớợuùủũúụưừửữứựyỳỷỹýỵđ"


def head(lines: Sequence[SnapshotLine]) -> SnapshotHead:
    return SnapshotHead(
        "id-1", "T012", FROM_AT, TO_AT, CREATED_AT, "Hằng", len(lines), "ab" * 32
    )  # fmt: skip


def statement(lines: Sequence[SnapshotLine], point: str | None = None) -> bytes:
    stream = io.BytesIO()
    assert statement_pdf(head(lines), iter(lines), ZONE, stream, point) == len(lines)
    return stream.getvalue()


def bills() -> bytes:
    stream = io.BytesIO()
    assert bills_pdf(some_previews(), TO_AT.astimezone(ZONE), stream, "") == 3
    return stream.getvalue()


def pages(content: bytes) -> list[str]:
    document = pypdfium2.PdfDocument(content)
    found = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    return [" ".join(text.split()) for text in found]


def picture(content: bytes, number: int = 0) -> Any:  # noqa: ANN401  Pillow's image
    document = pypdfium2.PdfDocument(content)
    drawn = document[number].render(scale=1).to_pil().convert("L")
    document.close()
    return drawn


def test_a_statement_says_what_the_snapshot_has() -> None:
    lines = [*exchanged(), line(None, None, point="P9", meter="M9")]
    (text,) = pages(statement(lines))
    for words in (
        "SAO KÊ CHỈ SỐ",
        "Từ 00:00 ngày 20/05/2026 đến 00:00 ngày 20/06/2026",
        "Trạm biến áp: T012",
        "lập lúc 20/06/2026 08:02 bởi Hằng",
        "PA25SL0000001001 M0 KT 12.345,600 12.398,200 1 52,600 01/06/2026 00:00 A",
        "PA25SL0000001001 M1 KT 0,300 101,900 1 101,600 20/06/2026 00:00 A",
        "P9 M9 KT – – 1 – – N",
        "Tổng KT (1-0:1.8.0) 154,200 kWh",
        "Hết: 3 dòng.",
        "Người lập Người kiểm tra",
        "Trang 1",
    ):
        assert words in text, text
    assert "Điểm đo: P9" in pages(statement(lines[2:], "P9"))[0]


def test_rates_have_their_total_and_sums_of_their_own() -> None:
    lines = [line(0, 1000 * n, register=one) for n, one in enumerate((NORMAL, PEAK, OFF_PEAK), 1)]
    lines.insert(0, line(0, 6000))
    lines.append(line(0, 4000, point="P2", register="1-0:3.8.0"))
    lines.append(line(0, 500, point="P3"))
    (text,) = pages(statement(lines))
    assert "Tổng SG (1-0:1.8.0) 6,000 kWh" in text
    assert "Tổng KT (1-0:1.8.0) 0,500 kWh" in text
    assert "Tổng VC (1-0:3.8.0) 4,000 kvarh" in text


def test_a_long_statement_goes_over_pages_and_loses_nothing() -> None:
    lines = [line(0, 1000, point=f"P{number:04}") for number in range(300)]
    found = pages(statement(lines))
    assert len(found) > 4
    joined = " ".join(found)
    assert all(f"P{number:04}" in joined for number in range(300))
    assert all("Điểm đo Số công tơ" in text for text in found[:-1])
    assert [f"Trang {number}" in text for number, text in enumerate(found, 1)] == [True] * len(
        found
    )
    assert "Tổng KT (1-0:1.8.0) 300,000 kWh" in found[-1]


def test_every_letter_of_vietnamese_is_in_the_font() -> None:
    stream = io.BytesIO()
    paper = Paper(stream, "x")
    paper.line(ALPHABET)
    paper.line(ALPHABET.upper())
    # Some keyboards write a letter and its marks apart.
    paper.line("Nguye\u0302\u0303n")
    paper.end()
    (text,) = pages(stream.getvalue())
    assert ALPHABET in text.replace(" ", "")
    assert ALPHABET.upper() in text.replace(" ", "")
    assert "Nguyễn" in text
    assert stream.getvalue().count(b"/FontFile2") == 1, "the font is in the file"


def test_what_does_not_fit_goes_on_in_the_next_line() -> None:
    statement([])  # the fonts are known from here on
    long = "PA25SL0012345001-không-có-dấu-cách-nào-trong-mã-này"
    parts = wrapped(long, 60, "DejaVuSansCondensed", 8)
    assert len(parts) > 2
    assert "".join(parts) == long
    assert wrapped("", 60, "DejaVuSansCondensed", 8) == [""]
    assert wrapped("một hai", WIDTH, "DejaVuSansCondensed", 8) == ["một hai"]
    assert wrapped("a\x00b\nc", WIDTH, "DejaVuSansCondensed", 8) == ["a b c"]


def test_a_bill_preview_shows_each_step_and_its_grounds() -> None:
    found = pages(bills())
    assert len(found) == 3
    for text, preview in zip(found, some_previews(), strict=True):
        assert "PHIẾU TẠM TÍNH TIỀN ĐIỆN" in text
        assert "Bản tạm tính, không phải hóa đơn" in text
        assert preview_hash(preview) in text
        assert "Trang 1" in text, "each bill has its own pages"
        for used in preview.tariffs:
            assert used.id in text
    assert "2025000001 1-0:1.8.0 20/04/2025 00:00" in found[0], "local midnight, not UTC's day"
    assert "Kỳ: 20/04/2025 – 19/05/2025 (30 ngày)" in found[0]
    assert "Sinh hoạt, bậc 4 20/04/2025 – 09/05/2025 67 kWh 2.860 191.620" in found[0]
    assert "Tổng cộng (đồng) 774.194" in found[0]
    assert "Bảy trăm bảy mươi bốn nghìn một trăm chín mươi bốn đồng." in found[0]
    assert "cos φ 0,78, k 15,38 % của 10.433.000 đồng" in found[1]
    assert "Sản xuất, giờ cao điểm" in found[1]
    assert "13.000.603" in found[1]


def test_the_paper_is_drawn_within_its_margins() -> None:
    for content in (statement([*exchanged()] * 40), bills()):
        drawn = picture(content)
        dark = drawn.point(lambda shade: 255 if shade < 128 else 0)
        left, top, right, bottom = dark.getbbox()
        width, height = drawn.size
        assert min(left, top, width - right, height - bottom) >= 30, "nothing runs off the page"
        # A title, a table and text: some hundredths of the page are ink, most is not.
        ink = dark.histogram()[255] / (width * height)
        assert 0.01 < ink < 0.2


def test_headings_of_tables_do_not_cover_the_line_above() -> None:
    """The first picture had half of "Tiền điện" under the grey of the table."""
    document = pypdfium2.PdfDocument(bills())
    page = document[0]
    text = page.get_textpage()
    found = text.search("Tiền điện", match_case=True, match_whole_word=True)
    index, count = found.get_next()
    below = min(text.get_charbox(index + number)[1] for number in range(count))
    shades = [
        one.get_bounds()[3] for one in page.get_objects()
        if one.type == pypdfium2.raw.FPDF_PAGEOBJ_PATH
    ]  # fmt: skip
    assert all(not below - 1 < top < below + 8 for top in shades)
    document.close()


def test_the_same_values_have_the_same_bytes_in_any_process() -> None:
    content = statement(exchanged())
    assert statement(exchanged()) == content
    assert bills() == bills()
    script = (
        "import sys; from tests.unit.collector.exports import test_papers as t;"
        "sys.stdout.buffer.write(t.statement(t.exchanged()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[4],
        env={"PYTHONHASHSEED": "7"},
    )
    assert other.stdout == content


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "không"),
        (5, "năm"),
        (10, "mười"),
        (15, "mười lăm"),
        (21, "hai mươi mốt"),
        (105, "một trăm linh năm"),
        (111, "một trăm mười một"),
        (774_194, "bảy trăm bảy mươi bốn nghìn một trăm chín mươi bốn"),
        (1_005_000, "một triệu không trăm linh năm nghìn"),
        (2_000_001, "hai triệu không trăm linh một"),
        (3_000_000_000, "ba tỷ"),
        (1_234_000_055, "một tỷ hai trăm ba mươi bốn triệu không trăm năm mươi lăm"),
    ],
)
def test_sums_in_words(value: int, words: str) -> None:
    assert in_words(value) == words


def test_numbers_as_papers_write_them() -> None:
    assert [kilo(value) for value in (None, 0, 999, 1_234_567, -1_500)] == [
        "–", "0,000", "0,999", "1.234,567", "-1,500",
    ]  # fmt: skip
    assert [hundredths(value) for value in (800, 1538, 1550, 5)] == ["8", "15,38", "15,5", "0,05"]


def test_qualities_are_explained() -> None:
    (text,) = pages(statement([line(0, 1, quality=LineQuality.SUBSTITUTED)]))
    assert "S thay thế (số đọc gần nhất)" in text
