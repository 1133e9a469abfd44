"""What the API takes and answers of the registry's rows, as pydantic models.

They are made from the operations' values by name; it must not compute or look anything up.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from collector.api.models import At, View
from collector.operations.registry_changes import ROWS_MAX
from contract.limits import NAME_CHARS_MAX

Kind = Literal[
    "areas", "stations", "transformers", "points", "transfers", "meters", "installations",
    "multipliers", "inspections",
    "customers", "contracts", "terms", "allocations", "applications", "books",
    "reading_days", "memberships",
]  # fmt: skip
"""A file of the registry: what its rows are is in docs/registry-files.md."""

OpenKind = Literal[
    "areas", "stations", "transformers", "points", "transfers", "meters", "installations",
    "multipliers", "inspections",
    "contracts", "terms", "allocations", "applications", "books",
    "reading_days", "memberships",
]  # fmt: skip
"""A kind without personal data."""

# Of a text in a cell: the longest that any column takes, and room for what is wrong with it.
_TEXT_CHARS_MAX = 2_000
_WHOLE_MAX = 10**15
_COLUMNS_MAX = 32

CellView = str | int | bool | None

Cell = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-_WHOLE_MAX, le=_WHOLE_MAX)]
    | Annotated[StrictStr, Field(max_length=_TEXT_CHARS_MAX)]
    | None
)

RowBody = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)], Cell],
    Field(max_length=_COLUMNS_MAX),
]


class ColumnView(View):
    """A column of a kind. `key`: it is of what makes a row the one it is."""

    column: str
    key: bool
    optional: bool


class KindView(View):
    """A kind of rows. `dated`: its rows hold from an instant on; `correctable`: PATCH takes it."""

    kind: str
    dated: bool
    correctable: bool
    columns: list[ColumnView]


class KindList(View):
    """The kinds in the order in which they depend on each other."""

    kinds: list[KindView]


class RowList(View):
    """Rows by key; `next` is the `after` of the next page, null at the end."""

    kind: str
    rows: list[dict[str, CellView]]
    next: str | None


class NamedRows(View):
    """All rows of one name: what it is, or everything dated of it, the oldest first."""

    kind: str
    name: str
    rows: list[dict[str, CellView]]


class RowsRequest(BaseModel):
    """Rows to write, all or none: cells by column."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[RowBody], Field(min_length=1, max_length=ROWS_MAX)] = Field(
        examples=[[{"point": "T012/7", "from_at": "2026-06-01", "multiplier": "40"}]]
    )
    reason: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description="for the audit trail; a correction needs one"
    )


class TouchedView(View):
    """What of the past counts otherwise: points in [from_at, to_at), `to_at` null: until now.

    Balances and previews of them follow when they are asked for again. `open_runs` are to be made
    again, `exported_runs` are corrected by the run after them, `snapshots` of that time stay as
    they are. Of points and runs the first hundred are named.
    """

    points: list[str]
    point_count: int
    from_at: At
    to_at: At | None
    open_runs: list[str]
    exported_runs: list[str]
    snapshots: int


class ChangeView(View):
    """What a change did. `change` is its subject in the audit trail; `touched` null: no past.

    `repeated`: the same request had done it before.
    """

    change: str
    kind: str
    added: int
    ended: int
    completed: int
    corrected: int
    unchanged: int
    warnings: list[str]
    touched: TouchedView | None
    repeated: bool


class RowErrorView(View):
    """What is wrong with a row: `row` 1 is the header, `column` may be empty."""

    file: str
    row: int
    column: str
    reason: str
    reason_vi: str


class ImportView(View):
    """What an import did or, where it was a dry run, would do. With any error nothing is done.

    `errors` are the first ten thousand of `error_count`.
    """

    written: bool
    repeated: bool
    added: dict[str, int]
    closed: int
    closed_contracts: int
    completed: int
    corrected: int
    corrected_customers: int
    unchanged: int
    error_count: int
    errors: list[RowErrorView]
    warnings: list[str]
    touched: TouchedView | None
