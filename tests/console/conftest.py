"""The small utility of `tests.api.world`, served, for pages and for a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.api.server import serve
from tests.api.world import World, world
from tests.console.browsing import ARGUMENTS, CHROMIUM
from tests.console.office import office_of_july


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM.exists(), "install chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


@pytest.fixture
def english(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB")
    yield context
    context.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[World]:
    """Made anew for each test: they decide what is in it."""
    with office_of_july(tmp_path) as made:
        yield made


@pytest.fixture
def office_url(office: World) -> Iterator[str]:
    with serve(office.app) as found:
        yield found


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
