"""Reading meter profile files: from YAML text to a profile, or to an error that says where.

Owns what a profile may say beyond its shape. It opens no file.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain

import msgspec

from contract.registers import BY_OBIS, Kind
from contract.yaml_lines import YamlError, explain, load_yaml
from gateway.meters.attributes import Attribute, AttributeType
from gateway.meters.checks import check_faults
from gateway.meters.profile import MappedRegister, MeterProfile
from gateway.meters.readout_profile import PROTOCOL, AnyProfile, ReadoutProfile
from gateway.meters.readout_profile_file import readout_faults
from gateway.meters.shape import ADDRESS_MAX
from gateway.meters.wire import WireType

EXPONENT_MAX = 18  # of a scale or resolution: far beyond any meter, and quick to compute with

ProfileError = YamlError
"""What is wrong in a profile: reads as `file:line: key: reason`."""


def parse_profile(text: str, where: str) -> AnyProfile:
    """The meter profile that the YAML `text` of the file `where` describes.

    Its key `protocol` says of which kind it is: `modbus`, also where it is not given, or
    `iec62056_21`. Raises ProfileError with file, line and key for what is no profile: bad syntax,
    unknown or missing keys, values out of range, registers that contradict the catalogue or each
    other.
    """
    data, line_of = load_yaml(text, where)
    is_readout = isinstance(data, dict) and data.get("protocol") == PROTOCOL
    kind: type[AnyProfile] = ReadoutProfile if is_readout else MeterProfile
    try:
        profile = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise explain(error, where, line_of) from error
    faults = readout_faults(profile) if isinstance(profile, ReadoutProfile) else _faults(profile)
    for path, reason in faults:
        raise ProfileError(where, line_of(path), path, reason)
    return profile


def _faults(profile: MeterProfile) -> Iterator[tuple[str, str]]:
    """Path and reason of everything in a well-shaped profile that makes no sense."""
    for index, (first, last) in enumerate(profile.requests.forbidden):
        if first > last:
            yield f"$.requests.forbidden[{index}]", f"{first:#06x} is after {last:#06x}"
    for wire_type in WireType:
        for reason in _pattern_faults(profile.sentinels.of(wire_type), wire_type):
            yield f"$.sentinels.{wire_type.value}", reason
    timing = profile.timing
    if timing.late_reply_ms is not None and timing.late_reply_ms < timing.response_timeout_ms:
        yield "$.timing.late_reply_ms", "must not be less than response_timeout_ms"
    if profile.rating is not None:
        for key, value in (("u_n_v", profile.rating.u_n_v), ("i_max_a", profile.rating.i_max_a)):
            if not _is_positive(value):
                yield f"$.rating.{key}", "must be a number above 0"
    yield from _registers_faults(profile)
    yield from _attributes_faults(profile)
    yield from _probe_faults(profile)


def _registers_faults(profile: MeterProfile) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, mapped in enumerate(profile.registers):
        path = f"$.registers[{index}]"
        if mapped.obis not in BY_OBIS:
            yield f"{path}.obis", f"{mapped.obis!r} is not in the register catalogue"
            return
        if mapped.obis in seen:
            yield f"{path}.obis", f"{mapped.obis} is already given above"
        seen.add(mapped.obis)
        for key, reason in chain(_wire_faults(profile, mapped), _value_faults(mapped)):
            yield f"{path}.{key}", reason


def _attributes_faults(profile: MeterProfile) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, attribute in enumerate(profile.attributes):
        path = f"$.attributes[{index}]"
        if attribute.name in seen:
            yield f"{path}.name", f"{attribute.name!r} is already given above"
        seen.add(attribute.name)
        for key, reason in _attribute_faults(attribute):
            yield f"{path}.{key}", reason


def _probe_faults(profile: MeterProfile) -> Iterator[tuple[str, str]]:
    if profile.order in profile.other_orders:
        yield "$.other_orders", f"{profile.order.value} is the order itself"
    for index, check in enumerate(profile.probe):
        for key, reason in check_faults(check):
            yield f"$.probe[{index}].{key}".rstrip("."), reason


def _attribute_faults(attribute: Attribute) -> Iterator[tuple[str, str]]:
    if attribute.type is AttributeType.STRING and attribute.regs is None:
        yield "regs", "text needs the number of its registers"
    if attribute.type is AttributeType.BITS and attribute.count not in (1, 2, 4):
        yield "regs", "bits take 1, 2 or 4 registers"
    if attribute.type.wire_type is not None and attribute.regs is not None:
        yield "regs", f"{attribute.type.value} says itself how many registers it takes"
    if attribute.hex and (attribute.type.wire_type is None or attribute.type.wire_type.is_float):
        yield "hex", "is for integers"
    if attribute.flags and attribute.type is not AttributeType.BITS:
        yield "flags", "are for the type bits"
    if any(flag.bit >= 16 * attribute.count for flag in attribute.flags):
        yield "flags", f"there are only {16 * attribute.count} bits"
    if attribute.end > ADDRESS_MAX + 1:
        yield "address", f"{attribute.count} registers do not end within {ADDRESS_MAX:#06x}"
    if not _is_moderate(attribute.scale.copy_abs()):
        yield "scale", f"must be a number other than 0, at most 1e{EXPONENT_MAX} and not too fine"


def _wire_faults(profile: MeterProfile, mapped: MappedRegister) -> Iterator[tuple[str, str]]:
    limits = profile.requests
    if mapped.type.regs > limits.max_regs:
        yield "type", f"takes {mapped.type.regs} registers, requests.max_regs is {limits.max_regs}"
    if mapped.end > ADDRESS_MAX + 1:
        yield "address", f"{mapped.type.value} does not end within {ADDRESS_MAX:#06x}"
    if any(mapped.address <= last and first < mapped.end for first, last in limits.forbidden):
        yield "address", "lies in one of requests.forbidden"
    for reason in _pattern_faults(mapped.sentinels or (), mapped.type):
        yield "sentinels", reason


def _value_faults(mapped: MappedRegister) -> Iterator[tuple[str, str]]:
    register = mapped.register
    if not _is_moderate(mapped.scale.copy_abs()):
        yield "scale", f"must be a number other than 0, at most 1e{EXPONENT_MAX} and not too fine"
    if mapped.resolution is None:
        if register.is_integer:
            yield "resolution", f"{register.field} needs one, in {register.unit}"
    elif not _is_moderate(mapped.resolution):
        yield "resolution", f"must be a number above 0, at most 1e{EXPONENT_MAX} and not too fine"
    elif register.is_integer and mapped.resolution % 1 != 0:
        yield "resolution", f"must be a whole number of {register.unit}"
    if mapped.roll_over is not None and register.kind is not Kind.CUMULATIVE:
        yield "roll_over", f"{register.field} is not cumulative"


def _pattern_faults(patterns: tuple[int, ...], wire_type: WireType) -> Iterator[str]:
    for pattern in patterns:
        if not 0 <= pattern < 1 << wire_type.bits:
            yield f"{pattern:#x} is no pattern of {wire_type.bits} bits"


def _is_moderate(value: Decimal) -> bool:
    """Above 0, and neither so great nor so fine that exact arithmetic with it would take long."""
    if not _is_positive(value):
        return False
    exponent = value.as_tuple().exponent
    return (
        isinstance(exponent, int) and exponent >= -EXPONENT_MAX and value.adjusted() <= EXPONENT_MAX
    )


def _is_positive(value: Decimal) -> bool:
    return value.is_finite() and value > 0
