"""A customer moves out within a period: the last bill ends at the index of that day."""

from pathlib import Path

from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.bills import bill_rows, make_bills, refused_bills
from collector.operations.findings import enter_index
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import import_files, put
from tests.ledger.test_registry_bills import FILES_OF_BILLS
from tests.ledger.test_run_bills import CHANGE, JUN, MAY, NOW, RATED, billed, who

# The other meter's contract ends on 5 June, and nobody follows.
VACANT = {
    **FILES_OF_BILLS,
    **{
        name: "".join(
            line for line in FILES_OF_BILLS[name].splitlines(keepends=True) if "HD-4" not in line
        )
        for name in ("contracts.csv", "terms.csv", "allocations.csv")
    },
}


def test_the_last_bill_ends_with_the_index_that_somebody_read_when_the_customer_left(
    ledger: Ledger, tmp_path: Path
) -> None:
    assert import_files(ledger, tmp_path / "registry", VACANT).errors == ()
    put(ledger, MAY, {"MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
    put(ledger, JUN, {"MA": 1_500_900, "MA1": 110_000, "MB": 220_000}, seq=3)
    read = ManualIndex(
        point="T1/b", meter="MB", register=IMPORT_ACTIVE, at=CHANGE, value=150_000,
        kind=ManualKind.HAND, author="an", reason="moved out", entered_at=NOW,
    )  # fmt: skip
    enter_index(ledger, read, NOW)
    made = make_bills(ledger, billed(ledger), RATED, who("an")).head
    found = {row.bill: row.energy_kwh for row in bill_rows(ledger, made.bill_set)}
    assert found == {"HD-1": 400, "HD-2": 100, "HD-3": 130}
    # What was counted since is nobody's, and is told.
    (told,) = refused_bills(ledger, made.bill_set)
    assert (told.point, told.contract) == ("T1/b", None)
    assert told.reason.startswith("70 kWh of 1-0:1.8.0 at ")
    assert "no contract was in force" in told.reason


def test_who_follows_within_the_period_leaves_nothing_to_tell(
    ledger: Ledger, tmp_path: Path
) -> None:
    assert import_files(ledger, tmp_path / "registry", FILES_OF_BILLS).errors == ()
    put(ledger, MAY, {"MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
    put(ledger, CHANGE, {"MB": 150_000}, seq=2)
    put(ledger, JUN, {"MA": 1_500_900, "MA1": 110_000, "MB": 220_000}, seq=3)
    made = make_bills(ledger, billed(ledger), RATED, who("an")).head
    assert refused_bills(ledger, made.bill_set) == []
