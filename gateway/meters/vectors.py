"""Golden vectors: words as they come from a meter's wire, and the values that they mean.

Owns the shape of a vectors file, checking it against a profile, and writing one. It opens no
file and talks to no meter.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import msgspec

from contract.yaml_lines import YamlError, explain, load_yaml
from gateway.meters.attributes import AttributeValue, attribute_value
from gateway.meters.decode import Value, decode
from gateway.meters.plan import plan_registers
from gateway.meters.profile import MappedRegister, MeterProfile
from gateway.meters.shape import ADDRESS_MAX, Name, Shape, Text

VECTORS_SUFFIX = ".vectors.yaml"
_WORD_MAX = 0xFFFF
_WORDS_PER_LINE = 8

VectorsError = YamlError
"""What is wrong in a vectors file: reads as `file:line: key: reason`."""


class Vector(Shape, frozen=True):
    """One state of a meter: its words by the address of the first of each run, and what they mean.

    Registers that are not given read as 0. `expect` has values by OBIS code, integers for
    energies and decimals for momentary quantities, `attributes` has texts, numbers, or lists of
    flags by name; null is "no value". Neither needs to be complete.
    """

    name: Text
    words: dict[str, tuple[int, ...]]
    expect: dict[str, int | float | None]
    attributes: dict[str, str | int | float | tuple[str, ...] | None] = msgspec.field(
        default_factory=dict
    )

    def memory(self) -> dict[int, int]:
        """The words by address."""
        return {
            int(address, 0) + index: word
            for address, run in self.words.items()
            for index, word in enumerate(run)
        }


class VectorsFile(Shape, frozen=True):
    """The vectors of one meter profile."""

    profile: Name
    vectors: tuple[Vector, ...]


def parse_vectors(text: str, where: str) -> VectorsFile:
    """The vectors that the YAML `text` of the file `where` has.

    Raises VectorsError with file, line and key for bad syntax, unknown or missing keys, and what
    is no address or word.
    """
    data, line_of = load_yaml(text, where)
    try:
        document = msgspec.convert(data, VectorsFile)
    except msgspec.ValidationError as error:
        raise explain(error, where, line_of) from error
    for index, vector in enumerate(document.vectors):
        for address, run in vector.words.items():
            path = f"$.vectors[{index}].words.{address}"
            for reason in _run_faults(address, run):
                raise VectorsError(where, line_of(path), path, reason)
    return document


def mistakes(profile: MeterProfile, vector: Vector) -> list[str]:
    """Where the profile says something else than the vector expects; empty if nowhere.

    Each is one line: what, what the words gave, what was expected.
    """
    memory = vector.memory()
    values = _values(profile, profile.registers, memory)
    found = [
        f"{obis}: not in the profile" if obis not in values else f"{obis}: {text}"
        for obis, expected in vector.expect.items()
        if (text := _difference(values.get(obis), expected)) or obis not in values
    ]
    attributes = _attributes(profile, memory)
    found += [
        f"{name}: not in the profile" if name not in attributes else f"{name}: {text}"
        for name, wanted in vector.attributes.items()
        if (text := _difference(attributes.get(name), wanted)) or name not in attributes
    ]
    return found


def untried(profile: MeterProfile, document: VectorsFile) -> list[str]:
    """The registers and attributes of the profile that no vector expects anything of."""
    tried = {name for vector in document.vectors for name in (*vector.expect, *vector.attributes)}
    names = [mapped.obis for mapped in profile.registers]
    names += [attribute.name for attribute in profile.attributes]
    return [name for name in names if name not in tried]


def vectors_text(profile: MeterProfile, name: str, memory: Mapping[int, int]) -> str:
    """A vectors file with one vector: the words in `memory`, and what the profile makes of them.

    Only words of the profile's registers are written: no attribute, and so no serial number, and
    nothing that lay in a gap between registers. Registers that are not all in `memory` are left
    out.
    """
    present = [
        mapped
        for mapped in profile.registers
        if all(address in memory for address in range(mapped.address, mapped.end))
    ]
    addresses = sorted({a for mapped in present for a in range(mapped.address, mapped.end)})
    values = _values(profile, present, memory)
    lines = [
        "# Words as they came from a meter, and the values that the profile gives them.",
        "# Compare the values with the meter's display before you trust them.",
        f"profile: {profile.name}",
        "vectors:",
        f"  - name: {_literal(name)}",
        "    words:",
        *_words_lines(addresses, memory),
        "    expect:",
        *(f'      "{mapped.obis}": {_literal(values[mapped.obis])}' for mapped in present),
    ]
    return "\n".join(lines) + "\n"


def _words_lines(addresses: list[int], memory: Mapping[int, int]) -> Iterator[str]:
    for _, group in groupby(enumerate(addresses), lambda pair: pair[1] - pair[0]):
        run = [address for _, address in group]
        for start in range(0, len(run), _WORDS_PER_LINE):
            part = run[start : start + _WORDS_PER_LINE]
            words = ", ".join(f"0x{memory[address]:04X}" for address in part)
            yield f"      0x{part[0]:04X}: [{words}]"


def _run_faults(address: str, run: tuple[int, ...]) -> Iterator[str]:
    try:
        first = int(address, 0)
    except ValueError:
        yield f"{address!r} is no address, such as 0x5000"
        return
    if first < 0 or first + len(run) > ADDRESS_MAX + 1:
        yield f"lies outside of 0 to {ADDRESS_MAX:#06x}"
    for word in run:
        if not 0 <= word <= _WORD_MAX:
            yield f"{word:#x} is no word of 16 bits"


def _values(
    profile: MeterProfile, registers: Iterable[MappedRegister], memory: Mapping[int, int]
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for block in plan_registers(profile, registers):
        addresses = range(block.address, block.address + block.count)
        values |= decode(profile, block, [memory.get(address, 0) for address in addresses])
    return values


def _attributes(profile: MeterProfile, memory: Mapping[int, int]) -> dict[str, AttributeValue]:
    return {
        attribute.name: attribute_value(
            attribute,
            b"".join(
                memory.get(address, 0).to_bytes(2, "big")
                for address in range(attribute.address, attribute.end)
            ),
            profile.order,
        )
        for attribute in profile.attributes
    }


def _difference(value: AttributeValue, expected: AttributeValue) -> str:
    """What is between the two; integers and decimals differ, since energies are integers."""
    if value == expected and type(value) is type(expected):
        return ""
    return f"is {_literal(value)}, expected {_literal(expected)}"


def _literal(value: AttributeValue) -> str:
    """As YAML has it, which wants a point in every decimal: 1.0e-7."""
    text = msgspec.json.encode(value).decode()
    if isinstance(value, float) and "." not in text:
        return text.replace("e", ".0e")
    return text
