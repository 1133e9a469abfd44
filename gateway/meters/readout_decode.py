"""From a meter's readout to values in the catalogue's units: exact for all that is counted.

Knows readouts and profiles. Whether a value is believable is decided elsewhere.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from contract.limits import ENERGY_MAX
from contract.registers import Unit
from gateway.meters.decode import Value
from gateway.meters.readout_profile import ReadoutProfile, ReadoutRegister
from gateway.protocols.readout import Code, ReadoutText, parse_code, parse_unit

# A serial on a plate may be the end of a longer identification in the meter, if it is not short.
SERIAL_TAIL_CHARS_MIN = 6


@dataclass(frozen=True, slots=True)
class Decoded:
    """Values by OBIS code, None where there is none; `partial` if one was lacking without leave."""

    values: dict[str, Value]
    partial: bool


def decode_readout(registers: tuple[ReadoutRegister, ...], readout: ReadoutText) -> Decoded:
    """The values of `registers` in what a meter listed.

    Energies and demands are integers in the catalogue's unit, rounded to the meter's own
    resolution; others are floats. There is no value where the meter lists none, an empty one, one
    of another unit, several that differ, or one beyond 64 bits.
    """
    values = {mapped.obis: _value(mapped, readout) for mapped in registers}
    partial = any(values[mapped.obis] is None for mapped in registers if not mapped.optional)
    return Decoded(values, partial)


def codes_of(registers: tuple[ReadoutRegister, ...]) -> tuple[str, ...]:
    """Every code of the meter that `registers` need, once each."""
    names = [name for mapped in registers for name in (mapped.name, mapped.minus) if name]
    return tuple(dict.fromkeys(names))


def stranger(
    profile: ReadoutProfile, readout: ReadoutText, serial: str, address: str
) -> str | None:
    """What the meter says it is, if that is neither `serial` nor `address`; None if all is well.

    Leading zeros and case do not matter. A readout without any of the profile's identity codes
    cannot be judged.
    """
    said = [text for name in profile.identity if (text := readout.text(name)) and text.strip()]
    wanted = {_plain(serial), _plain(address)} - {""}
    tail = _plain(serial)
    for text in map(_plain, said):
        if text in wanted:
            return None
        if len(tail) >= SERIAL_TAIL_CHARS_MIN and text.endswith(tail):
            return None
    return ", ".join(said) or None


def _plain(text: str) -> str:
    return text.strip().upper().lstrip("0")


def _value(mapped: ReadoutRegister, readout: ReadoutText) -> Value:
    number = _number(mapped, mapped.name, readout)
    if number is not None and mapped.minus is not None:
        subtracted = _number(mapped, mapped.minus, readout)
        number = None if subtracted is None else number - subtracted
    if number is None:
        return None
    if mapped.resolution is not None:
        # Exact, a half going to the even step, as for every other protocol.
        exact = Fraction(number)
        step = Fraction(mapped.resolution)
        exact = round(exact / step) * step
        if not mapped.register.is_integer:
            return float(exact)
        value = int(exact)
        return value if -ENERGY_MAX <= value <= ENERGY_MAX else None
    return float(number) + 0.0  # no negative zero


def _number(mapped: ReadoutRegister, name: str, readout: ReadoutText) -> Decimal | None:
    """The number that stands for `name`, in the catalogue's unit of the register."""
    data_set = readout.current(_code(name))
    quantity = None if data_set is None else data_set.quantity
    if quantity is None:
        return None
    if quantity.unit is mapped.register.unit:
        return quantity.number
    if quantity.unit is not None:
        return None
    if mapped.register.unit is Unit.ONE:
        return quantity.number
    scaled = None if mapped.unit is None else parse_unit(mapped.unit)
    return None if scaled is None else quantity.number.scaleb(scaled[1])


def _code(name: str) -> Code:
    code = parse_code(name)
    assert code is not None, "profiles are checked"
    return code
