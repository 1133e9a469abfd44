"""The registry's CSV files as values and back, and what is wrong with each bad row.

It reads text that it is given; it must not know the disk, nor what is stored already.
"""

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from collector.registry import cells as cell_kinds
from collector.registry.contract_values import (
    Allocation,
    Book,
    Contract,
    ContractTerms,
    Customer,
    Inspection,
    Membership,
    ReadingDays,
    SupplyApplication,
)
from collector.registry.forms import Column, Form, forms
from collector.registry.reasons_vi import in_vietnamese
from collector.registry.values import (
    Area,
    Installation,
    Meter,
    Multiplier,
    Point,
    Station,
    Transfer,
    Transformers,
)

# Far above any utility's registry; a larger file is not one.
ROWS_MAX = 2_000_000

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, order=True)
class RowError:
    """What is wrong: `row` is the line of the file (1 is the header); `column` may be empty."""

    file: str
    row: int
    column: str
    reason: str

    @property
    def reason_vi(self) -> str:
        """The reason in Vietnamese."""
        return in_vietnamese(self.reason)

    def parts(self) -> tuple[str, str]:
        """Where it is, in words, and what is wrong there."""
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, row {self.row}{column}", self.reason

    def __str__(self) -> str:
        return ": ".join(self.parts())


@dataclass(frozen=True, slots=True)
class Located(Generic[_Value]):
    """A value with the row that it came from."""

    row: int
    value: _Value


@dataclass(frozen=True, slots=True)
class RegistryFiles:
    """What the files say, and everything that is wrong with them taken by themselves."""

    areas: Sequence[Located[Area]] = ()
    stations: Sequence[Located[Station]] = ()
    transformers: Sequence[Located[Transformers]] = ()
    points: Sequence[Located[Point]] = ()
    meters: Sequence[Located[Meter]] = ()
    installations: Sequence[Located[Installation]] = ()
    multipliers: Sequence[Located[Multiplier]] = ()
    transfers: Sequence[Located[Transfer]] = ()
    inspections: Sequence[Located[Inspection]] = ()
    customers: Sequence[Located[Customer]] = ()
    contracts: Sequence[Located[Contract]] = ()
    terms: Sequence[Located[ContractTerms]] = ()
    allocations: Sequence[Located[Allocation]] = ()
    applications: Sequence[Located[SupplyApplication]] = ()
    books: Sequence[Located[Book]] = ()
    reading_days: Sequence[Located[ReadingDays]] = ()
    memberships: Sequence[Located[Membership]] = ()
    errors: Sequence[RowError] = ()


@dataclass(slots=True)
class _Reading:
    """One file while it is read."""

    file: str
    errors: list[RowError] = field(default_factory=list)

    def fail(self, row: int, column: str, reason: str) -> None:
        self.errors.append(RowError(self.file, row, column, reason))


def parse_files(texts: Mapping[str, str], zone: str) -> RegistryFiles:
    """The rows of the files given, by file name (`stations.csv` …); a file may be absent.

    Dates without a time mean the first instant of that day in `zone`.
    """
    rows: dict[str, list[Located[Any]]] = {}
    errors: list[RowError] = []
    for file, form in forms(zone).items():
        if file in texts:
            reading = _Reading(file)
            rows[file.removesuffix(".csv")] = _parse(texts[file], form, reading)
            errors += reading.errors
    return RegistryFiles(**rows, errors=tuple(errors))


def file_names() -> tuple[str, ...]:
    """The names of the registry's files."""
    return tuple(forms("UTC"))


def write_files(values: Mapping[str, Iterable[Any]], zone: str) -> dict[str, str]:
    """The files of these values, by file name; the order of rows is that of the values.

    Kinds without values have no file. What `parse_files` makes of them are the same values.
    """
    texts: dict[str, str] = {}
    for file, form in forms(zone).items():
        rows = [form.take(value) for value in values.get(file.removesuffix(".csv"), ())]
        if not rows:
            continue
        columns = {
            key: column
            for key, column in form.columns.items()
            if not column.added or any(row[key] is not None for row in rows)
        }
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(
                "" if row[key] is None else _shown(column, row[key])
                for key, column in columns.items()
            )
        texts[file] = stream.getvalue()
    return texts


def _parse(text: str, form: Form, reading: _Reading) -> list[Located[Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    values: list[Located[Any]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not _check_header(header, form, reading):
            return []
        row = reader.line_num + 1
        for cells in reader:
            if any(cells):
                value = _parse_row(cells, header, form, partial(reading.fail, row))
                if value is not None:
                    values.append(Located(row, value))
            if row > ROWS_MAX:
                reading.fail(row, "", f"more than {ROWS_MAX} rows")
                break
            row = reader.line_num + 1
    except csv.Error as error:
        reading.fail(reader.line_num, "", f"no CSV: {error}")
    return values


def _check_header(header: Sequence[str], form: Form, reading: _Reading) -> bool:
    for name in header:
        if name not in form.columns:
            near = difflib.get_close_matches(name, form.columns, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            reading.fail(1, name, f"no such column{hint}")
    for name, column in form.columns.items():
        if name not in header and not column.optional:
            reading.fail(1, name, "this column is missing")
        elif header.count(name) > 1:
            reading.fail(1, name, "this column is there twice")
    return not reading.errors


def _parse_row(
    cells: Sequence[str], header: Sequence[str], form: Form, fail: Callable[[str, str], None]
) -> object | None:
    if len(cells) != len(header):
        fail("", f"{len(cells)} cells for {len(header)} columns")
        return None
    texts = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name, text in texts.items():
        if _is_free(form.columns[name]):
            texts[name] = cell_kinds.unshielded(text)
    return parse_cells(texts, form, fail)


def _shown(column: Column, value: object) -> str:
    """A cell's text; what people wrote freely must not run where somebody opens the file."""
    text = column.show(value)
    return cell_kinds.shielded(text) if _is_free(column) else text


def _is_free(column: Column) -> bool:
    """Whether a column takes any text; all others cannot begin like a formula."""
    return column.parse is cell_kinds.free_text


def parse_cells(
    texts: Mapping[str, str], form: Form, fail: Callable[[str, str], None]
) -> object | None:
    """The value of one row's cells by column, stripped; None once `fail` was told what is wrong."""
    found: dict[str, Any] = {}
    good = True
    for name, column in form.columns.items():
        text = texts.get(name, "")
        if not text:
            found[name] = None
            if not column.optional:
                fail(name, "must not be empty")
                good = False
            continue
        try:
            found[name] = column.parse(text)
        except ValueError as error:
            fail(name, str(error))
            good = False
    return form.build(found) if good else None
