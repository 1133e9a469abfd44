"""Tariff files: what is shipped is sound, and every kind of hole is found with its place."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from collector.billing.rating.faults import NotRatable, TariffFaults
from collector.billing.rating.tariff import Flat, Hours, PriceTable, Rate, Rates, Tiers
from collector.billing.rating.tariff_file import parse_tariff
from collector.errors import InvalidRequest
from collector.operations.tariffs import load_tariffs
from tests.unit.collector.rating.making import built_in, day

FOLDER = Path(str(files("collector.billing"))) / "tariffs"
TIERS = """\
kind: prices
id: X
name: {vi: Thử, en: Trial}
source: {document: d, article: a, certainty: unverified}
in_force: true
valid: {from: 2030-01-01}
prices_in: vnd_per_kwh
groups:
  - group: household
    name: {vi: Sinh hoạt, en: Household}
    article: a
    levels:
      - tiers:
          - {above_kwh: 0, up_to_kwh: 50, price: 1000}
          - {above_kwh: 50, up_to_kwh: 100, price: 2000}
          - {above_kwh: 100, price: 3000}
"""
HOURS = """\
kind: hours
id: H
name: {vi: Thử, en: Trial}
source: {document: d, article: a, certainty: unverified}
in_force: false
hours:
  - {days: [mon, tue, wed, thu, fri, sat, sun], rate: off_peak, from: "00:00", to: "04:00"}
  - {days: [mon, tue, wed, thu, fri, sat, sun], rate: normal, from: "04:00", to: "24:00"}
"""
VAT = """\
kind: vat
id: V
name: {vi: Thuế, en: Tax}
source: &s {document: d, article: a, certainty: unverified}
in_force: true
rates:
  - {from: 2025-01-01, to: 2026-01-01, percent: 8, source: *s}
  - {from: 2026-01-01, percent: 10, source: *s}
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_sound_and_its_hash_is_of_the_file(path: Path) -> None:
    header = parse_tariff(path.read_text(encoding="utf-8"), path.name).header
    assert header.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert built_in().values[header.id].header.sha256 == header.sha256
    assert header.source.document
    assert header.source.article


def prices(tariff: str, group: str, voltage_v: int) -> list[int]:
    price = built_in().table(tariff).groups[group].price_at(voltage_v)
    match price:
        case Tiers(tiers=tiers):
            return [tier.price_vnd for tier in tiers]
        case Flat(price_vnd=price_vnd):
            return [price_vnd]
        case Rates(prices_vnd=by_rate):
            return [by_rate[rate] for rate in (Rate.NORMAL, Rate.OFF_PEAK, Rate.PEAK)]


@pytest.mark.parametrize(
    ("group", "voltage_v", "published"),
    [
        ("household", 220, [1984, 2050, 2380, 2998, 3350, 3460]),
        ("household_prepaid", 220, [2909]),
        ("rural_wholesale_household", 22_000, [1658, 1724, 1876, 2327, 2635, 2744]),
        ("rural_wholesale_other", 22_000, [1735]),
        ("production", 110_000, [1811, 1146, 3266]),
        ("production", 109_999, [1833, 1190, 3398]),
        ("production", 22_000, [1833, 1190, 3398]),
        ("production", 21_999, [1899, 1234, 3508]),
        ("production", 6_000, [1899, 1234, 3508]),
        ("production", 400, [1987, 1300, 3640]),
        ("business", 35_000, [2887, 1609, 5025]),
        ("business", 6_000, [3108, 1829, 5202]),
        ("business", 220, [3152, 1918, 5422]),
        ("hospital_school", 6_000, [1940]),
        ("hospital_school", 400, [2072]),
        ("lighting_administration", 22_000, [2138]),
        ("lighting_administration", 400, [2226]),
        ("town_cluster_seller_station", 400, [1790, 1856, 2062, 2611, 2937, 3035]),
        ("town_cluster_buyer_station", 400, [1762, 1828, 2017, 2503, 2834, 2929]),
        ("city_cluster_seller_station", 400, [1853, 1919, 2172, 2750, 3102, 3206]),
        ("city_cluster_buyer_station", 400, [1826, 1892, 2109, 2667, 2999, 3134]),
        ("cluster_other", 400, [1750]),
        ("market_wholesale", 400, [2818]),
    ],
)
def test_prices_of_the_decision_in_force(group: str, voltage_v: int, published: list[int]) -> None:
    assert prices("QD-1279-2025", group, voltage_v) == published


