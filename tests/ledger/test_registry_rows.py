"""The registry's rows by kind on both databases: pages are the whole, one writer wins."""

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from collector.billing.run_values import LineKind, RunHead, RunLine, VersionHead
from collector.billing.values import LineQuality
from collector.errors import BadRows, Stale
from collector.ledger import Ledger
from collector.ledger.billing_runs import Export
from collector.ledger.idempotency import Once
from collector.ledger.registry_rows import Resting
from collector.operations.registry_changes import (
    Asked,
    By,
    Changed,
    Purpose,
    Wanted,
    change_rows,
    get_rows,
    list_rows,
)
from collector.operations.registry_export import export_registry
from collector.registry.files import parse_files
from collector.registry.rows import KEYS, key_of, show_row
from tests.ledger.building import import_files, midnight

ZONE = "Asia/Ho_Chi_Minh"
BY = By("test", midnight("2026-06-01"), ZONE)

FILES = {
    "areas.csv": "kind,code,name\ncommune,08824,Đồng Thịnh\nunit,PA25SL,Điện lực Sông Lô\n",
    "stations.csv": "station,name,commune,capacity_kva,kind\nT1,Trạm 1,,250,public\nT2,Trạm 2,,,\n",
    "transformers.csv": (
        "station,from_at,head_side,rated_kva,no_load_loss_w,load_loss_w,short_circuit_percent,count\n"
        "T1,2026-01-01,lv,,,,,\nT1,2026-03-01,mv,250,340,2600,4.5,2\n"
    ),
    "points.csv": (
        "point,station,role,name,parent\nT1/0,T1,head,Tổng,\nT1/1,T1,household,a,\n"
        "T1/2,T1,business,b,\nT1/3,T1,sub_meter,c,T1/2\n"
    ),
    "transfers.csv": "point,from_at,station\nT1/1,2026-03-01,T2\n",
    "meters.csv": "meter,model,resolution_wh,roll_over_wh,digits\nM1,x,10,99999990,5\nM2,x,10,,\n",
    "installations.csv": (
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        "T1/1,M1,2026-01-01,2026-02-01T08:30:00+07:00,0,5000\n"
        "T1/1,M2,2026-02-01T09:00:00+07:00,,20,\nT1/2,M1,2026-02-02,,5000,\n"
    ),
    "multipliers.csv": (
        "point,from_at,multiplier,index_side\nT1/0,2026-01-01,40,\nT1/0,2026-04-01,125/3,\n"
        "T1/2,2026-01-01,1,primary\n"
    ),
    "inspections.csv": "meter,inspected_at,calibration_due,seals\nM1,2026-01-01,2031-01-01,C1;C2\n",
    "customers.csv": "customer,name,address\nPA01,Lò Văn Ban,\nPA02,,\n",
    "contracts.csv": (
        "contract,point,customer,from_at,to_at\nH1,T1/1,PA01,2026-01-01,2026-04-01\n"
        "H2,T1/1,PA02,2026-04-01,\nH3,T1/2,PA02,2026-01-01,\n"
    ),
    "terms.csv": (
        "contract,from_at,voltage_v,households,renters,renters_undeclared,registered_w\n"
        "H1,2026-01-01,220,1,,,\nH1,2026-02-01,220,2,,,\nH2,2026-04-01,220,,,yes,\n"
        "H3,2026-01-01,380,,,,40000\n"
    ),
    "allocations.csv": (
        "contract,from_at,register,position,percent,kwh,price_group\n"
        "H1,2026-01-01,1-0:1.8.0,1,,50,business\nH1,2026-01-01,1-0:1.8.0,2,100,,household\n"
        "H2,2026-04-01,1-0:1.8.0,1,12.5,,business\nH2,2026-04-01,1-0:1.8.0,2,87.5,,household\n"
    ),
    "applications.csv": (
        "application,received_on,customer,point,surveyed_on,contract,withdrawn_on\n"
        "HS-1,2025-12-20,PA01,T1/1,2025-12-22,H1,\nHS-2,2026-02-01,,,,,2026-02-03\n"
    ),
    "books.csv": "book,name\nB1,Sổ 1\n",
    "reading_days.csv": "book,from_at,reading_days\nB1,2026-01-01,10;last\nB1,2026-03-31,20\n",
    "memberships.csv": (
        "point,from_at,book,position\nT1/1,2026-01-01,B1,A2\nT1/1,2026-05-01,,\n"
        "T1/2,2026-01-01,B1,A10\n"
    ),
}  # fmt: skip


