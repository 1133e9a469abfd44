"""Determinants from JSON and CSV: what is wrong is refused with its place, nothing half rated."""

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.billing.rating.determinants import PointDeterminants, Share, Terms
from collector.billing.rating.faults import BillsRefused, DeterminantsFault, NotRatable, RatingError
from collector.billing.rating.input_file import parse_csv, parse_json
from collector.billing.rating.rate import RatingOptions, rate_bills
from collector.billing.rating.shares import divide
from collector.errors import InvalidRequest
from collector.operations.rating import read_determinants
from tests.unit.collector.rating.making import (
    JUNE,
    MAY,
    bill,
    built_in,
    day,
    point,
    shares,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "bills"


def document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A sound bill; changes are `bill__x`, `point__x`, `part__x` and `terms__x`."""
    part = {"from_day": "2026-05-20", "to_day": "2026-06-20", "energy": 250}
    terms: dict[str, Any] = {
        "from_day": "2026-05-20",
        "shares": [{"group": "household", "percent": 100}],
    }
    one: dict[str, Any] = {
        "point": "P1",
        "registers": [{"register": "1-0:1.8.0", "parts": [part]}],
        "terms": [terms],
    }
    whole: dict[str, Any] = {
        "bill": "B1",
        "from_day": "2026-05-20",
        "to_day": "2026-06-20",
        "billing_day": 20,
        "points": [one],
    }
    targets = {"bill": whole, "point": one, "part": part, "terms": terms}
    for name, value in changes.items():
        target, _, key = name.partition("__")
        targets[target][key] = value
    return {"bills": [whole]}


def parsed_json(content: object) -> None:
    parse_json(json.dumps(content).encode(), "d.json")


def test_the_sample_of_these_tests_is_sound_and_tax_falls_due_at_the_end() -> None:
    (found,) = parse_json(json.dumps(document()).encode(), "d.json")
    assert found.tax_point == JUNE
    assert found == bill(point(250))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"part__energy": -1}, "Expected `int` >= 0 - at `$.bills[0].points[0].registers[0].parts"),
        ({"part__energy": 1.5}, "Expected `int`"),
        ({"part__energy": "250"}, "Expected `int`, got `str`"),
        ({"bill__billing_day": 32}, "billing_day"),
        ({"bill__billing_day": 0}, "billing_day"),
        ({"bill__billing_day": "first"}, "billing_day"),
        ({"bill__to_day": "2026-05-19"}, "the period is reversed: 2026-05-20 to 2026-05-19"),
        ({"bill__to_day": "2026-05-20"}, "the period is reversed"),
        ({"bill__to_day": "2028-05-20"}, "the period has more than 400 days"),
        ({"bill__colour": "red"}, "unknown field `colour`"),
        ({"bill__points": []}, "length >= 1"),
        ({"part__to_day": "2026-05-20"}, "to_day 2026-05-20 is not after from_day 2026-05-20"),
        ({"part__to_day": "2026-07-20"}, "1-0:1.8.0 of P1 goes beyond the period"),
        ({"point__registers": [{"register": "1-0:32.7.0", "parts": []}]}, "length >= 1"),
        ({"point__parent": "P1"}, "P1 is its own parent"),
        ({"terms__households": 0}, "`int` >= 1"),
        ({"terms__households": 1, "terms__renters": 3}, "one of households, renters"),
        ({"terms__from_day": "2026-05-21"}, "P1 has no terms before 2026-05-21"),
        ({"terms__shares": [{"group": "household", "percent": 70}]}, "all shares are 70.00, not"),
        ({"terms__shares": [{"group": "household", "kwh": 70}]}, "all shares are 0.00, not 100"),
        ({"terms__shares": [{"group": "household"}]}, "either percent or kwh"),
        ({"terms__shares": [{"group": "h", "percent": "NaN"}]}, "NaN per cent is not above 0"),
        ({"terms__shares": [{"group": "h", "percent": "33.333"}]}, "more than two decimals"),
        ({"terms__shares": 2 * [{"group": "h", "percent": 50}]}, "a price group is there twice"),
        ({"terms__voltage_v": 0}, "`int` >= 1"),
    ],
)
def test_determinants_that_cannot_be_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DeterminantsFault) as caught:
        parsed_json(document(**changes))
    assert str(caught.value).startswith("d.json: ")
    assert reason in str(caught.value)


def test_registers_must_be_billed_ones_without_holes() -> None:
    use = document()["bills"][0]["points"][0]["registers"][0]
    with pytest.raises(DeterminantsFault, match="no register of energy that is billed"):
        parsed_json(document(point__registers=[{**use, "register": "1-0:32.7.0"}]))
    with pytest.raises(DeterminantsFault, match="a register of P1 is there twice"):
        parsed_json(document(point__registers=[use, use]))
    early = {"from_day": "2026-05-20", "to_day": "2026-06-01", "energy": 1}
    for start, what in (("2026-06-02", "a hole"), ("2026-05-31", "an overlap")):
        late = {"from_day": start, "to_day": "2026-06-20", "energy": 1}
        with pytest.raises(DeterminantsFault, match=what):
            parsed_json(document(point__registers=[{**use, "parts": [early, late]}]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"bills": NaN}', "NaN is no number"),
        (b'{"bills": [], "bills": []}', "the key 'bills' is there twice"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `bills`"),
        (b'{"bills": [1]}', "at `$.bills[0]`"),
        (b"\xff", "no JSON"),
    ],
)
def test_what_is_no_document_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(DeterminantsFault) as caught:
        parse_json(text, "d.json")
    assert reason in str(caught.value)


CSV = """\
bill,from_day,to_day,billing_day,point,parent,register,energy,prices,households
F,2026-05-20,2026-06-20,20,P1,,1-0:1.8.0,500,100%*household,2
F,2026-05-20,2026-06-20,20,P2,P1,1-0:1.8.0,100,100%*business,
"""


def test_csv_says_what_json_says() -> None:
    path = GOLDEN / "b13f-sub-meter.json"
    assert parse_csv(CSV, "d.csv") == parse_json(path.read_bytes(), path.name)


def test_csv_has_parts_shares_and_rates() -> None:
    head = "bill,from_day,to_day,billing_day,point,register,energy,prices,part_from_day,part_to_day"
    fixed = "A,2025-04-20,2025-05-20,last,P1,1-0:1.8.0"
    prices = "200kWh*household; 62.5%*business; 37.5%*production"
    rows = (
        f"{head}\n{fixed},180,{prices},2025-04-20,2025-05-10\n"
        f"{fixed},120,{prices},2025-05-10,2025-05-20\n"
    )
    (found,) = parse_csv(rows, "d.csv")
    assert found.billing_day == "last"
    (one,) = found.points
    assert [part.energy for part in one.registers[0].parts] == [180, 120]
    assert [(s.group, s.percent_hundredths, s.kwh) for s in one.terms[0].shares] == [
        ("household", 0, 200),
        ("business", 6250, None),
        ("production", 3750, None),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((",500,", ",-500,"), "row 2, column energy: it is negative"),
        ((",500,", ",5e2,"), "row 2, column energy: '5e2' is no whole number"),
        ((",500,", ",,"), "row 2, column energy: this cell is empty"),
        (("06-20,20,P1", "06-20,32,P1"), "row 3: billing_day of the bill is not what its first"),
        (("100%*household", "household"), "row 2, column prices: 'household' is no share"),
        (("100%*household", "90%*household"), "the per cents of all shares are 90.00, not 100"),
        (("100%*household", "1..0%*household"), "column prices: '1..0' is no number"),
        (("100%*household", "1.5kWh*household"), "1.5 kWh is no whole number"),
        (("parent,register", "parents,register"), "row 1, column parents: no such column"),
        (("point,parent", "point,point"), "row 1, column point: this column is there twice"),
        ((",prices,", ",rates,"), "row 1, column prices: this column is missing"),
        (("household,2\n", "household,2,9\n"), "row 2: 11 cells for 10 columns"),
        (("500,100", '500,"100'), "no CSV"),
        (("2026-05-20,2026-06-20,20,P1", "2026-06-20,2026-05-20,20,P1"), "row 3: from_day of"),
    ],
)
def test_a_csv_that_cannot_be_is_refused_with_row_and_column(
    change: tuple[str, str], reason: str
) -> None:
    assert change[0] in CSV
    with pytest.raises(DeterminantsFault) as caught:
        parse_csv(CSV.replace(*change, 1), "d.csv")
    assert str(caught.value).startswith("d.csv")
    assert reason in str(caught.value)


def test_a_csv_with_billing_day_32_or_a_reversed_period_is_refused() -> None:
    for text, reason in (
        (CSV.replace(",20,", ",32,"), "billing_day"),
        (CSV.replace("2026-06-20", "2026-04-20"), "is not after"),
    ):
        with pytest.raises(DeterminantsFault, match=r"bill F \(row 2\)") as caught:
            parse_csv(text, "d.csv")
        assert reason in str(caught.value)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for name, content in (("none.json", None), ("a.txt", b""), ("a.csv", b"\xff")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidRequest):
            read_determinants(tmp_path / name)


def test_determinants_made_in_code_are_checked_too() -> None:
    sound = bill(point(1))
    for make in (
        lambda: point(-1),
        lambda: point(10**12 + 1),
        lambda: point(1, households=0),
        lambda: point(1, renters=-1),
        lambda: point(1, voltage_v=0),
        lambda: structs.replace(sound, billing_day=32),
        lambda: structs.replace(sound, to_day=MAY),
    ):
        with pytest.raises(ValueError, match=r".+"):
            make()


def test_a_bill_beyond_all_bounds_is_refused() -> None:
    most = point(10**12, shares=shares(business=100))
    with pytest.raises(BillsRefused, match="comes to 3152000000000000 đồng, more than"):
        rate_bills([bill(most)], built_in())


def test_an_unknown_group_and_an_absent_tax_are_told() -> None:
    with pytest.raises(BillsRefused, match="price group 'palace' has no prices in QD-1279-2025"):
        rate_bills([bill(point(1, shares=shares(palace=100)))], built_in())
    with pytest.raises(
        BillsRefused, match="no rate of value-added tax for the tax point 2020-01-01"
    ):
        rate_bills([bill(point(1), tax_point=day("2020-01-01"))], built_in())


def test_a_group_that_the_table_before_lacks_is_told() -> None:
    cuts = (day("2025-04-20"), day("2025-05-20"))
    with pytest.raises(BillsRefused, match="'business' has no prices in QD-2699-2024"):
        rate_bills([bill(point(1, cuts, shares=shares(business=100)))], built_in())


def test_what_if_takes_another_table_for_all_days() -> None:
    cuts = (day("2025-04-20"), day("2025-05-20"))
    options = RatingOptions(what_if="QD-14-2025")
    (preview,) = rate_bills([bill(point(300, cuts))], built_in(), options)
    assert preview.amount_vnd == 100 * 1984 + 100 * 2380 + 100 * 2998
    assert {line.tariff for line in preview.lines} == {"QD-14-2025"}
    assert preview.what_if == "QD-14-2025"
    with pytest.raises(NotRatable, match="no price table 'VAT'"):
        rate_bills([bill(point(1))], built_in(), RatingOptions(what_if="VAT"))


def test_terms_that_change_are_cut_by_an_index_on_their_day() -> None:
    cut = day("2026-06-01")
    home = point([100, 100], (MAY, cut, JUNE))
    moved = type(home.terms[0])(from_day=cut, shares=shares(business=100))
    both = type(home)(point="P1", registers=home.registers, terms=(*home.terms, moved))
    (preview,) = rate_bills([bill(both)], built_in())
    # 12 of 31 days: bands of 19, 19, 39 and 39 kWh.
    home_vnd = 19 * 1984 + 19 * 2050 + 39 * 2380 + 23 * 2998
    assert preview.amount_vnd == home_vnd + 100 * 3152
    uncut = type(home)(point="P1", registers=point(200).registers, terms=both.terms)
    with pytest.raises(BillsRefused, match=r"1-0:1\.8\.0 of P1 has no index on 2026-06-01"):
        rate_bills([bill(uncut)], built_in())


def test_rates_need_their_registers_and_take_no_share_in_kwh() -> None:
    with pytest.raises(BillsRefused, match=r"P1 has no 1-0:1\.8\.1"):
        rate_bills([bill(point(1, rates="three", shares=shares(business=100)))], built_in())
    first = Share(group="household", kwh=100)
    (three,) = parse_json((GOLDEN / "b13d-production-rates.json").read_bytes(), "d.json")
    (measured,) = three.points
    terms = Terms(from_day=MAY, rates="three", shares=(first, *shares(production=100)))
    shared = PointDeterminants(point="P1", registers=measured.registers, terms=(terms,))
    with pytest.raises(BillsRefused, match="a share of 100 kWh for household cannot be taken"):
        rate_bills([bill(shared)], built_in())


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([point(10), point(11, name="P2", parent="P1")], "the sub-meters behind it more: P2 11"),
        ([point(10, parent="P9")], "P1 is behind P9, which is not among the determinants"),
        ([point(1, parent="P2"), point(1, name="P2", parent="P1")], "P1 is behind itself"),
    ],
)
def test_sub_meters_that_cannot_be_are_told(points: list[Any], reason: str) -> None:
    with pytest.raises(RatingError, match=reason):
        rate_bills([bill(*points)], built_in())


def test_a_sub_meter_of_another_customer_is_taken_from_its_parent_alone() -> None:
    main, sub = bill(point(500)), bill(point(100, name="P2", parent="P1"), name="B2")
    previews = rate_bills([main, sub], built_in())
    assert [preview.energy_kwh for preview in previews] == [400, 100]
    late = bill(point(100, (day("2026-05-21"), JUNE), name="P2", parent="P1"), name="B2")
    with pytest.raises(BillsRefused, match=r"1-0:1\.8\.0 of P2 has no index on 2026-05-20"):
        rate_bills([main, late], built_in())
    with pytest.raises(DeterminantsFault, match="P1 is on two bills for the same days: B1 and B1"):
        rate_bills([main, main], built_in())


def test_a_customer_who_moves_out_leaves_a_point_on_two_bills() -> None:
    """And a sub-meter that goes on is taken from both, by its index of that day."""
    cut = day("2026-06-01")
    old = bill(point(200, (MAY, cut)), name="OLD")
    new = bill(point(300, (cut, JUNE)), name="NEW")
    sub = bill(point([40, 60], (MAY, cut, JUNE), name="P2", parent="P1"), name="SUB")
    previews = rate_bills([old, new, sub], built_in())
    assert [preview.energy_kwh for preview in previews] == [160, 240, 100]


def test_a_sub_meter_without_the_days_index_has_its_parent_prorated() -> None:
    cuts = (day("2025-04-20"), day("2025-05-10"), day("2025-05-20"))
    sub = point(30, (cuts[0], cuts[2]), name="P2", parent="P1")
    (preview,) = rate_bills([bill(point([250, 80], cuts), sub)], built_in())
    main = [line for line in preview.lines if line.point == "P1"]
    by_table = {line.tariff: 0 for line in main}
    for line in main:
        by_table[line.tariff] += line.energy_kwh
    assert by_table == {"QD-2699-2024": 200, "QD-1279-2025": 100}


def test_a_household_on_a_meter_with_rates_pays_tiers_for_their_sum() -> None:
    (three,) = parse_json((GOLDEN / "b13d-production-rates.json").read_bytes(), "d.json")
    (measured,) = three.points
    terms = Terms(from_day=MAY, rates="three", shares=shares(household=100))
    home = PointDeterminants(point="P1", registers=measured.registers, terms=(terms,))
    (preview,) = rate_bills([bill(home)], built_in())
    (plain,) = rate_bills([bill(point(5_000))], built_in())
    assert preview.amount_vnd == plain.amount_vnd
    assert {line.determinants for line in preview.lines} == {("d1", "d2", "d3")}


def test_every_bill_that_cannot_be_rated_is_told_and_none_is_made() -> None:
    bad = [bill(point(1, name=f"P{n}", shares=shares(palace=100)), name=f"B{n}") for n in range(25)]
    with pytest.raises(BillsRefused) as caught:
        rate_bills([bill(point(1, name="GOOD")), *bad], built_in())
    assert [name for name, _ in caught.value.refused] == [f"B{n}" for n in range(25)]
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[0].startswith("bill B0: P0: price group 'palace' has no prices")
    assert lines[-2:] == ["… and 5 more", "25 of 26 bills cannot be rated; no preview was made"]


def test_a_share_in_kwh_is_taken_first_and_scaled_to_the_days() -> None:
    (preview,) = rate_bills(
        parse_csv(
            "bill,from_day,to_day,billing_day,point,register,energy,prices\n"
            "A,2026-05-20,2026-06-20,20,P1,1-0:1.8.0,500,150kWh*household; 100%*business\n"
            "B,2026-05-20,2026-06-04,20,P2,1-0:1.8.0,500,150kWh*household; 100%*business\n",
            "d.csv",
        )[:1],
        built_in(),
    )
    assert preview.amount_vnd == 50 * 1984 + 50 * 2050 + 50 * 2380 + 350 * 3152
    part = parse_csv(
        "bill,from_day,to_day,billing_day,point,register,energy,prices\n"
        "B,2026-05-20,2026-06-04,20,P2,1-0:1.8.0,500,150kWh*household; 100%*business\n",
        "d.csv",
    )
    (short,) = rate_bills(part, built_in())
    # 15 of 31 days: 73 kWh of the 150, in bands of 24, 24 and 48.
    assert short.amount_vnd == 24 * 1984 + 24 * 2050 + 25 * 2380 + 427 * 3152


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6), min_size=1),
    st.lists(st.integers(1, 10_000), min_size=1, max_size=6),
)
def test_per_cents_divide_everything_once(energies: dict[str, int], sizes: list[int]) -> None:
    """Each share is within 1 of its exact part, and all together are the whole, per register."""
    bounds = sorted({0, 10_000, *(size for size in sizes if size < 10_000)})
    percents = [high - low for low, high in pairwise(bounds)]
    divided = divide(
        energies,
        [
            Share(group=f"g{number}", percent=Decimal(percent).scaleb(-2))
            for number, percent in enumerate(percents)
        ],
        1,
        1,
    )
    for register, energy in energies.items():
        parts = [part[register] for _, part in divided]
        assert sum(parts) == energy
        for part, percent in zip(parts, percents, strict=True):
            assert abs(part * 10_000 - energy * percent) <= 10_000


def test_two_halves_of_three_kwh_are_three_kwh() -> None:
    halves = shares(household=50, business=50)
    assert divide({"r": 3}, halves, 1, 1) == [("household", {"r": 2}), ("business", {"r": 1})]


def test_a_share_in_kwh_is_scaled_by_the_books_cycle() -> None:
    fixed = (Share(group="household", kwh=150), *shares(business=100))
    (preview,) = rate_bills(
        [bill(point(500, (day("2026-04-20"), day("2026-05-05")), shares=fixed))], built_in()
    )
    assert [line.energy_kwh for line in preview.lines] == [25, 25, 25, 425], "75 of 150: 15 of 30"
