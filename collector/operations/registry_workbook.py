"""The registry's files as the sheets of one XLSX workbook: the one module that knows openpyxl.

A workbook comes from anybody: it is bounded before and while it is read. It must not know what a
cell means; sheets become the CSV text that the registry's files are read from.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils.exceptions import InvalidFileException

from collector.errors import InvalidRequest
from collector.registry.files import ROWS_MAX

WORKBOOK_SUFFIX = ".xlsx"

# A workbook of 100,000 points with all sheets has some 20 MB, and 300 MB unpacked.
WORKBOOK_BYTES_MAX = 64 * 1024 * 1024
UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
# XML shrinks to a tenth, repetitive sheets to a fiftieth; what shrinks more is made to explode.
RATIO_MAX = 200
MEMBERS_MAX = 1_000
# More than any file of the registry has; a sheet may claim 16,384.
COLUMNS_MAX = 64
# Cells of a row, empty ones with a format too.
CELLS_MAX = 1_024
CELL_CHARS_MAX = 2_000
# Rows without anything in a row after which a sheet is over: spreadsheets keep formatted ones.
EMPTY_ROWS_MAX = 10_000

_HINT = "save it as an Excel workbook (.xlsx) with one sheet for each file, or give CSV files"


def read_workbook(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The sheets as CSV text, by file name: sheet `stations` is `stations.csv`.

    Sheets with other names are not read. Raises InvalidRequest for what is no workbook, for one
    that is larger than its bounds, and for formulas.
    """
    files = {name.removesuffix(".csv"): name for name in names}
    try:
        _check_size(path)
        # Opened here: openpyxl leaves a file open that it cannot read.
        with path.open("rb") as stream:
            book = load_workbook(stream, read_only=True, keep_links=False, data_only=False)
            texts = {
                files[sheet.title]: _sheet_text(sheet.title, _rows(sheet))
                for sheet in book.worksheets
                if sheet.title in files
            }
    except OSError as error:
        raise InvalidRequest(
            f"{path.name} cannot be read: {error.strerror or error}", hint=_HINT
        ) from error
    except (
        zipfile.BadZipFile, InvalidFileException, ParseError, KeyError, ValueError, TypeError,
        AttributeError, IndexError, EOFError, RuntimeError, zlib.error,
    ) as error:  # fmt: skip
        # What openpyxl raises for parts that lack, or say what they cannot.
        raise InvalidRequest(f"{path.name} is no sound workbook: {error}", hint=_HINT) from error
    if not texts:
        raise InvalidRequest(
            f"{path.name} has no sheet of the registry", hint=f"expected are {', '.join(files)}"
        )
    return texts


def write_workbook(path: Path, texts: Mapping[str, str], opened: Callable[[Path], Any]) -> None:
    """One sheet for each file. Every cell is text, so that no spreadsheet changes a code."""
    book = Workbook(write_only=True)
    for name, text in texts.items():
        sheet = book.create_sheet(name.removesuffix(".csv"))
        sheet.freeze_panes = "A2"
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            cells = []
            for value in row:
                cell = WriteOnlyCell(sheet, value=value or None)
                if value:
                    # Said again, or a text that begins with = would be a formula.
                    cell.data_type = "s"
                cell.number_format = "@"
                cells.append(cell)
            sheet.append(cells)
    with opened(path) as stream:
        book.save(stream)


def _check_size(path: Path) -> None:
    if path.stat().st_size > WORKBOOK_BYTES_MAX:
        raise InvalidRequest(
            f"{path.name} is larger than {WORKBOOK_BYTES_MAX} bytes",
            hint="import it in parts: what is stored stays",
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MEMBERS_MAX:
        raise InvalidRequest(f"{path.name} has more than {MEMBERS_MAX} parts", hint=_HINT)
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if unpacked > UNPACKED_BYTES_MAX or unpacked > RATIO_MAX * max(packed, 1):
        raise InvalidRequest(
            f"{path.name} would unpack to {unpacked} bytes",
            hint="import it in parts, or as CSV files",
        )


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  openpyxl's read-only sheet
    # What a sheet claims to span says nothing, and every row would be filled up to it.
    sheet.reset_dimensions()
    for row in sheet.iter_rows():
        if len(row) > CELLS_MAX:
            raise InvalidRequest(f"sheet {sheet.title} has a row of {len(row)} cells", hint=_HINT)
        yield row


def _sheet_text(title: str, rows: Iterable[Iterable[Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    width = 0
    for number, cells in enumerate(_until_empty(rows), 1):
        if number > ROWS_MAX:
            raise InvalidRequest(
                f"sheet {title} has more than {ROWS_MAX} rows", hint="import it in parts"
            )
        texts = [_text(title, number, cell) for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if len(texts) > COLUMNS_MAX:
            raise InvalidRequest(f"sheet {title} has more than {COLUMNS_MAX} columns", hint=_HINT)
        width = width or len(texts)
        # Cells that were never touched are not in the file.
        writer.writerow(texts + [""] * (width - len(texts)) or [""])
    return stream.getvalue()


def _until_empty(rows: Iterable[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    held: list[tuple[Any, ...]] = []
    for row in rows:
        cells = tuple(row)
        if any(cell.value is not None for cell in cells):
            yield from held
            held = []
            yield cells
        elif len(held) < EMPTY_ROWS_MAX:
            held.append(())
        else:
            return


def _text(title: str, number: int, cell: Any) -> str:  # noqa: ANN401  openpyxl's many cells
    value = cell.value
    where = f"sheet {title}, row {number}"
    if cell.data_type in {"f", "e"}:
        raise InvalidRequest(
            f"{where} has a formula or an error: {str(value)[:80]!r}",
            hint="paste the cells again as values",
        )
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        # A spreadsheet has no other numbers. The shortest text that means the same number is
        # what was typed.
        return str(int(value)) if value.is_integer() else repr(value)
    text = str(value).strip()
    if len(text) > CELL_CHARS_MAX:
        raise InvalidRequest(f"{where} has a cell with {len(text)} characters", hint=_HINT)
    # One row of the sheet is one line of text, so that errors name its row.
    return " ".join(text.splitlines())
