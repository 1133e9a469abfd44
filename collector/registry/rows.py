"""The registry's rows by kind, as programs exchange them one by one: cells by column, and back.

A row has the columns of its file (`forms`) and means the same. It must not know HTTP, nor where
rows are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from collector.civil import format_instant
from collector.registry.files import Located, RegistryFiles, RowError, parse_cells
from collector.registry.forms import Form, forms
from collector.registry.values import Installation

Cell = str | int | bool | None
"""What a program writes for a cell: text as in the files, a whole number, yes or no, or nothing."""

Row = Mapping[str, Cell]

# What makes a row the one it is; the first of them is the name under which rows are asked for.
KEYS: Mapping[str, tuple[str, ...]] = {
    "areas": ("kind", "code"),
    "stations": ("station",),
    "transformers": ("station", "from_at"),
    "points": ("point",),
    "transfers": ("point", "from_at"),
    "meters": ("meter",),
    "installations": ("point", "installed_at"),
    "multipliers": ("point", "from_at"),
    "inspections": ("meter", "inspected_at"),
    "customers": ("customer",),
    "contracts": ("contract",),
    "terms": ("contract", "from_at"),
    "allocations": ("contract", "from_at", "register", "position"),
    "applications": ("application",),
    "books": ("book",),
    "reading_days": ("book", "from_at"),
    "memberships": ("point", "from_at"),
}

# Its names, addresses and numbers are personal data (Law 91/2025/QH15).
PERSONAL = "customers"

# Their rows may be put right under the same name and instant; what they replace is kept.
CORRECTABLE = frozenset(
    {
        "areas", "transformers", "transfers", "installations", "multipliers", "inspections",
        "contracts", "applications", "terms", "allocations", "reading_days", "memberships",
    }
)  # fmt: skip

# Of these what was corrected is kept beside the row that holds, not as a version of it.
REPLACED = ("installations", "multipliers", "contracts")

# Lists that are one fact: a cell that is left out is empty, not as it was.
_WHOLE = frozenset({"allocations"})


def form_of(kind: str, zone: str) -> Form:
    """The columns of a kind of rows."""
    return forms(zone)[f"{kind}.csv"]


def show_row(kind: str, value: object, zone: str) -> dict[str, Cell]:
    """A value as a row: instants in UTC, lists and fractions as text; `parse_rows` takes it back.

    Per cents are text with at most two decimals, lists are separated by semicolons.
    """
    form = form_of(kind, zone)
    taken = form.take(value)
    return {name: _cell(taken[name], column.show) for name, column in form.columns.items()}


def _cell(value: Any, show: Any) -> Cell:  # noqa: ANN401  cells of many kinds
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    # A per cent is kept in hundredths: its number says something else than its text.
    text = str(show(value))
    return value if isinstance(value, int) and text == str(value) else text


def key_of(kind: str, value: object) -> tuple[Any, ...]:
    """What makes a value the one it is."""
    return tuple(getattr(value, column) for column in KEYS[kind])


def stored_key_of(kind: str, value: object) -> tuple[Any, ...]:
    """The key under which the row that a value corrects is stored."""
    if isinstance(value, Installation) and value.instead_of is not None:
        return value.point, value.instead_of
    return key_of(kind, value)


def parse_rows(
    kind: str, rows: Sequence[Row], stored: Iterable[object], zone: str
) -> RegistryFiles:
    """Rows as one of the registry's files would have them, numbered from 1.

    What a row leaves out of a stored one of the same key is as it is stored, so that an end can be
    given alone; a cell that is null is empty. Lists of prices are always given whole.
    """
    file = f"{kind}.csv"
    form = form_of(kind, zone)
    before: dict[tuple[Any, ...] | None, object] = {}
    if kind not in _WHOLE:
        before = {key_of(kind, value): value for value in stored}
    values: list[Located[Any]] = []
    errors: list[RowError] = []
    for number, row in enumerate(rows, 1):

        def fail(column: str, reason: str, number: int = number) -> None:
            errors.append(RowError(file, number, column, reason))

        texts = {name: _text(cell) for name, cell in row.items()}
        for name in texts.keys() - form.columns.keys():
            fail(name, "no such column")
        known = before.get(_key_in(kind, texts, form))
        if known is not None:
            taken = form.take(known)
            texts = {
                name: "" if cell is None else form.columns[name].show(cell)
                for name, cell in taken.items()
            } | texts
        value = parse_cells(texts, form, fail)
        if value is not None:
            values.append(Located(number, value))
    return RegistryFiles(**{kind: values}, errors=tuple(errors))


def _key_in(kind: str, texts: Mapping[str, str], form: Form) -> tuple[Any, ...] | None:
    """The key that a row names; None where it names none, which is its own error later."""
    if texts.get("instead_of"):
        texts = {**texts, "installed_at": texts["instead_of"]}
    try:
        return tuple(form.columns[column].parse(texts.get(column, "")) for column in KEYS[kind])
    except (ValueError, IndexError):
        return None


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell).strip()
