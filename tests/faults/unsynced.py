"""The program `songlo LEVEL …`, with an outbox that syncs less: the bugs that case 2 must find.

The first word is the level of SQLite's `synchronous` that its databases get in the place of FULL.
"""

import sqlite3
import sys
from typing import Any

import songlo.cli

_connect = sqlite3.connect


class _Lax(sqlite3.Connection):
    """Its database is told the level, whatever it is told."""

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401 as sqlite3 has it
        query = query.replace("synchronous = FULL", f"synchronous = {LEVEL}")
        return super().execute(query, *values)


def _connected(*words: Any, **more: Any) -> sqlite3.Connection:  # noqa: ANN401 as sqlite3 has it
    return _connect(*words, **more, factory=_Lax)


if __name__ == "__main__":
    LEVEL = sys.argv.pop(1)
    sqlite3.connect = _connected  # type: ignore[assignment]
    songlo.cli.main()