def test_the_structure_to_come_is_computed_from_the_average_and_not_in_force() -> None:
    table = built_in().table("QD-14-2025")
    assert not table.header.in_force
    assert table.header not in [known.header for known in built_in().prices]
    assert prices("QD-14-2025", "household", 220) == [1984, 2380, 2998, 3571, 3967]


@pytest.mark.parametrize(
    ("on", "table"),
    [
        ("2023-11-09", "QD-2941-2023"),
        ("2024-10-10", "QD-2941-2023"),
        ("2024-10-11", "QD-2699-2024"),
        ("2025-05-09", "QD-2699-2024"),
        ("2025-05-10", "QD-1279-2025"),
        ("2030-01-01", "QD-1279-2025"),
    ],
)
def test_a_table_holds_until_the_next_one(on: str, table: str) -> None:
    assert built_in().prices_on(day(on)).header.id == table


@pytest.mark.parametrize(
    ("hours", "weekday", "minute", "rate"),
    [
        ("TT-16-2014", 0, 9 * 60 + 30, Rate.PEAK),
        ("TT-16-2014", 0, 11 * 60 + 30, Rate.NORMAL),
        ("TT-16-2014", 5, 19 * 60 + 59, Rate.PEAK),
        ("TT-16-2014", 6, 19 * 60 + 59, Rate.NORMAL),
        ("TT-16-2014", 6, 22 * 60, Rate.OFF_PEAK),
        ("TT-16-2014", 2, 3 * 60 + 59, Rate.OFF_PEAK),
        ("QD-963-2026", 0, 9 * 60 + 30, Rate.NORMAL),
        ("QD-963-2026", 0, 17 * 60 + 30, Rate.PEAK),
        ("QD-963-2026", 0, 22 * 60 + 30, Rate.NORMAL),
        ("QD-963-2026", 6, 18 * 60, Rate.NORMAL),
        ("QD-963-2026", 6, 5 * 60 + 59, Rate.OFF_PEAK),
    ],
)
def test_hours_of_both_calendars(hours: str, weekday: int, minute: int, rate: Rate) -> None:
    found = built_in().values[hours]
    assert isinstance(found, Hours)
    assert found.rate_at(weekday, minute) is rate


@pytest.mark.parametrize(
    ("tax_point", "hundredths"),
    [("2023-11-09", 800), ("2025-06-30", 800), ("2026-12-31", 800), ("2027-01-01", 1000)],
)
def test_tax_is_by_the_day_of_the_tax_point(tax_point: str, hundredths: int) -> None:
    assert built_in().vat_on(day(tax_point))[1].percent_hundredths == hundredths


def test_quotas_are_by_the_circular_of_the_time() -> None:
    assert built_in().quotas_on(day("2025-12-01")).header.id == "TT-16-2014-QUOTAS"
    assert built_in().quotas_on(day("2025-12-02")).header.id == "TT-60-2025"


def test_the_hours_to_come_are_not_in_force() -> None:
    assert built_in().hours_on(day("2026-11-01")).header.id == "TT-16-2014"


LEVEL = "groups[0].levels[0]"
ONE_DAY_TWICE = ("[mon, tue, wed, thu, fri, sat, sun], rate: off", "[mon, mon], rate: off")
BOUNDS = ('"04:00", to: "24:00"', '"04:00", to: "04:00"')
AVERAGE = ("vnd_per_kwh", "percent_of_average")

