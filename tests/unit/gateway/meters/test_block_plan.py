"""The block planner against a search of every way to group registers."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meters.plan import Block, halves, part_of, plan, plan_registers
from gateway.meters.profile import MappedRegister, MeterProfile, Requests
from gateway.meters.wire import WireType
from gateway.ports import Part
from gateway.profiles import ProfileLibrary

LIBRARY = ProfileLibrary()


def _profile(registers: tuple[MappedRegister, ...], requests: Requests) -> MeterProfile:
    return MeterProfile("made-up", "Made up", ("a test",), 3, registers, requests=requests)


def _mapped(address: int, regs: int, function: int | None = None) -> MappedRegister:
    wire_type = {1: WireType.U16, 2: WireType.U32, 4: WireType.U64}[regs]
    return MappedRegister("1-0:1.8.0", address, wire_type, function=function)  # type: ignore[arg-type]


_registers = st.lists(
    st.builds(_mapped, st.integers(0, 24), st.sampled_from([1, 2, 4])), min_size=1, max_size=6
).map(tuple)
_forbidden = st.lists(
    st.tuples(st.integers(0, 28), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))),
    max_size=2,
).map(tuple)
_requests = st.builds(
    Requests, max_regs=st.integers(4, 14), max_gap=st.integers(0, 6), forbidden=_forbidden
)


def _is_allowed(group: tuple[MappedRegister, ...], limits: Requests) -> bool:
    """The rules for one request, said of the set of addresses that it covers."""
    wanted = {a for mapped in group for a in range(mapped.address, mapped.end)}
    first, last = min(wanted), max(wanted)
    covered = set(range(first, last + 1))
    longest_gap = gap = 0
    for address in range(first, last + 1):
        gap = 0 if address in wanted else gap + 1
        longest_gap = max(longest_gap, gap)
    banned = {a for low, high in limits.forbidden for a in range(low, high + 1)}
    return (
        len(covered) <= limits.max_regs
        and longest_gap <= limits.max_gap
        and not (covered & banned and len(covered) > len(wanted))
        and not covered & banned
    )


def _partitions(
    items: tuple[MappedRegister, ...],
) -> Iterator[list[tuple[MappedRegister, ...]]]:
    if not items:
        yield []
        return
    head, *tail = items
    for rest in _partitions(tuple(tail)):
        yield [(head,), *rest]
        for index, group in enumerate(rest):
            yield [*rest[:index], (head, *group), *rest[index + 1 :]]


def _span(group: tuple[MappedRegister, ...]) -> int:
    return max(m.end for m in group) - min(m.address for m in group)


def _clear_of(forbidden: tuple[tuple[int, int], ...], mapped: MappedRegister) -> bool:
    return not any(mapped.address <= high and low < mapped.end for low, high in forbidden)


@settings(max_examples=400, deadline=None)
@given(_registers, _requests)
def test_plan_is_the_cheapest_of_all_groupings(
    registers: tuple[MappedRegister, ...], limits: Requests
) -> None:
    registers = tuple(m for m in registers if _clear_of(limits.forbidden, m))
    blocks = plan_registers(_profile(registers, limits), registers)
    cheapest = min(
        (len(groups), sum(map(_span, groups)))
        for groups in _partitions(registers)
        if all(_is_allowed(group, limits) for group in groups)
    )
    assert (len(blocks), sum(block.count for block in blocks)) == cheapest
    for block in blocks:
        assert _is_allowed(block.registers, limits)
        assert block.address == min(m.address for m in block.registers)
        assert block.count == _span(block.registers)
    planned = sorted((m for block in blocks for m in block.registers), key=repr)
    assert planned == sorted(registers, key=repr)


def test_functions_are_planned_apart() -> None:
    registers = (_mapped(0, 2, 4), _mapped(2, 2, 3), _mapped(4, 2))
    blocks = plan_registers(_profile(registers, Requests(max_gap=10)), registers)
    assert [(b.function, b.address, b.count) for b in blocks] == [(3, 2, 4), (4, 0, 2)]


def test_parts_share_out_the_registers_of_every_profile() -> None:
    for name in LIBRARY.modbus_names():
        profile = LIBRARY.get_modbus(name)
        by_part = {
            part: [m.obis for block in plan(profile, part) for m in block.registers]
            for part in Part
        }
        assert sorted(by_part[Part.ENERGY] + by_part[Part.MOMENTARY]) == sorted(
            m.obis for m in profile.registers
        )
        assert all(part_of(m) is Part.ENERGY for m in profile.registers if ".8." in m.obis)


@pytest.mark.parametrize("name", LIBRARY.modbus_names())
def test_no_request_for_a_shipped_profile_breaks_its_limits(name: str) -> None:
    """Also not after a refusal: whatever is cut in halves, down to single registers."""
    profile = LIBRARY.get_modbus(name)
    waiting = [block for part in Part for block in plan(profile, part)]
    assert waiting
    while waiting:
        block = waiting.pop()
        assert _is_allowed(block.registers, profile.requests)
        assert block.count == _span(block.registers) <= profile.requests.max_regs <= 125
        assert all((m.function or profile.function) == block.function for m in block.registers)
        waiting.extend(halves(block))


@pytest.mark.parametrize("name", LIBRARY.modbus_names())
def test_the_billed_energies_of_a_shipped_profile_take_one_request(name: str) -> None:
    """The energies of a line come first, back to back; a second request each would double that."""
    assert len(plan(LIBRARY.get_modbus(name), Part.ENERGY)) == 1


@settings(max_examples=200, deadline=None)
@given(st.data(), _requests)
def test_limits_hold_for_shipped_registers_under_any_limits(
    data: st.DataObject, limits: Requests
) -> None:
    profile = LIBRARY.get_modbus(data.draw(st.sampled_from(LIBRARY.modbus_names())))
    base = min(mapped.address for mapped in profile.registers)
    banned = tuple((base + low, base + high) for low, high in limits.forbidden)
    limits = Requests(limits.max_regs, limits.max_gap, banned)
    registers = tuple(m for m in profile.registers if _clear_of(banned, m))
    blocks = plan_registers(msgspec.structs.replace(profile, requests=limits), registers)
    assert sorted(m.obis for block in blocks for m in block.registers) == sorted(
        m.obis for m in registers
    )
    assert all(_is_allowed(block.registers, limits) for block in blocks)


def test_a_full_sdm630_takes_two_requests() -> None:
    profile = LIBRARY.get_modbus("eastron-sdm630")
    shapes = [(b.address, b.count) for part in Part for b in plan(profile, part)]
    assert shapes == [(0x48, 8), (0x00, 72)]


def test_halves_cut_a_block_at_its_middle_register_and_leave_the_gap_out() -> None:
    left, right = _mapped(0, 2), _mapped(8, 2)
    assert halves(Block(3, 0, 10, (left, right))) == (
        Block(3, 0, 2, (left,)),
        Block(3, 8, 2, (right,)),
    )
    assert halves(Block(3, 0, 2, (left,))) == ()
