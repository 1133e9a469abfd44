"""What planning an import has in common: changes, what contradicts what, and how it is said.

It must not know what single files mean.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import Any, TypeVar

from collector.civil import format_instant
from collector.registry.cells import percent_text
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
from collector.registry.files import Located, RowError
from collector.registry.forms import INDEXED, INSTALL, REMOVAL, index_column
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

_Value = TypeVar("_Value")

# Where a value's field has another name than its column.
_COLUMNS = {
    "ratio": "multiplier",
    "percent_hundredths": "percent",
    "short_circuit_hundredths": "short_circuit_percent",
}


_MOMENTS = {"install_indices": INSTALL, "removal_indices": REMOVAL}


@dataclass(slots=True)
class RegistryChanges:
    """What to write, or why nothing may be written. `warnings` do not stand in the way."""

    areas: list[Area] = field(default_factory=list)
    stations: list[Station] = field(default_factory=list)
    transformers: list[Transformers] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    installations: list[Installation] = field(default_factory=list)
    closed: list[Installation] = field(default_factory=list)
    multipliers: list[Multiplier] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    inspections: list[Inspection] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    terms: list[ContractTerms] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    applications: list[SupplyApplication] = field(default_factory=list)
    books: list[Book] = field(default_factory=list)
    reading_days: list[ReadingDays] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    # Stored already: with a fact more, ended, or put right.
    completed_stations: list[Station] = field(default_factory=list)
    completed_applications: list[SupplyApplication] = field(default_factory=list)
    completed_meters: list[Meter] = field(default_factory=list)
    closed_contracts: list[Contract] = field(default_factory=list)
    corrected_customers: list[Customer] = field(default_factory=list)
    # Rows that take the place of stored ones, by kind, where the import says that it corrects.
    correcting: bool = False
    corrected: dict[str, list[Any]] = field(default_factory=dict)
    unchanged: int = 0
    errors: list[RowError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def added(  # noqa: PLR0913  one parameter per fact
    file: str,
    rows: Iterable[Located[_Value]],
    stored: Mapping[Any, _Value],
    key: Callable[[_Value], Any],
    changes: RegistryChanges,
    *,
    fillable: Iterable[str] = (),
    completed: list[_Value] | None = None,
    correctable: bool = False,
) -> list[_Value]:
    """The rows that are new; those that contradict what is stored or each other are errors.

    An empty cell of a `fillable` field says nothing; where nothing is stored either, the field may
    be said later: such rows go to `completed`. Rows of a `correctable` file that differ from what
    is stored go to `corrected` where the import corrects.
    """
    seen: dict[Any, int] = {}
    new: list[_Value] = []
    for located in rows:
        name = key(located.value)
        first = seen.setdefault(name, located.row)
        if first != located.row:
            fail(changes, file, located.row, "", f"the same as row {first}: give it once")
        elif name not in stored:
            new.append(located.value)
        else:
            value = _filled(located.value, stored[name], fillable)
            if stored[name] == value:
                changes.unchanged += 1
            elif completed is not None and _filled(stored[name], value, fillable) == value:
                completed.append(value)
            elif correctable and changes.correcting:
                changes.corrected.setdefault(file.removesuffix(".csv"), []).append(value)
            else:
                contradicted(changes, file, located.row, stored[name], value)
    return new


def _filled(value: _Value, other: _Value, fillable: Iterable[str]) -> _Value:
    """`value`, with the other's facts where it has none."""
    lacking = {name: getattr(other, name) for name in fillable if getattr(value, name) is None}
    return replace(value, **lacking) if lacking else value  # type: ignore[type-var]


def check_known(
    file: str,
    column: str,
    rows: Iterable[Located[Any]],
    known: set[str],
    changes: RegistryChanges,
) -> None:
    """What a column names is there, stored or in the files; an empty cell names nothing."""
    for located in rows:
        name = getattr(located.value, column)
        if name is not None and name not in known:
            reason = f"{name!r} is not known: add it to {column}s.csv"
            fail(changes, file, located.row, column, reason)


def contradicted(
    changes: RegistryChanges, file: str, row: int, stored: object, given: object
) -> None:
    """Every field in which a row differs from what is stored is an error of its own."""
    for column, was, said in _facts(stored, given):
        if was != said:
            reason = f"contradicts what is stored: {_shown(was)}, not {_shown(said)}"
            fail(changes, file, row, column, reason)


def _facts(stored: object, given: object) -> Iterator[tuple[str, object, object]]:
    """Column by column what is stored and what is said."""
    for field_ in fields(stored):  # type: ignore[arg-type]
        name = field_.name
        if not field_.compare:
            continue
        was, said = getattr(stored, name), getattr(given, name)
        if name in _MOMENTS:
            for register in INDEXED:
                column = index_column(_MOMENTS[name], register)
                yield column, was.get(register), said.get(register)
        elif name.endswith("_hundredths"):
            was, said = (None if one is None else percent_text(one) for one in (was, said))
            yield _COLUMNS[name], was, said
        else:
            yield _COLUMNS.get(name, name), was, said


def _shown(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return ";".join(str(one) for one in value)
    return str(value)


def fail(changes: RegistryChanges, file: str, row: int, column: str, reason: str) -> None:
    """Note what is wrong with a row."""
    changes.errors.append(RowError(file, row, column, reason))
