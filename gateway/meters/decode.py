"""From the bytes of a reply to values in the catalogue's units: exact for all that is counted.

Knows blocks and profiles. Whether a value is believable is decided elsewhere.
"""

import math
import struct
from collections.abc import Callable, Sequence

from contract.limits import ENERGY_MAX
from gateway.meters.plan import Block
from gateway.meters.profile import MappedRegister, MeterProfile
from gateway.meters.wire import Raw, WireType, from_pattern, reader

Value = int | float | None

_Converter = Callable[[Raw], Value]

# What a binary float can say in decimal: further digits are artefacts of the encoding.
_DIGITS = {WireType.F32: 7, WireType.F64: 15}


class BlockDecoder:
    """Decodes the replies to one block of one profile; made once, used for every reply."""

    __slots__ = ("_bytes", "_fields")

    def __init__(self, profile: MeterProfile, block: Block) -> None:
        self._bytes = 2 * block.count
        self._fields = tuple(
            (
                mapped.obis,
                2 * (mapped.address - block.address),
                reader(mapped.type, mapped.order or profile.order),
                _converter(profile, mapped),
            )
            for mapped in block.registers
        )

    def decode(self, payload: bytes) -> dict[str, Value]:
        """Values by OBIS code from the register bytes of a reply, one for each that was wanted.

        Energies and demands are integers in the catalogue's unit, rounded to the meter's own
        resolution; other registers are floats. None is "the meter has no value": a sentinel, not
        a number, infinite, or beyond 64 bits. Raises ValueError for another number of bytes.
        """
        if len(payload) != self._bytes:
            raise ValueError(f"{len(payload)} bytes for a block of {self._bytes}")
        return {
            obis: convert(read(payload, offset)[0]) for obis, offset, read, convert in self._fields
        }


def decode(profile: MeterProfile, block: Block, words: Sequence[int]) -> dict[str, Value]:
    """What `BlockDecoder` gives for one reply, from its 16-bit words."""
    return BlockDecoder(profile, block).decode(struct.pack(f">{len(words)}H", *words))


def _converter(profile: MeterProfile, mapped: MappedRegister) -> _Converter:
    """From raw to the register's value: raw × scale, rounded to the resolution where it has one.

    The value is raw × `factor` / `divisor` steps of the resolution, each `step` / `step_divisor`.
    """
    factor, divisor = mapped.scale.as_integer_ratio()
    sentinels = _sentinels(profile, mapped)
    if mapped.resolution is None:
        digits = _DIGITS.get(mapped.type)
        return _momentary(factor, divisor, digits, sentinels)
    step, step_divisor = mapped.resolution.as_integer_ratio()
    factor, divisor = factor * step_divisor, divisor * step
    is_integer = mapped.register.is_integer

    def convert(raw: Raw) -> Value:
        if raw in sentinels or not math.isfinite(raw):
            return None
        numerator, denominator = raw.as_integer_ratio()
        steps = _rounded(numerator * factor, denominator * divisor) * step
        if not is_integer:
            return steps / step_divisor
        return steps if -ENERGY_MAX <= steps <= ENERGY_MAX else None

    return convert


def _momentary(
    factor: int, divisor: int, digits: int | None, sentinels: frozenset[Raw]
) -> _Converter:
    def convert(raw: Raw) -> Value:
        if raw in sentinels or not math.isfinite(raw):
            return None
        scaled = raw * factor / divisor
        if digits is None:
            return scaled
        return float(f"{scaled:.{digits}g}") + 0.0  # no negative zero

    return convert


def _sentinels(profile: MeterProfile, mapped: MappedRegister) -> frozenset[Raw]:
    """The raw values of the patterns that mean "not available"."""
    patterns = mapped.sentinels
    if patterns is None:
        patterns = profile.sentinels.of(mapped.type)
    return frozenset(from_pattern(pattern, mapped.type) for pattern in patterns)


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest integer to the fraction, a half going to the even one; `denominator` > 0."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient
