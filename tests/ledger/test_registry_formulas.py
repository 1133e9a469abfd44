"""Names that a spreadsheet would run: shielded in an export, the same again after an import."""

import csv
import io
import zipfile
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.operations.registry import import_registry, stations
from collector.operations.registry_export import export_registry
from collector.registry.cells import shielded, unshielded
from tests.ledger.building import FILES, NOW, ZONE, import_files
from tests.ledger.template import fill_file

NAMES = [
    '=HYPERLINK("http://evil.example";"Trạm 1")', "+84 912", "-1+2", "@SUM(A1)", "'=1", "''=1",
    "'a", "Trạm 1", "'", "3-1",
]  # fmt: skip


def ledger_in(folder: Path) -> Ledger:
    folder.mkdir()
    fill_file(folder / "ledger.db")
    return Ledger(f"sqlite:///{folder / 'ledger.db'}")


@pytest.mark.parametrize("form", ["folder", "registry.zip", "registry.xlsx"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_does_not_run_and_comes_back(tmp_path: Path, form: str, name: str) -> None:
    first, second = ledger_in(tmp_path / "first"), ledger_in(tmp_path / "second")
    buffer = io.StringIO()
    csv.writer(buffer).writerow(("T1", shielded(name)))
    files = {**FILES, "stations.csv": f"station,name\n{buffer.getvalue()}"}
    assert import_files(first, tmp_path / "files", files).errors == ()
    target = tmp_path / form
    export_registry(first, target, "tester", NOW, zone=ZONE)
    for cells in rows(target):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells), cells
    assert import_registry(second, target, "tester", NOW, zone=ZONE).errors == ()
    assert [view.station.name for view in stations(second)] == [name]
    first.close()
    second.close()


def rows(target: Path) -> list[list[str]]:
    """The cells of the stations' file, where it is CSV."""
    if target.suffix == ".xlsx":
        return []
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as archive:
            text = archive.read("stations.csv").decode()
    else:
        text = (target / "stations.csv").read_text()
    return list(csv.reader(io.StringIO(text)))


def test_what_is_shielded_is_what_it_was() -> None:
    for name in NAMES:
        assert unshielded(shielded(name)) == name
    assert shielded("=1") == "'=1"
    assert shielded("'a") == "'a"


def test_a_file_that_shields_nothing_is_taken_as_before(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path / "ledger")
    files = {**FILES, "stations.csv": "station,name\nT1,=1+1\n"}
    assert import_files(ledger, tmp_path / "files", files).errors == ()
    assert [view.station.name for view in stations(ledger)] == ["=1+1"]
    ledger.close()
