"""The losses file: what it gives, what is wrong with one, and where."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from collector.balance.settings import LossesError, read_settings, transformer_cuts
from collector.registry.values import HeadSide

ZONE = "Asia/Ho_Chi_Minh"
MV = """
transformers:
  - {station: T1, from: 2020-01-01, head_side: lv}
  - {station: T1, from: 2026-02-01, head_side: mv, rated_kva: 250, no_load_loss_w: 340,
     load_loss_w: 2600, load_factor_percent: 40}
"""


def test_what_is_said_and_what_is_not() -> None:
    text = 'thresholds: {warn_percent: "7.5"}\nstations: {T1: {alarm_percent: 20}}\n'
    found = read_settings(text, "x.yaml", ZONE)
    assert found.thresholds_of("T9").warn == Fraction(15, 2)
    assert found.thresholds_of("T9").alarm == 12
    assert (found.thresholds_of("T1").warn, found.thresholds_of("T1").alarm) == (
        Fraction(15, 2),
        Fraction(20),
    )


def test_a_period_is_cut_where_a_transformer_was_changed() -> None:
    rows = read_settings(MV, "x.yaml", ZONE).transformers
    start = datetime(2026, 1, 1, tzinfo=UTC)
    changed = datetime(2026, 1, 31, 17, tzinfo=UTC)
    end = start + timedelta(days=59)
    cuts = transformer_cuts(rows, "T1", start, end)
    assert [(row.head_side if row else None, a, b) for row, a, b in cuts] == [
        (HeadSide.LV, start, changed),
        (HeadSide.MV, changed, end),
    ]
    assert transformer_cuts(rows, "T2", start, end) == [(None, start, end)]


@pytest.mark.parametrize(
    ("text", "where", "reason"),
    [
        ("thresholds: {warn_percent: 8.5}", "x.yaml:1: thresholds.warn_percent", "float"),
        ("thresholds: {warn_percent: '1o'}", "x.yaml:1: thresholds.warn_percent", "no per cent"),
        ("stations: {T1: {low_percent: 101}}", "x.yaml:1: stations.T1.low_percent", "no per cent"),
        ("thresholds: {warm_percent: 8}", "x.yaml:1: thresholds.warm_percent", "unknown key"),
        (
            "transformers:\n- {station: T1, from: 2020-01-01, head_side: mv}",
            "x.yaml:2: transformers[0]",
            "needs rated_kva",
        ),
        (
            (
                "transformers:\n- {station: T1, from: 2020-01-01, head_side: lv}\n"
                "- {station: T1, from: 2020-01-01, head_side: lv}"
            ),
            "x.yaml:3: transformers[1]",
            "two rows",
        ),
        (
            "boundaries:\n- {unit: U, points: [a]}\n- {unit: U, points: [b]}",
            "x.yaml:3: boundaries[1].unit",
            "a row already",
        ),
        ("masters:\n- {point: W, stations: []}", "x.yaml:2: masters[0].stations", "length"),
        ("thresholds: [", "x.yaml:1", "not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, where: str, reason: str) -> None:
    with pytest.raises(LossesError) as caught:
        read_settings(text, "x.yaml", ZONE)
    assert str(caught.value).startswith(where)
    assert reason in str(caught.value)