# The sample, what is changed in it, and the line, key and reason that must be told of.
FAULTS = [
    (TIERS, ("above_kwh: 50,", "above_kwh: 60,"), 15, f"{LEVEL}.tiers[1].above_kwh",
     "a hole from 50 to 60 kWh"),
    (TIERS, ("above_kwh: 50,", "above_kwh: 40,"), 15, f"{LEVEL}.tiers[1].above_kwh",
     "an overlap from 40 to 50 kWh"),
    (TIERS, ("above_kwh: 0,", "above_kwh: 1,"), 14, f"{LEVEL}.tiers[0].above_kwh",
     "a hole from 0 to 1 kWh"),
    (TIERS, ("above_kwh: 100,", "above_kwh: 100, up_to_kwh: 200,"), 16,
     f"{LEVEL}.tiers[2].up_to_kwh", "a hole above 200 kWh"),
    (TIERS, ("up_to_kwh: 50,", ""), 15, f"{LEVEL}.tiers[1].above_kwh",
     "the one before has no up_to_kwh"),
    (TIERS, ("up_to_kwh: 100", "up_to_kwh: 50"), 15, f"{LEVEL}.tiers[1].up_to_kwh",
     "50 is not more than"),
    (TIERS, ("- tiers:", "- from_v: 10\n        tiers:"), 13, f"{LEVEL}.from_v",
     "a hole from 0 to 10 V"),
    (TIERS, ("- tiers:", "- below_v: 10\n        tiers:"), 13, f"{LEVEL}.below_v",
     "a hole above 10 V"),
    (TIERS, ("- tiers:", "- flat: 1\n        tiers:"), 13, LEVEL, "one of tiers, flat and rates"),
    (TIERS, ("price: 2000", "price: -1"), 15, f"{LEVEL}.tiers[1].price",
     "a price is more than zero"),
    (TIERS, ("price: 2000", "price: 2000.5"), 15, f"{LEVEL}.tiers[1].price",
     "2000.5 is no whole number of đồng"),
    (TIERS, ("price: 2000", "price: .nan"), 15, f"{LEVEL}.tiers[1].price", "a price is more"),
    (TIERS, ("price: 2000", "price: 200000"), 15, f"{LEVEL}.tiers[1].price", "200000 đồng"),
    (TIERS, ("price: 2000", "prise: 2000"), 15, f"{LEVEL}.tiers[1].prise", "unknown key"),
    (TIERS, (", price: 2000", ""), 15, f"{LEVEL}.tiers[1].price", "this key is missing"),
    (TIERS, ("valid: {from: 2030-01-01}\n", ""), 1, "valid", "what is in force says since when"),
    (TIERS, ("in_force: true", "in_force: false"), 6, "valid", "what is not in force has no"),
    (TIERS, ("01-01}", "01-01, to: 2029-01-01}"), 6, "valid.to", "2029-01-01 is not after"),
    (TIERS, ("certainty: unverified", "certainty: sure"), 4, "source.certainty", "Invalid enum"),
    (TIERS, AVERAGE, 1, "average_vnd_per_kwh", "prices in per cent need the average"),
    (TIERS, ("kind: prices", "kind: prize"), 1, "kind", "Invalid value"),
    (TIERS, ("article: a\n    levels", "levels"), 9, "groups[0].article", "this key is missing"),
    (HOURS, ('from: "04:00"', 'from: "05:00"'), 8, "hours[1].from",
     "mon: a hole from 04:00 to 05:00"),
    (HOURS, ('from: "04:00"', 'from: "03:00"'), 8, "hours[1].from",
     "mon: an overlap from 03:00 to 04:00"),
    (HOURS, ('to: "24:00"', 'to: "23:30"'), 6, "hours", "mon: a hole from 23:30 to 24:00"),
    (HOURS, ("sat, sun], rate: normal", "sat], rate: normal"), 6, "hours",
     "sun: a hole from 04:00 to 24:00"),
    (HOURS, BOUNDS, 8, "hours[1].to", "04:00 is not after 04:00"),
    (HOURS, ('"24:00"', "24:00"), 8, "hours[1].to", "Expected `str`"),
    (HOURS, ONE_DAY_TWICE, 7, "hours[0].days", "a day is there twice"),
    (VAT, ("{from: 2026-01-01", "{from: 2026-02-01"), 8, "rates[1].from",
     "a hole from 2026-01-01 to 2026-02-01"),
    (VAT, ("{from: 2026-01-01", "{from: 2025-12-01"), 8, "rates[1].from",
     "an overlap from 2025-12-01 to 2026-01-01"),
    (VAT, ("to: 2026-01-01, ", ""), 8, "rates[1].from", "an overlap from 2026-01-01 on"),
    (VAT, ("percent: 10", "percent: 101"), 8, "rates[1].percent", "between 0 and 100"),
    (VAT, ("percent: 10", 'percent: "8.125"'), 8, "rates[1].percent", "8.125 has more than two"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "change", "line", "key", "reason"), FAULTS)
