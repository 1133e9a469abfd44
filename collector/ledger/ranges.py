"""Ranges of sequence numbers, inclusive at both ends: the arithmetic of acks and gaps.

Pure. It must not know what is numbered.
"""

Range = tuple[int, int]


def merged(ranges: list[Range]) -> list[Range]:
    """Sorted ranges, those that touch or overlap made one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def reach(upto: int, ranges: list[Range]) -> int:
    """Where everything from 1 on ends, given what is done beyond `upto`."""
    for first, last in ranges:
        if first > upto + 1:
            break
        upto = max(upto, last)
    return upto


def missing(have: list[Range], first: int, last: int) -> list[Range]:
    """The parts of first to last, inclusive, that the merged ranges `have` do not cover."""
    absent = []
    for low, high in have:
        if high < first:
            continue
        if low > last:
            break
        if low > first:
            absent.append((first, low - 1))
        first = high + 1
    if first <= last:
        absent.append((first, last))
    return absent
