"""What the papers show is what there is: samples load, paths exist, terms are said once."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from collector.cli import app as collector_app
from collector.config import load_config
from fleet.cli import app as fleet_app
from gateway.cli import app as gateway_app
from gateway.config import load_station
from simulator.cli import app as simulator_app
from songlo.demo.cli import app as demo_app
from tests.compose.plain import ROOT
from tests.services.process import find_program
from tests.unit.collector.rating.test_golden_bills import BILLS

DEPLOYING = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=str)
UNITS = sorted((ROOT / "firmware_config" / "systemd").glob("*.service"))


def _samples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", DEPLOYING, re.DOTALL)


def test_the_collector_file_shown_is_one_that_the_collector_takes(tmp_path: Path) -> None:
    (sample,) = (text for text in _samples() if "ledger:" in text)
    path = tmp_path / "collector.yaml"
    path.write_text(sample, encoding="utf-8")
    assert load_config(path).broker.username == "intake"


def test_the_station_file_shown_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    (sample,) = (text for text in _samples() if "station:" in text)
    for name in re.findall(r"_file: ([^,}\s]+)", sample):
        (tmp_path / name).touch()
    path = tmp_path / "station.yaml"
    path.write_text(sample, encoding="utf-8")
    assert load_station(path).heads == {"2026000123"}


def test_paths_of_the_repository_exist() -> None:
    named = set(re.findall(r"(?:firmware_config|dashboards|scripts)/[\w./-]+", DEPLOYING))
    assert len(named) > 5
    for path in named:
        assert (ROOT / path.rstrip(".")).exists(), path


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_papers_lead_somewhere(paper: Path) -> None:
    text = paper.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", text):
        found = paper.parent / target if target else paper
        assert found.exists(), f"{paper}: {target}"
        if anchor and found.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor[1:] in anchors, f"{paper}: {anchor}"


def test_the_notice_names_every_work_of_others() -> None:
    text = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for path in re.findall(r"^  (\S+/\S+)", text, re.MULTILINE):
        assert (ROOT / path).is_dir(), path
    vendor = ROOT / "collector" / "console" / "static" / "vendor"
    for folder in vendor.iterdir():
        assert str(folder.relative_to(ROOT)) in text
        assert (folder / "LICENSE").is_file()


def test_each_term_is_explained_once_and_in_both_languages() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    terms = [term for term, _, _ in rows if term != "term"]
    assert len(terms) > 60
    assert len(set(terms)) == len(terms)
    assert all(vietnamese.strip() and meaning.strip() for _, vietnamese, meaning in rows)


def test_every_decision_is_listed_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == pages
    for number, name in enumerate(pages, start=1):
        assert name.startswith(f"{number:04}-")
        text = (folder / name).read_text(encoding="utf-8")
        for part in ("Objective", "Decision", "Alternatives", "Consequences"):
            assert f"**{part}.**" in text, f"{name}: {part}"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_units_are_well_formed_and_confined(unit: Path, tmp_path: Path) -> None:
    analyze = find_program("systemd-analyze", "systemd")
    # Exposure from 0.0 to 10.0, given as per cent.
    limit = {"songlo-gateway": 20, "songlo-collector": 15}[unit.stem]
    threshold = f"--threshold={limit}"
    command = [analyze, "security", "--offline=yes", threshold, "--no-pager", str(unit)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout[-500:]
    # The program is not installed here: anything that is stands in for it.
    installed = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8").replace("/opt/songlo/bin/songlo", "/bin/true")
    installed.write_text(text, encoding="utf-8")
    command = [analyze, "verify", "--man=no", str(installed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr, done.stderr


def _options() -> dict[str, set[str]]:
    """The options of every command, by its words: `collector replay` has `--wait` and others."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, words: str) -> None:  # noqa: ANN401 - typer keeps this type private
        below = getattr(command, "commands", {})
        if not below:
            found[words] = {name for one in command.params for name in one.opts} | {"--help"}
        for name, one in below.items():
            walk(one, f"{words} {name}")

    walk(get_command(gateway_app), "gateway")
    walk(get_command(collector_app), "collector")
    walk(get_command(fleet_app), "fleet")
    walk(get_command(simulator_app), "simulator")
    walk(get_command(demo_app), "demo")
    return found


def test_commands_that_papers_name_exist_with_their_options() -> None:
    options = _options()
    pattern = r"\bsonglo ((?:gateway|collector|fleet|simulator|demo) [a-z-][^`\n#|]*)"
    checked = 0
    for paper in PAPERS:
        for call in re.findall(pattern, paper.read_text(encoding="utf-8")):
            words = call.split()
            there = [" ".join(words[:count]) for count in (4, 3, 2, 1)]
            command = next((command for command in there if command in options), None)
            assert command, f"{paper.name}: songlo {call}"
            for option in re.findall(r"(?<!\S)--[a-z-]+", call):
                assert option in options[command], f"{paper.name}: songlo {call}"
                checked += 1
    assert checked > 10


SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "title", ["Protections, each with its test", "OWASP API Security Top 10 (2023), point by point"]
)
def test_every_row_of_the_page_on_security_has_a_test(title: str) -> None:
    section = SECURITY.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.endswith("| test |")]
    assert len(rows) >= 10
    for row in rows:
        last = row.rstrip("| ").rpartition(" | ")[2]
        assert "`tests/" in last or "the same two" in last, row


def test_the_page_on_security_goes_through_all_ten() -> None:
    assert re.findall(r"^\| (API\d+) ", SECURITY, re.MULTILINE) == [
        f"API{number}" for number in range(1, 11)
    ]


@pytest.mark.parametrize(("page", "least"), [("security.md", 100), ("acceptance.md", 25)])
def test_the_tests_that_a_page_names_exist(page: str, least: int) -> None:
    paper = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", paper)
    assert len(named) > least
    for path, name in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), f"{path}::{name}"


def test_the_page_on_acceptance_has_every_check_and_the_golden_bills_amounts() -> None:
    text = (ROOT / "docs" / "acceptance.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (F\d+) \|", text, re.MULTILINE) == [f"F{n}" for n in range(1, 11)]
    rows = re.findall(
        r"^\| [^|]+ \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| `([\w-]+)` \|$", text, re.MULTILINE
    )
    shown = {
        name: tuple(int(amount.replace(",", "")) for amount in amounts) for *amounts, name in rows
    }
    assert shown == BILLS
