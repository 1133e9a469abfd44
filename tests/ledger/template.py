"""Ledgers with their schema, copied from one that was migrated once in this process.

The migrations have tests of their own; to run them for each test took longer than most tests do.
"""

import tempfile
from functools import lru_cache
from pathlib import Path

from collector.ledger import Ledger
from tests.services import PostgresServer


def fill_file(path: Path) -> None:
    """Make this file, which is not there yet, a ledger that is empty but for its schema."""
    path.write_bytes(_file())


def fill_database(server: PostgresServer, url: str) -> None:
    """Put a ledger that is empty but for its schema in the place of this empty database."""
    server.drop_database(url)
    server.create_database(url.rsplit("/", 1)[1], template=_database(server))


@lru_cache(maxsize=1)
def _file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        _migrate(f"sqlite:///{path}")
        return path.read_bytes()


@lru_cache(maxsize=1)
def _database(server: PostgresServer) -> str:
    url = server.create_database()
    _migrate(url)
    return url.rsplit("/", 1)[1]


def _migrate(url: str) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    ledger.close()
