"""What CRC-16, parity and block check cannot see, how rarely, and who sees it in a billed register.

A constructed damage goes through the real line code and becomes a wrong value; the rules over what
is billed must then refuse it.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import combinations

import pytest

from collector.vee.impossible_jump import POWER_MAX_W, is_impossible
from collector.vee.negative_consumption import Step, step
from gateway.lines.endpoints import IecEndpoint, SerialEndpoint
from gateway.lines.engine import ModbusLine
from gateway.lines.iec import IecLine
from gateway.lines.modbus import is_whole_frame
from gateway.meters.readout_profile import ReadBy
from gateway.ports import InstalledMeter, Part, Priority
from gateway.protocols.iec_characters import DAMAGED, Characters, block_check, from_wire
from tests.bad_lines import virtual_time
from tests.bad_lines.iec_ladder import IMPORT, model
from tests.bad_lines.iec_meters import FAULTS as IEC_FAULTS
from tests.bad_lines.iec_meters import Chance, VirtualMeterLine
from tests.bad_lines.modbus_ladder import PROFILE
from tests.bad_lines.modbus_meters import FAULTS as MODBUS_FAULTS
from tests.bad_lines.modbus_meters import Heard, Meters, looks_good
from tests.gateway_iec.meter import Meter, with_parity
from tests.gateway_lines.bench import StillClock
from tests.gateway_lines.bench import meters as installed
from tests.gateway_lines.slave import crc

HALF_HOUR = timedelta(minutes=30)
FRAME_BYTES_MAX = 256

Line = ModbusLine | IecLine


# -- CRC-16


def syndromes(length: int) -> list[int]:
    """What each wrong bit of a frame of so many bytes does to its check, in the wire's order."""

    def residue(frame: bytes) -> int:
        return int.from_bytes(crc(frame[:-2]), "big") ^ int.from_bytes(frame[-2:], "big")

    right = bytes(length)
    return [
        residue((1 << bit).to_bytes(length, "little")) ^ residue(right) for bit in range(8 * length)
    ]


def test_crc_sees_one_two_and_three_wrong_bits_in_the_longest_frame() -> None:
    each = syndromes(FRAME_BYTES_MAX)
    assert 0 not in each
    assert len(set(each)) == len(each)
    known = frozenset(each)
    assert not any(first ^ second in known for first, second in combinations(each, 2))


def test_crc_sees_every_burst_of_up_to_16_bits() -> None:
    """Because the effects of any 16 bits in a row are independent of each other."""
    each = syndromes(FRAME_BYTES_MAX)
    for start in range(len(each) - 15):
        basis: list[int] = []
        for value in each[start : start + 16]:
            rest = value
            for other in basis:
                rest = min(rest, rest ^ other)
            assert rest, f"a burst at bit {start} would not be seen"
            basis.append(rest)


def test_of_all_check_sums_one_in_65536_passes() -> None:
    data = b"\x01\x03\x08\x00\x12\xd6\x87\x00\x00\x00\x64"
    assert sum(is_whole_frame(data + value.to_bytes(2, "big")) for value in range(65_536)) == 1


def _first_word_too_high(meters: Meters, heard: Heard) -> None:
    """A bit of the first register and, by chance, the check sum that goes with it."""
    right = meters.reply(heard)
    frame = right[:3] + bytes([right[3] ^ 0x40]) + right[4:-2]
    damaged = frame + crc(frame)
    assert looks_good(damaged, heard, meters.reply(heard))
    meters.say(damaged)


def test_damage_that_crc_cannot_see_is_refused_as_an_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODBUS_FAULTS, "constructed", _first_word_too_high)
    meters = Meters((1,), Chance(1), "perfect")
    (meter,) = installed(PROFILE, 1)
    meters.wire.install(monkeypatch)

    def make() -> ModbusLine:
        return ModbusLine("line-1", SerialEndpoint("virtual"), [meter], StillClock())

    def damage() -> None:
        meters.fault = "constructed"

    before, wrong = virtual_time.run(two_reads(make, meter, damage))
    assert wrong == before ^ 0x4000_0000
    refused(before, wrong)


# -- parity and block check


def test_parity_sees_one_wrong_bit_in_any_character() -> None:
    for value in range(128):
        (character,) = with_parity(bytes([value]))
        for bit in range(8):
            damaged = bytes([character ^ 1 << bit])
            assert from_wire(damaged, Characters.SEVEN_EVEN) == bytes([DAMAGED])


