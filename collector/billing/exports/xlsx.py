"""A snapshot, and bill previews, as workbooks (Office Open XML): for people who sum and filter.

The only module that knows XlsxWriter. It knows columns and formats; it must not compute anything
but sums of integers. The same values give the same bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import BinaryIO
from zoneinfo import ZoneInfo

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.utility import xl_rowcol_to_cell
from xlsxwriter.worksheet import Worksheet

from collector.billing.exports.cmis.rows import with_codes
from collector.billing.rating.preview import BillPreview, EnergyLine, ReactiveLine, preview_hash
from collector.billing.run_values import RunHead, RunLine, VersionHead
from collector.billing.values import SnapshotHead, SnapshotLine
from collector.errors import InvalidRequest

# A sheet ends there (Office Open XML); some rows are kept for headings and totals.
SHEET_ROWS_MAX = 1_048_576
ROWS_KEPT = 100

# A cell is a double: it shows fifteen digits as they are. More is text.
_EXACT_MAX: int = 10**15

_TITLE_ROW, _HEADING_ROW, _FIRST_ROW = 0, 2, 3

_KWH = "#,##0.000"
_WHOLE = "#,##0"
_INSTANT = "dd/mm/yyyy hh:mm:ss"
_DAY = "dd/mm/yyyy"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its headings, its width in characters, and its number format (None: text)."""

    vi: str
    en: str
    width: int
    form: str | None = None


SNAPSHOT_COLUMNS = (
    Column("Điểm đo", "Point", 20),
    Column("Số công tơ", "Meter", 16),
    Column("Thanh ghi", "Register", 11),
    Column("Bộ số", "CMIS", 7),
    Column("Chỉ số đầu (kWh)", "Index from (kWh)", 16, _KWH),
    Column("Chỉ số cuối (kWh)", "Index to (kWh)", 16, _KWH),
    Column("Đọc đầu lúc", "Read from at", 19, _INSTANT),
    Column("Đọc cuối lúc", "Read to at", 19, _INSTANT),
    Column("Hệ số nhân", "Multiplier", 11, "0.######"),
    Column("Sản lượng (kWh)", "Consumption (kWh)", 17, _KWH),
    Column("Chất lượng", "Quality", 10),
)
_REGISTER, _CONSUMPTION = 2, 9

RUN_COLUMNS = (
    Column("Điểm đo", "Point", 20),
    Column("Số công tơ", "Meter", 16),
    Column("Thanh ghi", "Register", 11),
    Column("Bộ số", "CMIS", 7),
    Column("Loại", "Kind", 13),
    Column("Từ lúc", "From at", 19, _INSTANT),
    Column("Đến lúc", "To at", 19, _INSTANT),
    Column("Chỉ số đầu (kWh)", "Index from (kWh)", 16, _KWH),
    Column("Chỉ số cuối (kWh)", "Index to (kWh)", 16, _KWH),
    Column("Đọc đầu lúc", "Read from at", 19, _INSTANT),
    Column("Đọc cuối lúc", "Read to at", 19, _INSTANT),
    Column("Hệ số nhân", "Multiplier", 11, "0.######"),
    Column("Sản lượng tính (kWh)", "Billed (kWh)", 17, _KWH),
    Column("Chất lượng", "Quality", 10),
    Column("Sửa kỳ", "Cites", 38),
)
_BILLED = 12

BILL_COLUMNS = (
    Column("Hóa đơn tạm tính", "Bill preview", 18),
    Column("Từ ngày", "From day", 12, _DAY),
    Column("Đến trước ngày", "To day (not included)", 14, _DAY),
    Column("Điện năng (kWh)", "Energy (kWh)", 14, _WHOLE),
    Column("Tiền điện (đồng)", "Energy (VND)", 16, _WHOLE),
    Column("Tiền CSPK (đồng)", "Reactive (VND)", 16, _WHOLE),
    Column("Trước thuế (đồng)", "Before tax (VND)", 17, _WHOLE),
    Column("Thuế GTGT (đồng)", "VAT (VND)", 16, _WHOLE),
    Column("Tổng cộng (đồng)", "To pay (VND)", 17, _WHOLE),
    Column("Giá thử", "What if", 16),
    Column("SHA-256", "SHA-256", 66),
)
_BILL_SUMS = range(3, 9)

