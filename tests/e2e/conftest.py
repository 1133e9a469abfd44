"""The undisturbed run that every disturbed one is held against."""

from pathlib import Path

import pytest

from tests.e2e.driver import Ended, system_in, three_days, wait_for_end
from tests.services import Mosquitto


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Three days on a real broker with the embedded stores, and nothing goes wrong."""
    directory: Path = tmp_path_factory.mktemp("undisturbed")
    with Mosquitto() as broker:
        options = three_days(broker=(broker.host, broker.port))
        with system_in(directory, options) as system:
            ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due
    return ended
