"""docs/registry-files.md has every file and column that there is, and no other."""

import re
from pathlib import Path

from collector.registry.forms import forms
from collector.registry.values import Role

PAPER = (Path(__file__).parents[3] / "docs" / "registry-files.md").read_text(encoding="utf-8")


def test_every_file_and_column_is_described() -> None:
    told: dict[str, list[str]] = {}
    file = ""
    for first, columns in re.findall(r"^\| (`\w+\.csv`)? ?\| (`.*?) \|", PAPER, re.MULTILINE):
        file = first.strip("`") or file
        told.setdefault(file, []).extend(re.findall(r"`(\w+)`", columns))
    assert {name: sorted(columns) for name, columns in told.items()} == {
        name: sorted(form.columns) for name, form in forms("UTC").items()
    }


def test_every_role_is_named() -> None:
    assert all(f"`{role}`" in PAPER for role in Role)
