"""docs/rating.md shows what there is: its files are taken, and its figures come out."""

import re
from pathlib import Path

from typer.testing import CliRunner

from collector.billing.rating.input_file import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from collector.cli import app

PAPER = (Path(__file__).parents[4] / "docs" / "rating.md").read_text(encoding="utf-8")


def sample(kind: str, folder: Path) -> Path:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", PAPER, re.DOTALL)
    path = folder / f"sample.{kind}"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_determinants_shown_come_to_what_is_shown(tmp_path: Path) -> None:
    shown = sample("text", tmp_path).read_text(encoding="utf-8").splitlines()
    printed = run("rate", "--input", str(sample("csv", tmp_path))).splitlines()
    assert len(shown) == 8
    assert [line for line in printed if line in shown] == shown


def test_the_price_shown_is_taken_and_can_be_asked_for(tmp_path: Path) -> None:
    new = str(sample("yaml", tmp_path))
    assert run("tariffs", "check", new).startswith("11 tariff files are sound")
    words = ("--tariff", new, "--what-if", "QD-EXAMPLE-2027")
    printed = run("rate", "--input", str(sample("csv", tmp_path)), *words)
    other = 200 * 2100 + 200 * 3000 + 100 * 3200
    assert f"What if QD-EXAMPLE-2027: {other * 108 // 100:,}" in printed


def test_every_column_is_explained() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", PAPER, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS} <= named
