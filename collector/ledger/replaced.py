"""What corrected rows said before: kept beside the rows that hold, never changed.

Rows with an end (installations, contracts) and multipliers hold in their own tables; what a
correction took the place of is here, in the words of the registry's files. It must not know what
they mean.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select

from collector.ledger.tables import replaced_rows


class Replaced(NamedTuple):
    """A row as it was until `replaced_at`: cells by column, instants in UTC."""

    kind: str
    name: str
    began: datetime
    version: int
    replaced_at: datetime
    row: Mapping[str, Any]


class ReplacedRows:
    """Replaced rows within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def keep(
        self, kind: str, name: str, began: datetime, row: Mapping[str, Any], now: datetime
    ) -> None:
        """Keep what a row of this name said that began then."""
        c = replaced_rows.c
        same = (c.kind == kind, c.name == name, c.began == began)
        newest = self._connection.scalar(select(func.max(c.version)).where(*same))
        self._connection.execute(
            insert(replaced_rows),
            {
                "kind": kind,
                "name": name,
                "began": began,
                "version": (newest or 0) + 1,
                "replaced_at": now,
                "row": json.dumps(row, sort_keys=True, ensure_ascii=False),
            },
        )

    def of(self, kind: str, names: Collection[str]) -> list[Replaced]:
        """What was replaced of these names, by name, beginning and version."""
        c = replaced_rows.c
        query = (
            select(c.kind, c.name, c.began, c.version, c.replaced_at, c.row)
            .where(c.kind == kind, c.name.in_(list(names)))
            .order_by(c.name, c.began, c.version)
        )
        return [Replaced(*row[:-1], json.loads(row.row)) for row in self._connection.execute(query)]

    def names_since(self, kinds: Collection[str], since: datetime) -> set[str]:
        """Whose rows of these kinds were corrected after `since`."""
        c = replaced_rows.c
        query = select(c.name).where(c.kind.in_(list(kinds)), c.replaced_at > since).distinct()
        return set(self._connection.scalars(query))
