"""YAML text turned into plain values that remember their lines, and errors that say where.

Knows nothing of what the values mean and opens no file; the caller gives the text and its name.
"""

import re
from collections.abc import Callable

import msgspec
import yaml

LineOf = Callable[[str], int]
"""From a path such as `$.lines[0].address` to its line, 1-based; to its parent's if it has none."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_PATH_PART = re.compile(r"\.[^.\[\]]+|\[[^\]]*\]")
_MESSAGE = re.compile(r"(?P<reason>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<key>.+)`")
_MISSING_FIELD = re.compile(r"Object missing required field `(?P<key>.+)`")

DEPTH_MAX = 32  # far more than any file of ours nests; bounds what a hostile one can cost
PARTS_MAX = 200_000  # scalars, lists and mappings, aliases counted each time they are used


class YamlError(ValueError):
    """What is wrong in a file, and where; reads as `file:line: key: reason`.

    `path` is the place as `$.a[0].b`; `key` is the same without its root.
    """

    def __init__(self, where: str, line: int, path: str, reason: str) -> None:
        key = path.removeprefix("$").removeprefix(".")
        super().__init__(f"{where}:{line}: {key}: {reason}" if key else f"{where}:{line}: {reason}")
        self.where = where
        self.line = line
        self.path = path
        self.key = key
        self.reason = reason


def load_yaml(text: str, where: str) -> tuple[object, LineOf]:
    """The document in `text` as dicts, lists and scalars, and the lines of its parts.

    `where` names the file in errors. Raises YamlError for bad syntax, a key that occurs twice,
    a key that is not text, and more than DEPTH_MAX levels or PARTS_MAX parts, aliases unfolded.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise YamlError(where, line, "$", f"not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlError(where, 1, "$", f"not YAML: {error}") from error
    if node is None:
        raise YamlError(where, 1, "$", "the file is empty")
    lines: dict[str, int] = {}
    data = _Builder(where, lines).build(node, "$", 0)

    def line_of(path: str) -> int:
        parts = _PATH_PART.findall(path.removeprefix("$"))
        while parts:
            if (line := lines.get("$" + "".join(parts))) is not None:
                return line
            parts.pop()
        return lines["$"]

    return data, line_of


def explain(error: msgspec.ValidationError, where: str, line_of: LineOf) -> YamlError:
    """`error`, raised when converting what `load_yaml` gave, as a YamlError with file, line, key.

    An unknown key is blamed on its own line, a missing one on the line of what it is missing from.
    """
    match = _MESSAGE.fullmatch(str(error))
    assert match is not None
    reason = match["reason"]
    path = match["path"] or "$"
    if unknown := _UNKNOWN_FIELD.fullmatch(reason):
        path = f"{path}.{unknown['key']}"
        reason = "unknown key"
    elif missing := _MISSING_FIELD.fullmatch(reason):
        return YamlError(where, line_of(path), f"{path}.{missing['key']}", "this key is missing")
    return YamlError(where, line_of(path), path, reason)


class _Builder:
    """Builds values from YAML nodes and notes the line of each under its path."""

    def __init__(self, where: str, lines: dict[str, int]) -> None:
        self._where = where
        self._lines = lines
        self._scalars = yaml.constructor.SafeConstructor()
        self._parts = 0

    def build(self, node: yaml.Node, path: str, depth: int) -> object:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise YamlError(self._where, line, path, f"more than {PARTS_MAX} parts")
        if depth > DEPTH_MAX:
            raise YamlError(self._where, line, path, f"nested deeper than {DEPTH_MAX}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        self._check_text(node, path, line)
        try:
            return self._scalars.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            text = f"{node.value!r} is no value of its kind: {error}"
            raise YamlError(self._where, line, path, text) from error

    def _check_text(self, node: yaml.Node, path: str, line: int) -> None:
        """YAML's escapes can write half of a surrogate pair, which no encoding can."""
        if _SURROGATE.search(node.value):
            raise YamlError(self._where, line, path, f"{node.value!r} holds half a character")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(self._where, line, path, "a key must be plain text")
            self._check_text(key_node, path, line)
            key: str = key_node.value
            key_path = f"{path}.{key}"
            if key in values:
                first = self._lines[key_path]
                raise YamlError(self._where, line, key_path, f"already given on line {first}")
            # The key's own line: a value may start on the next one.
            self._lines[key_path] = line
            values[key] = self.build(value_node, key_path, depth + 1)
        return values