def test_a_fault_is_told_with_file_line_and_key(
    text: str, change: tuple[str, str], line: int, key: str, reason: str
) -> None:
    assert change[0] in text
    with pytest.raises(TariffFaults) as caught:
        parse_tariff(text.replace(*change, 1), "f")
    assert str(caught.value).startswith(f"f:{line}: {key}: {reason}")


def test_the_samples_of_these_tests_are_sound() -> None:
    for text in (TIERS, HOURS, VAT):
        assert parse_tariff(text, "f").header.where == "f"


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = TIERS.replace("above_kwh: 50", "above_kwh: 60").replace("price: 3000", "price: 0")
    with pytest.raises(TariffFaults) as caught:
        parse_tariff(text, "f")
    assert [fault.line for fault in caught.value.faults] == [16, 15]


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_a_new_decision_is_one_file_and_ends_the_one_before(tmp_path: Path) -> None:
    book = load_tariffs([write(tmp_path, x=TIERS)])
    assert book.prices_on(day("2029-12-31")).header.id == "QD-1279-2025"
    assert book.prices_on(day("2030-01-01")).header.id == "X"
    assert book.table("QD-1279-2025").header.valid_to == day("2030-01-01")
    assert book.price_changes(day("2029-12-20"), day("2030-01-20")) == (day("2030-01-01"),)


def test_a_sites_file_takes_the_place_of_the_one_with_its_id(tmp_path: Path) -> None:
    own = TIERS.replace("id: X", "id: QD-1279-2025").replace("2030-01-01", "2025-05-10")
    book = load_tariffs([write(tmp_path, x=own) / "x.yaml"])
    tiers = book.prices_on(day("2026-01-01")).groups["household"].price_at(220)
    assert isinstance(tiers, Tiers)
    assert tiers.tiers[0].price_vnd == 1000


@pytest.mark.parametrize(
    ("valid", "reason"),
    [
        ("2025-05-10", "an overlap from 2025-05-10 on"),
        ("2024-01-01, to: 2024-10-12", "an overlap from 2024-10-11 to 2024-10-12"),
        ("2024-01-01, to: 2024-10-10", "a hole from 2024-10-10 to 2024-10-11"),
    ],
)
def test_days_that_none_or_two_tables_claim_are_refused(
    tmp_path: Path, valid: str, reason: str
) -> None:
    with pytest.raises(TariffFaults, match=reason):
        load_tariffs([write(tmp_path, x=TIERS.replace("2030-01-01", valid))])


def test_two_files_with_one_id_and_faults_of_several_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(TariffFaults, match=r"b\.yaml:1: id: X is also in .*a\.yaml"):
        load_tariffs([write(tmp_path, a=TIERS, b=TIERS.replace("2030", "2031"))])
    broken = {name: TIERS.replace("price: 1000", "price: 0") for name in ("a", "b")}
    with pytest.raises(TariffFaults) as caught:
        load_tariffs([write(tmp_path, **broken)])
    assert len(caught.value.faults) == 2


def test_a_second_file_of_tax_rates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TariffFaults, match="all rates of tax are in one file"):
        load_tariffs([write(tmp_path, v=VAT)])


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(InvalidRequest):
            load_tariffs([path])
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        load_tariffs([tmp_path])


def test_days_before_any_tariff_are_told() -> None:
    book = built_in()
    old = day("2010-01-01")
    for ask in (book.prices_on, book.hours_on, book.reactive_on, book.quotas_on, book.vat_on):
        with pytest.raises(NotRatable):
            ask(old)
    with pytest.raises(NotRatable, match="no price table 'NONE'"):
        book.table("NONE")
    assert isinstance(book.table("QD-1279-2025"), PriceTable)
