"""The one rounding of rating: arithmetic, half away from zero, of a ratio of integers.

It must not know what is rounded. Circulars on electricity bills say "làm tròn số học" (arithmetic
rounding) of bands to whole kWh; đồng has no smaller unit.
"""


def rounded(numerator: int, denominator: int = 1) -> int:
    """The integer nearest to numerator ÷ denominator (> 0); a half goes away from zero."""
    assert denominator > 0
    if numerator < 0:
        return -rounded(-numerator, denominator)
    return (2 * numerator + denominator) // (2 * denominator)
