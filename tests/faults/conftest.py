"""The parent that forks the programs, once for all cases."""

from collections.abc import Iterator

import pytest

from tests.faults.programs import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as running:
        yield running
