"""The judge, before false histories: it must convict, and by the invariant that was broken."""

from datetime import timedelta
from fractions import Fraction

import pytest

from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from contract.messages import Clock
from tests.simulation.billing import FIRST_AT, Billed
from tests.simulation.false_histories import FALSE, SEED
from tests.simulation.judge_billing import Reads, telescopes
from tests.simulation.many import tried
from tests.simulation.meters import ENERGY, Answer, Truth

MIDDLE_AT = FIRST_AT + timedelta(days=5)
END_AT = FIRST_AT + timedelta(days=10)
METER = "g1-m1"


@pytest.fixture(scope="module")
def verdicts() -> dict[str | None, list[str]]:
    """What the judge says of one run as it was, and with each thing falsified."""
    tries: list[tuple[str | None, int]] = [(name, SEED) for name in (None, *FALSE)]
    return {name: outcome.violations for name, outcome in tried(tries)}


def test_the_run_that_is_falsified_is_sound(verdicts: dict[str | None, list[str]]) -> None:
    assert verdicts[None] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(FALSE))
def test_a_false_history_is_convicted(name: str, verdicts: dict[str | None, list[str]]) -> None:
    invariant, _ = FALSE[name]
    assert any(violation.startswith(f"{invariant} ") for violation in verdicts[name])


def line(first: bool, index_from: int, index_to: int, billed: int | None = None) -> RunLine:
    """Of the first period or the second."""
    return RunLine(
        point=f"p-{METER}",
        meter=METER,
        register=ENERGY,
        kind=LineKind.CONSUMPTION,
        from_at=FIRST_AT if first else MIDDLE_AT,
        to_at=MIDDLE_AT if first else END_AT,
        index_from=index_from,
        index_to=index_to,
        read_from_at=None,
        read_to_at=None,
        multiplier=Fraction(1),
        billed=index_to - index_from if billed is None else billed,
        quality=LineQuality.ACTUAL,
    )


def said_of(*lines: RunLine, estimates: set[int] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """The meter showed 1,000,900 Wh, 1,100,400 Wh and 1,250,300 Wh."""
    truth = Truth()
    shown = (1_000_900, 1_100_400, 1_250_300)
    truth.answers[METER] = [Answer(0, 0, Clock.SYNCED, wh, "boot") for wh in shown]
    reads: Reads = {FIRST_AT: shown[0], MIDDLE_AT: shown[1], END_AT: shown[2]}
    billed = Billed(runs=[[one] for one in lines], estimates={(METER, ENERGY): estimates})
    return list(telescopes(billed, truth, {METER: reads}, END_AT))


def test_what_telescopes_is_sound() -> None:
    first, second = line(True, 1_000_000, 1_100_000), line(False, 1_100_000, 1_250_000)
    assert said_of(first, second) == []
    high = line(True, 1_000_000, 1_300_000)
    back = line(False, 1_300_000, 1_250_000)
    assert said_of(high, back, estimates={1_300_900}) == []


@pytest.mark.parametrize(
    "lines",
    [
        (line(True, 1_000_000, 1_100_000),),
        (line(True, 1_000_000, 1_100_000), line(False, 1_000_000, 1_250_000)),
        (line(True, 1_000_000, 1_100_000), line(False, 1_100_000, 1_250_000, 151_000)),
        (line(True, 1_000_000, 1_101_000), line(False, 1_101_000, 1_250_000)),
        (line(True, 1_001_000, 1_100_000), line(False, 1_100_000, 1_250_000)),
        (line(False, 1_000_000, 1_250_000),),
    ],
    ids=["a period is lost", "twice", "one kWh more", "unseen", "rounded up", "late"],
)
def test_what_does_not_telescope_is_convicted(lines: tuple[RunLine, ...]) -> None:
    assert said_of(*lines)
