"""`songlo collector vee` from the outside: what it prints, what it changes, how it ends."""

from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from collector.cli import app
from collector.ledger import Ledger
from tests.ledger.building import FILES, import_files, midnight, put

DAY = timedelta(days=1)
START = midnight("2026-10-01")


@pytest.fixture
def config(ledger: Ledger, ledger_url: str, tmp_path: Path) -> Path:
    """A collector file over a ledger in which M1 lacks 3 October."""
    import_files(ledger, tmp_path / "registry", FILES)
    for number in range(5):
        values = {"M0": 9_000 * number, "M1": 1_000 * number, "M2": 2_000 * number}
        if number == 2:
            del values["M1"]
        put(ledger, START + number * DAY, values, seq=number + 1)
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"ledger: {ledger_url}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n",
        encoding="utf-8",
    )
    return path


def songlo(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["vee", *arguments, "--config", str(config)])


def validated(config: Path) -> Result:
    return songlo(config, "run", "--from", "2026-10-01", "--to", "2026-10-04")


def test_a_run_says_what_it_found_and_again_that_nothing_is_new(config: Path) -> None:
    done = songlo(config, "run", "--from", "2026-10-01", "--to", "2026-10-04", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "meters: 3; daily indices: 14 of 15 due" in done.output
    assert "1 found, nothing written" in done.output
    assert "no such findings" in songlo(config, "list").output
    assert "1 in the queue, 1 of them new" in validated(config).output
    assert "1 in the queue, 0 of them new" in validated(config).output


def test_findings_in_both_languages(config: Path) -> None:
    validated(config)
    english = songlo(config, "list", "--rule", "V01").output
    assert "1  V01 Missing index or intervals (warning)" in english
    assert "No index for 2026-10-02T17:00:00Z within the widest window (1-0:1.8.0)." in english
    vietnamese = songlo(config, "list", "--language", "vi").output
    assert "Thiếu chỉ số" in vietnamese
    assert "Đọc lại công tơ" in vietnamese
    assert "no such" in songlo(config, "list", "--rule", "V05").output
    assert "no such" in songlo(config, "list", "--from", "2026-10-04").output
    assert "V01" in songlo(config, "list", "--from", "2026-10-03").output


def test_a_decision_by_filter_first_as_a_dry_run(config: Path) -> None:
    validated(config)
    asked = ("decide", "estimate", "--rule", "V01", "--reason", "line was down")
    dry = songlo(config, *asked, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "T1/a  M1  1-0:1.8.0  2026-10-02T17:00:00Z  1999  E1" in dry.output
    assert "1 would be decided; not: 0" in dry.output
    done = songlo(config, *asked)
    assert "1 decided; not: 0" in done.output
    assert "no such findings" in songlo(config, "list").output
    assert "[estimate: line was down]" in songlo(config, "list", "--all").output
    assert "15 of 15 due" in validated(config).output


def test_an_edit_that_cannot_be_ends_in_1_and_says_why(config: Path) -> None:
    validated(config)
    done = songlo(config, "decide", "edit", "1", "--value", "9999", "--reason", "photo")
    assert done.exit_code == 1
    assert "finding 1: the index after it is 3000" in done.output
    done = songlo(config, "decide", "edit", "1", "--value", "2100", "--reason", "photo")
    assert done.exit_code == 0, done.output
    again = songlo(config, "decide", "accept", "1", "--reason", "again")
    assert again.exit_code == 1
    assert "already" in again.output


def test_an_index_by_hand(config: Path) -> None:
    done = songlo(
        config,
        "enter", "T1/a", "M1", "2050",
        "--at", "2026-10-03T01:10:00+07:00", "--reason", "line was down", "--photo", "IMG-4",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "15 of 15 due" in validated(config).output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("decide", "accept", "--reason", "all of it"), "every open finding"),
        (("decide", "accept", "7", "--reason", "x"), "no such findings: 7"),
        (("decide", "accept", "--rule", "V01", "--reason", " "), "a reason has"),
        (("decide", "re-read", "--rule", "V01", "--reason", "x"), "broker"),
        (("run", "--from", "yesterday"), "'yesterday' is no day"),
        (("run", "--from", "2026-10-01", "--station", "T9"), "T9"),
        (("enter", "T1/a", "M1", "5", "--at", "2026-10-03", "--reason", "x"), "offset"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    config: Path, arguments: tuple[str, ...], told: str
) -> None:
    validated(config)
    done = songlo(config, *arguments)
    assert done.exit_code == 1, done.output
    assert told in done.output
    assert "hint: " in done.output
    assert "1  V01" in songlo(config, "list").output


def test_a_limits_file_of_ones_own_counts_and_its_faults_are_told(
    config: Path, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text("price_groups:\n  household:\n    rules:\n      V01: {enabled: false}\n")
    with config.open("a", encoding="utf-8") as file:
        file.write(f"vee: {{limits_file: {limits}}}\n")
    assert "0 in the queue" in validated(config).output
    limits.write_text("defaults:\n  rules:\n    V01: {enabled: perhaps}\n")
    done = validated(config)
    assert done.exit_code == 1
    assert f"{limits}:3: defaults.rules.V01.enabled: Expected `bool`" in done.output
    checked = CliRunner().invoke(app, ["vee", "check-limits", str(limits)])
    assert checked.exit_code == 1
