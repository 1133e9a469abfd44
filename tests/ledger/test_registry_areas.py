"""Units, communes and feeders: a list of their codes, and stations that name what is on it."""

from pathlib import Path

from collector.ledger import Ledger
from collector.operations.registry import import_registry
from collector.operations.registry_export import export_registry
from tests.ledger.building import FILES, NOW, ZONE, import_files, write_files

AREAS = "kind,code,name\ncommune,08824,Đồng Thịnh\ncommune,Sông Lô,Sông Lô\nfeeder,471,471 E25.1\n"
STATIONS = "station,name,commune,capacity_kva,kind,unit,feeder\n"


def test_stations_name_what_is_on_the_list_once_there_is_one(
    ledger: Ledger, tmp_path: Path
) -> None:
    assert import_files(ledger, tmp_path / "in", FILES).errors == ()
    short = AREAS.replace("commune,Sông Lô,Sông Lô\n", "")
    report = import_files(ledger, tmp_path / "in", {"areas.csv": short})
    assert (report.errors, report.added["areas"]) == ((), 2)
    assert report.warnings == ("station T1 has the commune Sông Lô, which areas.csv does not have",)
    # What is stored may stay as it is; what is new must be on the list.
    assert import_files(ledger, tmp_path / "in", FILES).errors == ()
    rows = "T2,Trạm 2,08824,,dedicated,PA25SL,471\nT3,Trạm 3,Sông Lô,,dedicated,PA25SL,472\n"
    refused = import_files(ledger, tmp_path / "in", {"stations.csv": STATIONS + rows})
    assert [(error.row, error.column) for error in refused.errors] == [
        (3, "commune"),
        (3, "feeder"),
    ]
    assert refused.errors[1].reason == "'472' is not known: add it to areas.csv"
    both = {"stations.csv": STATIONS + rows.replace("472", "471"), "areas.csv": AREAS}
    assert import_files(ledger, tmp_path / "in", both).errors == ()


def test_names_are_corrected_and_come_back(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "in", {"areas.csv": AREAS})
    fixed = AREAS.replace("471 E25.1", "471 E25.2")
    assert import_files(ledger, tmp_path / "in", {"areas.csv": fixed}).errors != ()
    folder = write_files(tmp_path / "in", {"areas.csv": fixed})
    report = import_registry(ledger, folder, "clerk", NOW, zone=ZONE, correction="renamed")
    assert (report.errors, report.corrected) == ((), 1)
    export_registry(ledger, tmp_path / "out", "clerk", NOW, zone=ZONE)
    assert (tmp_path / "out" / "areas.csv").read_text("utf-8") == fixed
    with ledger.read() as uow:
        assert [row.code for row in uow.registry_rows.of("areas", "commune")] == [
            "08824",
            "Sông Lô",
        ]
