"""Two papers in Vietnamese: the index statement (sao kê chỉ số) and the bill preview (phiếu tạm
tính). They know what is on them; they must not compute anything but sums of integers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import BinaryIO
from zoneinfo import ZoneInfo

from collector.billing.exports.cmis.rows import with_codes
from collector.billing.exports.numbers_vi import day, grouped, hundredths, in_words, kilo
from collector.billing.exports.pdf import Column, Paper
from collector.billing.rating.preview import BillPreview, Determinant, EnergyLine, preview_hash
from collector.billing.rating.tariff import Certainty, Rate
from collector.billing.values import LineQuality, SnapshotHead, SnapshotLine
from contract.registers import BY_OBIS, Unit

STATEMENT = "SAO KÊ CHỈ SỐ"
BILL = "PHIẾU TẠM TÍNH TIỀN ĐIỆN"
NO_INVOICE = "Bản tạm tính, không phải hóa đơn"

_STATEMENT_COLUMNS = (
    Column("Điểm đo", 100),
    Column("Số công tơ", 68),
    Column("Bộ số", 36),
    Column("Chỉ số đầu", 58, is_number=True),
    Column("Chỉ số cuối", 58, is_number=True),
    Column("HSN", 28, is_number=True),
    Column("Sản lượng", 62, is_number=True),
    Column("Đọc cuối lúc", 86),
    Column("CL", 27),
)
_READ_COLUMNS = (
    Column("Điểm đo", 104),
    Column("Số công tơ", 70),
    Column("Thanh ghi", 50),
    Column("Đọc lúc (đầu, cuối)", 86),
    Column("Chỉ số đầu", 62, is_number=True),
    Column("Chỉ số cuối", 62, is_number=True),
    Column("HSN", 31, is_number=True),
    Column("Lượng", 58, is_number=True),
)
_LINE_COLUMNS = (
    Column("Điểm đo", 104),
    Column("Nội dung", 146),
    Column("Từ ngày – đến ngày", 108),
    Column("Lượng", 54, is_number=True),
    Column("Đơn giá", 43, is_number=True),
    Column("Thành tiền (đồng)", 68, is_number=True),
)
QUALITIES = {
    LineQuality.ACTUAL: "thực đo",
    LineQuality.SUBSTITUTED: "thay thế (số đọc gần nhất)",
    LineQuality.ESTIMATED: "ước lượng",
    LineQuality.NONE: "không có số liệu",
}
_RATES = {Rate.NORMAL: "giờ bình thường", Rate.PEAK: "giờ cao điểm", Rate.OFF_PEAK: "giờ thấp điểm"}
_CERTAINTIES = {
    Certainty.SOURCED: "theo văn bản",
    Certainty.SECONDARY: "theo nguồn khác",
    Certainty.UNVERIFIED: "cần kiểm tra",
}
_ONE_DAY = timedelta(days=1)
_HASH_SHOWN = 16


@dataclass(slots=True)
class StatementSums:
    """What the lines of a statement add up to, in Wh or varh, by register and its code."""

    lines: int = 0
    by_register: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, register: str, code: str, value: int | None) -> None:
        """Count a line; None adds nothing."""
        self.lines += 1
        key = register, code
        self.by_register[key] = self.by_register.get(key, 0) + (value or 0)


def statement_pdf(
    head: SnapshotHead,
    lines: Iterable[SnapshotLine],
    zone: ZoneInfo,
    stream: BinaryIO,
    point: str | None = None,
) -> int:
    """The index statement of a snapshot, or of one `point` of it whose lines are given.

    Instants are the zone's. Returns the lines written.
    """
    paper = Paper(stream, f"{STATEMENT} {head.id}")
    paper.new_part(f"Bản chốt {head.id} · SHA-256 {head.sha256[:_HASH_SHOWN]}…")
    paper.line(STATEMENT, size=15, bold=True, middle=True)
    paper.line(_period(head, zone), size=10, middle=True)
    paper.space()
    where = "Tất cả các trạm" if head.station is None else f"Trạm biến áp: {head.station}"
    paper.line(where if point is None else f"Điểm đo: {point}", size=9)
    made = head.created_at.astimezone(zone)
    paper.line(f"Bản chốt chỉ số {head.id}, lập lúc {made:%d/%m/%Y %H:%M} bởi {head.created_by}")
    paper.line(f"SHA-256: {head.sha256}")
    paper.line(
        "Chỉ số và sản lượng: kWh (VC, VN: kvarh). CL, chất lượng: "
        + "; ".join(f"{quality.value} {words}" for quality, words in QUALITIES.items())
        + "."
    )
    sums = StatementSums()
    end_statement(paper, _STATEMENT_COLUMNS, _statement_rows(lines, zone, sums), sums)
    return sums.lines


def end_statement(
    paper: Paper, columns: Sequence[Column], rows: Iterable[tuple[str, ...]], sums: StatementSums
) -> None:
    """The table, what `sums` has counted when its rows were made, and who signs."""
    paper.space()
    paper.table(columns, rows)
    paper.space()
    paper.sums(
        (f"Tổng {code} ({register})", f"{kilo(total)} {register_unit(register)}")
        for (register, code), total in sorted(sums.by_register.items())
    )
    paper.line(f"Hết: {grouped(sums.lines)} dòng.")
    paper.signatures(("Người lập", "Người kiểm tra"))
    paper.end()


def bills_pdf(
    previews: Iterable[BillPreview], created_at: datetime, stream: BinaryIO, folder: str
) -> int:
    """Bill previews, each on pages of its own. Returns how many.

    Instants are shown in the zone of `created_at`. `folder` is not needed.
    """
    del folder
    paper = Paper(stream, BILL)
    count = 0
    for preview in previews:
        count += 1
        _bill(paper, preview, created_at.tzinfo)
    paper.end()
    return count


def _statement_rows(
    lines: Iterable[SnapshotLine], zone: ZoneInfo, sums: StatementSums
) -> Iterator[tuple[str, ...]]:
    for line, cmis in with_codes(lines):
        code = cmis or "–"
        sums.add(line.register, code, line.consumption)
        yield (
            line.point,
            line.meter,
            code,
            kilo(line.index_from),
            kilo(line.index_to),
            str(line.multiplier),
            kilo(line.consumption),
            _instant(line.read_to_at, zone),
            line.quality.value,
        )


def _bill(paper: Paper, preview: BillPreview, zone: tzinfo | None) -> None:
    digest = preview_hash(preview)
    paper.new_part(f"{NO_INVOICE} · {preview.bill} · SHA-256 {digest[:_HASH_SHOWN]}…")
    paper.line(BILL, size=15, bold=True, middle=True)
    paper.line(NO_INVOICE, size=10, bold=True, middle=True)
    days = (preview.to_day - preview.from_day).days
    period = f"{_days(preview.from_day, preview.to_day)} ({days} ngày)"
    paper.line(f"Kỳ: {period}; thời điểm tính thuế {day(preview.tax_point)}", size=9, middle=True)
    paper.space()
    paper.line(f"Mã: {preview.bill}", size=10, bold=True)
    if preview.what_if is not None:
        paper.line(f"Tính thử theo biểu giá {preview.what_if}", bold=True)
    paper.space()
    paper.line("Chỉ số", size=9, bold=True)
    paper.table(_READ_COLUMNS, (row for one in preview.determinants for row in _reads(one, zone)))
    paper.space()
    paper.line("Tiền điện", size=9, bold=True)
    paper.table(_LINE_COLUMNS, _lines(preview))
    vat = hundredths(preview.vat_percent_hundredths)
    paper.sums(
        (
            ("Điện năng tiêu thụ (kWh)", grouped(preview.energy_kwh)),
            ("Tiền chưa thuế (đồng)", grouped(preview.amount_vnd)),
            (f"Thuế GTGT {vat} % (đồng)", grouped(preview.vat_vnd)),
            ("Tổng cộng (đồng)", grouped(preview.total_vnd)),
        ),
        bold_last=True,
    )
    words = in_words(preview.total_vnd)
    paper.line(f"Bằng chữ: {words[0].upper()}{words[1:]} đồng.", size=9)
    paper.space()
    paper.line("Căn cứ", size=9, bold=True)
    for used in preview.tariffs:
        paper.line(
            f"{used.id}: {used.name_vi} – {used.document}, {used.article}"
            f" ({_CERTAINTIES[used.certainty]}); SHA-256 {used.sha256[:_HASH_SHOWN]}…"
        )
    paper.line(f"SHA-256 của bản tạm tính: {digest}")
    paper.signatures(("Người lập", "Người kiểm tra"))


def _reads(determinant: Determinant, zone: tzinfo | None) -> Iterator[tuple[str, ...]]:
    unit = register_unit(determinant.register)
    if not determinant.reads:
        # Determinants of a file need not bring the reads behind them.
        energy = f"{grouped(determinant.measured)} {unit}"
        days = _days(determinant.from_day, determinant.to_day)
        yield (determinant.point, "–", determinant.register, days, "–", "–", "–", energy)
    for read in determinant.reads:
        yield (
            determinant.point,
            read.meter,
            read.register,
            f"{_instant(read.from_at, zone)} {_instant(read.to_at, zone)}",
            kilo(read.index_from_wh),
            kilo(read.index_to_wh),
            read.multiplier,
            f"{grouped(read.energy)} {unit}",
        )
    for minus in determinant.minus:
        what = f"trừ công tơ phụ {minus.point}"
        energy = f"−{grouped(minus.energy)} {unit}"
        yield (determinant.point, what, determinant.register, "", "", "", "", energy)


def _lines(preview: BillPreview) -> Iterator[tuple[str, ...]]:
    for line in preview.lines:
        yield (
            line.point,
            _what(line),
            _days(line.from_day, line.to_day),
            f"{grouped(line.energy_kwh)} kWh",
            grouped(line.price_vnd),
            grouped(line.amount_vnd),
        )
    for charge in preview.reactive:
        cos_phi, k = hundredths(charge.cos_phi_hundredths), hundredths(charge.k_percent_hundredths)
        what = f"Công suất phản kháng: cos φ {cos_phi}, k {k} % của {grouped(charge.base_vnd)} đồng"
        quantity = f"{grouped(charge.reactive_kvarh)} kvarh"
        yield (charge.point, what, "", quantity, "", grouped(charge.amount_vnd))


def _what(line: EnergyLine) -> str:
    parts = [line.group_vi]
    if line.tier is not None:
        parts.append(f"bậc {line.tier}")
    if line.rate is not None:
        parts.append(_RATES[line.rate])
    return ", ".join(parts)


def _period(head: SnapshotHead, zone: ZoneInfo) -> str:
    from_at, to_at = head.from_at.astimezone(zone), head.to_at.astimezone(zone)
    return (
        f"Từ {from_at:%H:%M} ngày {day(from_at.date())} đến {to_at:%H:%M} ngày {day(to_at.date())}"
    )


def _instant(at: datetime | None, zone: tzinfo | None) -> str:
    return "–" if at is None else f"{at.astimezone(zone):%d/%m/%Y %H:%M}"


def _days(from_day: date, to_day: date) -> str:
    """Both included, as bills say it."""
    return f"{day(from_day)} – {day(to_day - _ONE_DAY)}"


def register_unit(register: str) -> str:
    """The unit in which a register is printed."""
    return {Unit.VARH: "kvarh", Unit.VAH: "kVAh"}.get(BY_OBIS[register].unit, "kWh")
