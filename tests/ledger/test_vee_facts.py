"""The facts that rules and methods are given beyond reads: from the ledger's other tables."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.commands import StoredCommand
from collector.ledger.delivery import NewEvent
from collector.ledger.findings import Decision, FindingFilter
from collector.ledger.receipts import BatchKey
from collector.operations.deciding import DecidedAt, Deciding
from collector.operations.findings import decide
from collector.operations.vee import VeeRun, list_findings, run_vee
from collector.operations.vee_files import load_limits
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import ReadBlock
from collector.vee.values import Severity
from contract.messages import OTHER_METER, ScanKind
from tests.ledger.building import (
    EPOCH,
    FILES,
    GATEWAY,
    NOW,
    ZONE,
    import_files,
    midnight,
    put,
)

DAY = timedelta(days=1)
START = midnight("2026-10-01")
BOOK = load_limits(None)
OCTOBER = VeeRun(date(2026, 10, 1), date(2026, 10, 4), ZONE, BOOK)
CONTRACTS = {
    "customers.csv": "customer,name,address\nPA25SL1,,\n",
    "contracts.csv": "contract,point,customer,from_at,to_at\n"
    "HD-001,T1/a,PA25SL1,2026-01-01,2026-10-03\nHD-002,T1/b,PA25SL1,2026-01-01,\n",
    "allocations.csv": "contract,from_at,register,position,percent,kwh,price_group\n"
    "HD-001,2026-01-01,1-0:1.8.0,1,100,,household\nHD-002,2026-01-01,1-0:1.8.0,1,100,,production\n",
}


def read_days(ledger: Ledger, *, of_b: int = 5_000) -> None:
    for number in range(5):
        values = {"M0": number * 9_000, "M1": number * 4_000, "M2": number * of_b}
        put(ledger, START + number * DAY, values, seq=number + 1)


def found(ledger: Ledger, run: VeeRun = OCTOBER) -> dict[tuple[str, str], Severity]:
    run_vee(ledger, run, actor="tester", now=NOW)
    return {
        (one.finding.rule, one.finding.meter): one.finding.severity
        for one in list_findings(ledger, FindingFilter(), limit=1000)
    }


def test_clocks_serials_voltages_and_contracts_that_ended(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", {**FILES, **CONTRACTS})
    read_days(ledger)
    at = START + 30 * timedelta(hours=1)
    asked = StoredCommand("c1", GATEWAY, "set_clock", {"meters": ["M1"]}, "an", at, at + DAY)
    with ledger.begin() as uow:
        uow.commands.add(asked)
        uow.commands.answer(replace(asked, ok=True, detail={"drift_s": -400.2}, answered_at=at))
        detail = f"was online for 3600 s; {OTHER_METER}4711; compare its plate"
        event = NewEvent(BatchKey(GATEWAY, EPOCH, 9), 0, at, "meter_offline", "l1", "M2", detail)
        uow.delivery.add_events([event])
    rated = tmp_path / "limits.yaml"
    rated.write_text(
        "models:\n  sdm630:\n    rating: {phases: 3, voltage_v: 230, current_max_a: 100}\n",
        encoding="utf-8",
    )
    store = DuckDbStore(tmp_path / "reads.duckdb")
    voltages = ["1-0:32.7.0", "1-0:52.7.0"]
    store.append(
        [ReadBlock("T1", GATEWAY, ScanKind.INTERVAL, at, voltages, [("M0", 0, [231.0, 80.0], 0)])]
    )
    rules = found(ledger, replace(OCTOBER, book=load_limits(rated), store=store))
    store.close()
    assert rules == {
        ("V13", "M1"): Severity.BLOCK,
        ("V14", "M2"): Severity.BLOCK,
        ("V16", "M0"): Severity.WARNING,
        ("V07", "M1"): Severity.RECHECK,
    }
    (voltage,) = list_findings(ledger, FindingFilter(rule="V16"))
    assert (voltage.finding.facts["phase"], voltage.finding.facts["lowest_mv"]) == (2, 80_000)


def test_limits_are_those_of_the_contracts_price_group(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", {**FILES, **CONTRACTS})
    read_days(ledger, of_b=0)
    limits = tmp_path / "limits.yaml"
    limits.write_text(
        "price_groups:\n  production:\n    rules:\n      V06: {enabled: false}\n", encoding="utf-8"
    )
    assert ("V06", "M2") in found(ledger)
    run = run_vee(ledger, replace(OCTOBER, book=load_limits(limits)), actor="t", now=NOW)
    assert run.found["V06"] == 0
    assert run.applied["V06"] == 2


def test_a_point_is_judged_once_at_the_station_where_it_is(ledger: Ledger, tmp_path: Path) -> None:
    files = {
        **FILES,
        "stations.csv": FILES["stations.csv"] + "T2,Trạm 2,Sông Lô,250\n",
        "transfers.csv": "point,from_at,station\nT1/b,2026-10-03,T2\n",
    }
    import_files(ledger, tmp_path / "registry", files)
    read_days(ledger, of_b=0)
    assert run_vee(ledger, OCTOBER, actor="t", now=NOW).meters == 3
    assert run_vee(ledger, replace(OCTOBER, station="T2"), actor="t", now=NOW).meters == 1
    (one,) = list_findings(ledger, FindingFilter(rule="V06", station="T2"))
    assert one.finding.point == "T1/b"
    assert list_findings(ledger, FindingFilter(rule="V06", station="T1")) == []


def test_another_count_than_expected_decides_nothing(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    read_days(ledger, of_b=0)
    found(ledger)
    deciding = Deciding(Decision.ACCEPT, "An", "empty")
    wanted = FindingFilter(rule="V06")
    with pytest.raises(Conflict, match="1 findings could be decided"):
        decide(ledger, wanted, deciding, DecidedAt(BOOK, ZONE, NOW, expected=2))
    assert len(list_findings(ledger, wanted)) == 1
    assert decide(ledger, wanted, deciding, DecidedAt(BOOK, ZONE, NOW, expected=1)).decided


def test_a_profile_of_three_other_meters_fills_a_day(ledger: Ledger, tmp_path: Path) -> None:
    names = "abcde"
    files = {
        **FILES,
        "points.csv": "point,station,role,name\n"
        + "".join(f"T1/{name},T1,household,{name}\n" for name in names),
        "meters.csv": "meter,model,resolution_wh,roll_over_wh\n"
        + "".join(f"M{name},sdm120,10,\n" for name in names),
        "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,"
        "removal_index_wh\n" + "".join(f"T1/{name},M{name},2026-01-01,,,\n" for name in names),
    }
    import_files(ledger, tmp_path / "registry", files)
    for number in range(5):
        values = {f"M{name}": 1_000_000 + number * 3_000 for name in names}
        if number == 4:
            del values["Ma"]
        put(ledger, START + number * DAY, values, seq=number + 1)
    found(ledger)
    deciding = Deciding(Decision.ESTIMATE, "An", "line down", method="E4")
    report = decide(
        ledger, FindingFilter(rule="V01", meter="Ma"), deciding, DecidedAt(BOOK, ZONE, NOW)
    )
    (index,) = report.indices
    assert (index.value, index.method) == (1_012_000, "E4")
