"""Every reason that the registry gives for a bad row has its words in Vietnamese."""

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import collector.civil
import collector.registry
from collector.operations import registry_changes
from collector.registry.reasons_vi import REASONS, in_vietnamese

ROOM = Path(str(collector.registry.__file__)).parent
SOURCES = [
    *sorted(ROOM.glob("*.py")),
    Path(collector.civil.__file__),
    Path(registry_changes.__file__),
]

# What they stand for is said by another reason, or to programmers.
NOT_SAID = {"{}", "no such column{}", "no tariff has {}; there are: "}


def said(node: ast.expr) -> Iterator[str]:
    """The texts that an expression makes, with `{}` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    elif isinstance(node, ast.BinOp):
        for text in said(node.left):
            yield text + "{}"


def reasons() -> set[str]:
    found: set[str] = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
                found |= set(said(node.value))
            elif isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in {"ValueError", "fail"}:
                    found |= set(said(node.args[-1]))
    return {text for text in found if " " in text} - NOT_SAID


def test_every_reason_is_known() -> None:
    found = reasons()
    assert len(found) >= 45
    for text in found:
        filled = text.replace("{}", "'x'")
        assert in_vietnamese(filled) != filled, text


@pytest.mark.parametrize("english", REASONS)
def test_every_translation_names_what_the_reason_names(english: str) -> None:
    fields = {name for _, name, _, _ in Formatter().parse(REASONS[english]) if name is not None}
    assert fields == {str(number) for number in range(english.count("{}"))}
    filled = english
    for number in range(english.count("{}")):
        filled = filled.replace("{}", f"'{number}'", 1)
    answer = in_vietnamese(filled)
    assert answer == REASONS[english].format(*(f"'{n}'" for n in range(english.count("{}"))))


def test_what_is_not_known_stays() -> None:
    assert in_vietnamese("something new") == "something new"
    assert in_vietnamese("'{0}' is none of {a}, {b}") == "'{0}' không thuộc các giá trị {a}, {b}"
