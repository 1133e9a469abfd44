"""Rates, shares, sub-meters and a change of price at once, against exact rationals.

Prices rise by 100 đồng on a day within the period; the second implementation shares no code with
the first.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import floor

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.billing.rating.determinants import (
    RATE_REGISTERS,
    PointDeterminants,
    RegisterUse,
    Share,
    Terms,
)
from collector.billing.rating.rate import rate_bills
from collector.billing.rating.tariff import PriceTable
from collector.billing.rating.tariff_book import TariffBook, make_book
from collector.billing.rating.tariff_file import parse_tariff
from collector.operations.tariffs import load_tariffs
from tests.unit.collector.rating.making import JUNE, MAY, bill, day, parts, shares

CHANGE = day("2026-06-03")
RISE = 100
DAYS = (JUNE - MAY).days
TIERS = ((50, 1984), (50, 2050), (100, 2380), (100, 2998), (100, 3350), (None, 3460))
PRODUCTION = (1987, 3640, 1300)  # normal, peak, off-peak below 6 kV
BUSINESS = 3152

DEARER = """\
kind: prices
id: DEARER
name: {{vi: Đắt hơn, en: Dearer}}
source: {{document: d, article: a, certainty: unverified}}
in_force: true
valid: {{from: {change}}}
prices_in: vnd_per_kwh
groups:
  - group: household
    name: {{vi: Sinh hoạt, en: Household}}
    article: a
    levels: [{{tiers: [{tiers}]}}]
  - group: production
    name: {{vi: Sản xuất, en: Production}}
    article: a
    levels: [{{rates: {{normal: {normal}, peak: {peak}, off_peak: {off_peak}}}}}]
  - group: business
    name: {{vi: Kinh doanh, en: Business}}
    article: a
    levels: [{{flat: {business}}}]
"""


@cache
def book() -> TariffBook:
    rows, above = [], 0
    for width, price in TIERS:
        end = "" if width is None else f", up_to_kwh: {above + width}"
        rows.append(f"{{above_kwh: {above}, price: {price + RISE}{end}}}")
        above += width or 0
    normal, peak, off_peak = (price + RISE for price in PRODUCTION)
    text = DEARER.format(
        change=CHANGE,
        tiers=", ".join(rows),
        normal=normal,
        peak=peak,
        off_peak=off_peak,
        business=BUSINESS + RISE,
    )
    dearer = parse_tariff(text, "dearer")
    assert isinstance(dearer, PriceTable)
    return make_book([*load_tariffs().values.values(), dearer])


@dataclass(frozen=True)
class Case:
    main: tuple[tuple[int, int], ...]  # per rate: before and after the change
    behind: tuple[tuple[int, int], ...]
    main_read: bool
    behind_read: bool
    home_hundredths: int
    households: int


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def tiers_vnd(kwh: int, days: int, households: int, rise: int) -> int:
    amount, left = 0, kwh
    for width, price in TIERS:
        room = left if width is None else half_up(Fraction(width * days * households, DAYS))
        taken = min(left, room)
        amount += taken * (price + rise)
        left -= taken
    return amount


def piece_vnd(energies: list[int], days: int, case: Case, rise: int) -> int:
    home = [half_up(Fraction(kwh * case.home_hundredths, 10_000)) for kwh in energies]
    rest = [kwh - part for kwh, part in zip(energies, home, strict=True)]
    amount = tiers_vnd(sum(home), days, case.households, rise)
    return amount + sum(kwh * (price + rise) for kwh, price in zip(rest, PRODUCTION, strict=True))


def expected_vnd(case: Case) -> int:
    before, after = (CHANGE - MAY).days, (JUNE - CHANGE).days
    if case.main_read and case.behind_read:
        first = [m[0] - b[0] for m, b in zip(case.main, case.behind, strict=True)]
        second = [m[1] - b[1] for m, b in zip(case.main, case.behind, strict=True)]
    else:
        net = [sum(m) - sum(b) for m, b in zip(case.main, case.behind, strict=True)]
        first = [half_up(Fraction(kwh * before, DAYS)) for kwh in net]
        second = [kwh - part for kwh, part in zip(net, first, strict=True)]
    main = piece_vnd(first, before, case, 0) + piece_vnd(second, after, case, RISE)
    # The sub-meter's own bill: business, by its normal price in every rate's hours.
    if case.behind_read:
        own = [sum(b[n] for b in case.behind) for n in (0, 1)]
        return main + own[0] * BUSINESS + own[1] * (BUSINESS + RISE)
    total = sum(sum(b) for b in case.behind)
    low = half_up(Fraction(total * before, DAYS))
    return main + low * BUSINESS + (total - low) * (BUSINESS + RISE)


def measured(energies: tuple[tuple[int, int], ...], *, read: bool) -> tuple[RegisterUse, ...]:
    cuts: tuple[date, ...] = (MAY, CHANGE, JUNE) if read else (MAY, JUNE)
    return tuple(
        RegisterUse(register=register, parts=parts(*cuts, energies=pair if read else [sum(pair)]))
        for register, pair in zip(RATE_REGISTERS, energies, strict=True)
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    amounts = st.integers(0, 2_000)
    behind = tuple((draw(amounts), draw(amounts)) for _ in RATE_REGISTERS)
    main = tuple((a + draw(amounts), b + draw(amounts)) for a, b in behind)
    return Case(
        main,
        behind,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(1, 9_999)),
        draw(st.integers(1, 5)),
    )


@settings(max_examples=300)
@given(cases())
def test_everything_at_once_is_what_exact_rationals_say(case: Case) -> None:
    mixed = (
        Share(group="household", percent=Decimal(case.home_hundredths).scaleb(-2)),
        Share(group="production", percent=Decimal(10_000 - case.home_hundredths).scaleb(-2)),
    )
    terms = Terms(from_day=MAY, shares=mixed, rates="three", households=case.households)
    main = PointDeterminants(
        point="P1", registers=measured(case.main, read=case.main_read), terms=(terms,)
    )
    total = parts(
        *((MAY, CHANGE, JUNE) if case.behind_read else (MAY, JUNE)),
        energies=[sum(b[n] for b in case.behind) for n in (0, 1)]
        if case.behind_read
        else [sum(sum(b) for b in case.behind)],
    )
    sub = PointDeterminants(
        point="P2",
        parent="P1",
        registers=(
            RegisterUse(register="1-0:1.8.0", parts=total),
            *measured(case.behind, read=case.behind_read),
        ),
        terms=(Terms(from_day=MAY, shares=shares(business=100)),),
    )
    (preview,) = rate_bills([bill(main, sub)], book())
    assert preview.amount_vnd == expected_vnd(case)
    assert preview.energy_kwh == sum(map(sum, case.main))


def test_the_change_lies_within_the_period() -> None:
    assert book().price_changes(MAY, JUNE) == (CHANGE,)
