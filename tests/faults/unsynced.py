"""The program `songlo`, with an outbox that does not sync: the bug that case 2 must find."""

import sqlite3
from typing import Any

import songlo.cli

_connect = sqlite3.connect


class _Unsynced(sqlite3.Connection):
    """Its databases are told not to sync, whatever they are told."""

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401 as sqlite3 has it
        return super().execute(query.replace("synchronous = FULL", "synchronous = OFF"), *values)


def _connected(*words: Any, **more: Any) -> sqlite3.Connection:  # noqa: ANN401 as sqlite3 has it
    return _connect(*words, **more, factory=_Unsynced)


if __name__ == "__main__":
    sqlite3.connect = _connected  # type: ignore[assignment]
    songlo.cli.main()
