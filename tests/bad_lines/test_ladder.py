"""The bad-line ladder: no fault that a frame's check can see ever becomes a value.

Thousands of seeded exchanges with the real line code on virtual time. `make soak` climbs ten times
as high. What the checks cannot see is in test_unseen_damage.py.
"""

from collections.abc import Callable

import pytest

from gateway.lines import iec, modbus, reading
from gateway.meters.profile import Timing
from gateway.protocols import iec62056_21
from gateway.protocols.iec_characters import DAMAGED
from tests.bad_lines import iec_ladder, iec_meters, modbus_ladder, modbus_meters
from tests.bad_lines.modbus_ladder import Outcome

SEED = 20261124
MODBUS_EXCHANGES, IEC_EXCHANGES = 1_000, 500

# Faults that hurt nobody happen every time, the others to some of the messages.
HARMLESS = frozenset({"perfect", "byte at a time", "delay", "echo", "duplicate"})
SHARE = 0.3
MIXED = "mixed"

MODBUS_RUNGS = [*modbus_meters.FAULTS, MIXED]
IEC_RUNGS = [*iec_meters.FAULTS, MIXED]

Climb = Callable[[str, int, int, float], Outcome]


def check(outcome: Outcome, fault: str, exchanges: int) -> None:
    assert outcome.wrong == 0, outcome
    assert outcome.excused <= outcome.unseen
    assert outcome.right + outcome.failed + outcome.excused == exchanges
    assert outcome.damaged or fault in ("perfect", "echo")
    if fault in HARMLESS:
        assert outcome.right == exchanges, outcome
    else:
        assert outcome.right > exchanges // 3, outcome


def share(fault: str) -> float:
    return 1.0 if fault in HARMLESS else SHARE


@pytest.mark.parametrize("fault", MODBUS_RUNGS)
def test_modbus_rtu(fault: str) -> None:
    outcome = modbus_ladder.climb(fault, MODBUS_EXCHANGES, SEED, share(fault))
    check(outcome, fault, MODBUS_EXCHANGES)


@pytest.mark.parametrize("fault", IEC_RUNGS)
def test_iec_62056_21(fault: str) -> None:
    outcome = iec_ladder.climb(fault, IEC_EXCHANGES, SEED, share(fault))
    check(outcome, fault, IEC_EXCHANGES)


def test_the_same_seed_gives_the_same_climb() -> None:
    assert modbus_ladder.climb(MIXED, 100, 7, SHARE) == modbus_ladder.climb(MIXED, 100, 7, SHARE)
    assert iec_ladder.climb(MIXED, 50, 7, SHARE) == iec_ladder.climb(MIXED, 50, 7, SHARE)


# -- the ladder can fail: without one of the safeguards it finds wrong values


def _no_drain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Timing, "late_after_timeout_s", 0.0)


def _no_check_sum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(modbus, "is_whole_frame", lambda frame: True)


def _no_pacing(patch: pytest.MonkeyPatch) -> None:
    async def none(*_: object) -> None:
        return None

    patch.setattr(reading.PartReader, "_pace", none)


@pytest.mark.parametrize(
    ("fault", "broken"),
    [("late reply", _no_drain), ("noise", _no_check_sum), ("duplicate", _no_pacing)],
)
def test_a_modbus_line_without_a_safeguard_is_caught(
    fault: str, broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert modbus_ladder.climb(fault, MODBUS_EXCHANGES, SEED, share(fault)).wrong


def _no_silence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(iec, "_drain_s", lambda *_, **__: 0.0)


def _no_block_check(patch: pytest.MonkeyPatch) -> None:
    def check(session: iec62056_21.Session, _: int) -> None:
        message = bytes(session._message)
        if DAMAGED in message:
            session._ask_again("parity")
        else:
            session._on_block(message[0], message[1:-1], message[-1])

    patch.setattr(iec62056_21.Session, "_check", check)


def _no_identity(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(iec, "stranger", lambda *_: None)


@pytest.mark.parametrize(
    ("fault", "broken"),
    [("late reply", _no_silence), ("noise", _no_block_check), ("wrong unit", _no_identity)],
)
def test_an_iec_line_without_a_safeguard_is_caught(
    fault: str, broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    assert iec_ladder.climb(fault, IEC_EXCHANGES, SEED, share(fault)).wrong