LINE_COLUMNS = (
    Column("Hóa đơn tạm tính", "Bill preview", 18),
    Column("Điểm đo", "Point", 20),
    Column("Nội dung", "What for", 34),
    Column("Biểu giá", "Tariff", 16),
    Column("Bậc", "Tier", 6, _WHOLE),
    Column("Khung giờ", "Rate", 10),
    Column("Từ ngày", "From day", 12, _DAY),
    Column("Đến trước ngày", "To day (not included)", 14, _DAY),
    Column("Lượng", "Quantity", 12, _WHOLE),
    Column("Đơn vị", "Unit", 8),
    Column("Đơn giá (đồng)", "Price (VND)", 14, _WHOLE),
    Column("Thành tiền (đồng)", "Amount (VND)", 17, _WHOLE),
)
_AMOUNT = 11

Cell = str | int | Decimal | datetime | None


def snapshot_xlsx(
    head: SnapshotHead,
    lines: Iterable[SnapshotLine],
    zone: ZoneInfo,
    stream: BinaryIO,
    folder: str,
) -> int:
    """Write a snapshot into `stream`, a row a line, and the sum of each register below.

    What does not fit memory goes through `folder`. Instants are the zone's. Returns the rows.
    Raises InvalidRequest for more lines than a sheet has rows.
    """
    check_rows(head.line_count)
    with _Book(stream, folder, head.created_at) as book:
        title = f"Bản chốt chỉ số · Snapshot {head.id} · SHA-256 {head.sha256}"
        sheet = book.sheet("Chỉ số", title, SNAPSHOT_COLUMNS)
        sums: dict[str, int] = {}
        for line, code in with_codes(lines):
            sheet.row(_snapshot_cells(line, code, zone))
            sums[line.register] = sums.get(line.register, 0) + (line.consumption or 0)
        sheet.end_rows()
        for register, total in sorted(sums.items()):
            sheet.total(f"Tổng · Total {register}", _REGISTER, register, {_CONSUMPTION: total})
        return sheet.count


def run_xlsx(
    of: tuple[RunHead, VersionHead],
    lines: Iterable[RunLine],
    zone: ZoneInfo,
    stream: BinaryIO,
    folder: str,
) -> int:
    """Write a billing run's version into `stream`, or the part of it whose lines are given.

    As `snapshot_xlsx`; `lines` are by point. Returns the rows.
    """
    head, version = of
    with _Book(stream, folder, version.made_at) as book:
        title = f"Kỳ ghi chỉ số · Billing run {head.run} · {version.version} · {version.sha256}"
        sheet = book.sheet("Chỉ số", title, RUN_COLUMNS)
        sums: dict[str, int] = {}
        for line, code in with_codes(lines):
            check_rows(sheet.count + 1)
            sheet.row(_run_cells(line, code, zone))
            sums[line.register] = sums.get(line.register, 0) + (line.billed or 0)
        sheet.end_rows()
        for register, total in sorted(sums.items()):
            sheet.total(f"Tổng · Total {register}", _REGISTER, register, {_BILLED: total})
        return sheet.count


def previews_xlsx(
    previews: Iterable[BillPreview], created_at: datetime, stream: BinaryIO, folder: str
) -> int:
    """Write bill previews into `stream`: one sheet of bills with a total, one of their lines.

    `created_at` is the file's date, aware. Returns the bills. Raises InvalidRequest for more
    lines than a sheet has rows.
    """
    title = "Bản tạm tính, không phải hóa đơn · Preview, not an invoice"
    with _Book(stream, folder, created_at) as book:
        bills = book.sheet("Tạm tính", title, BILL_COLUMNS)
        details = book.sheet("Chi tiết", title, LINE_COLUMNS)
        sums = dict.fromkeys(_BILL_SUMS, 0)
        amount = 0
        for preview in previews:
            cells = _bill_cells(preview)
            bills.row(cells)
            for column in _BILL_SUMS:
                value = cells[column]
                assert isinstance(value, int), "sums are integers"
                sums[column] += value
            for row in (
                *map(_energy_cells, preview.lines),
                *map(_reactive_cells, preview.reactive),
            ):
                check_rows(details.count + 1)
                details.row((preview.bill, *row))
            amount += preview.amount_vnd
        for sheet in (bills, details):
            sheet.end_rows()
        bills.total("Tổng · Total", 0, None, sums)
        details.total("Tổng · Total", 0, None, {_AMOUNT: amount})
        return bills.count


