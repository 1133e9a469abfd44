"""What makes no sense in a well-shaped profile of an IEC 62056-21 meter, with the key it stands at.

Owns what such a profile may say beyond its shape. It opens no file and knows no YAML.
"""

from collections.abc import Iterator
from itertools import chain

from contract.registers import BY_OBIS, Kind
from gateway.meters.readout_profile import ReadoutProfile, ReadoutRegister
from gateway.protocols.readout import STORAGE_ZERO, Code, parse_code, parse_unit

RESOLUTION_MAX = 10**18  # far beyond any meter


def readout_faults(profile: ReadoutProfile) -> Iterator[tuple[str, str]]:
    """Path and reason of everything in `profile` that contradicts the catalogue or itself."""
    for index, code in enumerate(profile.identity):
        if parse_code(code) is None:
            yield f"$.identity[{index}]", f"{code!r} is no code such as 0.0.0 or C.1.0"
    if profile.password is not None and not is_sendable(profile.password):
        yield "$.password", "must be printable ASCII without brackets"
    if profile.rating is not None:
        for key, value in (("u_n_v", profile.rating.u_n_v), ("i_max_a", profile.rating.i_max_a)):
            if not value.is_finite() or value <= 0:
                yield f"$.rating.{key}", "must be a number above 0"
    if profile.clock is not None:
        for key, text in (("time", profile.clock.time), ("date", profile.clock.date)):
            if parse_code(text) is None:
                yield f"$.clock.{key}", f"{text!r} is no code such as 0.9.1"
    yield from _registers_faults(profile.registers)


def _registers_faults(registers: tuple[ReadoutRegister, ...]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, mapped in enumerate(registers):
        path = f"$.registers[{index}]"
        if mapped.obis not in BY_OBIS:
            yield f"{path}.obis", f"{mapped.obis!r} is not in the register catalogue"
            continue
        if mapped.obis in seen:
            yield f"{path}.obis", f"{mapped.obis} is already given above"
        seen.add(mapped.obis)
        for key, reason in chain(_code_faults(mapped), _value_faults(mapped)):
            yield f"{path}.{key}", reason


def _code_faults(mapped: ReadoutRegister) -> Iterator[tuple[str, str]]:
    for key, text in (("code", mapped.code), ("minus", mapped.minus)):
        code = None if text is None else parse_code(text)
        if text is not None and (code is None or not _may_be_present(code)):
            yield key, f"{text!r} is no code of a present value such as 1.8.0 or 1-1:1.8.0"
    if mapped.minus is not None and mapped.register.is_integer:
        yield "minus", f"{mapped.register.field} is a register; a difference is none"


def _may_be_present(code: Code) -> bool:
    return code.is_current or code.storage == STORAGE_ZERO


def _value_faults(mapped: ReadoutRegister) -> Iterator[tuple[str, str]]:
    register = mapped.register
    if mapped.unit is not None:
        scaled = parse_unit(mapped.unit)
        if scaled is None or scaled[0] is not register.unit:
            yield "unit", f"{mapped.unit!r} is no multiple of the unit {register.unit.value!r}"
    if mapped.resolution is None:
        if register.is_integer:
            yield "resolution", f"{register.field} needs one, in {register.unit}"
    elif not mapped.resolution.is_finite() or not 0 < mapped.resolution <= RESOLUTION_MAX:
        yield "resolution", "must be a number above 0"
    elif register.is_integer and mapped.resolution % 1 != 0:
        yield "resolution", f"must be a whole number of {register.unit}"
    if mapped.roll_over is not None and register.kind is not Kind.CUMULATIVE:
        yield "roll_over", f"{register.field} is not cumulative"


def is_sendable(password: str) -> bool:
    """Whether `password` can stand in the brackets of a password command."""
    return password.isascii() and password.isprintable() and not set(password) & set("()")
