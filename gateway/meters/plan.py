"""Block plans: which requests bring the registers of one part of a meter, as few as may be.

Knows profiles and arithmetic only. What happens when a meter refuses a block is the line's affair.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from contract.registers import Kind
from gateway.meters.profile import MappedRegister, MeterProfile, Requests
from gateway.meters.readout_profile import ReadoutRegister
from gateway.ports import Part


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: `count` 16-bit registers from `address` on, and what is wanted of them."""

    function: int
    address: int
    count: int
    registers: tuple[MappedRegister, ...]


def part_of(mapped: MappedRegister | ReadoutRegister) -> Part:
    """The part of a meter to which a register belongs."""
    return Part.MOMENTARY if mapped.register.kind is Kind.INSTANTANEOUS else Part.ENERGY


def plan(profile: MeterProfile, part: Part) -> tuple[Block, ...]:
    """The requests that bring every register of `part`, in the order of function and address.

    They are the fewest that the profile's `requests` allow, and among those the ones that ask for
    the fewest registers. Empty where the model has no register of that part.
    """
    return plan_registers(
        profile, (mapped for mapped in profile.registers if part_of(mapped) is part)
    )


def plan_registers(profile: MeterProfile, wanted: Iterable[MappedRegister]) -> tuple[Block, ...]:
    """The requests that bring the registers `wanted`; as few as `plan` makes them."""
    by_function: dict[int, list[MappedRegister]] = {}
    for mapped in wanted:
        by_function.setdefault(mapped.function or profile.function, []).append(mapped)
    return tuple(
        block
        for function, registers in sorted(by_function.items())
        for block in _blocks(function, registers, profile.requests)
    )


def halves(block: Block) -> tuple[Block, ...]:
    """The two smaller blocks into which `block` is split at its middle register; none for one."""
    ordered = block.registers
    if len(ordered) < 2:
        return ()
    middle = len(ordered) // 2
    return _block(block.function, ordered[:middle]), _block(block.function, ordered[middle:])


def _blocks(function: int, registers: list[MappedRegister], limits: Requests) -> list[Block]:
    """Cuts the sorted registers into runs, by dynamic programming over the places to cut.

    `best[i]` is the least (requests, 16-bit registers asked for) of the first i registers, with
    the start of its last run.
    """
    ordered = sorted(registers, key=lambda mapped: (mapped.address, mapped.end))
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for i in range(1, len(ordered) + 1):
        candidates = [
            (best[j][0] + 1, best[j][1] + _span(ordered[j:i]), j)
            for j in _starts(ordered, i, limits)
        ]
        best.append(min(candidates))
    blocks: list[Block] = []
    i = len(ordered)
    while i > 0:
        start = best[i][2]
        blocks.append(_block(function, tuple(ordered[start:i])))
        i = start
    blocks.reverse()
    return blocks


def _starts(ordered: list[MappedRegister], end: int, limits: Requests) -> Iterable[int]:
    """Every j for which the run ordered[j:end] is one that a single request may ask for."""
    return (j for j in range(end) if _is_allowed(ordered[j:end], limits))


def _is_allowed(run: list[MappedRegister], limits: Requests) -> bool:
    if _span(run) > limits.max_regs and len(run) > 1:
        return False
    first, last = run[0].address, run[0].address + _span(run) - 1
    if any(low <= last and first <= high for low, high in limits.forbidden):
        return False
    reached = run[0].end
    for mapped in run[1:]:
        if mapped.address - reached > limits.max_gap:
            return False
        reached = max(reached, mapped.end)
    return True


def _span(run: list[MappedRegister]) -> int:
    return max(mapped.end for mapped in run) - run[0].address


def _block(function: int, run: tuple[MappedRegister, ...]) -> Block:
    return Block(function, run[0].address, _span(list(run)), run)
