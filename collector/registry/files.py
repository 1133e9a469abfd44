"""The registry's CSV files as values: columns, types and what is wrong with each bad row.

It reads text that it is given; it must not know the disk, nor what is stored already.
"""

import csv
import difflib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Generic, TypeVar

from collector.civil import parse_instant
from collector.registry.values import Installation, Meter, Multiplier, Point, Role, Station
from contract.limits import ENERGY_MAX, NAME_CHARS_MAX
from contract.registers import IMPORT_ACTIVE

# Far above any utility's registry; a larger file is not one.
ROWS_MAX = 2_000_000

TEXT_CHARS_MAX = 500
INT32_MAX = 2**31 - 1

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, order=True)
class RowError:
    """What is wrong: `row` is the line of the file (1 is the header); `column` may be empty."""

    file: str
    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, row {self.row}{column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Located(Generic[_Value]):
    """A value with the row that it came from."""

    row: int
    value: _Value


@dataclass(frozen=True, slots=True)
class RegistryFiles:
    """What the files say, and everything that is wrong with them taken by themselves."""

    stations: Sequence[Located[Station]] = ()
    points: Sequence[Located[Point]] = ()
    meters: Sequence[Located[Meter]] = ()
    installations: Sequence[Located[Installation]] = ()
    multipliers: Sequence[Located[Multiplier]] = ()
    errors: Sequence[RowError] = ()


@dataclass(frozen=True, slots=True)
class _Column:
    parse: Callable[[str], Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class _Format:
    columns: Mapping[str, _Column]
    build: Callable[[dict[str, Any]], Any]


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
    for file, form in _formats(zone).items():
        if file in texts:
            reading = _Reading(file)
            rows[file.removesuffix(".csv")] = _parse(texts[file], form, reading)
            errors += reading.errors
    return RegistryFiles(**rows, errors=tuple(errors))


def file_names() -> tuple[str, ...]:
    """The names of the registry's files."""
    return tuple(_formats("UTC"))


def _parse(text: str, form: _Format, reading: _Reading) -> list[Located[Any]]:
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


def _check_header(header: Sequence[str], form: _Format, reading: _Reading) -> bool:
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
    cells: Sequence[str], header: Sequence[str], form: _Format, fail: Callable[[str, str], None]
) -> object | None:
    if len(cells) != len(header):
        fail("", f"{len(cells)} cells for {len(header)} columns")
        return None
    texts = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
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


def _formats(zone: str) -> dict[str, _Format]:
    instant = partial(parse_instant, zone=zone)
    index = partial(_integer, low=0, high=ENERGY_MAX)
    return {
        "stations.csv": _Format(
            {
                "station": _Column(_name),
                "name": _Column(_text),
                "commune": _Column(_text, optional=True),
                "capacity_kva": _Column(partial(_integer, low=1, high=INT32_MAX), optional=True),
            },
            lambda row: Station(**row),
        ),
        "points.csv": _Format(
            {
                "point": _Column(_name),
                "station": _Column(_name),
                "role": _Column(_role),
                "name": _Column(_text),
            },
            lambda row: Point(**row),
        ),
        "meters.csv": _Format(
            {
                "meter": _Column(_name),
                "model": _Column(_name),
                "resolution_wh": _Column(partial(_integer, low=1, high=INT32_MAX)),
                "roll_over_wh": _Column(partial(_integer, low=1, high=ENERGY_MAX), optional=True),
            },
            lambda row: Meter(**row),
        ),
        "installations.csv": _Format(
            {
                "point": _Column(_name),
                "meter": _Column(_name),
                "installed_at": _Column(instant),
                "removed_at": _Column(instant, optional=True),
                "install_index_wh": _Column(index, optional=True),
                "removal_index_wh": _Column(index, optional=True),
            },
            _installation,
        ),
        "multipliers.csv": _Format(
            {"point": _Column(_name), "from_at": _Column(instant), "multiplier": _Column(_ratio)},
            lambda row: Multiplier(row["point"], row["from_at"], row["multiplier"]),
        ),
    }


def _installation(row: dict[str, Any]) -> Installation:
    def indices(column: str) -> dict[str, int]:
        return {} if row[column] is None else {IMPORT_ACTIVE: row[column]}

    return Installation(
        row["point"],
        row["meter"],
        row["installed_at"],
        row["removed_at"],
        indices("install_index_wh"),
        indices("removal_index_wh"),
    )


def _name(text: str) -> str:
    if len(text) > NAME_CHARS_MAX:
        raise ValueError(f"longer than {NAME_CHARS_MAX} characters")
    # A spreadsheet that opens an export would run a cell that begins with = + - or @.
    if not text[0].isalnum() or not text.isprintable():
        raise ValueError(f"{text!r} must begin with a letter or digit and be printable")
    return text


def _text(text: str) -> str:
    if len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise ValueError(f"must be printable and at most {TEXT_CHARS_MAX} characters")
    return text


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(Role)}") from None


def _integer(text: str, *, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(high)):
        raise ValueError(f"{text!r} is no integer from {low} to {high}")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is no integer from {low} to {high}")
    return value


def _ratio(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    part = partial(_integer, low=1, high=INT32_MAX)
    try:
        return Fraction(part(numerator), part(denominator) if "/" in text else 1)
    except ValueError:
        raise ValueError(f"{text!r} is no multiplier: write n or n/d") from None
