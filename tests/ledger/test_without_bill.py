"""A run over days that are no period of its points' books has no bills: somebody answers for it."""

from datetime import datetime
from pathlib import Path

import pytest

from collector.billing.gates import Cause
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.operations.billing_runs import (
    Scope,
    accept_exceptions,
    approve_run,
    export_run,
    make_version,
    open_run,
    run_exceptions,
)
from collector.operations.bills import make_bills
from collector.operations.run_validation import validate_run
from tests.ledger.building import ZONE, import_files, put
from tests.ledger.test_registry_bills import FILES_OF_BILLS
from tests.ledger.test_run_bills import BY, CHANGE, JUN, MAY, RATED, read_until_june, who

BOOK_A = Scope(book="A")
IN_BOOK_A = ["T1/a", "T1/a1", "T1/b"]


@pytest.fixture
def station(ledger: Ledger, tmp_path: Path) -> Ledger:
    import_files(ledger, tmp_path / "registry", FILES_OF_BILLS)
    read_until_june(ledger)
    put(ledger, CHANGE, {"MA": 1_200_000, "MA1": 50_000}, seq=4)
    return ledger


def drafted(ledger: Ledger, from_at: datetime, to_at: datetime, scope: Scope) -> tuple[str, str]:
    run = open_run(
        ledger, from_at=from_at, to_at=to_at, zone=ZONE, by_whom=who("an"), scope=scope
    ).run
    sha256 = make_version(ledger, run, BY, who("an")).version.sha256
    validate_run(ledger, run, BY, who("an"))
    accept_exceptions(ledger, run, Cause.FIRST, who("an"))
    return run, sha256


def told(ledger: Ledger, run: str) -> list[tuple[str, str]]:
    found = [one for one in run_exceptions(ledger, run, BY) if one.cause is Cause.NO_BILL]
    assert all(one.blocks for one in found)
    return [(one.point, one.detail) for one in found]


def test_days_that_are_no_period_of_the_book_want_a_persons_word(station: Ledger) -> None:
    run, sha256 = drafted(station, MAY, CHANGE, BOOK_A)
    assert told(station, run) == [(point, "book A") for point in IN_BOOK_A]
    with pytest.raises(Conflict, match="no_bill 3") as refused:
        approve_run(station, run, sha256, BY, who("bình"))
    assert refused.value.code == "exceptions_open"
    accept_exceptions(station, run, Cause.NO_BILL, who("an", "billed elsewhere"))
    approve_run(station, run, sha256, BY, who("bình"))
    export_run(station, run, BY, who("an"))
    # And so it is: what was told is what the bills say.
    made = make_bills(station, run, RATED, who("an")).head
    assert (made.bill_count, made.refused_count) == (0, 3)


def test_the_books_own_period_has_bills_and_is_not_asked_about(station: Ledger) -> None:
    run, sha256 = drafted(station, MAY, JUN, BOOK_A)
    assert told(station, run) == []
    approve_run(station, run, sha256, BY, who("bình"))
    export_run(station, run, BY, who("an"))
    made = make_bills(station, run, RATED, who("an")).head
    assert (made.bill_count, made.refused_count) == (4, 0)


@pytest.mark.parametrize(("to_at", "asked"), [(JUN, []), (CHANGE, IN_BOOK_A)])
def test_a_run_of_everybody_asks_about_points_of_books_alone(
    station: Ledger, to_at: datetime, asked: list[str]
) -> None:
    run, _ = drafted(station, MAY, to_at, Scope())
    assert told(station, run) == [(point, "book A") for point in asked]
