"""The registry's import: all or nothing, every bad row named, the same again changes nothing."""

from fractions import Fraction
from pathlib import Path

import pytest

from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations import registry
from collector.operations.registry import import_registry
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, write_files

EXCHANGE = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/head,M0,2026-01-01,,,
T1/a,M1,2026-01-01,2026-06-01T08:30:00+07:00,,12398200
T1/a,M3,2026-06-01T08:30:00+07:00,,300,
"""


def test_everything_comes_back_as_it_was_said(ledger: Ledger, tmp_path: Path) -> None:
    files = FILES | {
        "multipliers.csv": "point,from_at,multiplier\nT1/head,2026-01-01,40\nT1/b,2026-01-01,3/2\n"
    }
    report = import_files(ledger, tmp_path / "in", files)
    assert report.errors == ()
    assert report.warnings == ()
    assert report.written
    assert report.added == {
        "stations": 1,
        "points": 3,
        "meters": 4,
        "installations": 3,
        "multipliers": 2,
    }
    with ledger.read() as uow:
        stored = uow.registry.load()
        of_station = uow.registry.load("T1")
        [entry] = uow.audit.newest(5)
    assert stored.stations["T1"].commune == "Sông Lô"
    assert stored.points["T1/b"].name == "Xưởng mộc, B"
    assert stored.meters["M1"].roll_over_wh == 100_000_000
    assert stored.meters["M0"].roll_over_wh is None
    assert stored.installations[0].installed_at == midnight("2026-01-01")
    assert {row.point: row.ratio for row in stored.multipliers} == {
        "T1/head": Fraction(40),
        "T1/b": Fraction(3, 2),
    }
    assert of_station.installations == stored.installations
    assert set(of_station.meters) == {"M0", "M1", "M2"}
    assert (entry.actor, entry.action) == ("tester", "registry.import")


def test_the_same_files_again_change_nothing(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "in", FILES)
    again = import_files(ledger, tmp_path / "in", FILES)
    assert again.written
    assert again.unchanged == 11
    assert sum(again.added.values()) == again.closed == 0


def test_a_dry_run_writes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", FILES)
    report = import_registry(ledger, folder, "tester", NOW, zone=ZONE, dry_run=True)
    assert (report.written, report.added["points"]) == (False, 3)
    assert registry.stations(ledger) == []


def test_an_exchange_closes_one_installation_and_opens_another(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "in", FILES)
    report = import_files(ledger, tmp_path / "in", {"installations.csv": EXCHANGE})
    assert report.errors == ()
    assert (report.closed, report.added["installations"], report.unchanged) == (1, 1, 1)
    with ledger.read() as uow:
        first, second, *_ = uow.registry.installations()
    assert first.removed_at == second.installed_at
    assert first.removal_indices == {IMPORT_ACTIVE: 12_398_200}
    assert second.install_indices == {IMPORT_ACTIVE: 300}
    assert import_files(ledger, tmp_path / "in", {"installations.csv": EXCHANGE}).unchanged == 3


def test_what_is_stored_is_never_contradicted(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "in", FILES | {"installations.csv": EXCHANGE})
    before = _everything(ledger)
    changed = {
        "stations.csv": "station,name\nT1,another\n",
        "points.csv": "point,station,role,name\nT1/a,T1,business,Nguyễn Văn A\n",
        "meters.csv": "meter,model,resolution_wh\nM1,sdm120,100\n",
        "installations.csv": (
            "point,meter,installed_at,removed_at,removal_index_wh\n"
            "T1/a,M1,2026-01-01,2026-06-01T08:30:00+07:00,12398201\n"
            "T1/head,M3,2026-01-01,,\n"
        ),
    }
    report = import_files(ledger, tmp_path / "in", changed)
    assert not report.written
    said = {(error.file, error.row, error.column) for error in report.errors}
    assert ("stations.csv", 2, "name") in said
    assert ("points.csv", 2, "role") in said
    assert ("meters.csv", 2, "resolution_wh") in said
    assert ("installations.csv", 2, "removal_index_wh") in said
    assert ("installations.csv", 3, "meter") in said
    [error] = [error for error in report.errors if error.column == "removal_index_wh"]
    assert error.reason == "contradicts what is stored: 12398200, not 12398201"
    assert _everything(ledger) == before


def test_every_bad_row_is_named_and_nothing_is_written(ledger: Ledger, tmp_path: Path) -> None:
    files = {
        "stations.csv": "station,name,capacity_kva\nT1,one,250\nT1,two,250\n=T2,three,x\n",
        "points.csv": (
            "point,station,role,name\nT1/a,T9,household,A\nT1/b,T1,customer,B\nT1/c,T1\n"
        ),
        "meters.csv": "meter,model,resolution_wh\nM1,sdm120,0.1\n,sdm120,10\n",
        "installations.csv": (
            "point,meter,installed_at,removed_at,removal_index_wh\n"
            "T1/x,M1,2026-01-01,,\n"
            "T1/a,M9,2026-13-01,,\n"
            "T1/a,M9,2026-01-01T00:00:00,,\n"
            "T1/a,M9,2026-03-01,2026-02-01,\n"
            "T1/a,M9,2026-04-01,,5\n"
        ),
        "multipliers.csv": "point,from_at,multiplier\nT1/a,2026-01-01,1.5\nT1/z,2026-01-01,2/0\n",
    }
    report = import_files(ledger, tmp_path / "in", files)
    said = {(error.file, error.row, error.column) for error in report.errors}
    assert said >= {
        ("stations.csv", 3, ""),
        ("stations.csv", 4, "station"),
        ("stations.csv", 4, "capacity_kva"),
        ("points.csv", 2, "station"),
        ("points.csv", 3, "role"),
        ("points.csv", 4, ""),
        ("meters.csv", 2, "resolution_wh"),
        ("meters.csv", 3, "meter"),
        ("installations.csv", 2, "point"),
        ("installations.csv", 3, "installed_at"),
        ("installations.csv", 4, "installed_at"),
        ("installations.csv", 5, "removed_at"),
        ("installations.csv", 6, "removal_index_wh"),
        ("multipliers.csv", 2, "multiplier"),
        ("multipliers.csv", 3, "multiplier"),
    }
    assert str(report.errors[0]).startswith("installations.csv, row 2, column ")
    assert not report.written
    assert registry.stations(ledger) == []


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        # The same point twice at once, stored or not.
        ("T1/a,M3,2026-05-01,\n", "point"),
        ("T1/a,M1,2026-01-01,2026-06-01\nT1/a,M3,2026-05-31,\n", "point"),
        # The same meter twice at once.
        ("T1/a,M1,2026-01-01,2026-06-01\nT1/a,M2,2026-06-01,\n", "meter"),
    ],
)
def test_installations_may_not_overlap(
    ledger: Ledger, tmp_path: Path, rows: str, column: str
) -> None:
    import_files(ledger, tmp_path / "in", FILES)
    text = "point,meter,installed_at,removed_at\n" + rows
    report = import_files(ledger, tmp_path / "in", {"installations.csv": text})
    assert [error.column for error in report.errors] == [column]
    assert "at once" in report.errors[0].reason


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("station,name,comune\nT1,one,x\n", "comune", "did you mean commune?"),
        ("station\nT1\n", "name", "missing"),
        ("station,name,name\nT1,one,one\n", "name", "twice"),
        ("", "station", "missing"),
        ('station,name\nT1,"one\n', "", "no CSV"),
    ],
)
def test_a_file_with_another_shape_is_refused(
    ledger: Ledger, tmp_path: Path, text: str, column: str, reason: str
) -> None:
    report = import_files(ledger, tmp_path / "in", {"stations.csv": text})
    assert any(error.column == column and reason in error.reason for error in report.errors)
    assert not report.written


def test_a_byte_order_mark_and_empty_lines_do_no_harm(ledger: Ledger, tmp_path: Path) -> None:
    text = "\ufeffstation,name\r\n\r\nT1,one\r\n,\r\n"
    report = import_files(ledger, tmp_path / "in", {"stations.csv": text})
    assert report.added["stations"] == 1
    assert report.warnings == ("station T1 has no head point: it can have no balance",)


def test_what_is_no_registry_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no registry files"):
        import_registry(ledger, tmp_path, "tester", NOW)
    (tmp_path / "stations.csv").write_bytes("station,name\nT1,Trạm\n".encode("utf-16"))
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        import_registry(ledger, tmp_path, "tester", NOW)
    with pytest.raises(InvalidRequest, match="no time zone"):
        import_registry(ledger, tmp_path, "tester", NOW, zone="Asia/Nowhere")


def test_views(ledger: Ledger, tmp_path: Path) -> None:
    files = FILES | {"multipliers.csv": "point,from_at,multiplier\nT1/head,2026-02-01,40\n"}
    import_files(ledger, tmp_path / "in", files)
    [station] = registry.stations(ledger)
    assert (station.station.name, station.heads, station.points) == ("Trạm 1", 1, 3)
    assert registry.station(ledger, "T1") == station
    a, _, head = registry.points(ledger, NOW, "T1")
    assert a.installation is not None
    assert (a.installation.meter, a.multiplier) == ("M1", None)
    assert head.multiplier is not None
    early = registry.points(ledger, midnight("2025-12-31"))
    assert all(view.installation is None and view.multiplier is None for view in early)
    assert [view.meter.meter for view in registry.meters(ledger)] == ["M0", "M1", "M2", "M3"]
    assert [len(view.installations) for view in registry.meters(ledger, "T1")] == [1, 1, 1]
    for ask in (
        lambda: registry.station(ledger, "T9"),
        lambda: registry.points(ledger, NOW, "T9"),
        lambda: registry.meters(ledger, "T9"),
    ):
        with pytest.raises(NotFound) as caught:
            ask()
        assert "registry import" in caught.value.hint


def _everything(ledger: Ledger) -> object:
    with ledger.read() as uow:
        return uow.registry.load()
