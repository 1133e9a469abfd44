"""From index reads and imported contracts to previews, with nothing made by hand in between."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.billing.rating.pieces import PriceSplit
from collector.cli import app
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations.balances import daily_balances, period_balance
from collector.operations.rating import RatedSnapshot, rate_snapshot
from collector.operations.snapshots import create_snapshot, snapshot_lines
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put
from tests.unit.collector.rating.making import built_in

FROM, TO = "2026-05-20", "2026-06-20"
FILES_OF_BILLS = {
    "stations.csv": "station,name\nT1,Trạm 1\nT2,Trạm 2\n",
    "points.csv": (
        "point,station,role,name,parent\n"
        "T1/head,T1,head,tổng,\nT2/head,T2,head,tổng,\n"
        "T1/a,T1,household,a,\nT1/a1,T1,sub_meter,quán,T1/a\nT1/b,T1,business,b,\n"
    ),
    "meters.csv": "meter,model,resolution_wh\n"
    + "".join(f"{name},sdm120,10\n" for name in ("H1", "H2", "MA", "MA1", "MB")),
    "installations.csv": (
        "point,meter,installed_at\nT1/head,H1,2026-01-01\nT2/head,H2,2026-01-01\n"
        "T1/a,MA,2026-01-01\nT1/a1,MA1,2026-01-01\nT1/b,MB,2026-01-01\n"
    ),
    "customers.csv": "customer,name\nPA25SL0000001,Nguyễn Văn A\nPA25SL0000002,\n",
    "contracts.csv": (
        "contract,point,customer,from_at,to_at\n"
        "HD-1,T1/a,PA25SL0000001,2026-01-01,\n"
        "HD-2,T1/a1,PA25SL0000001,2026-01-01,\n"
        "HD-3,T1/b,PA25SL0000002,2026-01-01,2026-06-05\n"
        "HD-4,T1/b,PA25SL0000001,2026-06-05,\n"
    ),
    "terms.csv": (
        "contract,from_at,voltage_v,households\nHD-1,2026-01-01,220,2\nHD-2,2026-01-01,220,\n"
        "HD-3,2026-01-01,220,\nHD-4,2026-06-05,220,\n"
    ),
    "allocations.csv": (
        "contract,from_at,register,position,percent,price_group\n"
        "HD-1,2026-01-01,1-0:1.8.0,1,100,household\n"
        "HD-2,2026-01-01,1-0:1.8.0,1,100,business\n"
        "HD-3,2026-01-01,1-0:1.8.0,1,100,business\n"
        "HD-4,2026-06-05,1-0:1.8.0,1,100,household\n"
    ),
    "books.csv": "book,name\nA,sổ A\nB,sổ B\n",
    "reading_days.csv": "book,from_at,reading_days\nA,2026-01-01,20\nB,2026-01-01,last\n",
    "memberships.csv": (
        "point,from_at,book,position\n"
        "T1/a,2026-01-01,A,A10\nT1/a1,2026-01-01,A,A11\nT1/b,2026-01-01,A,A2\n"
    ),
}


def read_all(ledger: Ledger) -> None:
    """500 kWh of the main meter, 100 of them behind the sub-meter; 130 then 70 of the other."""
    put(ledger, midnight(FROM), {"H1": 1, "H2": 1, "MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
    put(ledger, midnight("2026-06-05"), {"MB": 150_000}, seq=2)
    put(
        ledger,
        midnight(TO),
        {"H1": 760_001, "H2": 1, "MA": 1_500_900, "MA1": 110_000, "MB": 220_000},
        seq=3,
    )


def rated(
    ledger: Ledger, *, book: str | None = None, period: Sequence[str] = (FROM, TO)
) -> RatedSnapshot:
    head = create_snapshot(
        ledger,
        station="T1",
        from_at=midnight(period[0]),
        to_at=midnight(period[1]),
        actor="clerk",
        now=NOW,
    )
    return rate_snapshot(ledger, head.id, built_in(), PriceSplit.INDEX, None, zone=ZONE, book=book)


def said(found: RatedSnapshot) -> dict[str, str]:
    return {f"{one.point} {one.contract}": str(one.error) for one in found.refused}


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    report = import_files(ledger, tmp_path / "registry", FILES_OF_BILLS)
    assert (report.errors, report.warnings) == ((), ())
    return ledger


def test_contracts_and_a_snapshot_make_bills(station: Ledger) -> None:
    read_all(station)
    found = rated(station)
    assert said(found) == {}
    bills = {preview.bill: preview for preview in found.previews}
    # In the order of reading: A2 before A10, the earlier contract first.
    assert list(bills) == ["HD-3", "HD-4", "HD-1", "HD-2"]
    # The main meter with two households and its sub-meter: 1,194,600 before tax on one bill.
    assert (bills["HD-1"].energy_kwh, bills["HD-2"].energy_kwh) == (400, 100)
    assert bills["HD-1"].amount_vnd + bills["HD-2"].amount_vnd == 1_194_600
    assert bills["HD-2"].amount_vnd == 100 * 3_152
    # The customer changed on 5 June: each pays up to, or from, that day's index.
    assert (bills["HD-3"].energy_kwh, bills["HD-4"].energy_kwh) == (130, 70)
    assert (bills["HD-3"].to_day, bills["HD-4"].from_day) == (date(2026, 6, 5), date(2026, 6, 5))
    # 15 of 31 days: the first band is 24 kWh wide, the second too.
    assert bills["HD-4"].amount_vnd == 24 * 1_984 + 24 * 2_050 + 22 * 2_380
    assert "Nguyễn" not in repr(found)


def test_without_the_index_of_the_change_both_customers_wait(station: Ledger) -> None:
    values = {"MA": 1_000_000, "MA1": 10_000, "MB": 20_000}
    put(station, midnight(FROM), values)
    put(station, midnight(TO), {name: value + 100_000 for name, value in values.items()}, seq=2)
    found = rated(station)
    assert [preview.bill for preview in found.previews] == ["HD-1", "HD-2"]
    reasons = said(found)
    assert list(reasons) == ["T1/b HD-3", "T1/b HD-4"]
    assert "no index at 00:00" in reasons["T1/b HD-3"]


def test_an_index_of_another_day_does_not_stand_for_the_change(
    station: Ledger, tmp_path: Path
) -> None:
    terms = "contract,from_at,voltage_v\nHD-3,2026-06-01,380\n"
    import_files(station, tmp_path / "in", {"terms.csv": terms})
    put(station, midnight(FROM), {"MA": 1_000_000, "MA1": 10_000, "MB": 20_000})
    put(station, midnight("2026-06-01"), {"MB": 90_000}, seq=2)
    put(station, midnight(TO), {"MA": 1_500_000, "MA1": 110_000, "MB": 220_000}, seq=3)
    reasons = said(rated(station))
    assert "no index at 00:00" in reasons["T1/b HD-3"]
    assert "no index at 00:00" in reasons["T1/b HD-4"]


def test_a_point_waits_for_its_sub_meter(station: Ledger) -> None:
    put(station, midnight(FROM), {"MA": 1_000_000, "MB": 20_000})
    put(station, midnight("2026-06-05"), {"MB": 150_000}, seq=2)
    put(station, midnight(TO), {"MA": 1_500_000, "MA1": 110_000, "MB": 220_000}, seq=3)
    found = rated(station)
    assert [preview.bill for preview in found.previews] == ["HD-3", "HD-4"]
    reasons = said(found)
    assert "no consumption" in reasons["T1/a1 HD-2"]
    assert "waits for HD-2" in reasons["T1/a HD-1"]


def test_what_a_contract_lacks_is_said(station: Ledger, tmp_path: Path) -> None:
    more = {
        "points.csv": "point,station,role,name\nT1/c,T1,household,c\nT1/d,T1,household,d\n"
        "T1/e,T1,household,e\n",
        "meters.csv": "meter,model,resolution_wh\nMC,sdm120,10\nMD,sdm120,10\nME,sdm120,10\n",
        "installations.csv": "point,meter,installed_at\nT1/c,MC,2026-01-01\n"
        "T1/d,MD,2026-01-01\nT1/e,ME,2026-01-01\n",
        "contracts.csv": "contract,point,customer,from_at\nHD-5,T1/d,PA25SL0000002,2026-01-01\n"
        "HD-6,T1/e,PA25SL0000002,2026-01-01\n",
        "terms.csv": "contract,from_at,voltage_v\nHD-5,2026-01-01,220\n",
        "memberships.csv": "point,from_at,book,position\nT1/e,2026-01-01,B,1\n",
    }
    import_files(station, tmp_path / "more", more)
    read_all(station)
    ends = {"MC": 5_000, "MD": 5_000, "ME": 5_000}
    put(station, midnight(FROM), dict.fromkeys(ends, 1_000), seq=8)
    put(station, midnight(TO), ends, seq=9)
    reasons = said(rated(station))
    assert "no contract" in reasons["T1/c None"]
    assert "no prices" in reasons["T1/d HD-5"]
    assert "no terms" in reasons["T1/e HD-6"]
    terms = "contract,from_at,voltage_v\nHD-6,2026-01-01,220\n"
    prices = "contract,from_at,register,position,percent,price_group\n" + "".join(
        f"HD-{number},2026-01-01,1-0:1.8.0,1,100,household\n" for number in (5, 6)
    )
    import_files(station, tmp_path / "terms", {"terms.csv": terms, "allocations.csv": prices})
    reasons = said(rated(station))
    assert "no reading book" in reasons["T1/d HD-5"]
    assert "book B, which has no period from" in reasons["T1/e HD-6"]
    of_book = rated(station, book="B")
    assert (list(of_book.previews), [one.point for one in of_book.refused]) == ([], ["T1/e"])
    with pytest.raises(NotFound, match="no reading book"):
        rated(station, book="none")


def test_a_snapshot_that_is_of_no_whole_days_is_refused(station: Ledger) -> None:
    read_all(station)
    head = create_snapshot(
        station,
        station=None,
        from_at=midnight(FROM),
        to_at=midnight(TO) + (midnight(TO) - midnight(FROM)) / 62,
        actor="clerk",
        now=NOW,
    )
    with pytest.raises(InvalidRequest, match="00:00"):
        rate_snapshot(station, head.id, built_in(), PriceSplit.INDEX, None, zone=ZONE)


def test_a_new_connection_and_a_removal_need_no_other_index(
    station: Ledger, tmp_path: Path
) -> None:
    more = {
        "points.csv": "point,station,role,name\nT1/c,T1,household,c\n",
        "meters.csv": "meter,model,resolution_wh\nMC,sdm120,10\n",
        "installations.csv": "point,meter,installed_at,install_index_wh\n"
        "T1/c,MC,2026-06-05T09:00:00+07:00,0\n",
        "contracts.csv": "contract,point,customer,from_at\nHD-5,T1/c,PA25SL0000002,2026-06-05\n",
        "terms.csv": "contract,from_at,voltage_v\nHD-5,2026-06-05,220\n",
        "allocations.csv": "contract,from_at,register,position,percent,price_group\n"
        "HD-5,2026-06-05,1-0:1.8.0,1,100,household\n",
        "memberships.csv": "point,from_at,book,position\nT1/c,2026-06-05,A,A1\n",
    }
    report = import_files(station, tmp_path / "more", more)
    assert report.errors == ()
    read_all(station)
    put(station, midnight(TO), {"MC": 60_000}, seq=9)
    found = rated(station)
    assert said(found) == {}
    new = found.previews[0]
    assert (new.bill, new.energy_kwh, new.from_day) == ("HD-5", 60, date(2026, 6, 5))
    # As the guide's new contract: 15 days of 31, bands of 24, 24 and 48 kWh.
    assert new.amount_vnd == 24 * 1_984 + 24 * 2_050 + 12 * 2_380


def test_three_rates_need_the_same_shares(station: Ledger, tmp_path: Path) -> None:
    rows = "".join(
        f"HD-1,2026-05-20,1-0:1.8.{rate},1,{percent},household\n"
        f"HD-1,2026-05-20,1-0:1.8.{rate},2,{100 - percent},business\n"
        for rate, percent in ((1, 50), (2, 50), (3, 60))
    )
    prices = "contract,from_at,register,position,percent,price_group\n" + rows
    assert import_files(station, tmp_path / "in", {"allocations.csv": prices}).errors == ()
    read_all(station)
    assert "other shares for one rate" in said(rated(station))["T1/a HD-1"]


def test_a_sub_meter_is_outside_the_balance_and_a_moved_point_counts_where_it_is(
    station: Ledger, tmp_path: Path
) -> None:
    transfers = "point,from_at,station\nT1/b,2026-06-05,T2\n"
    import_files(station, tmp_path / "in", {"transfers.csv": transfers})
    read_all(station)
    first = period_balance(station, station="T1", from_at=midnight(FROM), to_at=midnight(TO))
    # 500 of the main meter with its sub-meter's 100 in it, and 130 before the transfer.
    assert (first.head_wh, first.customers_wh, first.loss_wh) == (760_000, 630_000, 130_000)
    second = period_balance(station, station="T2", from_at=midnight(FROM), to_at=midnight(TO))
    assert second.customers_wh == 70_000
    put(station, midnight("2026-06-04"), {"MB": 149_000}, seq=7)
    put(station, midnight("2026-06-06"), {"MB": 152_000}, seq=8)
    days = {
        name: daily_balances(
            station, station=name, first_day=date(2026, 6, 4), last_day=date(2026, 6, 5), zone=ZONE
        )
        for name in ("T1", "T2")
    }
    assert [day.balance.customers_wh for day in days["T1"]] == [1_000, 0]
    assert [day.balance.customers_wh for day in days["T2"]] == [0, 2_000]
    # A bill is one bill, of the station that has the point at the end.
    of_station = {
        name: create_snapshot(
            station,
            station=name,
            from_at=midnight(FROM),
            to_at=midnight(TO),
            actor="clerk",
            now=NOW,
        )
        for name in ("T1", "T2")
    }
    points = {
        name: {line.point for line in snapshot_lines(station, head.id)}
        for name, head in of_station.items()
    }
    assert points == {"T1": {"T1/head", "T1/a", "T1/a1"}, "T2": {"T2/head", "T1/b"}}


def test_the_commands(tmp_path: Path) -> None:
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: sqlite:///{tmp_path}/l.db\n"
        f"readings: {{store: duckdb, path: {tmp_path}/r.duckdb}}\nbroker: {{host: 127.0.0.1}}\n"
    )
    ledger = Ledger(f"sqlite:///{tmp_path}/l.db")
    ledger.migrate()
    import_files(ledger, tmp_path / "registry", FILES_OF_BILLS)
    read_all(ledger)
    head = create_snapshot(
        ledger, station="T1", from_at=midnight(FROM), to_at=midnight(TO), actor="x", now=NOW
    )
    ledger.close()

    def run(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [*words, "--config", str(config)])
        return result.exit_code, result.stdout, result.stderr

    code, out, err = run("rate", "--snapshot", head.id, "--format", "json", "--book", "A")
    assert (code, err) == (0, "")
    assert [row["preview"]["bill"] for row in json.loads(out)] == ["HD-3", "HD-4", "HD-1", "HD-2"]
    code, _, err = run("rate", "--snapshot", head.id, "--input", "x.csv")
    assert (code, "or two things" in err) == (1, True)
    code, out, _ = run("registry", "show", "T1/b")
    assert code == 0
    assert out.splitlines()[0].split() == ["point", "business", "at", "station", "T1"]
    assert out.splitlines()[-1].split()[:2] == ["2026-06-05", "prices"]
    code, out, _ = run("registry", "export", str(tmp_path / "out.xlsx"))
    assert (code, "4 contracts" in out) == (0, True)
    code, out, _ = run("registry", "import", str(tmp_path / "out.xlsx"))
    assert (code, "nothing new" in out) == (0, True)
    files = {**FILES, "points.csv": "point,station,role,name\nT1/z,T9,household,z\n"}
    for name, text in files.items():
        (tmp_path / "registry" / name).write_text(text, "utf-8")
    code, _, err = run("registry", "import", str(tmp_path / "registry"))
    assert (code, "points.csv, row 2, column station" in err) == (1, True)
