"""The table of the 27 cases: none is missing, and every test that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_case_has_a_row_and_each_test_that_it_names_exists() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 28))
    for number, row in rows:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row)
        assert named, f"case {number} names no test"
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_test_of_a_case_is_in_its_row() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = 0
    for path in (*(ROOT / "tests/faults").glob("*.py"), *(ROOT / "tests/soak").glob("*.py")):
        for name, number in re.findall(r"def (test_case_(\d\d)_\w+)\(", path.read_text()):
            row = re.search(rf"^\| {int(number)} \|.*$", text, re.MULTILINE)
            assert row is not None
            assert f"`{path.relative_to(ROOT)}::{name}`" in row[0], name
            found += 1
    assert found >= 15
