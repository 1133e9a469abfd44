"""Determinants as JSON and CSV text: parsed to values, with the place of what is wrong.

It owns the two forms; it must not open files, nor judge what `determinants.py` judges.

JSON: `{"bills": [ … ]}`, each a BillDeterminants. CSV: one row per point, register and part, with
the terms of contract in every row of the point; for terms that change within the period use JSON.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from collector.billing.rating.determinants import BillDeterminants
from collector.billing.rating.faults import DeterminantsFault

# A district's 10,000 bills with their reads are some tens of MB.
FILE_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 1_000_000

REQUIRED_COLUMNS = (
    "bill",
    "from_day",
    "to_day",
    "billing_day",
    "point",
    "register",
    "energy",
    "prices",
)
OPTIONAL_COLUMNS = (
    "tax_point",
    "parent",
    "part_from_day",
    "part_to_day",
    "voltage_v",
    "rates",
    "households",
    "renters",
    "renters_undeclared",
    "registered_w",
)

_SHARE = re.compile(r"\s*(?P<size>[0-9.]+)\s*(?P<unit>%|kWh)\s*\*\s*(?P<group>[a-z][a-z0-9_]*)\s*")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_INTEGERS = ("energy", "voltage_v", "households", "renters", "registered_w")
_TRUE = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class DeterminantsFile(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON document."""

    bills: tuple[BillDeterminants, ...]


