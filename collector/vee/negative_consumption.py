"""V03, negative consumption: did an index go forward, roll over, or backwards?

A cumulative register never goes backwards by itself. It must not know what is billed.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Step(StrEnum):
    """What happened between two reads of one register of one meter."""

    FORWARD = "forward"
    ROLL_OVER = "roll_over"  # it passed its highest value and began at zero again, provably
    BACKWARD = "backward"  # unexplained: it never becomes consumption


@dataclass(frozen=True, slots=True)
class RollOverProof:
    """What makes a roll-over provable without a record of it.

    The energy that it implies must be at most what `power_max_w` can carry in the time between
    the reads (a 1,000 kVA transformer: no low-voltage meter sees more), and at most one
    `modulus_share`-th of the modulus.
    """

    power_max_w: int = 1_000_000
    modulus_share: int = 10


DEFAULT_PROOF = RollOverProof()

_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = timedelta(hours=1) // _MICROSECOND


def step(
    index_from: int,
    index_to: int,
    roll_over: int | None,
    elapsed: timedelta,
    proof: RollOverProof = DEFAULT_PROOF,
) -> Step:
    """What happened between `index_from` and, `elapsed` later, `index_to` (Wh).

    `roll_over` is where the register starts again at zero; None: it never does.
    """
    if index_to >= index_from:
        return Step.FORWARD
    if roll_over is None or index_from >= roll_over:
        return Step.BACKWARD
    implied = index_to + roll_over - index_from
    # In integers: W × (elapsed / hour) >= Wh, multiplied out. Not as timedeltas: they end at 10^9
    # days, which a display of nine digits of kWh exceeds.
    possible = proof.power_max_w * (elapsed // _MICROSECOND) >= implied * _HOUR_US
    if possible and implied * proof.modulus_share <= roll_over:
        return Step.ROLL_OVER
    return Step.BACKWARD
