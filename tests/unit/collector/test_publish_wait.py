"""`config publish --wait`: what is printed is what the gateway said after it was sent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import pytest

from collector import config_cli
from collector.ledger import Ledger
from collector.operations.station_files import GatewayConfig
from contract.messages import ConfigRefusal, ConfigStatus
from contract.signed_config import SignedConfig

SIGNED = SignedConfig(1, "T1", 3, datetime(2026, 1, 1, tzinfo=UTC), "x", "y")
UNPLUGGED = ConfigRefusal(3, "port", "rs485-1 is not plugged in")
TAKEN_BACK = ConfigRefusal(3, "not_confirmed", "nobody answers")


def waited(
    monkeypatch: pytest.MonkeyPatch, *statuses: ConfigStatus, before: ConfigRefusal | None
) -> bool:
    """What is made of these statuses, one after the other; the last one stays."""
    coming: Iterator[ConfigStatus] = iter((*statuses, *[statuses[-1]] * 10_000))
    monkeypatch.setattr(config_cli, "POLL_S", 0.001)
    monkeypatch.setattr(
        "collector.config_cli.station_files.gateway_config",
        lambda *_: GatewayConfig(True, True, next(coming)),
    )
    return config_cli._confirmed(cast("Ledger", None), SIGNED, 1, before)


def test_a_refusal_of_an_earlier_attempt_says_nothing_of_this_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The adapter was plugged in again, and the same signed file was sent once more."""
    assert waited(
        monkeypatch,
        ConfigStatus(2, highest=2, refused=UNPLUGGED),
        ConfigStatus(3, trial=True, highest=3),
        ConfigStatus(3, highest=3),
        before=UNPLUGGED,
    )
    assert "refused" not in capsys.readouterr().err


def test_a_new_refusal_is_said_and_an_old_one_only_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ConfigStatus(2, highest=3, refused=TAKEN_BACK)
    assert not waited(monkeypatch, new, before=UNPLUGGED)
    assert capsys.readouterr().err == "refused (not_confirmed): nobody answers\n"
    old = ConfigStatus(2, highest=2, refused=UNPLUGGED)
    assert not waited(monkeypatch, old, before=UNPLUGGED)
    said = capsys.readouterr().err
    assert said.splitlines()[1] == "it was refused before (port): rs485-1 is not plugged in"
