"""What was counted while no contract was in force is told, and not silently given away."""

from pathlib import Path

import pytest

from collector.ledger import Ledger
from collector.operations.bills import make_bills, refused_bills
from tests.ledger.building import import_files, midnight, put
from tests.ledger.test_registry_bills import FILES_OF_BILLS
from tests.ledger.test_run_bills import CHANGE, JUN, MAY, RATED, amounts, billed, who


@pytest.mark.parametrize(("at_begin", "told"), [(190_000, "40 kWh"), (150_900, None)])
def test_a_gap_between_two_customers(
    ledger: Ledger, tmp_path: Path, at_begin: int, told: str | None
) -> None:
    files = {
        name: text.replace(
            "HD-4,T1/b,PA25SL0000001,2026-06-05", "HD-4,T1/b,PA25SL0000001,2026-06-10"
        ).replace("HD-4,2026-06-05", "HD-4,2026-06-10")
        for name, text in FILES_OF_BILLS.items()
    }
    assert import_files(ledger, tmp_path / "registry", files).errors == ()
    put(ledger, MAY, {"MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
    put(ledger, CHANGE, {"MB": 150_000}, seq=2)
    put(ledger, midnight("2026-06-10"), {"MB": at_begin}, seq=3)
    put(ledger, JUN, {"MA": 1_500_900, "MA1": 110_000, "MB": 220_000}, seq=4)
    head = make_bills(ledger, billed(ledger), RATED, who("an")).head
    found = amounts(ledger, head.bill_set)
    assert (found["HD-3"][0], found["HD-4"][0]) == (130, 220 - at_begin // 1000)
    said = [one.reason for one in refused_bills(ledger, head.bill_set)]
    assert [one.split(" of ")[0] for one in said] == ([] if told is None else [told])
