"""Bills that were worked out elsewhere, to the đồng, and their previews to the byte."""

import json
from pathlib import Path

import msgspec
import pytest

from collector.billing.exports.previews import previews_json
from collector.billing.rating.input_file import parse_json
from collector.billing.rating.preview import BillPreview, preview_hash
from collector.billing.rating.rate import rate_bills
from tests.unit.collector.rating.making import built_in

FOLDER = Path(__file__).parents[3] / "golden" / "bills"

# Before tax, tax, total. Computed by others, or by hand from the published prices.
BILLS = {
    "b5-household-0": (0, 0, 0),
    "b5-household-50": (99_200, 7_936, 107_136),
    "b5-household-100": (201_700, 16_136, 217_836),
    "b5-household-120": (249_300, 19_944, 269_244),
    "b5-household-200": (439_700, 35_176, 474_876),
    "b5-household-250": (589_600, 47_168, 636_768),
    "b5-household-400": (1_074_500, 85_960, 1_160_460),
    "b5-household-750": (2_285_500, 182_840, 2_468_340),
    "b5-two-households-250": (522_400, 41_792, 564_192),
    "b5-three-renters-120": (258_012, 20_641, 278_653),
    "b5-undeclared-renters-120": (285_600, 22_848, 308_448),
    "b5-rural-wholesale-30000": (50_730_000, 4_058_400, 54_788_400),
    "b13a-price-change-no-read": (716_846, 57_348, 774_194),
    "b13a-price-change-with-read": (726_646, 58_132, 784_778),
    "b13b-new-contract": (125_376, 10_030, 135_406),
    "b13c-billing-day-changed": (682_554, 54_604, 737_158),
    "b13d-production-rates": (10_433_000, 834_640, 11_267_640),
    "b13d-production-rates-reactive": (10_433_000 + 1_604_595, 963_008, 13_000_603),
    "b13e-household-and-business": (3_058_100, 244_648, 3_302_748),
    "b13f-sub-meter": (1_194_600, 95_568, 1_290_168),
    "b13g-rural-wholesale-other": (50_779_500, 4_062_360, 54_841_860),
    "b13l-tax-of-2027": (589_600, 58_960, 648_560),
}


def test_every_golden_bill_is_known() -> None:
    names = {path.stem for path in FOLDER.glob("*.json") if ".preview" not in path.name}
    assert names == set(BILLS)


@pytest.mark.parametrize("name", BILLS)
def test_a_bill_comes_to_what_it_must(name: str) -> None:
    path = FOLDER / f"{name}.json"
    (preview,) = rate_bills(parse_json(path.read_bytes(), path.name), built_in())
    assert (preview.amount_vnd, preview.vat_vnd, preview.total_vnd) == BILLS[name]


@pytest.mark.parametrize("name", BILLS)
def test_a_preview_is_the_same_to_the_byte(name: str) -> None:
    """A tariff file that changes, even in a word, changes the hash: then look, and renew them."""
    path = FOLDER / f"{name}.json"
    previews = rate_bills(parse_json(path.read_bytes(), path.name), built_in())
    written = b"".join(previews_json(previews))
    assert written == path.with_suffix(".preview.json").read_bytes()


@pytest.mark.parametrize("name", BILLS)
def test_a_preview_that_was_kept_can_be_read_again(name: str) -> None:
    """A ledger that keeps the canonical form gets the same value and the same hash back."""
    (shown,) = json.loads((FOLDER / f"{name}.preview.json").read_bytes())
    again = msgspec.convert(shown["preview"], BillPreview)
    assert preview_hash(again) == shown["sha256"]


def test_the_bands_of_a_price_change_are_those_of_the_guide() -> None:
    path = FOLDER / "b13a-price-change-no-read.json"
    (preview,) = rate_bills(parse_json(path.read_bytes(), path.name), built_in())
    assert [(line.tariff, line.energy_kwh) for line in preview.lines] == [
        *(("QD-2699-2024", kwh) for kwh in (33, 33, 67, 67)),
        *(("QD-1279-2025", kwh) for kwh in (17, 17, 33, 33)),
    ]


@pytest.mark.parametrize("name", BILLS)
def test_a_preview_explains_itself(name: str) -> None:
    """Sums are of what is shown; lines lead to determinants, prices to a file's hash."""
    shown = json.loads((FOLDER / f"{name}.preview.json").read_bytes())[0]["preview"]
    determinants = {row["id"]: row for row in shown["determinants"]}
    tariffs = {row["id"]: row["sha256"] for row in shown["tariffs"]}
    for line in shown["lines"]:
        assert line["energy_kwh"] * line["price_vnd"] == line["amount_vnd"]
        assert set(line["determinants"]) <= set(determinants)
        assert len(tariffs[line["tariff"]]) == 64
    lines = [*shown["lines"], *shown["reactive"]]
    assert sum(line["amount_vnd"] for line in lines) == shown["amount_vnd"]
    assert shown["amount_vnd"] + shown["vat_vnd"] == shown["total_vnd"]
    active = [row for row in determinants.values() if row["register"].startswith("1-0:1.8.")]
    assert sum(row["energy"] for row in active) == shown["energy_kwh"]
    for row in determinants.values():
        assert row["measured"] - sum(m["energy"] for m in row["minus"]) == row["energy"]
