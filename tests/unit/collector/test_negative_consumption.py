"""V03: forward, rolled over or backwards."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.vee.negative_consumption import RollOverProof, Step, step

MONTH = timedelta(days=31)
MODULUS = 100_000_000


@pytest.mark.parametrize(
    ("index_from", "index_to", "roll_over", "elapsed", "expected"),
    [
        (5, 5, MODULUS, MONTH, Step.FORWARD),
        (5, 6, None, MONTH, Step.FORWARD),
        (99_999_000, 500, MODULUS, MONTH, Step.ROLL_OVER),
        # Nothing says where it rolls over.
        (99_999_000, 500, None, MONTH, Step.BACKWARD),
        # The last index was never below the modulus that is recorded.
        (MODULUS, 500, MODULUS, MONTH, Step.BACKWARD),
        # A tenth of the modulus and one Wh more.
        (90_000_000, 0, MODULUS, MONTH, Step.ROLL_OVER),
        (89_999_999, 0, MODULUS, MONTH, Step.BACKWARD),
        # 1,500 Wh in 5.4 s need exactly 1 MW; a millisecond less needs more.
        (99_999_000, 500, MODULUS, timedelta(milliseconds=5_400), Step.ROLL_OVER),
        (99_999_000, 500, MODULUS, timedelta(milliseconds=5_399), Step.BACKWARD),
        # Nine digits of kWh, or three years, are beyond what a timedelta can be multiplied to.
        (5_000, 0, 10**12, MONTH, Step.BACKWARD),
        (99_999_000, 500, MODULUS, timedelta(days=1_100), Step.ROLL_OVER),
        # A transient zero in the middle of the scale.
        (50_000_000, 0, MODULUS, MONTH, Step.BACKWARD),
    ],
)
def test_what_happened(
    index_from: int, index_to: int, roll_over: int | None, elapsed: timedelta, expected: Step
) -> None:
    assert step(index_from, index_to, roll_over, elapsed) is expected


def test_a_stricter_proof_is_kept() -> None:
    proof = RollOverProof(power_max_w=1_000)
    assert step(99_999_000, 500, MODULUS, timedelta(hours=1), proof) is Step.BACKWARD
    assert step(99_999_000, 500, MODULUS, timedelta(hours=1.5), proof) is Step.ROLL_OVER


@given(
    index_from=st.integers(0, MODULUS - 1),
    used=st.integers(0, MODULUS // 10),
)
def test_every_small_consumption_is_recognised_across_the_modulus(
    index_from: int, used: int
) -> None:
    index_to = (index_from + used) % MODULUS
    expected = Step.FORWARD if index_to >= index_from else Step.ROLL_OVER
    assert step(index_from, index_to, MODULUS, timedelta(days=31)) is expected
