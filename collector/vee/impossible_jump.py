"""V05, the outer bound of the spike check: did an index run ahead of what any line can carry?

A misread word of a register is billions of Wh away and must never be billed. It must not know a
meter's rating (a tighter bound) nor what is billed.
"""

from datetime import timedelta

# Four of the largest distribution transformers (2,500 kVA) at once, so that no registered head
# meter comes near, whether it counts primary or secondary energy.
POWER_MAX_W = 10_000_000

# What may lie between two reads however near they are: the resolution of a coarse register, and an
# index that was written down by hand before the meter was first read.
SLACK = timedelta(hours=1)

_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = timedelta(hours=1) // _MICROSECOND


def is_impossible(energy_wh: int, elapsed: timedelta) -> bool:
    """Whether `energy_wh` (or varh, VAh) is more than can have passed a meter in `elapsed`."""
    # In integers: Wh > W x (elapsed / hour), multiplied out. Not as timedeltas: those end.
    return energy_wh * _HOUR_US > POWER_MAX_W * ((elapsed + SLACK) // _MICROSECOND)