@pytest.fixture
def filled(ledger: Ledger, tmp_path: Path) -> Ledger:
    report = import_files(ledger, tmp_path / "registry", FILES)
    assert report.errors == ()
    return ledger


def every(ledger: Ledger, kind: str, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = list_rows(ledger, Asked(kind, 1, after, **more), ZONE)
        rows += [dict(row) for row in page.rows]
        after = page.next
        if after is None:
            return rows


def correct(ledger: Ledger, kind: str, name: str, *rows: dict[str, Any]) -> Changed:
    return change_rows(ledger, Wanted(kind, Purpose.CORRECT, rows, name, "it was wrong"), BY)


def test_pages_of_every_kind_are_what_was_imported(filled: Ledger, tmp_path: Path) -> None:
    parsed = parse_files(FILES, ZONE)
    for kind in KEYS:
        values = sorted(
            (located.value for located in getattr(parsed, kind)),
            key=lambda value, kind=kind: key_of(kind, value),  # type: ignore[misc]
        )
        assert every(filled, kind) == [show_row(kind, value, ZONE) for value in values], kind
        assert values, kind
        # What is shown is taken back as the same: asked for again, it changes nothing.
        name = getattr(values[0], KEYS[kind][0])
        rows = get_rows(filled, kind, name, ZONE).rows
        done = change_rows(filled, Wanted(kind, Purpose.CHANGE, rows, name), BY)
        assert (done.unchanged, done.added, done.touched) == (len(rows), 0, None), kind
    export_registry(filled, tmp_path / "out", "test", BY.now, zone=ZONE)
    assert {
        file.name: file.read_text() for file in (tmp_path / "out").iterdir()
    } == FILES  # fmt: skip


def test_rows_are_found_by_column_and_by_what_holds(filled: Ledger) -> None:
    def held(kind: str, day: str, **filters: str) -> list[Any]:
        rows = every(filled, kind, at=midnight(day), filters=filters)
        return [row[KEYS[kind][-1] if kind == "terms" else KEYS[kind][0]] for row in rows]

    assert held("installations", "2026-02-01") == ["T1/1"]
    assert held("installations", "2026-02-02") == ["T1/1", "T1/2"]
    assert held("contracts", "2026-03-31", point="T1/1") == ["H1"]
    assert held("contracts", "2026-04-01", customer="PA02") == ["H2", "H3"]
    assert held("terms", "2026-01-31", contract="H1") == ["2025-12-31T17:00:00Z"]
    assert held("terms", "2026-02-01", contract="H1") == ["2026-01-31T17:00:00Z"]
    assert held("allocations", "2026-04-02", contract="H2") == ["H2", "H2"]
    assert held("memberships", "2025-12-31") == []
    assert len(every(filled, "points", filters={"station": "T2"})) == 0


def test_a_corrected_row_is_the_one_that_holds_and_others_stay(filled: Ledger) -> None:
    before = every(filled, "allocations", filters={"contract": "H1"})
    done = correct(filled, "terms", "H1", {"from_at": "2026-01-01", "households": 4})
    assert done.corrected == 1
    assert done.touched is not None
    # Up to the terms after them.
    assert done.touched.to_at == midnight("2026-02-01")
    assert [row["households"] for row in every(filled, "terms")][:2] == [4, 2]
    whole = {"from_at": "2026-04-01", "register": "1-0:1.8.0", "position": 1,
             "percent": "100", "price_group": "household"}  # fmt: skip
    assert correct(filled, "allocations", "H2", whole).corrected == 1
    (row,) = every(filled, "allocations", filters={"contract": "H2"})
    assert (row["percent"], row["price_group"]) == ("100", "household")
    assert every(filled, "allocations", filters={"contract": "H1"}) == before
    with filled.read() as uow:
        entry = uow.audit.of_action("registry.change")[-1]
    (was,) = entry.detail["changed"]
    assert [row["percent"] for row in was["old"]] == ["12.5", "87.5"]
    assert [row["percent"] for row in was["new"]] == ["100"]


def test_of_two_who_saw_the_same_one_writes(filled: Ledger) -> None:
    tag = get_rows(filled, "multipliers", "T1/0", ZONE).tag
    start = threading.Barrier(2)
    outcomes: list[object] = []

    def write(multiplier: str) -> None:
        row = {"from_at": "2026-05-01", "multiplier": multiplier}
        wanted = Wanted("multipliers", Purpose.CHANGE, [row], "T1/0", None, frozenset({tag}))
        start.wait(10)
        try:
            outcomes.append(change_rows(filled, wanted, BY))
        except Stale as error:
            outcomes.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in ("50", "60")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Changed", "Stale"]
    assert len(get_rows(filled, "multipliers", "T1/0", ZONE).rows) == 3


def test_the_same_request_twice_at_once_is_done_once(filled: Ledger) -> None:
    row = {"point": "T1/1", "from_at": "2026-05-01", "multiplier": "2"}
    wanted = Wanted("multipliers", Purpose.CREATE, [row])
    start = threading.Barrier(2)
    outcomes: list[Changed] = []

    def write() -> None:
        start.wait(10)
        outcomes.append(change_rows(filled, wanted, BY, Once("test", "token", "0" * 64)))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done.repeated for done in outcomes) == [False, True]
    assert len({done.change for done in outcomes}) == 1
    assert outcomes[0].touched == outcomes[1].touched
    assert outcomes[0].touched is not None


