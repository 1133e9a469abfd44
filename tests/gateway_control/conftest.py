"""A clock that is synchronised, whatever the machine's is, and a status that is said at once."""

from pathlib import Path

import pytest

from gateway import clock, uplink


@pytest.fixture(autouse=True)
def _synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_TIMESYNCD_MARK", Path(__file__))
    monkeypatch.setattr(uplink, "STATUS_SPACING_S", 0.02)
