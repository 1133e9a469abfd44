"""Sessions: what is sealed here opens here until it ends, and nothing else does."""

from datetime import UTC, datetime, timedelta

import pytest

from collector.console.session import Session, Signer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_sealed_session_opens_until_it_ends() -> None:
    signer = Signer()
    session = Session("desk", NOW + timedelta(hours=1))
    value = signer.seal(session)
    assert signer.open(value, NOW) == session
    assert signer.open(value, session.ends_at) is None


def test_another_process_does_not_open_it_unless_it_shares_the_secret() -> None:
    session = Session("desk", NOW + timedelta(hours=1))
    assert Signer().open(Signer().seal(session), NOW) is None
    assert Signer(b"shared").open(Signer(b"shared").seal(session), NOW) == session


@pytest.mark.parametrize("position", [0, 3, 10, -1, -5])
def test_a_changed_cookie_does_not_open(position: int) -> None:
    signer = Signer()
    value = signer.seal(Session("desk", NOW + timedelta(hours=1)))
    changed = "A" if value[position] != "A" else "B"
    cut = position % len(value)
    forged = value[:cut] + changed + value[cut + 1 :]
    assert signer.open(forged, NOW) is None


@pytest.mark.parametrize("value", ["", ".", "a", "a.b", "é.é", "=.=", "x" * 5000])
def test_nonsense_does_not_open(value: str) -> None:
    assert Signer().open(value, NOW) is None


def test_a_form_token_is_no_session() -> None:
    signer = Signer()
    assert signer.open(f"ZGVzaw==.{signer.form_token('desk')}", NOW) is None