def test_a_bad_row_takes_the_good_ones_with_it(filled: Ledger) -> None:
    rows = [
        {"point": "T1/1", "from_at": "2026-05-01", "multiplier": "2"},
        {"point": "T1/3", "from_at": "2026-05-01", "multiplier": "2/0"},
    ]
    before = every(filled, "multipliers")
    with filled.read() as uow:
        head = uow.audit.head()
    with pytest.raises(BadRows) as caught:
        change_rows(filled, Wanted("multipliers", Purpose.CREATE, rows), BY)
    assert caught.value.faults[0][0] == "body.rows.1.multiplier"
    assert every(filled, "multipliers") == before
    with filled.read() as uow:
        assert uow.audit.head() == head


def test_runs_that_rest_on_a_change_are_named(filled: Ledger) -> None:
    first, second, third = (midnight(f"2026-0{month}-01") for month in (1, 2, 3))
    zero = "0" * 64
    with filled.begin() as uow:
        for run, point, period in (
            ("open", "T1/1", (second, third)),
            ("exported", "T1/1", (first, second)),
            ("elsewhere", "T1/2", (second, third)),
            ("later", "T1/1", (third, midnight("2026-04-01"))),
        ):
            line = RunLine(
                point, "M1", "1-0:1.8.0", LineKind.CONSUMPTION, *period, 0, 1, None, None,
                Fraction(1), 1, LineQuality.ACTUAL,
            )  # fmt: skip
            uow.billing_runs.open(RunHead(run, None, None, *period, BY.now, "an"))
            head = VersionHead(run, 1, BY.now, "an", "", 1, run.ljust(64, "0"), None, zero)
            uow.billing_runs.add_version(head, [line])
        exported = "exported".ljust(64, "0")
        uow.billing_runs.add_export(Export("exported", 1, exported, BY.now, "binh"))
        resting = uow.registry_rows.resting
        assert resting({"T1/1"}, first, third).open_runs == ("open",)
        assert resting({"T1/1"}, first, third).exported_runs == ("exported",)
        assert resting({"T1/1"}, second, None).open_runs == ("open", "later")
        assert set(resting(None, second, third).open_runs) == {"open", "elsewhere"}
        assert resting({"T1/3"}, first, None) == Resting((), (), 0)
