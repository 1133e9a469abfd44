"""Transformers of stations in the registry: dated, corrected, and what losses rest on."""

from pathlib import Path

import pytest

from collector.balance.settings import LossSettings, read_settings
from collector.balance.transformer import Technical, TechnicalNote
from collector.ledger import Ledger
from collector.operations.losses import Period, district_losses
from collector.operations.registry import import_registry
from collector.operations.registry_export import export_registry
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put, write_files

BEGIN, END = midnight("2026-09-01"), midnight("2026-10-01")
HEAD = (
    "station,from_at,head_side,rated_kva,no_load_loss_w,load_loss_w,short_circuit_percent,count\n"
)
LV, MV = "T1,2025-01-01,lv,,,,,\n", "T1,2026-09-16,mv,250,340,2600,4.5,2\n"
FILE = """
transformers:
  - station: T1
    from: 2020-01-01
    head_side: mv
    rated_kva: 100
    no_load_loss_w: 10
    load_loss_w: 0
"""


def technical(ledger: Ledger, settings: LossSettings | None = None) -> Technical:
    [loss] = district_losses(ledger, Period(BEGIN, END), settings).stations
    return loss.technical


@pytest.fixture
def district(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A station read at both ends of a month; nothing of its transformers."""
    import_files(ledger, tmp_path / "in", FILES)
    put(ledger, BEGIN, {"M0": 0, "M1": 0, "M2": 0})
    put(ledger, END, {"M0": 10_000_000, "M1": 5_000_000, "M2": 4_000_000}, seq=2)
    return ledger


def test_losses_take_transformers_from_the_registry_unless_a_file_names_the_station(
    district: Ledger, tmp_path: Path
) -> None:
    assert technical(district) == Technical(None, TechnicalNote.NO_DATA)
    report = import_files(district, tmp_path / "in", {"transformers.csv": HEAD + LV})
    assert (report.errors, report.added["transformers"]) == ((), 1)
    assert technical(district) == Technical(0, TechnicalNote.HEAD_ON_LV)
    assert import_files(district, tmp_path / "in", {"transformers.csv": HEAD + LV + MV}).written
    # From the 16th on two of 340 W at no load: 15 days of 24 h; and 5,000 kWh through 500 kVA.
    no_load = 2 * 340 * 360
    found = technical(district)
    assert found.note is TechnicalNote.COMPUTED
    assert found.energy_wh is not None
    shape = (0.3 + 0.7 * 0.5) / 0.5
    load = 5_200 * (5_000_000 / 360 / (500_000 * 0.9)) ** 2 * shape * 360
    assert found.energy_wh == round(no_load + load)
    settings = read_settings(FILE, "losses.yaml", ZONE)
    assert technical(district, settings) == Technical(7_200, TechnicalNote.COMPUTED)


def test_they_come_back_byte_for_byte_and_are_corrected(district: Ledger, tmp_path: Path) -> None:
    text = HEAD + LV + MV
    import_files(district, tmp_path / "in", {"transformers.csv": text})
    export_registry(district, tmp_path / "out", "clerk", NOW, zone=ZONE)
    assert (tmp_path / "out" / "transformers.csv").read_text("utf-8") == text
    other = {"transformers.csv": HEAD + MV.replace("4.5", "4")}
    refused = import_files(district, tmp_path / "in", other)
    assert [(error.column, error.reason) for error in refused.errors] == [
        ("short_circuit_percent", "contradicts what is stored: 4.5, not 4")
    ]
    folder = write_files(tmp_path / "in", other)
    report = import_registry(district, folder, "clerk", NOW, zone=ZONE, correction="nameplate")
    assert (report.errors, report.corrected) == ((), 1)
    with district.read() as uow:
        rows = uow.registry.load("T1").transformers
        assert [row.short_circuit_hundredths for row in rows] == [None, 400]
        assert uow.registry_rows.of("transformers", "T1") == list(rows)


def test_what_cannot_be_computed_is_refused(district: Ledger, tmp_path: Path) -> None:
    rows = "T1,2026-01-01,mv,250,,2600,,\nT9,2026-01-01,lv,,,,,\nT1,2026-02-01,hv,,,,,\n"
    report = import_files(district, tmp_path / "in", {"transformers.csv": HEAD + rows})
    assert [(error.row, error.column) for error in report.errors] == [
        (2, "no_load_loss_w"),
        (3, "station"),
        (4, "head_side"),
    ]
