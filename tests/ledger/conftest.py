"""The ledger on both databases: every test that asks for `ledger` runs once on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ledger import Ledger
from tests.ledger.template import fill_database, fill_file


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger(request: pytest.FixtureRequest, ledger_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A migrated ledger."""
    if ledger_url.startswith("sqlite"):
        fill_file(tmp_path / "ledger.db")
    else:
        fill_database(request.getfixturevalue("postgres_server"), ledger_url)
    ledger = Ledger(ledger_url)
    yield ledger
    ledger.close()
