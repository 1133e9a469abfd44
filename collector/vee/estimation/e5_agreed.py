"""E5 agreed: an index that a person gives, agreed on with the customer or read by him.

AEMO 55 and 64 (agreed), 67 (customer read).
"""

from collector.vee.estimation.wanted import NO_START, NOT_GIVEN, Answer, Unusable, Wanted


def move(wanted: Wanted, limits: object) -> Answer | Unusable:
    """From the anchor before it to the index that was given; a fall is refused."""
    del limits
    if wanted.agreed is None:
        return NOT_GIVEN
    if wanted.before is None:
        return NO_START
    moved = wanted.agreed.value - wanted.before.value
    if moved < 0:
        return Unusable("index_fell")
    return Answer(
        moved,
        {
            "agreed_wh": wanted.agreed.value,
            "author": wanted.agreed.author,
            "reason": wanted.agreed.reason,
        },
    )
