"""How often Python looks for cycles in the collector's processes.

A group of batches, or a district's lines, are tens of thousands of objects that die together and
never form a cycle. Python's own thresholds would walk through all of them again and again.
"""

import gc

GC_THRESHOLDS = (200_000, 20, 20)


def collect_garbage_seldom() -> None:
    """Look for cycles as seldom as suits the collector."""
    gc.set_threshold(*GC_THRESHOLDS)
