"""The list of supported meters, generated from their profiles for people.

The generated file is `docs/supported-meters.md`; a test holds it against this module.
Regenerate with `python -m gateway.meters.supported FILE`.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby

from gateway.meters.plan import plan
from gateway.meters.profile import MappedRegister, MeterProfile, SerialSettings
from gateway.meters.readout_profile import AnyProfile, ReadoutProfile
from gateway.meters.shape import Evidence
from gateway.ports import Part

_HEAD = """\
# Supported meters

Generated from the meter profiles in `firmware_config/meters/`; change those, then run
`python -m gateway.meters.supported docs/supported-meters.md`.

How good a profile is, is its status:

{statuses}

A meter that is not listed can be added with a file: [adding-a-meter.md](adding-a-meter.md).
*Requests* are those of one scan on a line without faults: for the energies, and for the rest.
*Resolution* is the step of the registers that are billed. Compare the first reads of each new
model with the display, whatever its status.
"""

_STATUSES = {
    Evidence.MAP: "from public register maps or the maker's documents; nobody read a meter for it",
    Evidence.STANDARD: "built from the standard that the model follows; nobody read a meter for it",
    Evidence.CAPTURED: "its vectors were read from a real meter and compared with its display",
}


def supported_text(profiles: Iterable[AnyProfile]) -> str:
    """The Markdown of the list, of `profiles` sorted by family and name."""
    ordered = sorted(profiles, key=lambda profile: (_family(profile), profile.name))
    statuses = "\n".join(f"- **{status}**: {text}." for status, text in _STATUSES.items())
    parts = [_HEAD.format(statuses=statuses), *_overview(ordered)]
    for family, members in groupby(ordered, key=_family):
        parts.append(f"## {family}\n")
        for profile in members:
            parts.extend(_section(profile))
    return "\n".join(parts)


def _family(profile: AnyProfile) -> str:
    return profile.family or profile.model


def _overview(profiles: Sequence[AnyProfile]) -> Iterator[str]:
    yield "| profile | model | registers | resolution | requests | status |"
    yield "|---|---|---|---|---|---|"
    for profile in profiles:
        cells = [
            f"[`{profile.name}`](#{profile.name})",
            profile.model,
            str(len(profile.registers)),
            _resolution(profile),
            _requests(profile),
            profile.status.value,
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _resolution(profile: AnyProfile) -> str:
    steps = {
        f"{_number(mapped.resolution)} {mapped.register.unit}"
        for mapped in profile.registers
        if mapped.resolution is not None and mapped.register.unit.value == "Wh"
    }
    return ", ".join(sorted(steps)) or "–"


def _requests(profile: AnyProfile) -> str:
    if isinstance(profile, ReadoutProfile):
        return f"one session ({profile.read_by})"
    energy, momentary = (len(plan(profile, part)) for part in Part)
    return f"{energy} + {momentary}"


def _section(profile: AnyProfile) -> Iterator[str]:
    yield f"### {profile.name}\n"
    yield f"{profile.model}.\n"
    if profile.notes:
        yield f"{profile.notes.strip()}\n"
    facts = _modbus_facts(profile) if isinstance(profile, MeterProfile) else _readout_facts(profile)
    yield "\n".join(f"- {fact}" for fact in facts) + "\n"
    if profile.traps:
        yield "Known traps:\n"
        yield "\n".join(f"- {' '.join(trap.split())}" for trap in profile.traps) + "\n"
    if isinstance(profile, MeterProfile):
        yield from _modbus_registers(profile)
    else:
        yield from _readout_registers(profile)
    yield "Sources: " + "; ".join(" ".join(text.split()) for text in profile.source) + ".\n"


def _modbus_facts(profile: MeterProfile) -> Iterator[str]:
    limits = profile.requests
    yield (
        f"Modbus function {profile.function}, byte order {profile.order.value}; at most "
        f"{limits.max_regs} registers a request, gaps of at most {limits.max_gap}"
    )
    yield f"line: {_line(profile.serial)}"
    if profile.timing.id_switch_pause_ms:
        yield f"{profile.timing.id_switch_pause_ms} ms of pause when the address changes"
    yield _rating(profile)
    yield _roll_over(profile)
    if profile.probe:
        yield "told from others by: " + "; ".join(check.says for check in profile.probe)
    if profile.attributes:
        yield "says of itself: " + ", ".join(attribute.name for attribute in profile.attributes)


def _readout_facts(profile: ReadoutProfile) -> Iterator[str]:
    rates = ", ".join(str(baud) for baud in profile.sign_on_baud)
    yield f"IEC 62056-21; signs on at {rates} baud, then at most {profile.baud_max}"
    yield _rating(profile)
    yield _roll_over(profile)


def _line(serial: SerialSettings | None) -> str:
    if serial is None:
        return "no serial settings known"
    bauds = ", ".join(str(baud) for baud in serial.baud)
    parities = ", ".join(parity.value for parity in serial.parity)
    stops = " or ".join(str(bits) for bits in serial.stop_bits)
    return f"{bauds} baud, parity {parities}, stop bits {stops}"


def _rating(profile: AnyProfile) -> str:
    rating = profile.rating
    if rating is None:
        return "rating: not stated by the sources"
    phases = "1 phase" if rating.phases == 1 else f"{rating.phases} phases"
    return f"rating: {phases}, {_number(rating.u_n_v)} V, {_number(rating.i_max_a)} A"


def _roll_over(profile: AnyProfile) -> str:
    known = [
        f"{mapped.register.field} at {mapped.roll_over} {mapped.register.unit}"
        for mapped in profile.registers
        if mapped.roll_over is not None
    ]
    return f"roll-over: {', '.join(known) or 'not stated by the sources'}"


def _modbus_registers(profile: MeterProfile) -> Iterator[str]:
    rows = ["| OBIS | field | address | type | scale | resolution |", "|---|---|---|---|---|---|"]
    for mapped in profile.registers:
        cells = [
            mapped.obis,
            mapped.register.field + (" (optional)" if mapped.optional else ""),
            f"0x{mapped.address:04X}" + (f" ({mapped.manual})" if mapped.manual else ""),
            _type(mapped),
            f"× {_number(mapped.scale)}",
            _step(mapped.resolution, mapped.register.unit.value),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    yield "\n".join(rows) + "\n"


def _readout_registers(profile: ReadoutProfile) -> Iterator[str]:
    rows = ["| OBIS | field | code | resolution |", "|---|---|---|---|"]
    for mapped in profile.registers:
        cells = [
            mapped.obis,
            mapped.register.field + (" (optional)" if mapped.optional else ""),
            f"`{mapped.name}`" + (f" less `{mapped.minus}`" if mapped.minus else ""),
            _step(mapped.resolution, mapped.register.unit.value),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    yield "\n".join(rows) + "\n"


def _type(mapped: MappedRegister) -> str:
    return mapped.type.value + (f" {mapped.order.value}" if mapped.order else "")


def _step(resolution: Decimal | None, unit: str) -> str:
    return "" if resolution is None else f"{_number(resolution)} {unit}"


def _number(value: Decimal) -> str:
    """Without an exponent, and without zeros at the end of its decimals."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _main(file: str) -> None:
    # Not at the top: what is pure must not need the files.
    from gateway.profiles import ProfileLibrary  # noqa: PLC0415

    library = ProfileLibrary()
    text = supported_text(library.get(name) for name in library.names())
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(text)


if __name__ == "__main__":
    _main(sys.argv[1])
