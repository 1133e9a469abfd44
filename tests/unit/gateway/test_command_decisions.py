"""What is done with a command: one row a rule, and which of two rules goes first."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.commands import Arguments, Command, CommandKind, ResultCode
from contract.messages import Clock, encode
from gateway.commands import (
    WAITING_MAX,
    Accept,
    Decision,
    Ignore,
    Refuse,
    Repeat,
    Situation,
    decide,
)

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SITUATION = Situation(NOW, Clock.SYNCED, 0, frozenset({"m1", "m2"}))
UNSYNCED = replace(SITUATION, clock=Clock.UNSYNCED)
READ = Command(1, "c1", "read", NOW - MINUTE, NOW + MINUTE, "desk", Arguments(["m1"]))


def changed(**changes: object) -> Command:
    return msgspec.structs.replace(READ, **changes)


def of(command: Command, situation: Situation = SITUATION) -> Decision:
    return decide("c1", encode(command), situation)


PING, RELOAD = changed(kind="ping"), changed(kind="reload")
EXPIRED = changed(expires_at=NOW)
STRANGER = changed(arguments=Arguments(["m1", "m9"]))

REFUSED: list[tuple[str, Command, Situation, ResultCode, bool]] = [
    ("another id", changed(id="c2"), SITUATION, ResultCode.MALFORMED, False),
    ("ends before it begins", changed(expires_at=NOW - 2 * MINUTE), SITUATION,
     ResultCode.MALFORMED, False),
    ("good for ever", changed(expires_at=NOW + timedelta(days=2)), SITUATION,
     ResultCode.MALFORMED, False),
    ("an issuer that would spoil a log", changed(issuer="a\nb"), SITUATION,
     ResultCode.MALFORMED, False),
    ("set_clock of all meters", changed(kind="set_clock", arguments=Arguments()), SITUATION,
     ResultCode.MALFORMED, False),
    ("set_clock of two", changed(kind="set_clock", arguments=Arguments(["m1", "m2"])), SITUATION,
     ResultCode.MALFORMED, False),
    ("a kind of another version", changed(kind="disconnect"), SITUATION,
     ResultCode.UNKNOWN_KIND, True),
    ("expired", EXPIRED, SITUATION, ResultCode.EXPIRED, True),
    ("expired before it is unknown who", msgspec.structs.replace(STRANGER, expires_at=NOW),
     SITUATION, ResultCode.EXPIRED, True),
    ("who is that", STRANGER, SITUATION, ResultCode.UNKNOWN_METER, True),
    ("too many", READ, replace(SITUATION, waiting=WAITING_MAX), ResultCode.BUSY, False),
    ("who knows whether it has expired", RELOAD, UNSYNCED, ResultCode.CLOCK_UNSYNCED, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "situation", "code", "audited"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_refused(command: Command, situation: Situation, code: ResultCode, audited: bool) -> None:
    found = of(command, situation)
    assert isinstance(found, Refuse)
    assert (found.code, found.audited) == (code, audited)
    assert found.text
    if audited:
        assert (found.issuer, found.kind) == ("desk", command.kind)


ACCEPTED: list[tuple[str, Command, Situation]] = [
    ("a read", READ, SITUATION),
    ("a read of all", changed(arguments=Arguments()), SITUATION),
    ("the last moment", changed(expires_at=NOW + timedelta(milliseconds=1)), SITUATION),
    ("the last place", READ, replace(SITUATION, waiting=WAITING_MAX - 1)),
    ("a reload", RELOAD, SITUATION),
    ("set_clock of one", changed(kind="set_clock"), SITUATION),
    ("an expired read, but who knows", EXPIRED, UNSYNCED),
    ("a ping without a clock", PING, UNSYNCED),
]


@pytest.mark.parametrize(
    ("command", "situation"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED]
)
def test_accepted(command: Command, situation: Situation) -> None:
    assert of(command, situation) == Accept(command, CommandKind(command.kind))


@pytest.mark.parametrize("command", [READ, EXPIRED, STRANGER, RELOAD])
def test_a_known_id_is_never_carried_out_again(command: Command) -> None:
    situation = replace(SITUATION, waiting=WAITING_MAX, known=True)
    assert of(command, situation) == Ignore()
    assert of(command, replace(situation, answer=b"{}")) == Repeat(b"{}")


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(payload: bytes) -> None:
    found = decide("c1", payload, SITUATION)
    assert isinstance(found, Refuse)
    assert found.code is ResultCode.MALFORMED


@pytest.mark.parametrize("instant", ["9999-12-31T23:00:0{}-14:00", "0001-01-01T00:00:0{}+14:00"])
def test_an_instant_that_utc_cannot_name_is_malformed(instant: str) -> None:
    """It would be remembered, and never be read back: the gateway would die of it at each start."""
    payload = encode(READ).decode()
    for old, new in ((READ.issued_at, 1), (READ.expires_at, 2)):
        payload = payload.replace(f"{old:%Y-%m-%dT%H:%M:%SZ}", instant.format(new))
    assert instant[:10] in payload
    found = decide("c1", payload.encode(), UNSYNCED)
    assert isinstance(found, Refuse)
    assert (found.code, found.audited) == (ResultCode.MALFORMED, False)
