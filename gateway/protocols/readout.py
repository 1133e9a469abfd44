"""Data lines of IEC 62056-21 as meters really send them: codes, values with units, history.

Turns text into data sets and quantities and nothing more. It must not know which of them a meter
model is read for, nor how the text got here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from contract.registers import Unit

STORAGE_CURRENT = 255  # OBIS value group F: 255 is the present value, others are history …
STORAGE_ZERO = 0  # … but for makers that begin to number with the present value
DATA_SETS_MAX = 20_000  # of one text: a long load profile; more is garbage

_CODE = re.compile(
    r"(?:(?P<medium>\d{1,3})-(?P<channel>\d{1,3}):)?"
    r"(?P<group>[0-9A-Z]{1,3}(?:\.[0-9A-Z]{1,3}){1,2})"
    r"(?:[*&](?P<storage>\d{1,3}))?"
)
_DATA_SET = re.compile(r"(?P<code>[^()]{0,40})(?P<brackets>(?:\([^()]*\))+)")
_BRACKET = re.compile(r"\(([^()]*)\)")
_NUMBER = re.compile(r"(?P<number>[+-]?\d{1,20}(?:\.\d{1,12})?)\s*\*?\s*(?P<unit>[A-Za-z]*)")

_PREFIXES = {"": 0, "k": 3, "K": 3, "M": 6, "G": 9}
_BODIES = {
    unit.value.lower(): unit
    for unit in Unit
    if unit is not Unit.ONE
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """A code such as `1-0:1.8.0*255`; None for what it does not say.

    `group` is the value groups C, D and E as they stand, `1.8.0`, `32.7` or `F.F`.
    """

    group: str
    medium: int | None = None
    channel: int | None = None
    storage: int | None = None

    @property
    def is_current(self) -> bool:
        """Whether it names the present value and not one of an earlier billing period."""
        return self.storage in (None, STORAGE_CURRENT)

    def stored_like(self, wanted: "Code") -> bool:
        """Whether its storage number is that of `wanted`, the present value's being 255 or none."""
        return self.is_current if wanted.is_current else self.storage == wanted.storage

    def matches(self, wanted: "Code") -> bool:
        """Whether a meter that sends this means `wanted`, all that `wanted` says being the same.

        Where `wanted` names no medium, electricity (1) and meters that send none match.
        """
        if self.group != wanted.group:
            return False
        if self.medium not in (None, 1 if wanted.medium is None else wanted.medium):
            return False
        return wanted.channel is None or self.channel in (None, wanted.channel)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as the meter wrote it, exact, in `unit`; None where it wrote no unit."""

    number: Decimal
    unit: Unit | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """One code and the contents of its brackets; `code` is None where it is no OBIS code.

    `name` is the code as the meter wrote it, empty where it wrote none.
    """

    name: str
    code: Code | None
    brackets: tuple[str, ...]

    @property
    def quantity(self) -> Quantity | None:
        """The number in the first bracket; None if it is empty, no number, or of unknown unit.

        A second bracket never counts: it is a time stamp, or the same value again.
        """
        return parse_quantity(self.brackets[0])


def parse_code(text: str) -> Code | None:
    """The OBIS code in `text`, in full or reduced form; None if it is none."""
    match = _CODE.fullmatch(text.strip())
    if match is None:
        return None
    medium, channel, storage = match["medium"], match["channel"], match["storage"]
    return Code(
        match["group"],
        None if medium is None else int(medium),
        None if channel is None else int(channel),
        None if storage is None else int(storage),
    )


def parse_quantity(text: str) -> Quantity | None:
    """The number in `text`, scaled to its base unit: `0012.5*kWh` is 12500 Wh.

    The unit may follow without the star, or be missing. None for anything else: a word, a time
    with colons, a unit that is not in the catalogue.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    number = Decimal(match["number"])
    if not match["unit"]:
        return Quantity(number, None)
    scaled = parse_unit(match["unit"])
    if scaled is None:
        return None
    unit, exponent = scaled
    return Quantity(number.scaleb(exponent), unit)


