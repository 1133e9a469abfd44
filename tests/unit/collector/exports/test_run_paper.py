"""The index statement of a billing run: its text, its pages, and how it looks."""

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image, ImageChops, ImageStat

from collector.billing.exports.run_paper import KINDS, ROLES, run_statement_pdf
from collector.billing.run_values import LineKind, RunHead, RunLine, VersionHead
from collector.billing.values import LineQuality
from collector.civil import zone_info
from collector.registry.values import Role
from tests.unit.collector.exports.making import FROM_AT, TO_AT
from tests.unit.collector.exports.test_run_rows import correction, of_run

GOLDEN = Path(__file__).parents[3] / "golden" / "papers" / "run-statement.png"
HEAD = RunHead("run-1", None, "B01", FROM_AT, TO_AT, TO_AT, "Hằng")
VERSION = VersionHead("run-1", 2, TO_AT, "Nguyễn Thị Hằng", "x", 4, "ab" * 32, None, "cd" * 32)
HEADINGS = "Điểm đo Số công tơ Bộ số Loại Từ ngày Chỉ số đầu Chỉ số cuối HSN Sản lượng CL"

# Mean difference of grey levels (0 to 255) that another rasterizer's smoothing may make; a line of
# text that is absent, or columns that moved by a few points, make more.
DIFFERENCE_MAX = 0.6


def paper(*lines: RunLine, **selection: str) -> bytes:
    stream = io.BytesIO()
    zone = zone_info("Asia/Ho_Chi_Minh")
    written = run_statement_pdf((HEAD, VERSION), lines, zone, stream, selection)
    assert written == len(lines)
    return stream.getvalue()


def one_of_each() -> list[RunLine]:
    middle = FROM_AT + timedelta(days=12)
    return [
        of_run(12_345_000, 12_398_000, point="P1", meter="M0", to_at=middle),
        of_run(0, 101_000, point="P1", from_at=middle),
        correction(-12_000, point="P1", meter="M0"),
        of_run(123_456_780, 123_987_650, point="P2", multiplier=1200),
        of_run(1_250_000, 1_240_000, point="P3", kind=LineKind.RETURN),
        of_run(
            None, None, None, point="P4", kind=LineKind.HELD, quality=LineQuality.NONE
        ),
    ]  # fmt: skip


def pages(content: bytes) -> list[str]:
    document = pypdfium2.PdfDocument(content)
    found = [" ".join(page.get_textpage().get_text_bounded().split()) for page in document]
    document.close()
    return found


def picture(content: bytes, number: int = 0) -> Any:  # noqa: ANN401  Pillow's image
    document = pypdfium2.PdfDocument(content)
    drawn = document[number].render(scale=1).to_pil().convert("L")
    document.close()
    return drawn


def test_it_says_what_is_billed_and_why() -> None:
    (text,) = pages(paper(*one_of_each(), commune="Sông Lô", kind="household"))
    for words in (
        "Sổ ghi chỉ số: B01. Chọn: xã Sông Lô; loại điểm đo sinh hoạt",
        "phiên bản 2, lập lúc 20/06/2026 00:00 bởi Nguyễn Thị Hằng",
        HEADINGS,
        "P1 M0 KT tiêu thụ 20/05/2026 12.345,000 12.398,000 1 53,000 A",
        "P1 M1 KT tiêu thụ 01/06/2026 0,000 101,000 1 101,000 A",
        "P1 M0 KT truy hoàn 19/04/2026 – – 1 -12,000 A",
        "P2 M1 KT tiêu thụ 20/05/2026 123.456,780 123.987,650 1200 637.044,000 A",
        "P3 M1 KT thoái hoàn 20/05/2026 1.250,000 1.240,000 1 -10,000 A",
        "P4 M1 KT tạm giữ 20/05/2026 – – 1 – N",
        "Tổng KT (1-0:1.8.0) 637.176,000 kWh",
        "Hết: 6 dòng.",
    ):
        assert words in text, (words, text)
    assert KINDS.keys() == set(LineKind)
    assert ROLES.keys() == set(Role)


def test_five_hundred_rows_go_over_pages_with_their_headings() -> None:
    lines = [of_run(0, 1000, point=f"PA25SL{number:07}001") for number in range(500)]
    found = pages(paper(*lines))
    assert len(found) == 10
    assert all(HEADINGS in text for text in found)
    assert all(f"Trang {number}" in text for number, text in enumerate(found, 1))
    joined = " ".join(found)
    assert all(joined.count(f"PA25SL{number:07}001") == 1 for number in range(500))
    assert "Tổng KT (1-0:1.8.0) 500,000 kWh" in found[-1]


def test_it_looks_as_it_did() -> None:
    content = paper(*one_of_each())
    assert paper(*one_of_each()) == content
    drawn = picture(content)
    with Image.open(GOLDEN) as stored:
        golden = stored.convert("L")
    assert drawn.size == golden.size
    assert drawn.getextrema()[0] < 40, "something is printed"

    def difference(other: Any) -> float:  # noqa: ANN401  Pillow's image
        (mean,) = ImageStat.Stat(ImageChops.difference(other, golden)).mean
        return float(mean)

    assert difference(drawn) < DIFFERENCE_MAX
    assert difference(picture(paper(*one_of_each()[:-1]))) > DIFFERENCE_MAX
    assert difference(ImageChops.offset(drawn, 3, 0)) > DIFFERENCE_MAX