def parse_json(text: bytes, where: str) -> tuple[BillDeterminants, ...]:
    """The bills of a JSON document. A bill without `tax_point` has it on its `to_day`.

    Raises DeterminantsFault with the path of the first thing that is wrong.
    """
    try:
        data = json.loads(
            text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise DeterminantsFault(f"{where}: no JSON: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("bills"), list):
        for bill in data["bills"]:
            if isinstance(bill, dict):
                bill.setdefault("tax_point", bill.get("to_day"))
    return _convert(data, where).bills


def parse_csv(text: str, where: str) -> tuple[BillDeterminants, ...]:
    """The bills of a CSV file, in the order of their first rows.

    `prices` is `100%*household`, or shares such as `70%*household; 30%*business` and
    `200kWh*household; 100%*business`. Raises DeterminantsFault with row and column.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    bills: dict[str, dict[str, Any]] = {}
    first_rows: dict[str, int] = {}
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, where)
        for cells in reader:
            row = reader.line_num
            if row > ROWS_MAX:
                raise DeterminantsFault(f"{where}, row {row}: more than {ROWS_MAX} rows")
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise DeterminantsFault(
                    f"{where}, row {row}: {len(cells)} cells for {len(header)} columns"
                )
            found = {
                name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()
            }
            _add_row(bills, found, where, row)
            first_rows.setdefault(found["bill"], row)
    except csv.Error as error:
        raise DeterminantsFault(f"{where}, row {reader.line_num}: no CSV: {error}") from error
    return tuple(
        _convert({"bills": [bill]}, f"{where}, bill {name} (row {first_rows[name]})").bills[0]
        for name, bill in bills.items()
    )


def _convert(data: object, where: str) -> DeterminantsFile:
    try:
        return msgspec.convert(data, DeterminantsFile)
    except msgspec.ValidationError as error:
        raise DeterminantsFault(
            f"{where}: {error}", hint="docs/rating.md has the form of determinants"
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object")
    return found


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _check_header(header: list[str], where: str) -> None:
    known = {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}
    for name in header:
        if name not in known:
            raise DeterminantsFault(
                f"{where}, row 1, column {name}: no such column",
                hint=f"there are: {', '.join((*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))}",
            )
        if header.count(name) > 1:
            raise DeterminantsFault(f"{where}, row 1, column {name}: this column is there twice")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            raise DeterminantsFault(f"{where}, row 1, column {name}: this column is missing")


def _add_row(
    bills: dict[str, dict[str, Any]], cells: Mapping[str, str], where: str, row: int
) -> None:
    for name in REQUIRED_COLUMNS:
        if name not in cells:
            raise DeterminantsFault(f"{where}, row {row}, column {name}: this cell is empty")
    values = _typed(cells, where, row)
    bill_values = {
        "bill": values["bill"],
        "from_day": values["from_day"],
        "to_day": values["to_day"],
        "billing_day": values["billing_day"],
        "tax_point": values.get("tax_point", values["to_day"]),
    }
    bill = bills.setdefault(cells["bill"], {**bill_values, "points": []})
    terms: dict[str, Any] = {
        name: values[name]
        for name in (
            "voltage_v", "rates", "households", "renters", "renters_undeclared", "registered_w",
        )
        if name in values
    }  # fmt: skip
    terms |= {"from_day": values["from_day"], "shares": values["prices"]}
    point_values = {"point": values["point"], "parent": values.get("parent"), "terms": [terms]}
    point = next((one for one in bill["points"] if one["point"] == values["point"]), None)
    if point is None:
        point = {**point_values, "registers": []}
        bill["points"].append(point)
    for what, said, before in (("bill", bill_values, bill), ("point", point_values, point)):
        for name, value in said.items():
            if before[name] != value:
                raise DeterminantsFault(
                    f"{where}, row {row}: {name} of the {what} is not what its first row says",
                    hint="terms that change within the period need the JSON form",
                )
    _add_part(point, values)


def _add_part(point: dict[str, Any], values: Mapping[str, Any]) -> None:
    part = {
        "from_day": values.get("part_from_day", values["from_day"]),
        "to_day": values.get("part_to_day", values["to_day"]),
        "energy": values["energy"],
    }
    for use in point["registers"]:
        if use["register"] == values["register"]:
            use["parts"].append(part)
            return
    point["registers"].append({"register": values["register"], "parts": [part]})


def _typed(cells: Mapping[str, str], where: str, row: int) -> dict[str, Any]:
    values: dict[str, Any] = dict(cells)
    for name in _INTEGERS:
        if name in cells:
            if not _INTEGER.fullmatch(cells[name]):
                raise DeterminantsFault(
                    f"{where}, row {row}, column {name}: {cells[name]!r} is no whole number"
                )
            values[name] = int(cells[name])
            if values[name] < 0:
                raise DeterminantsFault(f"{where}, row {row}, column {name}: it is negative")
    if cells["billing_day"] != "last":
        if not _INTEGER.fullmatch(cells["billing_day"]):
            raise DeterminantsFault(
                f"{where}, row {row}, column billing_day: 1 to 31, or the word last"
            )
        values["billing_day"] = int(cells["billing_day"])
    if "renters_undeclared" in cells:
        if cells["renters_undeclared"] not in _TRUE:
            raise DeterminantsFault(f"{where}, row {row}, column renters_undeclared: yes or no")
        values["renters_undeclared"] = _TRUE[cells["renters_undeclared"]]
    values["prices"] = _shares(cells["prices"], f"{where}, row {row}, column prices")
    return values


def _shares(text: str, where: str) -> list[dict[str, Any]]:
    shares: list[dict[str, Any]] = []
    for piece in text.split(";"):
        match = _SHARE.fullmatch(piece)
        if match is None:
            raise DeterminantsFault(
                f"{where}: {piece.strip()!r} is no share",
                hint="write 100%*household, or 70%*household; 30%*business",
            )
        try:
            size = Decimal(match["size"])
        except InvalidOperation as error:
            raise DeterminantsFault(f"{where}: {match['size']!r} is no number") from error
        if match["unit"] == "%":
            shares.append({"group": match["group"], "percent": size})
        elif size == int(size):
            shares.append({"group": match["group"], "kwh": int(size)})
        else:
            raise DeterminantsFault(f"{where}: {size} kWh is no whole number")
    return shares
