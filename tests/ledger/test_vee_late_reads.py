"""An index that was estimated, and the read of that very instant that comes after all."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.ledger.findings import Decision, FindingFilter, ManualIndex, ManualKind
from collector.operations.daily import meter_days
from collector.operations.deciding import DecidedAt, Deciding
from collector.operations.findings import decide, enter_index
from collector.operations.vee import VeeRun, list_findings, run_vee
from collector.operations.vee_files import load_limits
from collector.vee.reads import Origin
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put

BOOK = load_limits(None)
DAY = timedelta(days=1)
START = midnight("2026-10-01")
PERIOD = VeeRun(date(2026, 10, 1), date(2026, 10, 4), ZONE, BOOK)


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    """M1 lacks the index of 3 October; the others have all."""
    import_files(ledger, tmp_path / "registry", FILES)
    for number in range(5):
        values = {"M0": 9_000 * number, "M1": 1_000 * number, "M2": 2_000 * number}
        if number == 2:
            del values["M1"]
        put(ledger, START + number * DAY, values, seq=number + 1)
    run_vee(ledger, PERIOD, actor="An", now=NOW)
    return ledger


def stands(ledger: Ledger) -> tuple[int, Origin]:
    """What stands for M1 on 3 October."""
    with ledger.read() as uow:
        registry = uow.registry.load()
        rows = [row for row in registry.installations if row.meter == "M1"]
        (found,) = meter_days(uow, registry, rows, (PERIOD.first_day, PERIOD.last_day, ZONE), BOOK)
    index = found.indices[IMPORT_ACTIVE][2]
    assert index is not None
    return index.value, index.origin


def decided(ledger: Ledger, decision: Decision, value: int | None = None) -> None:
    (finding,) = list_findings(ledger, FindingFilter(meter="M1"))
    deciding = Deciding(decision, "An", "nobody was there", value)
    place = DecidedAt(BOOK, ZONE, NOW)
    report = decide(ledger, FindingFilter(ids=[finding.id]), deciding, place)
    assert report.decided == [finding.id]


def test_an_estimate_gives_way_to_the_read_that_comes_late(station: Ledger) -> None:
    decided(station, Decision.ESTIMATE)
    assert stands(station) == (1_999, Origin.ESTIMATE)
    put(station, START + 2 * DAY, {"M1": 2_345}, seq=9)
    assert stands(station) == (2_345, Origin.SLOT)


def test_an_estimate_does_not_give_way_to_a_zero(station: Ledger) -> None:
    decided(station, Decision.ESTIMATE)
    put(station, START + 2 * DAY, {"M1": 0}, seq=9)
    assert stands(station) == (1_999, Origin.ESTIMATE)


def test_an_estimate_gives_way_to_what_a_person_read_at_that_instant(station: Ledger) -> None:
    decided(station, Decision.ESTIMATE)
    at = START + 2 * DAY
    shown = ManualIndex(
        kind=ManualKind.HAND, point="T1/a", meter="M1", register=IMPORT_ACTIVE, at=at,
        value=2_222, author="Bình", entered_at=NOW, reason="from a photo",
    )  # fmt: skip
    enter_index(station, shown, NOW)
    assert stands(station) == (2_222, Origin.HAND)


def test_what_a_person_put_in_stands(station: Ledger) -> None:
    decided(station, Decision.EDIT, 2_100)
    put(station, START + 2 * DAY, {"M1": 2_345}, seq=9)
    assert stands(station) == (2_100, Origin.EDIT)
