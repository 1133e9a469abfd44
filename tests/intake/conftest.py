"""Ledgers of both kinds and an embedded reading store, new for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.readings.duckdb_store import DuckDbStore
from tests.ledger.template import fill_database, fill_file


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger.db"
        fill_file(tmp_path / "ledger.db")
    else:
        url = request.getfixturevalue("postgres_url")
        fill_database(request.getfixturevalue("postgres_server"), url)
    made = Ledger(url)
    yield made
    made.close()


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    fill_file(tmp_path / "ledger.db")
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDbStore]:
    made = DuckDbStore(tmp_path / "readings.duckdb")
    yield made
    made.close()
