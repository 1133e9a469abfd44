"""A point's first bill: what it is compared with, and who answers where there is nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.billing.gates import Cause, Reference, RunException
from collector.cli import app
from collector.ledger import Ledger
from collector.operations.billing_runs import (
    accept_exceptions,
    approve_run,
    export_run,
    make_version,
    run_exceptions,
)
from tests.ledger.building import FILES, INSTALLATIONS, import_files, put
from tests.ledger.test_billing_runs import (
    BY,
    NOV,
    OCT,
    SEP,
    collector_file,
    opened,
    refused,
    who,
)

# M0 was installed at 1,000 kWh; of M1 nobody wrote down the index, that of M2 cannot be right; M3
# came in the period.
ROWS = (
    INSTALLATIONS.replace("T1/head,M0,2026-01-01,,,", "T1/head,M0,2026-01-01,,1000000,").replace(
        "T1/b,M2,2026-01-01,,,", "T1/b,M2,2026-01-01,,5300000,"
    )
) + "T1/c,M3,2026-10-01,,0,\n"


@pytest.fixture
def first(ledger: Ledger, tmp_path: Path) -> tuple[Ledger, str, str]:
    """The first run of T1: the ledger, the run, and the hash of its version."""
    points = FILES["points.csv"] + "T1/c,T1,household,c\n"
    files = {**FILES, "installations.csv": ROWS, "points.csv": points}
    assert import_files(ledger, tmp_path / "registry", files).errors == ()
    # 9,000 kWh in 262 days from the installation on, then 6,000 in 30.
    put(ledger, SEP, {"M0": 10_000_000, "M1": 1_000_900, "M2": 5_000_100})
    values = {"M0": 16_000_000, "M1": 1_100_500, "M2": 5_200_000, "M3": 20_000}
    put(ledger, OCT, values, seq=2)
    run = opened(ledger)
    sha256 = make_version(ledger, run, BY, who("an")).version.sha256
    # Validation would find what is beside the matter here.
    accept_exceptions(ledger, run, Cause.NOT_VALIDATED, who("an"))
    return ledger, run, sha256


def found_in(ledger: Ledger, run: str) -> list[RunException]:
    """What there is beside that nobody validated."""
    return [one for one in run_exceptions(ledger, run, BY) if one.cause is not Cause.NOT_VALIDATED]


def test_a_first_bill_is_compared_with_what_its_meter_counted_since_it_was_installed(
    first: tuple[Ledger, str, str],
) -> None:
    ledger, run, sha256 = first
    found = {
        one.point: (one.cause, one.reference, one.before, one.detail)
        for one in found_in(ledger, run)
        if one.blocks
    }
    assert found == {
        "T1/head": (Cause.EXTREME, Reference.INSTALLATION, 9_000_000, ""),
        "T1/a": (Cause.FIRST, None, None, ""),
        "T1/b": (Cause.FIRST, None, None, "300000 Wh below installation"),
        "T1/c": (Cause.FIRST, None, None, ""),
    }
    accept_exceptions(ledger, run, Cause.EXTREME, who("an"))
    with refused("exceptions_open"):
        approve_run(ledger, run, sha256, BY, who("bình"))
    accept_exceptions(ledger, run, Cause.FIRST, who("an", "all displays were looked at"))
    approve_run(ledger, run, sha256, BY, who("bình"))
    export_run(ledger, run, BY, who("an"))


def test_after_its_first_bill_a_point_is_compared_with_that(
    first: tuple[Ledger, str, str],
) -> None:
    ledger, run, sha256 = first
    for cause in (Cause.EXTREME, Cause.FIRST):
        accept_exceptions(ledger, run, cause, who("an"))
    approve_run(ledger, run, sha256, BY, who("bình"))
    export_run(ledger, run, BY, who("an"))
    values = {"M0": 22_000_000, "M1": 1_200_100, "M2": 5_400_000, "M3": 50_000}
    put(ledger, NOV, values, seq=3)
    following = opened(ledger, OCT, NOV)
    make_version(ledger, following, BY, who("an"))
    assert found_in(ledger, following) == []


def test_the_command_says_what_a_first_bill_was_compared_with(
    first: tuple[Ledger, str, str], ledger_url: str, tmp_path: Path
) -> None:
    _, run, _ = first
    config = str(collector_file(ledger_url, tmp_path))

    def songlo(*arguments: str) -> str:
        return CliRunner().invoke(app, ["billing", *arguments, "--config", config]).output

    assert "since its installation 9000 kWh" in songlo("exceptions", run, "--cause", "extreme")
    assert "T1/b 1-0:1.8.0" in songlo("exceptions", run, "--cause", "first")
    assert "first accepted" in songlo("accept", run, "first", "--reason", "looked at")
