"""Each protection of docs/security.md taken away in a copy of the project, to see its test fail.

The tables beside this file say what is replaced by what, and which test must then fail. Nothing in
the product knows of it; the project itself is never changed.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
TITLES = (
    "Protections, each with its test",
    "OWASP API Security Top 10 (2023), point by point",
)
TABLES = sorted(Path(__file__).parent.glob("*.yaml"))

# What a test says that found something else than it wanted. Anything else (a name that is missing,
# a server that does not start) would be a mistake of the table unless the table says so by name.
_MEANT = re.compile(
    "(AssertionError|assert |Failed: DID NOT (RAISE|WARN)|ExceptionGroup: Hypothesis)"
)

# The longest that one table's entry was seen to take is a tenth of it.
RUN_S_MAX = 300

# What a copy does without; compiled files are kept, their sources' times with them.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".hypothesis", ".*_cache", "var", "dist", "build", "node_modules"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One text of one file, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A protection taken away: the row it is of, how, and which tests must notice.

    `by` is how they notice where it is no assertion: the exception's name.
    """

    row: str
    edits: tuple[Edit, ...]
    fails: tuple[str, ...]
    by: str | None = None

    def __str__(self) -> str:
        return f"{self.row}: {self.edits[0].file}"


@cache
def rows() -> dict[str, tuple[str, ...]]:
    """The rows of the page's tables: the protection (or the risk), and the tests that it names."""
    text = PAGE.read_text(encoding="utf-8")
    found: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for title in TITLES:
        section = text.split(f"## {title}\n")[1].split("\n## ")[0]
        for line in section.splitlines():
            if not line.startswith("| ") or line.endswith("| test |"):
                continue
            what, _, last = line.strip("| ").partition(" | ")
            tests = tuple(re.findall(r"`(tests/[\w/.]+::\w+)`", last.rpartition(" | ")[2]))
            # A row may say "the same two".
            before = tests or before
            assert what not in found, what
            found[what] = before
    return found


def row_of(beginning: str) -> str:
    """The one row that begins so."""
    found = [row for row in rows() if row.startswith(beginning)]
    assert len(found) == 1, f"{beginning!r} begins {len(found)} rows of {PAGE.name}"
    return found[0]


def entries(table: Path) -> Iterator[Taken]:
    """What one table takes away."""
    for entry in yaml.safe_load(table.read_text(encoding="utf-8")):
        row = row_of(entry["row"])
        tests = {test.rpartition("::")[2]: test for test in rows()[row]}
        for taken in entry["taken"]:
            edits = tuple(_edit(one) for one in taken.get("edits", [taken]))
            fails = tuple(tests[name] for name in taken.get("fails", tests))
            yield Taken(row, edits, fails, taken.get("by"))


def _edit(data: dict[str, Any]) -> Edit:
    return Edit(data["file"], data["old"], data["new"])


def all_entries() -> list[Taken]:
    """What all tables take away."""
    return [taken for table in TABLES for taken in entries(table)]


def mutilated(taken: Taken, folder: Path) -> Path:
    """A copy of the project in a new folder, without this protection."""
    copy = folder / "project"
    shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
    for edit in taken.edits:
        path = copy / edit.file
        text = path.read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, edit
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return copy


def failures(copy: Path, tests: Sequence[str]) -> tuple[dict[str, list[str]], str]:
    """What each of these tests says in the copy when it fails, and all that pytest printed."""
    report = copy.parent / "report.xml"
    # The copy's packages come before the installed ones, in programs that the tests start too.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(copy)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--junitxml={report}", *tests],
        cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=RUN_S_MAX,
    )  # fmt: skip
    said: dict[str, list[str]] = {test: [] for test in tests}
    if not report.exists():
        return said, done.stdout + done.stderr
    for case in ET.parse(report).iter("testcase"):
        name = str(case.get("name")).partition("[")[0]
        where = str(case.get("classname")).replace(".", "/") + f".py::{name}"
        said[where].extend(str(one.get("message")) for one in case.findall("failure"))
    return said, done.stdout + done.stderr


def unnoticed(taken: Taken, folder: Path) -> list[str]:
    """The tests that did not fail as they should without this protection, with what was seen."""
    said, printed = failures(mutilated(taken, folder), taken.fails)
    meant = _MEANT if taken.by is None else re.compile(rf"([\w.]+\.)?{taken.by}\b")
    return [
        f"{test} said {said[test] or 'nothing'}\n{printed[-3_000:]}"
        for test in taken.fails
        if not any(meant.match(one) for one in said[test])
    ]
