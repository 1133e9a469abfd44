"""Indices at exchanges of every register that is billed: three rates, export, reactive energy."""

from datetime import date
from pathlib import Path

import pytest

from collector.billing.values import LineQuality
from collector.ledger import Ledger
from collector.operations.billing_runs import make_version, version_lines
from collector.operations.daily import meter_days
from collector.operations.registry import ImportReport
from collector.operations.registry_export import export_registry
from collector.operations.registry_history import point_history
from collector.operations.snapshots import create_snapshot, snapshot_lines
from tests.ledger.building import FILES, NOW, ZONE, import_files, put
from tests.ledger.test_billing_runs import BY, OCT, SEP, opened, who

RATES = ("1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3", "1-0:2.8.0", "1-0:3.8.0")
EXCHANGED = "2026-10-01T09:30:00+07:00"
# In the order in which an export writes them.
HEAD = (
    "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh,"
    "install_import_rate1_wh,removal_import_rate1_wh,"
    "install_import_rate2_wh,removal_import_rate2_wh,"
    "install_import_rate3_wh,removal_import_rate3_wh,"
    "install_export_wh,removal_export_wh,install_import_varh,removal_import_varh\n"
)
EXCHANGE = (
    f"{HEAD}T1/a,M1,2026-01-01,,,,,,,,,,,,,\n"
    f"T1/b,M2,2026-01-01,{EXCHANGED},,6060000,,3030000,,1020000,,2010000,,500500,,707070\n"
    f"T1/b,M3,{EXCHANGED},,60,,30,,20,,10,,0,,7,\n"
    "T1/head,M0,2026-01-01,,,,,,,,,,,,,\n"
)
MULTIPLIERS = "point,from_at,multiplier\nT1/b,2026-01-01,40\n"

# Forty times: the old meter's part from the day's index, and the new one's to the other day's.
USED = {
    "1-0:1.8.0": 40 * (60_000 + 90_000),
    "1-0:1.8.1": 40 * (30_000 + 40_000),
    "1-0:1.8.2": 40 * (20_000 + 30_000),
    "1-0:1.8.3": 40 * (10_000 + 20_000),
    "1-0:2.8.0": 40 * (500 + 4_000),
    "1-0:3.8.0": 40 * (7_070 + 5_000),
}


@pytest.fixture
def exchanged(ledger: Ledger, tmp_path: Path) -> Ledger:
    """A three-rate meter behind transformers, exchanged in the morning of a day in the period."""
    files = {**FILES, "installations.csv": EXCHANGE, "multipliers.csv": MULTIPLIERS}
    assert import_files(ledger, tmp_path / "in", files).errors == ()
    put(ledger, SEP, {"M0": 0, "M1": 0})
    first = [6_000_000, 3_000_000, 1_000_000, 2_000_000, 500_000, 700_000]
    put(ledger, SEP, {"M2": first}, registers=RATES, seq=2)
    put(ledger, OCT, {"M0": 9_000_000, "M1": 1_000_000}, seq=3)
    last = [90_060, 40_030, 30_020, 20_010, 4_000, 5_007]
    put(ledger, OCT, {"M3": last}, registers=RATES, seq=4)
    return ledger


def test_an_exchange_of_a_three_rate_meter_is_billed_exactly(exchanged: Ledger) -> None:
    run = opened(exchanged)
    make_version(exchanged, run, BY, who("an"))
    lines = [line for line in version_lines(exchanged, run) if line.point == "T1/b"]
    assert {line.quality for line in lines} == {LineQuality.ACTUAL}
    assert {(line.register, line.meter) for line in lines} == {
        (register, meter) for register in RATES for meter in ("M2", "M3")
    }
    # Billed in whole 10 Wh behind transformers: the index on the spot is floored to them.
    found = dict.fromkeys(RATES, 0)
    for line in lines:
        found[line.register] += line.billed or 0
    assert found == {**USED, "1-0:3.8.0": 40 * (7_070 + 5_000)}


def test_a_snapshot_has_each_register_over_the_exchange(exchanged: Ledger) -> None:
    head = create_snapshot(exchanged, station="T1", from_at=SEP, to_at=OCT, actor="clerk", now=NOW)
    found = dict.fromkeys(RATES, 0)
    for line in snapshot_lines(exchanged, head.id):
        if line.point == "T1/b":
            assert line.quality is LineQuality.ACTUAL
            found[line.register] += line.consumption or 0
    assert found == USED


def test_a_day_of_an_exchange_has_the_index_on_the_spot_of_each_register(
    exchanged: Ledger,
) -> None:
    with exchanged.read() as uow:
        registry = uow.registry.load("T1")
        rows = [row for row in registry.installations if row.meter == "M2"]
        period = (date(2026, 9, 30), date(2026, 10, 1), ZONE)
        (days,) = meter_days(uow, registry, rows, period, BY.book, around_neighbours=False)
    for register, value in (("1-0:1.8.2", 1_020_000), ("1-0:3.8.0", 707_070)):
        assert [one.value for one in days.reads[register]][-1] == value


def test_the_columns_come_back_byte_for_byte_and_only_where_they_are_said(
    exchanged: Ledger, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    export_registry(exchanged, target, "clerk", NOW, zone=ZONE)
    assert (target / "installations.csv").read_text("utf-8") == EXCHANGE
    texts = [entry.text for entry in point_history(exchanged, "T1/b", ZONE)]
    assert (
        "M3 installed at 60 Wh, 30 Wh (1-0:1.8.1), 20 Wh (1-0:1.8.2), 10 Wh (1-0:1.8.3),"
        " 0 Wh (1-0:2.8.0), 7 varh (1-0:3.8.0)"
    ) in texts


def test_files_without_the_columns_say_nothing_of_them(exchanged: Ledger, tmp_path: Path) -> None:
    plain = (
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        f"T1/b,M2,2026-01-01,{EXCHANGED},,6060000\nT1/b,M3,{EXCHANGED},,60,\n"
    )
    assert _import(exchanged, tmp_path, plain).unchanged == 2
    # What speaks against an index is named by its column.
    other = _import(
        exchanged,
        tmp_path,
        "point,meter,installed_at,install_index_wh,install_import_rate2_wh,install_import_varh\n"
        f"T1/b,M3,{EXCHANGED},60,21,\n",
    )
    assert [(error.column, error.reason) for error in other.errors] == [
        ("install_import_rate2_wh", "contradicts what is stored: 20, not 21")
    ]
    bare = _import(
        exchanged,
        tmp_path,
        f"point,meter,installed_at,removal_export_wh\nT1/b,M3,{EXCHANGED},5\n",
    )
    assert [error.column for error in bare.errors] == ["removal_export_wh"]


def _import(ledger: Ledger, tmp_path: Path, text: str) -> ImportReport:
    return import_files(ledger, tmp_path / "more", {"installations.csv": text})
