"""`songlo collector rate` and `tariffs`: what they print, and exit codes with words to act on."""

import csv
import hashlib
import io
import json
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collector.cli import app

TARIFFS = Path(str(files("collector.billing"))) / "tariffs"
GOLDEN = Path(__file__).parents[3] / "golden" / "bills"
CHANGE = str(GOLDEN / "b13a-price-change-with-read.json")
REACTIVE = str(GOLDEN / "b13d-production-rates-reactive.json")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_table_is_in_the_readers_language() -> None:
    vi = run("rate", "--input", CHANGE, "--language", "vi").output
    assert "Hóa đơn tạm tính A: 20/04/2025 – 19/05/2025" in vi
    assert "Sinh hoạt, bậc 4" in vi
    assert "Tổng cộng                  784.778" in vi
    assert "2025000001: 1.000,400 → 1.180,700 × 1 = 180" in vi
    assert "Bản tạm tính, không phải hóa đơn" in vi
    en = run("rate", "--input", REACTIVE).output
    assert "Reactive energy, cos φ 0.78, 15.38 %" in en
    assert "To pay               13,000,603" in en
    assert "Production, peak" in en


def test_json_has_everything_and_its_hash_can_be_checked() -> None:
    (shown,) = json.loads(run("rate", "--input", CHANGE, "--format", "json").output)
    text = json.dumps(shown["preview"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == shown["sha256"]
    assert shown["preview"]["total_vnd"] == 784_778
    assert shown["preview"]["determinants"][0]["reads"][0]["meter"] == "2025000001"


def test_csv_has_every_line_and_adds_up() -> None:
    rows = list(
        csv.DictReader(io.StringIO(run("rate", "--input", REACTIVE, "--format", "csv").output))
    )
    lines = [int(row["amount_vnd"]) for row in rows if row["kind"] in {"energy", "reactive"}]
    sums = {row["kind"]: int(row["amount_vnd"]) for row in rows}
    assert sum(lines) == sums["amount"] == 12_037_595
    assert sums["amount"] + sums["vat"] == sums["total"] == 13_000_603
    assert [row["unit"] for row in rows[:4]] == ["kWh", "kWh", "kWh", "kvarh"]


def test_what_if_is_shown_beside_the_bill() -> None:
    shown = run("rate", "--input", CHANGE, "--what-if", "QD-14-2025").output
    assert "What if QD-14-2025: 795,096 (+10,318)" in shown
    both = json.loads(
        run("rate", "-i", CHANGE, "--what-if", "QD-14-2025", "--format", "json").output
    )
    assert [row["preview"]["what_if"] for row in both] == [None, "QD-14-2025"]


def test_a_split_by_days_is_for_the_asking() -> None:
    shown = run("rate", "--input", CHANGE, "--split", "days").output
    assert "774,194" in shown, "as without a read on the day"


def test_a_price_is_changed_by_one_file(tmp_path: Path) -> None:
    text = (TARIFFS / "prices-qd-2699-2024.yaml").read_text("utf-8")
    new = tmp_path / "new.yaml"
    new.write_text(
        text.replace("QD-2699-2024", "QD-NEW").replace("from: 2024-10-11", "from: 2026-06-01"),
        "utf-8",
    )
    golden = str(GOLDEN / "b5-household-100.json")
    shown = run("rate", "--input", golden, "--tariff", str(new)).output
    assert "QD-NEW" in shown
    assert "QD-1279-2025" in shown
    assert run("tariffs", "check", str(tmp_path)).output == (
        "11 tariff files are sound and leave no day without one\n"
    )
    listed = run("tariffs", "list", "--tariff", str(new)).output
    assert "QD-1279-2025      2025-05-10 – 2026-06-01" in listed


def test_tariffs_are_listed_and_shown() -> None:
    listed = run("tariffs", "list").output
    assert listed.count("\n") == 10
    assert "QD-14-2025        not in force" in listed
    shown = json.loads(run("tariffs", "show", "QD-1279-2025").output)
    assert shown["header"]["source"]["document"] == "Quyết định 1279/QĐ-BCT, 9/5/2025"
    assert shown["groups"]["household"]["levels"][0]["price"]["tiers"][0]["price_vnd"] == 1984


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rate", "--input", "none.json"), "none.json cannot be read"),
        (("rate", "--input", CHANGE, "--what-if", "X"), "no price table 'X'"),
        (("rate", "--input", CHANGE, "--tariff", "none.yaml"), "none.yaml cannot be read"),
        (("tariffs", "show", "X"), "no tariff 'X'"),
        (("tariffs", "check", "none"), "none cannot be read"),
    ],
)
def test_what_fails_says_why_and_what_to_do(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"error: {words}" in result.output
    assert "hint: " in result.output


def test_a_broken_tariff_stops_everything_and_names_the_line(tmp_path: Path) -> None:
    text = (TARIFFS / "prices-qd-2699-2024.yaml").read_text("utf-8")
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace("above_kwh: 50,", "above_kwh: 51,"), "utf-8")
    for command in (
        ("tariffs", "check", str(broken)),
        ("rate", "-i", CHANGE, "--tariff", str(broken)),
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert (
            f"{broken}:21: groups[0].levels[0].tiers[1].above_kwh: a hole from 50 to 51"
            in result.output
        )


def test_a_hole_between_two_tables_stops_everything(tmp_path: Path) -> None:
    text = (TARIFFS / "prices-qd-2941-2023.yaml").read_text("utf-8")
    own = tmp_path / "short.yaml"
    own.write_text(
        text.replace("{from: 2023-11-09}", "{from: 2023-11-09, to: 2024-10-01}"), "utf-8"
    )
    for command in (
        ("tariffs", "check", str(own)),
        ("rate", "-i", CHANGE, "--tariff", str(own)),
    ):
        result = run(*command)
        assert result.exit_code == 1
        assert "a hole from 2024-10-01 to 2024-10-11" in result.output
        assert "hint: " in result.output
