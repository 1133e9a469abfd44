"""The verdict on what was billed: I10, the billed energy of a point telescopes over its periods.

It knows of the lines what an exported file shows, and what the meters really showed; it adds up by
itself.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from collector.billing.run_values import LineKind, RunLine
from tests.simulation.billing import FIRST_AT, Billed
from tests.simulation.meters import ENERGY, Truth

STEP_WH = 1000  # what is billed are whole kWh
NEAR = timedelta(hours=1)

# The index reads of a meter in the ledger: what it showed, by the instant.
Reads = Mapping[datetime, int]


def telescopes(
    billed: Billed, truth: Truth, reads: Mapping[str, Reads], end_at: datetime
) -> Iterator[str]:
    """I10: the sum of what was billed of each meter is what it showed at the end less the start.

    Where a meter was read at both ends, that sum is known beforehand, whatever was estimated or
    left out between them; else it is the difference of two indices that it showed, or that were
    estimated.
    """
    for fault in billed.faults:
        yield f"I10 the runs do not verify: {fault}"
    lines = [line for run in billed.runs for line in run if line.register == ENERGY]
    for line in lines:
        if line.kind is LineKind.CORRECTION:
            yield f"I10 {line.meter} is corrected by {line.billed} Wh, and nothing was exchanged"
    for meter in sorted({line.meter for line in lines}):
        own = [
            line for line in lines if line.meter == meter and line.kind is not LineKind.CORRECTION
        ]
        estimates = billed.estimates.get((meter, ENERGY), set())
        yield from _chain(meter, own, truth, estimates)
        at_start, at_end = (_nearest(reads.get(meter, {}), at) for at in (FIRST_AT, end_at))
        if at_start is not None and at_end is not None:
            total = sum(line.billed or 0 for line in own)
            if total != _floor(at_end) - _floor(at_start):
                yield (
                    f"I10 {meter}: {total} Wh were billed, between an index of {at_start} Wh at"
                    f" the start and {at_end} Wh at the end"
                )


def _chain(meter: str, lines: list[RunLine], truth: Truth, estimates: set[int]) -> Iterator[str]:
    shown = {_floor(answer.energy_wh) for answer in truth.answers.get(meter, [])}
    known = shown | {_floor(value) for value in estimates}
    before: RunLine | None = None
    for line in lines:
        if line.kind is LineKind.HELD:
            if line.billed is not None:
                yield f"I10 {meter} was left out and is billed {line.billed} Wh"
            continue
        if line.billed is None or line.index_from is None or line.index_to is None:
            yield f"I10 {meter} was exported without an index or without what is billed: {line}"
            continue
        if line.billed != line.index_to - line.index_from:
            yield f"I10 {meter} is billed {line.billed} Wh for {line.index_to} - {line.index_from}"
        for index in (line.index_from, line.index_to):
            if index not in known:
                yield f"I10 {meter} is billed by {index} Wh, which nobody saw or estimated"
        begins = (line.from_at, line.index_from)
        if before is not None and begins != (before.to_at, before.index_to):
            yield f"I10 {meter} goes on from {line.index_from} Wh and not from {before.index_to} Wh"
        if before is None and line.from_at != FIRST_AT:
            yield f"I10 {meter} is billed from {line.from_at} on, and not from the start"
        before = line


def _nearest(reads: Reads, at: datetime) -> int | None:
    """The read nearest to an instant, within the hour; the earlier of two."""
    near = sorted((abs(read_at - at), read_at) for read_at in reads if abs(read_at - at) < NEAR)
    return reads[near[0][1]] if near else None


def _floor(energy_wh: int) -> int:
    return energy_wh // STEP_WH * STEP_WH
