"""Statements that SQLAlchemy writes differently for SQLite and PostgreSQL.

It knows the two dialects apart so that the repositories need not; it must not know any table.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, func
from sqlalchemy.dialects import postgresql, sqlite

# There are not that many in the whole ledger: each is built once, and SQLAlchemy knows it again.
STATEMENTS_KEPT = 64


def upsert(
    connection: Connection,
    table: Table,
    *,
    update_columns: Collection[str] = (),
    keep_if_null: Collection[str] = (),
    conflict: Collection[str] | None = None,
) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that meets an existing row without failing.

    A row with the same unique key (`conflict`, or the primary key) gets the new values of
    `update_columns`, and of `keep_if_null` where the new value is not null; with neither, it stays
    as it is, whichever unique key it shares.
    """
    return _upsert(
        connection.dialect.name,
        table,
        tuple(update_columns),
        tuple(keep_if_null),
        tuple(conflict or (column.name for column in table.primary_key)),
    )


@lru_cache(maxsize=STATEMENTS_KEPT)
def _upsert(
    dialect: str,
    table: Table,
    update_columns: tuple[str, ...],
    keep_if_null: tuple[str, ...],
    conflict: tuple[str, ...],
) -> sqlite.Insert | postgresql.Insert:
    new = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    if not update_columns and not keep_if_null:
        return new.on_conflict_do_nothing()
    changes: dict[str, Any] = {name: new.excluded[name] for name in update_columns}
    for name in keep_if_null:
        changes[name] = func.coalesce(new.excluded[name], table.c[name])
    return new.on_conflict_do_update(
        index_elements=list(conflict),
        set_=changes,
    )
