"""The transformers' part of a loss: the formula, its limits, and what it is not told of."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from collector.balance.settings import Transformer
from collector.balance.transformer import TechnicalNote, technical_part, transformer_loss
from collector.registry.values import HeadSide

START = datetime(2026, 9, 1, tzinfo=UTC)
MONTH = (START, START + timedelta(days=30))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MV = Transformer("T1", LONG_AGO, HeadSide.MV, 250, 340, 2_600)


def test_the_formula() -> None:
    # 340 W x 720 h + 2,600 W x (50 MWh / (0.9 x 250 kVA x 720 h))^2 x (0.3/0.5 + 0.7) x 720 h
    found = technical_part((MV,), "T1", MONTH, 50_000_000)
    assert (found.energy_wh, found.note) == (476_624, TechnicalNote.COMPUTED)


def test_at_full_even_load_it_is_both_losses() -> None:
    even = Transformer("T1", LONG_AGO, HeadSide.MV, 250, 340, 2_600, Fraction(1), Fraction(1))
    assert transformer_loss(even, Fraction(250_000), Fraction(1)) == 340 + 2_600


def test_what_is_not_known_is_said() -> None:
    assert technical_part((MV,), "T2", MONTH, 9).note is TechnicalNote.NO_DATA
    assert technical_part((MV,), "T1", MONTH, None).note is TechnicalNote.NO_HEAD
    lv = Transformer("T1", LONG_AGO, HeadSide.LV)
    found = technical_part((lv,), "T1", MONTH, None)
    assert (found.energy_wh, found.note) == (0, TechnicalNote.HEAD_ON_LV)


def test_a_transformer_that_came_within_the_period_has_its_days_alone() -> None:
    lv = Transformer("T1", LONG_AGO, HeadSide.LV)
    mv = Transformer("T1", START + timedelta(days=15), HeadSide.MV, 250, 340, 2_600)
    half = technical_part((lv, mv), "T1", MONTH, 0)
    assert half.energy_wh == 340 * 360


@given(
    energy=st.integers(0, 10**9),
    more=st.integers(0, 10**9),
    load_factor=st.integers(1, 100),
)
def test_more_load_loses_more_and_never_less_than_at_no_load(
    energy: int, more: int, load_factor: int
) -> None:
    row = Transformer(
        "T1", LONG_AGO, HeadSide.MV, 250, 340, 2_600, load_factor=Fraction(load_factor, 100)
    )
    one = technical_part((row,), "T1", MONTH, energy).energy_wh
    other = technical_part((row,), "T1", MONTH, energy + more).energy_wh
    assert one is not None
    assert other is not None
    assert 340 * 720 <= one <= other
