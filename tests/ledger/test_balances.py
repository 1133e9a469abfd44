"""Balances from the ledger: by day, by period, and what makes one incomplete."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.balance.energy import Doubt
from collector.balance.export import balance_csv
from collector.balance.station import DayBalance
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.operations.balances import daily_balances, period_balance
from contract.registers import EXPORT_ACTIVE, IMPORT_ACTIVE
from tests.ledger.building import FILES, STATION, ZONE, import_files, midnight, put

DAY = timedelta(days=1)
FIRST = midnight("2026-10-01")
BOTH = (IMPORT_ACTIVE, EXPORT_ACTIVE)


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    """Three days: 1,000 Wh in, 400 + 500 Wh sold each day."""
    import_files(ledger, tmp_path / "registry", FILES)
    for number in range(4):
        values = {"M0": 1_000 * number, "M1": 400 * number, "M2": 500 * number}
        put(ledger, FIRST + number * DAY, values, seq=number)
    return ledger


def daily(ledger: Ledger, first: str, last: str) -> list[DayBalance]:
    return daily_balances(
        ledger,
        station=STATION,
        first_day=date.fromisoformat(first),
        last_day=date.fromisoformat(last),
        zone=ZONE,
    )


def test_each_day_has_its_loss(station: Ledger) -> None:
    found = daily(station, "2026-10-01", "2026-10-03")
    assert b"".join(balance_csv(found)).decode() == (
        "station,day,head_wh,customers_wh,loss_wh,loss_percent,complete\n"
        "T1,2026-10-01,1000,900,100,10.0000,true\n"
        "T1,2026-10-02,1000,900,100,10.0000,true\n"
        "T1,2026-10-03,1000,900,100,10.0000,true\n"
    )


def test_a_day_that_was_not_read_is_incomplete(station: Ledger) -> None:
    found = daily(station, "2026-10-03", "2026-10-05")
    assert [entry.balance.complete for entry in found] == [True, False, False]
    nothing = found[1].balance
    assert (nothing.head_wh, nothing.loss_wh, nothing.loss_percent) == (None, None, None)
    assert nothing.lacking == ("T1/a", "T1/b", "T1/head")
    assert b"".join(balance_csv(found)).endswith(b"T1,2026-10-05,,0,,,false\n")


def test_a_read_within_the_hour_will_do_and_a_later_one_will_not(
    ledger: Ledger, tmp_path: Path
) -> None:
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, FIRST, {"M0": 0, "M1": 0, "M2": 0})
    put(ledger, FIRST + DAY, {"M0": 1_000, "M1": 400}, seq=2)
    put(ledger, FIRST + DAY + timedelta(minutes=59), {"M2": 500}, seq=3)
    put(ledger, FIRST + 2 * DAY, {"M0": 2_000, "M1": 800}, seq=4)
    put(ledger, FIRST + 2 * DAY + timedelta(minutes=61), {"M2": 1_000}, seq=5)
    first, second = daily(ledger, "2026-10-01", "2026-10-02")
    # 500 Wh in a day and 59 minutes are 480 in the day.
    assert (first.balance.complete, first.balance.loss_wh) == (True, 120)
    assert (second.balance.complete, second.balance.lacking) == (False, ("T1/b",))
    assert (second.balance.customers_wh, second.balance.loss_wh) == (400, 600)
    # Over the whole period reads further off stand in, flagged with what they can make wrong.
    whole = period_balance(ledger, station=STATION, from_at=FIRST, to_at=FIRST + 2 * DAY)
    assert (whole.customers_wh, whole.loss_wh, whole.complete) == (1_779, 221, False)
    assert whole.lacking == ("T1/b",)
    [note] = whole.notes
    assert (note.point, note.doubt, note.off_s) == ("T1/b", Doubt.FAR, 61 * 60)
    assert (note.error_max_wh, whole.error_max_wh) == (479, 479)


def test_a_period_is_the_sum_of_its_days(station: Ledger) -> None:
    whole = period_balance(station, station=STATION, from_at=FIRST, to_at=FIRST + 3 * DAY)
    assert (whole.head_wh, whole.customers_wh, whole.loss_wh) == (3_000, 2_700, 300)
    assert (whole.loss_percent, whole.complete, whole.lacking) == ("10.0000", True, ())


def test_what_is_fed_back_counts_as_received(ledger: Ledger, tmp_path: Path) -> None:
    # Domain B13 j.
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, FIRST, {"M0": (0, 0), "M1": (0, 0), "M2": (0, 0)}, registers=BOTH)
    put(ledger, FIRST + DAY, {"M0": (1_000, 50), "M1": (620, 110), "M2": (400, 0)}, registers=BOTH)
    [entry] = daily(ledger, "2026-10-01", "2026-10-01")
    balance = entry.balance
    assert (balance.head_wh, balance.customers_wh, balance.received_wh) == (950, 910, 1_110)
    assert (balance.loss_wh, balance.loss_percent) == (40, "3.6036")


def test_an_exchange_within_a_day_is_part_of_its_balance(station: Ledger, tmp_path: Path) -> None:
    text = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/a,M1,2026-01-01,2026-10-02T10:00:00+07:00,,600
T1/a,M3,2026-10-02T10:00:00+07:00,,7000,
"""
    assert import_files(station, tmp_path / "registry", {"installations.csv": text}).written
    put(station, FIRST + 2 * DAY, {"M3": 7_200}, seq=9)
    [entry] = daily(station, "2026-10-02", "2026-10-02")
    assert (entry.balance.loss_wh, entry.balance.complete) == (100, True)


def test_what_cannot_be_asked_for(station: Ledger) -> None:
    for first, last in (("2026-10-02", "2026-10-01"), ("2025-01-01", "2026-01-02")):
        with pytest.raises(InvalidRequest):
            daily(station, first, last)
    with pytest.raises(InvalidRequest):
        period_balance(station, station=STATION, from_at=FIRST, to_at=FIRST)
    with pytest.raises(NotFound):
        period_balance(station, station="T9", from_at=FIRST, to_at=FIRST + DAY)
    with pytest.raises(NotFound):
        daily_balances(
            station, station="T9", first_day=date(2026, 1, 1), last_day=date(2026, 1, 1), zone=ZONE
        )
