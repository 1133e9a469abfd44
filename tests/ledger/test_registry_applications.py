"""Applications for supply: said step by step, closed by the first index, listed while they wait."""

from pathlib import Path

from collector.ledger import Ledger
from collector.operations.registry_applications import open_applications
from collector.operations.registry_export import export_registry
from tests.ledger.building import FILES, NOW, ZONE, import_files

HEAD = "application,received_on,customer,point,surveyed_on,contract,withdrawn_on\n"
FIRST = "HS-1,2026-10-01,,,,,\nHS-2,2026-11-20,,,,,\nHS-3,2026-10-01,,,,,2026-10-09\n"


def waiting(ledger: Ledger, days: int = 0) -> list[tuple[str, str, int]]:
    found = open_applications(ledger, NOW, ZONE, longer_than_days=days)
    return [(one.application.application, one.state.value, one.days) for one in found]


def test_an_application_is_followed_to_its_first_index(ledger: Ledger, tmp_path: Path) -> None:
    files = {
        **FILES,
        "installations.csv": "point,meter,installed_at\nT1/head,M0,2026-01-01\n",
        "applications.csv": HEAD + FIRST,
    }
    assert import_files(ledger, tmp_path / "in", files).errors == ()
    assert waiting(ledger) == [("HS-1", "received", 54), ("HS-2", "received", 4)]
    assert waiting(ledger, 4) == [("HS-1", "received", 54)]
    more = {"applications.csv": f"{HEAD}HS-1,2026-10-01,,T1/a,2026-10-05,,\n"}
    report = import_files(ledger, tmp_path / "in", more)
    assert (report.errors, report.completed) == ((), 1)
    assert waiting(ledger, 4) == [("HS-1", "surveyed", 54)]
    # The files of the beginning say nothing against it.
    assert import_files(ledger, tmp_path / "in", {"applications.csv": HEAD + FIRST}).unchanged == 3
    bare = {"installations.csv": "point,meter,installed_at\nT1/a,M1,2026-11-01\n"}
    import_files(ledger, tmp_path / "in", bare)
    assert waiting(ledger, 4) == [("HS-1", "surveyed", 54)], "no index was written down"
    indexed = "point,meter,installed_at,removed_at,install_index_wh\n"
    rows = "T1/a,M1,2026-11-01,2026-11-02,\nT1/a,M2,2026-11-02,,0\n"
    assert import_files(ledger, tmp_path / "in", {"installations.csv": indexed + rows}).written
    assert waiting(ledger, 4) == []
    export_registry(ledger, tmp_path / "out", "clerk", NOW, zone=ZONE)
    text = (tmp_path / "out" / "applications.csv").read_text("utf-8")
    assert text.splitlines()[1] == "HS-1,2026-10-01,,T1/a,2026-10-05,,"


def test_what_contradicts_itself_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    rows = "HS-1,2026-10-01,,T9/x,2026-09-30,,\nHS-2,2026-10-01,,,,HD-9,\n"
    report = import_files(ledger, tmp_path / "in", {"applications.csv": HEAD + rows})
    assert [(error.row, error.column) for error in report.errors] == [
        (2, "point"),
        (2, "surveyed_on"),
        (3, "contract"),
    ]
