"""The ledger on both databases: every test that asks for `ledger` runs once on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ledger import Ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A migrated ledger."""
    ledger = Ledger(ledger_url)
    ledger.migrate()
    yield ledger
    ledger.close()
