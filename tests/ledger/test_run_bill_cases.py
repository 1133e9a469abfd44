"""The cases that bills must come to, to the đồng, through registry, reads, runs and rating."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.preview import BillPreview
from collector.ledger import Ledger
from collector.operations.billing_runs import version_lines
from collector.operations.bills import bill_rows, get_bill, make_bills, refused_bills
from collector.operations.registry import import_registry
from collector.operations.run_rating import RatedBy
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import NOW, ZONE, import_files, midnight, put, write_files
from tests.ledger.test_run_bills import billed, bills_of, who
from tests.unit.collector.rating.making import built_in

RATES = (IMPORT_ACTIVE, "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3", "1-0:3.8.0")

INSTALLATIONS_HEAD = "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"


def registry(since: str, points: Mapping[str, str], **more: str) -> dict[str, str]:
    """One point a name in book A, which is read on the 20th, with terms as CSV has them.

    `points` has price groups: `household`, `70%household;30%business`, or `production by rates`.
    """
    files = {
        "stations.csv": "station,name\nT1,Trạm 1\n",
        "books.csv": "book,name\nA,sổ A\n",
        "reading_days.csv": f"book,from_at,reading_days\nA,{since},20\n",
        "points.csv": "point,station,role,name\n",
        "meters.csv": "meter,model,resolution_wh\n",
        "installations.csv": INSTALLATIONS_HEAD,
        "customers.csv": "customer,name\nKH-1,\n",
        "contracts.csv": "contract,point,customer,from_at,to_at\n",
        "terms.csv": "contract,from_at,voltage_v,households,renters,registered_w\n",
        "allocations.csv": "contract,from_at,register,position,percent,price_group\n",
        "memberships.csv": "point,from_at,book,position\n",
    }  # fmt: skip
    for number, (name, groups) in enumerate(points.items()):
        files["points.csv"] += f"{name},T1,household,{name}\n"
        files["meters.csv"] += f"M{name},sdm120,10\n"
        files["installations.csv"] += f"{name},M{name},{since},,,\n"
        files["contracts.csv"] += f"{name}-1,{name},KH-1,{since},\n"
        files["memberships.csv"] += f"{name},{since},A,{number}\n"
        by_rates = groups.endswith(" by rates")
        registers = RATES[1:4] if by_rates else RATES[:1]
        for register in registers:
            for place, share in enumerate(groups.removesuffix(" by rates").split(";"), 1):
                percent, group = share.split("%") if "%" in share else ("100", share)
                files["allocations.csv"] += (
                    f"{name}-1,{since},{register},{place},{percent},{group}\n"
                )
        quota = {"renters": ",3,", "two": "2,,"}.get(name, ",,")
        files["terms.csv"] += f"{name}-1,{since},220,{quota}{60_000 if by_rates else ''}\n"
    return {name: text + more.get(name.removesuffix(".csv"), "") for name, text in files.items()}


def bills(ledger: Ledger, run: str, split: PriceSplit = PriceSplit.INDEX) -> dict[str, BillPreview]:
    made = make_bills(ledger, run, RatedBy(built_in(), ZONE, split), who("an")).head
    assert refused_bills(ledger, made.bill_set) == []
    names = {line.point for line in version_lines(ledger, run)}
    return {name: get_bill(ledger, made.bill_set, f"{name}-1") for name in names}


def handed_over(ledger: Ledger, run: str) -> dict[str, BillPreview]:
    """The bills of a run, exported."""
    bill_set = bills_of(ledger, run)
    return {
        row.bill.removesuffix("-1"): get_bill(ledger, bill_set, row.bill)
        for row in bill_rows(ledger, bill_set)
    }


def sums(bill: BillPreview) -> tuple[int, int, int]:
    return bill.amount_vnd, bill.vat_vnd, bill.total_vnd


def test_one_period_of_each_kind_of_customer(ledger: Ledger, tmp_path: Path) -> None:
    points = {
        "tiers": "household", "two": "household", "renters": "household", "shared":
        "70%household;30%business", "rates": "production by rates", "exchanged": "household",
        "behind": "household", "nothing": "household",
    }  # fmt: skip
    change = midnight("2026-06-05")
    files = registry(
        "2026-01-01",
        points,
        installations=f"exchanged,M9,{change.isoformat()},,300,\n",
        meters="M9,sdm120,10\n",
        multipliers="",
    )
    files["installations.csv"] = files["installations.csv"].replace(
        "exchanged,Mexchanged,2026-01-01,,,",
        f"exchanged,Mexchanged,2026-01-01,{change.isoformat()},,12398200",
    )
    files["multipliers.csv"] = (
        f"point,from_at,multiplier\nbehind,2026-01-01,20\nbehind,{change.isoformat()},40\n"
    )
    report = import_files(ledger, tmp_path / "registry", files)
    assert report.errors == (), report.errors
    use = {"tiers": 750, "two": 250, "renters": 120, "shared": 1_000, "nothing": 0}
    first, last = midnight("2026-05-20"), midnight("2026-06-20")
    start = {f"M{name}": 1_000_900 for name in use}
    put(ledger, first, {**start, "Mexchanged": 12_345_600, "Mbehind": 1_200_000}, seq=1)
    put(ledger, change, {"Mbehind": 1_234_560}, seq=2)
    end = {f"M{name}": 1_000_900 + kwh * 1_000 for name, kwh in use.items()}
    put(ledger, last, {**end, "M9": 101_900, "Mbehind": 1_260_060}, seq=3)
    put(ledger, first, {"Mrates": [0, 0, 0, 0, 0]}, registers=RATES, seq=4)
    counted = [5_000_000, 3_000_000, 800_000, 1_200_000, 4_000_000]
    put(ledger, last, {"Mrates": counted}, registers=RATES, seq=5)
    run = billed(ledger, first, last)
    found = bills(ledger, run)
    assert found["tiers"].amount_vnd == 2_285_500
    assert sums(found["two"]) == (522_400, 41_792, 564_192)
    assert sums(found["renters"]) == (258_012, 20_641, 278_653)
    assert sums(found["shared"]) == (3_058_100, 244_648, 3_302_748)
    assert found["rates"].energy_vnd == 10_433_000
    assert found["rates"].reactive_vnd == 1_604_595
    assert found["rates"].total_vnd == 13_000_603
    assert found["exchanged"].energy_kwh == 154
    assert found["behind"].energy_kwh == 1_711
    behind = [line for line in version_lines(ledger, run) if line.point == "behind"]
    assert sum(line.billed or 0 for line in behind) == 1_711_200
    assert sums(found["nothing"]) == (0, 0, 0)
    # Every line leads to determinants, every determinant to reads.
    for bill in found.values():
        known = {one.id: one for one in bill.determinants}
        assert all(known[name].reads for line in bill.lines for name in line.determinants)


@pytest.mark.parametrize(
    ("has_read", "split", "expected"),
    [
        (False, PriceSplit.INDEX, (716_846, 57_348, 774_194)),
        (True, PriceSplit.INDEX, (726_646, 58_132, 784_778)),
        (True, PriceSplit.DAYS, (716_846, 57_348, 774_194)),
    ],
)
def test_a_change_of_price_within_the_period(
    ledger: Ledger,
    tmp_path: Path,
    has_read: bool,
    split: PriceSplit,
    expected: tuple[int, int, int],
) -> None:
    report = import_files(
        ledger, tmp_path / "registry", registry("2025-01-01", {"tiers": "household"})
    )
    assert report.errors == (), report.errors
    first, change, last = (midnight(f"2025-{day}") for day in ("04-20", "05-10", "05-20"))
    put(ledger, first, {"Mtiers": 1_000_900}, seq=1)
    if has_read:
        put(ledger, change, {"Mtiers": 1_180_900}, seq=2)
    put(ledger, last, {"Mtiers": 1_300_900}, seq=3, offset=timedelta(milliseconds=200))
    run = billed(ledger, first, last)
    assert sums(bills(ledger, run, split)["tiers"]) == expected


@pytest.mark.parametrize("has_read", [True, False])
def test_a_correction_over_a_change_of_price_comes_to_what_the_bill_should_have_been(
    ledger: Ledger, tmp_path: Path, has_read: bool
) -> None:
    """What a wrong multiplier left out was left out all the time, at the old prices and the new."""
    points = {"tiers": "household", "right": "household"}
    multipliers = "point,from_at,multiplier\ntiers,2025-01-01,20\nright,2025-01-01,30\n"
    files = registry("2025-01-01", points) | {"multipliers.csv": multipliers}
    report = import_files(ledger, tmp_path / "registry", files)
    assert report.errors == (), report.errors
    first, change, last, later = (
        midnight(f"2025-{day}") for day in ("04-20", "05-10", "05-20", "06-20")
    )
    for seq, (at, value) in enumerate([(first, 1_000), (change, 19_000), (last, 31_000)], 1):
        if at != change or has_read:
            put(ledger, at, {"Mtiers": value, "Mright": value}, seq=seq)
    before = handed_over(ledger, billed(ledger, first, last))
    files["multipliers.csv"] = multipliers.replace("tiers,2025-01-01,20", "tiers,2025-01-01,30")
    folder = write_files(tmp_path / "correction", {"multipliers.csv": files["multipliers.csv"]})
    assert import_registry(
        ledger, folder, "clerk", NOW, zone=ZONE, correction="a plate misread"
    ).corrected
    put(ledger, later, {"Mtiers": 41_000, "Mright": 41_000}, seq=9)
    after = handed_over(ledger, billed(ledger, last, later))
    [told] = after["tiers"].adjustments
    assert before["tiers"].energy_kwh + told.energy_kwh == before["right"].energy_kwh == 900
    assert before["tiers"].amount_vnd + told.amount_vnd == before["right"].amount_vnd
    assert before["tiers"].total_vnd + told.total_vnd == before["right"].total_vnd
    assert after["tiers"].amount_vnd == after["right"].amount_vnd
