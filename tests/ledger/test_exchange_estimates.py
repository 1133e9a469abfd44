"""The index of a meter at its exchange was estimated, and what it showed then comes after all."""

from dataclasses import replace
from pathlib import Path

import pytest

from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from collector.ledger import Ledger
from collector.ledger.findings import ManualKind
from collector.operations.billing_runs import make_version, version_lines
from collector.operations.findings import enter_index
from tests.ledger.building import FILES, INSTALLATIONS, import_files, midnight, put
from tests.ledger.test_billing_runs import (
    BY,
    NOV,
    NOW,
    OCT,
    SEP,
    billed,
    estimate,
    finish,
    opened,
    who,
)

AT = midnight("2026-10-01")


@pytest.fixture
def exchanged(ledger: Ledger, tmp_path: Path) -> Ledger:
    """T1/a has another meter since 1 October; nobody wrote down what the old one showed."""
    rows = INSTALLATIONS.replace("T1/a,M1,2026-01-01,,,", "T1/a,M1,2026-01-01,2026-10-01,,")
    rows += "T1/a,M3,2026-10-01,,0,\n"
    import_files(ledger, tmp_path / "registry", {**FILES, "installations.csv": rows})
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    put(ledger, OCT, {"M0": 10_400_000, "M3": 40_000, "M2": 5_200_000}, seq=2)
    return ledger


def of_old_meter(ledger: Ledger) -> RunLine:
    """What is billed of M1 up to its exchange."""
    run = opened(ledger)
    make_version(ledger, run, BY, who("an"))
    (line,) = (line for line in version_lines(ledger, run) if line.meter == "M1")
    return line


def told(line: RunLine) -> tuple[int | None, LineQuality]:
    return line.billed, line.quality


def test_an_estimate_at_an_exchange_gives_way_to_the_read_that_comes_late(
    exchanged: Ledger,
) -> None:
    enter_index(exchanged, estimate("T1/a", "M1", AT, 1_050_000), NOW)
    put(exchanged, AT, {"M1": 1_060_000}, seq=3)
    assert told(of_old_meter(exchanged)) == (60_000, LineQuality.ACTUAL)


@pytest.mark.parametrize("first", [ManualKind.ESTIMATE, ManualKind.HAND])
def test_it_gives_way_to_what_a_person_read_then(exchanged: Ledger, first: ManualKind) -> None:
    guessed = estimate("T1/a", "M1", AT, 1_050_000)
    shown = replace(guessed, kind=ManualKind.HAND, value=1_070_000, method=None)
    for one in sorted((guessed, shown), key=lambda one: one.kind is not first):
        enter_index(exchanged, one, NOW)
    assert told(of_old_meter(exchanged)) == (70_000, LineQuality.ACTUAL)


@pytest.mark.parametrize(
    ("kind", "original", "late", "quality"),
    [
        # A register that counted does not show zero.
        (ManualKind.ESTIMATE, None, 0, LineQuality.ESTIMATED),
        # It was put in the place of a read that was not believed.
        (ManualKind.ESTIMATE, 9_000_000, 1_060_000, LineQuality.ESTIMATED),
        (ManualKind.EDIT, None, 1_060_000, LineQuality.SUBSTITUTED),
    ],
)
def test_what_was_put_in_stands(
    exchanged: Ledger, kind: ManualKind, original: int | None, late: int, quality: LineQuality
) -> None:
    guessed = estimate("T1/a", "M1", AT, 1_050_000)
    enter_index(exchanged, replace(guessed, kind=kind, original_value=original), NOW)
    put(exchanged, AT, {"M1": late}, seq=3)
    assert told(of_old_meter(exchanged)) == (50_000, quality)


def test_what_was_billed_of_the_estimate_is_corrected_by_the_next_run(exchanged: Ledger) -> None:
    enter_index(exchanged, estimate("T1/a", "M1", AT, 1_050_000), NOW)
    finish(exchanged, opened(exchanged))
    put(exchanged, AT, {"M1": 1_060_000}, seq=3)
    put(exchanged, NOV, {"M0": 10_800_000, "M3": 100_000, "M2": 5_400_999}, seq=4)
    following = opened(exchanged, OCT, NOV)
    make_version(exchanged, following, BY, who("an"))
    lines = version_lines(exchanged, following)
    assert billed(lines)["T1/a", LineKind.CORRECTION.value] == 10_000
