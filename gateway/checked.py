"""Plain values from a file turned into typed ones, with every mistake found and not only the first.

Owns the walk over nested Structs and the wording of its findings. It must not know what any key
means.
"""

import difflib
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from contract.yaml_lines import LineOf

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_AT = re.compile(r" - at `\$(?P<below>.*)`")

KEYS_SHOWN_MAX = 12


@dataclass(slots=True)
class Problems:
    """What is wrong in one file, as `FILE:LINE: KEY: what is wrong`."""

    where: str
    line_of: LineOf
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: str, text: str) -> None:
        """Note a mistake at `path` (`$.lines[0].name`)."""
        line = self.line_of(path)
        key = path.removeprefix("$").removeprefix(".")
        place = f"{self.where}:{line}: {key}: " if key else f"{self.where}:{line}: "
        self.found.append((line, place + text))

    def texts(self) -> list[str]:
        """All mistakes in the order of their lines."""
        return [text for _, text in sorted(self.found, key=lambda problem: problem[0])]


def build(cls: type[_Struct], data: object, path: str, problems: Problems) -> _Struct | None:
    """`data` as a `cls`; None when something is wrong, which is then in `problems`."""
    before = len(problems.found)
    _check_struct(cls, data, path, problems)
    if len(problems.found) > before:
        return None
    return msgspec.convert(data, cls)


def _check_struct(cls: type[msgspec.Struct], data: object, path: str, problems: Problems) -> None:
    if not isinstance(data, dict):
        problems.add(path, f"needs keys of its own, found {_kind(data)}")
        return
    fields = {info.encode_name: info for info in msgspec.structs.fields(cls)}
    for key in data:
        if key not in fields:
            problems.add(f"{path}.{key}", _unknown(str(key), list(fields)))
    for name, info in fields.items():
        if name in data:
            _check_value(info.type, data[name], f"{path}.{name}", problems)
        elif info.required:
            problems.add(path, f"the key {name!r} is missing; add it")


def _check_value(annotation: object, value: object, path: str, problems: Problems) -> None:
    kind, optional = _bare(annotation)
    if value is None and optional:
        return
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        _check_struct(kind, value, path, problems)
        return
    item = _item(kind)
    if item is not None and value != []:
        if not isinstance(value, list):
            problems.add(path, f"needs a list, found {_kind(value)}")
            return
        for index, entry in enumerate(value):
            _check_struct(item, entry, f"{path}[{index}]", problems)
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        below = match["below"] if (match := _AT.search(text)) else ""
        problems.add(path + below, _AT.sub("", text))


def _bare(kind: object) -> tuple[Any, bool]:
    """The type without `| None`, and whether it had that."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        others = [part for part in typing.get_args(kind) if part is not types.NoneType]
        if len(others) == 1:
            return others[0], True
    return kind, False


def _item(kind: object) -> type[msgspec.Struct] | None:
    """The Struct of which `kind` is a tuple, whatever its length must be; else None."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is not tuple:
        return None
    item = typing.get_args(kind)[0]
    is_struct = isinstance(item, type) and issubclass(item, msgspec.Struct)
    return item if is_struct else None


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    shown = ", ".join(sorted(known)[:KEYS_SHOWN_MAX])
    return f"unknown key; remove it, or use one of: {shown}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names: dict[type, str] = {dict: "keys", list: "a list", str: "text"}
    return names.get(type(value), type(value).__name__)
