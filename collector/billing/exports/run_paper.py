"""The index statement (sao kê chỉ số) of a billing run, in Vietnamese: what is billed, and why.

It knows what is on the paper; it must not compute anything but sums of integers.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import BinaryIO
from zoneinfo import ZoneInfo

from collector.billing.exports.cmis.rows import with_codes
from collector.billing.exports.numbers_vi import day, kilo
from collector.billing.exports.papers import (
    QUALITIES,
    STATEMENT,
    StatementSums,
    end_statement,
)
from collector.billing.exports.pdf import Column, Paper
from collector.billing.run_values import LineKind, RunHead, RunLine, VersionHead
from collector.registry.values import Role

_COLUMNS = (
    Column("Điểm đo", 102),
    Column("Số công tơ", 66),
    Column("Bộ số", 28),
    Column("Loại", 50),
    Column("Từ ngày", 50),
    Column("Chỉ số đầu", 56, is_number=True),
    Column("Chỉ số cuối", 58, is_number=True),
    Column("HSN", 28, is_number=True),
    Column("Sản lượng", 64, is_number=True),
    Column("CL", 21),
)
KINDS = {
    LineKind.CONSUMPTION: "tiêu thụ",
    LineKind.RETURN: "thoái hoàn",
    LineKind.CORRECTION: "truy thu",
    LineKind.HELD: "tạm giữ",
}
# A correction that is below zero gives back.
_GIVEN_BACK = "truy hoàn"
_WHAT = {
    "book": "sổ",
    "commune": "xã",
    "kind": "loại điểm đo",
    "point": "điểm đo",
    "station": "trạm",
}
ROLES = {
    Role.HEAD: "công tơ tổng",
    Role.HOUSEHOLD: "sinh hoạt",
    Role.BUSINESS: "kinh doanh",
    Role.WHOLESALE_MASTER: "bán buôn",
    Role.ADMINISTRATIVE: "hành chính sự nghiệp",
    Role.PRODUCTION: "sản xuất",
    Role.SUB_METER: "công tơ phụ",
    Role.OWN_USE: "tự dùng",
}
_HASH_SHOWN = 16
_ONE_DAY = timedelta(days=1)


def run_statement_pdf(
    of: tuple[RunHead, VersionHead],
    lines: Iterable[RunLine],
    zone: ZoneInfo,
    stream: BinaryIO,
    selection: Mapping[str, str],
) -> int:
    """The statement of a run's version, or of the part of it whose lines are given, by point.

    Days are the zone's. Returns the lines written.
    """
    head, version = of
    paper = Paper(stream, f"{STATEMENT} {head.run}")
    digest = version.sha256[:_HASH_SHOWN]
    paper.new_part(f"Kỳ chốt hóa đơn {head.run} · phiên bản {version.version} · SHA-256 {digest}…")
    first, last = head.from_at.astimezone(zone).date(), head.to_at.astimezone(zone).date()
    paper.line(STATEMENT, size=15, bold=True, middle=True)
    period = f"Kỳ ghi chỉ số từ ngày {day(first)} đến hết ngày {day(last - _ONE_DAY)}"
    paper.line(period, size=10, middle=True)
    paper.space()
    paper.line(_scope(head, selection), size=9)
    made = version.made_at.astimezone(zone)
    paper.line(
        f"Kỳ chốt hóa đơn {head.run}, phiên bản {version.version}, lập lúc {made:%d/%m/%Y %H:%M}"
        f" bởi {version.made_by}"
    )
    paper.line(f"SHA-256: {version.sha256}")
    paper.line(
        "Chỉ số và sản lượng: kWh (VC, VN: kvarh). CL, chất lượng: "
        + "; ".join(f"{quality.value} {words}" for quality, words in QUALITIES.items())
        + ". Loại: thoái hoàn – kỳ trước đã tính quá theo chỉ số ước lượng; truy thu, truy hoàn –"
        " sửa kỳ đã chốt; tạm giữ – chưa tính trong kỳ này."
    )
    sums = StatementSums()
    end_statement(paper, _COLUMNS, _rows(lines, zone, sums), sums)
    return sums.lines


def _rows(
    lines: Iterable[RunLine], zone: ZoneInfo, sums: StatementSums
) -> Iterator[tuple[str, ...]]:
    for line, cmis in with_codes(lines):
        code = cmis or "–"
        sums.add(line.register, code, line.billed)
        yield (
            line.point,
            line.meter,
            code,
            _kind(line),
            day(line.from_at.astimezone(zone).date()),
            kilo(line.index_from),
            kilo(line.index_to),
            str(line.multiplier),
            kilo(line.billed),
            line.quality.value,
        )


def _kind(line: RunLine) -> str:
    if line.kind is LineKind.CORRECTION and (line.billed or 0) < 0:
        return _GIVEN_BACK
    return KINDS[line.kind]


def _scope(head: RunHead, selection: Mapping[str, str]) -> str:
    whose = "Tất cả các trạm"
    if head.book is not None:
        whose = f"Sổ ghi chỉ số: {head.book}"
    elif head.station is not None:
        whose = f"Trạm biến áp: {head.station}"
    named = dict(selection)
    if "kind" in named:
        named["kind"] = ROLES[Role(named["kind"])]
    chosen = "; ".join(f"{_WHAT[name]} {value}" for name, value in sorted(named.items()))
    return f"{whose}. Chọn: {chosen}" if chosen else whose