def test_of_two_wrong_characters_one_in_512_passes_both_checks() -> None:
    """One wrong character never does; a tail of n random ones does in one of 2**(n + 7) cases."""
    right = with_parity(b"1.8.0(0012345.67*kWh)\x03")
    text = from_wire(right, Characters.SEVEN_EVEN)
    check = block_check(text)
    passing = 0
    decoded = [from_wire(bytes([value]), Characters.SEVEN_EVEN)[0] for value in range(256)]
    for first in range(256):
        for second in range(256):
            one, two = decoded[right[8] ^ first], decoded[right[9] ^ second]
            is_damaged = DAMAGED in (one, two)
            seen = is_damaged or block_check(text[:8] + bytes([one, two]) + text[10:]) != check
            passing += not seen and (first, second) != (0, 0)
            assert seen or bool(first) == bool(second)
    assert passing == 127
    assert passing / 255**2 < 1 / 511


def _digits_exchanged(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    """Two digits in each other's place: the same parities, the same block check."""
    assert b"1.8.0(0012345.67" in message
    changed = message.replace(b"1.8.0(0012345.67", b"1.8.0(3012045.67")
    assert from_wire(with_parity(changed), Characters.SEVEN_EVEN) == changed
    line.say(with_parity(changed))


def _digits_lost(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
    """Two like digits are lost: they cancel in the block check."""
    assert b"1.8.0(0044345.67" in message
    line.say(with_parity(message.replace(b"1.8.0(0044345.67", b"1.8.0(00345.67")))


@pytest.mark.parametrize(
    ("fault", "energy", "expected"),
    [
        (_digits_exchanged, "0012345.67", 3_012_045_670),
        (_digits_lost, "0044345.67", 345_670),
    ],
)
def test_damage_that_the_block_check_cannot_see_is_refused_as_an_index(
    fault: Callable[[VirtualMeterLine, bytes, bytes], None],
    energy: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def constructed(line: VirtualMeterLine, message: bytes, data: bytes) -> None:
        (fault if b"1.8.0(" in message else IEC_FAULTS["perfect"])(line, message, data)

    monkeypatch.setitem(IEC_FAULTS, "constructed", constructed)
    values = {"0.0.0": "1", "1.8.0": f"{energy}*kWh", "2.8.0": "0000000.00*kWh"}
    wire = VirtualMeterLine([Meter("1", values)], Chance(1), "perfect", 1.0)
    meter = InstalledMeter("1", "1", model(ReadBy.READOUT))
    wire.wire.install(monkeypatch)

    def make() -> IecLine:
        return IecLine("line-1", IecEndpoint("virtual"), [meter], StillClock())

    def damage() -> None:
        wire.fault = "constructed"

    before, wrong = virtual_time.run(two_reads(make, meter, damage))
    assert wrong == expected
    refused(before, wrong)


# -- what stands behind the checks


async def two_reads(
    make: Callable[[], Line], meter: InstalledMeter, damage: Callable[[], None]
) -> tuple[int, int]:
    """The energy before and after the damage."""
    line = make()
    energies: list[int] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(line.run())
        for _ in range(2):
            read = await line.read(meter, Part.ENERGY, Priority.INDEX)
            energy = read.values[IMPORT]
            assert isinstance(energy, int)
            energies.append(energy)
            damage()
        task.cancel()
    first, second = energies
    return first, second


def refused(before: int, wrong: int) -> None:
    """An index that ran ahead is no consumption, one that fell back neither."""
    if wrong > before:
        assert is_impossible(wrong - before, HALF_HOUR)
        # And the next good one falls back behind it, where no roll-over explains that.
        assert step(wrong, before, None, HALF_HOUR) is Step.BACKWARD
    else:
        assert step(before, wrong, None, HALF_HOUR) is Step.BACKWARD


def test_what_passes_every_rule_is_bounded() -> None:
    """Forward, and no more than any line carries in the time and the hour of slack."""
    bound_wh = POWER_MAX_W * 3 // 2
    assert not is_impossible(bound_wh, HALF_HOUR)
    assert is_impossible(bound_wh + 1, HALF_HOUR)
    # Of the random 32-bit values that CRC-16 lets pass, so many are that near: 1 in 286.
    assert 2**32 // bound_wh == 286
