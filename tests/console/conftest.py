"""The small utility of `tests.api.world`, served, for pages and for a browser."""

from collections.abc import Iterator

import pytest

from tests.api.server import serve
from tests.api.world import World, world


@pytest.fixture(scope="module")
def utility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("utility")) as made:
        yield made


@pytest.fixture(scope="module")
def url(utility: World) -> Iterator[str]:
    with serve(utility.app) as found:
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Nothing but keys."""
    with world(tmp_path_factory.mktemp("empty"), stations=False, reads=False) as made:
        yield made


@pytest.fixture(scope="module")
def empty_url(empty: World) -> Iterator[str]:
    with serve(empty.app) as found:
        yield found
