"""The limits of rules and methods: YAML texts to values, with every fault's file, line and key.

Owns which section counts when: the defaults, then the price group's, then the model's, key by key.
It opens no file and must not know what a rule does with its limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from collector.errors import InvalidRequest
from collector.vee.catalogue import RULES
from collector.vee.daily_index import windows_fault
from collector.vee.estimation.estimate import EstimationLimits
from collector.vee.rule import RuleLimits
from collector.vee.values import Rating
from contract.registers import BY_OBIS
from contract.yaml_lines import LineOf, YamlError, explain, load_yaml

# Price groups and models of a district are dozens; this bounds what a file can cost.
SECTIONS_MAX = 500


class LimitsError(InvalidRequest):
    """A limits file that cannot be used; the text says file, line and key."""

    code = "vee_limits"


class DailyIndexLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far, in minutes, a read may be from the day's start that it stands for."""

    windows_min: tuple[int, ...]


_RuleTable = msgspec.defstruct(
    "_RuleTable",
    [(rule.id, rule.limits) for rule in RULES],
    frozen=True,
    forbid_unknown_fields=True,
)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One whole section: what holds for a meter once all parts are laid over each other."""

    registers: tuple[str, ...]
    rating: Rating | None
    daily_index: DailyIndexLimits
    rules: _RuleTable  # type: ignore[valid-type]  # made from the rules there are
    estimation: EstimationLimits


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaults: dict[str, Any] = {}
    price_groups: Annotated[dict[str, dict[str, Any]], msgspec.Meta(max_length=SECTIONS_MAX)] = {}
    models: Annotated[dict[str, dict[str, Any]], msgspec.Meta(max_length=SECTIONS_MAX)] = {}


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one meter."""

    registers: tuple[str, ...]
    rating: Rating | None
    windows_min: tuple[int, ...]
    rules: Mapping[str, RuleLimits]
    estimation: EstimationLimits


@dataclass(slots=True)
class LimitsBook:
    """All sections of all files."""

    _defaults: dict[str, Any] = field(default_factory=dict)
    _groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    _models: dict[str, dict[str, Any]] = field(default_factory=dict)
    _known: dict[tuple[str | None, str | None], Limits] = field(default_factory=dict)

    @property
    def knows_groups(self) -> bool:
        """Whether any price group has limits of its own."""
        return bool(self._groups)

    def of(self, price_group: str | None, model: str | None) -> Limits:
        """What holds for a meter of this price group and model; each may be unknown."""
        key = (
            price_group if price_group in self._groups else None,
            model if model in self._models else None,
        )
        found = self._known.get(key)
        if found is None:
            data = self._defaults
            if key[0] is not None:
                data = _over(data, self._groups[key[0]])
            if key[1] is not None:
                data = _over(data, self._models[key[1]])
            found = self._known[key] = _limits(msgspec.convert(data, _Section))
        return found


def read_limits(files: Sequence[tuple[str, str]]) -> LimitsBook:
    """The limits in the texts of files, (name, text) each, later ones over earlier ones.

    The first has every key. Raises LimitsError with file, line and key of the first fault.
    """
    book = LimitsBook()
    try:
        for where, text in files:
            _add(book, where, text)
    except YamlError as error:
        raise LimitsError(str(error), hint="docs/vee.md has the keys and what they mean") from error
    return book


def _add(book: LimitsBook, where: str, text: str) -> None:
    data, line_of = load_yaml(text, where)
    try:
        file = msgspec.convert(data, _File)
    except msgspec.ValidationError as error:
        raise explain(error, where, line_of) from error
    book._defaults = _over(book._defaults, file.defaults)  # noqa: SLF001  its builder
    _check(book._defaults, where, "$.defaults", line_of)  # noqa: SLF001
    for kind, sections, known in (
        ("price_groups", file.price_groups, book._groups),  # noqa: SLF001
        ("models", file.models, book._models),  # noqa: SLF001
    ):
        for name, section in sections.items():
            known[name] = _over(known.get(name, {}), section)
            _check(_over(book._defaults, known[name]), where, f"$.{kind}.{name}", line_of)  # noqa: SLF001


def _check(data: dict[str, Any], where: str, path: str, line_of: LineOf) -> None:
    """Raises YamlError for the first fault of a section, at its place in the file."""

    def of_file(inner: str) -> int:
        return line_of(path + inner.removeprefix("$"))

    try:
        section = msgspec.convert(data, _Section)
    except msgspec.ValidationError as error:
        found = explain(error, where, of_file)
        full = path + found.path.removeprefix("$")
        raise YamlError(where, found.line, full, found.reason) from error
    for inner, reason in _faults(section):
        raise YamlError(where, line_of(f"{path}.{inner}"), f"{path}.{inner}", reason)


def _faults(section: _Section) -> Iterator[tuple[str, str]]:
    """What types cannot say."""
    if not section.registers:
        yield "registers", "name one register at least"
    for register in section.registers:
        if register not in BY_OBIS or not BY_OBIS[register].billing:
            yield "registers", f"{register!r} is no register that is billed"
    if reason := windows_fault(section.daily_index.windows_min):
        yield "daily_index.windows_min", reason
    chain = section.estimation.chain
    if len(set(chain)) != len(chain):
        yield "estimation.chain", "each method once"
    for name, struct in (
        *((f"rules.{rule.id}", getattr(section.rules, rule.id)) for rule in RULES),
        *((f"estimation.{m}", getattr(section.estimation, m)) for m in ("E1", "E2", "E3", "E4")),
    ):
        for key in struct.__struct_fields__:
            value = getattr(struct, key)
            if isinstance(value, int) and value < 0:
                yield f"{name}.{key}", "must not be negative"


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, key by key; a list or a single value replaces what is there."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _over(old, value) if both else value  # type: ignore[arg-type]  # see `both`
    return merged


def _limits(section: _Section) -> Limits:
    return Limits(
        section.registers,
        section.rating,
        section.daily_index.windows_min,
        {rule.id: getattr(section.rules, rule.id) for rule in RULES},
        section.estimation,
    )
