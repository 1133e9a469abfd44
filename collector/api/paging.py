"""Pages of a list that is ordered by a name: at most `limit` rows, after a given name.

It must not know what the rows are; the name of the last row is the cursor of the next page.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from contract.limits import NAME_CHARS_MAX

PAGE_LIMIT_DEFAULT = 200
PAGE_LIMIT_MAX = 1000

_Row = TypeVar("_Row")

LimitQuery = Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX, description="rows of a page")]
AfterQuery = Annotated[
    str | None, Query(max_length=NAME_CHARS_MAX, description="`next` of the page before")
]


def page(
    rows: Sequence[_Row], name: Callable[[_Row], str], after: str | None, limit: int
) -> tuple[Sequence[_Row], str | None]:
    """The rows after the name `after` and, if there are more, the name that leads to them."""
    ordered = sorted(rows, key=name)
    first = bisect_right(ordered, after, key=name) if after is not None else 0
    part = ordered[first : first + limit]
    has_more = first + limit < len(ordered)
    return part, name(part[-1]) if has_more and part else None
