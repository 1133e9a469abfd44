"""The charge for reactive energy: power factor, per cent and who pays."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.billing.rating.determinants import (
    REACTIVE_REGISTER,
    BillDeterminants,
    PointDeterminants,
    RegisterUse,
    Terms,
)
from collector.billing.rating.faults import BillsRefused
from collector.billing.rating.rate import rate_bills
from collector.billing.rating.reactive import (
    cos_phi_hundredths,
    is_in_scope,
    k_percent_hundredths,
)
from tests.unit.collector.rating.making import JUNE, MAY, bill, built_in, parts, point, shares

RULE = built_in().reactive_on(MAY)


@pytest.mark.parametrize(
    ("cos_phi", "percent"),
    [(100, 0), (90, 0), (89, 112), (85, 588), (80, 1250), (78, 1538), (75, 2000), (60, 5000),
     (59, 5254), (0, 5254)],
)  # fmt: skip
def test_the_per_cents_are_those_of_the_published_table(cos_phi: int, percent: int) -> None:
    assert k_percent_hundredths(RULE, cos_phi) == percent


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_cos_phi_is_the_exact_one_rounded(active: int, reactive: int) -> None:
    with localcontext(prec=60) as context:
        square = Decimal(active) ** 2 + Decimal(reactive) ** 2
        exact = 100 if not square else 100 * Decimal(active) / context.sqrt(square)
        expected = int((exact + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))
    assert cos_phi_hundredths(active, reactive) == expected


def terms(**values: object) -> Terms:
    values.setdefault("shares", shares(production=100))
    return Terms(from_day=MAY, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_terms", "pays"),
    [
        (terms(registered_w=40_000), True),
        (terms(registered_w=39_999), False),
        (terms(), False),
        (terms(cycle_demands_w=(40_000, 41_000, 42_000)), True),
        (terms(cycle_demands_w=(40_000, 41_000)), False),
        (terms(cycle_demands_w=(39_000, 41_000, 42_000)), False),
        (terms(cycle_demands_w=(1, 40_000, 41_000, 42_000)), True),
        (terms(registered_w=90_000, shares=shares(household=100)), False),
        (terms(registered_w=90_000, shares=shares(household=50, business=50)), True),
    ],
)
def test_who_pays(given_terms: Terms, pays: bool) -> None:
    groups = [share.group for share in given_terms.shares]
    assert is_in_scope(RULE, given_terms, groups) is pays


def with_reactive(home: PointDeterminants, kvarh: int) -> BillDeterminants:
    use = RegisterUse(register=REACTIVE_REGISTER, parts=parts(MAY, JUNE, energies=[kvarh]))
    return bill(PointDeterminants(point="P1", registers=(*home.registers, use), terms=home.terms))


def test_only_the_groups_that_pay_are_the_base() -> None:
    shared = shares(household=60, production=40)
    home = point(10_000, shares=shared, voltage_v=400, registered_w=50_000)
    (preview,) = rate_bills([with_reactive(home, 10_000)], built_in())
    (charge,) = preview.reactive
    assert charge.base_vnd == 4_000 * 1_987
    assert (charge.cos_phi_hundredths, charge.k_percent_hundredths) == (71, 2676)
    assert (
        charge.amount_vnd == preview.reactive_vnd == round(Decimal(4_000 * 1_987) * 2676 / 10_000)
    )


def test_a_good_power_factor_is_shown_and_costs_nothing() -> None:
    home = point(1_000, shares=shares(business=100), registered_w=50_000)
    (preview,) = rate_bills([with_reactive(home, 100)], built_in())
    assert [(line.cos_phi_hundredths, line.amount_vnd) for line in preview.reactive] == [(100, 0)]


def test_a_customer_who_pays_needs_the_register() -> None:
    home = point(1_000, shares=shares(business=100), registered_w=50_000)
    with pytest.raises(BillsRefused, match=r"P1 pays for reactive energy and has no 1-0:3\.8\.0"):
        rate_bills([bill(home)], built_in())


def test_each_point_has_its_own_base() -> None:
    """A point that pays nothing for reactive energy adds nothing to what another one pays."""
    small = point(900, shares=shares(business=100))
    (large,) = with_reactive(
        point(1_000, shares=shares(business=100), registered_w=50_000), 1_000
    ).points
    second = PointDeterminants(point="P2", registers=large.registers, terms=large.terms)
    (preview,) = rate_bills([bill(small, second)], built_in())
    assert [charge.base_vnd for charge in preview.reactive] == [1_000 * 3_152]
