"""Ledgers of both kinds and an embedded reading store, new for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger.db"
    else:
        url = request.getfixturevalue("postgres_url")
    made = Ledger(url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDbStore]:
    made = DuckDbStore(tmp_path / "readings.duckdb")
    yield made
    made.close()