def check_rows(count: int) -> None:
    """Raises InvalidRequest where a sheet cannot hold so many rows."""
    if count > SHEET_ROWS_MAX - ROWS_KEPT:
        raise InvalidRequest(
            f"a sheet holds {SHEET_ROWS_MAX - ROWS_KEPT} rows, and there are more",
            hint="make the file for one station, or take CSV",
            code="too_many_rows",
        )


def _snapshot_cells(line: SnapshotLine, code: str | None, zone: ZoneInfo) -> Sequence[Cell]:
    return (
        line.point,
        line.meter,
        line.register,
        code,
        _kilo(line.index_from),
        _kilo(line.index_to),
        None if line.read_from_at is None else line.read_from_at.astimezone(zone),
        None if line.read_to_at is None else line.read_to_at.astimezone(zone),
        _multiplier(line.multiplier),
        _kilo(line.consumption),
        line.quality.value,
    )


def _run_cells(line: RunLine, code: str | None, zone: ZoneInfo) -> Sequence[Cell]:
    return (
        line.point,
        line.meter,
        line.register,
        code,
        line.kind.value,
        line.from_at.astimezone(zone),
        line.to_at.astimezone(zone),
        _kilo(line.index_from),
        _kilo(line.index_to),
        None if line.read_from_at is None else line.read_from_at.astimezone(zone),
        None if line.read_to_at is None else line.read_to_at.astimezone(zone),
        _multiplier(line.multiplier),
        _kilo(line.billed),
        line.quality.value,
        line.cites,
    )


def _bill_cells(preview: BillPreview) -> Sequence[Cell]:
    return (
        preview.bill,
        datetime.combine(preview.from_day, datetime.min.time()),
        datetime.combine(preview.to_day, datetime.min.time()),
        preview.energy_kwh,
        preview.energy_vnd,
        preview.reactive_vnd,
        preview.amount_vnd,
        preview.vat_vnd,
        preview.total_vnd,
        preview.what_if,
        preview_hash(preview),
    )


def _energy_cells(line: EnergyLine) -> Sequence[Cell]:
    return (
        line.point,
        f"{line.group_vi} · {line.group_en}",
        line.tariff,
        line.tier,
        None if line.rate is None else line.rate.value,
        datetime.combine(line.from_day, datetime.min.time()),
        datetime.combine(line.to_day, datetime.min.time()),
        line.energy_kwh,
        "kWh",
        line.price_vnd,
        line.amount_vnd,
    )


def _reactive_cells(line: ReactiveLine) -> Sequence[Cell]:
    what = (line.point, "Công suất phản kháng · Reactive energy", line.tariff)
    return (*what, None, None, None, None, line.reactive_kvarh, "kvarh", None, line.amount_vnd)


def _kilo(value: int | None) -> Cell:
    return None if value is None else Decimal(value).scaleb(-3)


def _multiplier(ratio: Fraction) -> Cell:
    return ratio.numerator if ratio.denominator == 1 else str(ratio)