def parse_unit(text: str) -> tuple[Unit, int] | None:
    """The unit of the catalogue and the power of ten before it: `kWh` is (Wh, 3).

    Small and capital letters do not matter, save for the prefix: `m` is no Mega, and no meter
    counts in thousandths.
    """
    for length in (0, 1):
        prefix, body = text[:length], text[length:].lower()
        if body in _BODIES and prefix in _PREFIXES:
            return _BODIES[body], _PREFIXES[prefix]
    return None


def parse_data_sets(text: str) -> tuple[DataSet, ...]:
    """Every data set in the text of a block or of a push telegram, in their order.

    Several may stand on a line; blank lines, an identification and what follows `!` do not count,
    nor does anything that is no data set.
    """
    return tuple(_bounded(_data_sets(text)))


def _bounded(data_sets: Iterable[DataSet]) -> Iterator[DataSet]:
    for number, data_set in enumerate(data_sets):
        if number >= DATA_SETS_MAX:
            return
        yield data_set


def _data_sets(text: str) -> Iterator[DataSet]:
    for line in text.replace("\r", "\n").split("\n"):
        line = line.strip(" \t\x00\x02\x03")  # noqa: PLW2901 the same line, bare
        if line.startswith("!"):
            return
        if line.startswith("/"):
            continue
        for match in _DATA_SET.finditer(line):
            name = match["code"].strip().removesuffix("!")
            brackets = tuple(_BRACKET.findall(match["brackets"]))
            yield DataSet(name, parse_code(name), brackets)


class ReadoutText:
    """What one meter listed, to be looked up by code."""

    def __init__(self, data_sets: Iterable[DataSet]) -> None:
        self._data_sets = tuple(data_sets)

    def __len__(self) -> int:
        return len(self._data_sets)

    def current(self, wanted: Code) -> DataSet | None:
        """The data set of the present value of `wanted`; history never stands in for it.

        A `wanted` with a storage number of its own is of a meter that numbers present values so,
        and is looked up as it is. None if there is none, or if there are several that do not say
        the same.
        """
        found = [
            data_set
            for data_set in self._data_sets
            if data_set.code is not None
            and data_set.code.stored_like(wanted)
            and data_set.code.matches(wanted)
        ]
        if not found or any(data_set.brackets[0] != found[0].brackets[0] for data_set in found):
            return None
        return found[0]

    def history(self, wanted: Code) -> dict[int, Quantity]:
        """Values of earlier billing periods by their storage number.

        A value without a unit has that of the present one; a storage number that comes twice with
        different values is left out.
        """
        present = self.current(wanted)
        unit_text = present.brackets[0] if present is not None else ""
        values: dict[int, Quantity] = {}
        torn: set[int] = set()
        for data_set in self._data_sets:
            code = data_set.code
            if code is None or code.storage is None or code.is_current:
                continue
            quantity = _with_unit_of(data_set.brackets[0], unit_text)
            if quantity is None or not code.matches(wanted):
                continue
            if values.setdefault(code.storage, quantity) != quantity:
                torn.add(code.storage)
        return {storage: value for storage, value in values.items() if storage not in torn}

    def text(self, name: str) -> str | None:
        """What stands in the first bracket after `name`, a code as the meter writes it."""
        wanted = parse_code(name)
        for data_set in self._data_sets:
            if data_set.name == name:
                return data_set.brackets[0]
        found = None if wanted is None else self.current_of_any_medium(wanted)
        return None if found is None else found.brackets[0]

    def current_of_any_medium(self, wanted: Code) -> DataSet | None:
        """The first present data set with the value groups of `wanted`: for clocks and serials."""
        for data_set in self._data_sets:
            code = data_set.code
            if code is not None and code.is_current and code.group == wanted.group:
                return data_set
        return None


def _with_unit_of(text: str, unit_text: str) -> Quantity | None:
    quantity = parse_quantity(text)
    if quantity is None or quantity.unit is not None:
        return quantity
    match = _NUMBER.fullmatch(unit_text.strip())
    return quantity if match is None else parse_quantity(f"{text.strip()}*{match['unit']}")
