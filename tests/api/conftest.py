"""The small utility of `tests.api.world`, and a client of its application."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.server import client_of
from tests.api.world import World, world


@pytest.fixture(scope="module")
def utility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Filled once a module: tests that change it make their own."""
    with world(tmp_path_factory.mktemp("utility")) as made:
        yield made


@pytest.fixture(scope="module")
def client(utility: World) -> Iterator[httpx.Client]:
    with client_of(utility.app) as made:
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[World]:
    """Nothing but keys."""
    with world(tmp_path, stations=False, reads=False) as made:
        yield made