class _Book:
    """A workbook that is closed at the end, or dropped if something was raised."""

    def __init__(self, stream: BinaryIO, folder: str, created_at: datetime) -> None:
        options = {"constant_memory": True, "tmpdir": folder, "remove_timezone": True}
        self._book = Workbook(stream, options)
        # Dates of the file are the snapshot's, not the clock's.
        created = created_at.astimezone(UTC).replace(tzinfo=None)
        self._book.set_properties({"created": created, "author": "Songlo"})
        self._formats: dict[tuple[str | None, bool], Format] = {}

    def __enter__(self) -> "_Book":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._book.close()
            except FileCreateError as error:
                # What it wraps is what the disk said.
                raise OSError(*error.args[0].args) from error
        else:
            # Its destructor would write what is there, and leave the rows' files open.
            self._book.fileclosed = True
            for sheet in self._book.worksheets():
                sheet.row_data_fh.close()

    def sheet(self, name: str, title: str, columns: Sequence[Column]) -> "_Sheet":
        return _Sheet(self._book.add_worksheet(name), title, columns, self.form)

    def form(self, number: str | None, *, bold: bool = False) -> Format:
        """The format of a cell; each is made once."""
        found = self._formats.get((number, bold))
        if found is None:
            properties: dict[str, object] = {"bold": bold, "valign": "top"}
            if number is not None:
                properties["num_format"] = number
            else:
                properties["text_wrap"] = bold
            found = self._formats[number, bold] = self._book.add_format(properties)
        return found


class _Sheet:
    """A sheet that is written row after row: title, headings, rows, totals."""

    def __init__(
        self,
        sheet: Worksheet,
        title: str,
        columns: Sequence[Column],
        form: Callable[..., Format],
    ) -> None:
        self._sheet = sheet
        self._columns = columns
        self._form = form
        self._next = _FIRST_ROW
        self.count = 0
        for number, column in enumerate(columns):
            sheet.set_column(number, number, column.width)
        sheet.freeze_panes(_FIRST_ROW, 1)
        sheet.repeat_rows(_HEADING_ROW)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        sheet.write_string(_TITLE_ROW, 0, title)
        sheet.set_row(_HEADING_ROW, 32)
        for number, column in enumerate(columns):
            text = f"{column.vi}\n{column.en}"
            sheet.write_string(_HEADING_ROW, number, text, form(None, bold=True))

    def row(self, cells: Sequence[Cell]) -> None:
        for number, (cell, column) in enumerate(zip(cells, self._columns, strict=True)):
            if cell is not None:
                self._write(number, cell, column.form)
        self._next += 1
        self.count += 1

    def end_rows(self) -> None:
        last = max(self._next - 1, _FIRST_ROW)
        self._sheet.autofilter(_HEADING_ROW, 0, last, len(self._columns) - 1)

    def total(self, name: str, where: int, equal_to: str | None, sums: dict[int, int]) -> None:
        """A row of sums as formulas with their values: of all rows, or of those that have
        `equal_to` in the column `where`. Of columns in kWh the sums are Wh."""
        if self.count == 0:
            return
        self._sheet.write_string(self._next, 0, name, self._form(None, bold=True))
        for number, total in sums.items():
            form = self._columns[number].form
            cells = self._range(number)
            formula = f"=SUM({cells})"
            if equal_to is not None:
                formula = f'=SUMIF({self._range(where)},"{equal_to}",{cells})'
            value = _kilo(total) if form == _KWH else total
            bold = self._form(form, bold=True)
            self._sheet.write_formula(self._next, number, formula, bold, value)
        self._next += 1

    def _range(self, column: int) -> str:
        first = xl_rowcol_to_cell(_FIRST_ROW, column, row_abs=True, col_abs=True)
        last = xl_rowcol_to_cell(_FIRST_ROW + self.count - 1, column, row_abs=True, col_abs=True)
        return f"{first}:{last}"

    def _write(self, column: int, cell: Cell, form: str | None) -> None:
        # Never `write`: it would take a name that begins with = for a formula.
        if isinstance(cell, datetime):
            self._sheet.write_datetime(self._next, column, cell, self._form(form))
        elif isinstance(cell, str):
            self._sheet.write_string(self._next, column, cell)
        elif isinstance(cell, int | Decimal):
            digits = cell.scaleb(3) if isinstance(cell, Decimal) else Decimal(cell)
            if abs(digits) < _EXACT_MAX:
                self._sheet.write_number(self._next, column, cell, self._form(form))
            else:
                self._sheet.write_string(self._next, column, str(cell))
