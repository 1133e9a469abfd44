"""What comes up between an approval and the hand-over: the run is looked at again before it closes.

And what people do while a version is worked out.
"""

from collections.abc import Callable
from contextlib import _GeneratorContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector import cli_common
from collector.billing.run_values import LineKind
from collector.cli import app
from collector.ledger import Ledger, UnitOfWork
from collector.ledger.findings import Decision, FindingFilter, ManualKind
from collector.operations.billing_runs import (
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    make_version,
    run_exceptions,
    version_lines,
    view_run,
)
from collector.operations.deciding import DecidedAt, Deciding
from collector.operations.exports import By
from collector.operations.findings import decide, enter_index
from collector.operations.run_decisions import mark_point
from collector.operations.run_exports import export_run_cmis
from collector.vee.values import Finding, Severity
from tests.ledger.building import FILES, ZONE, import_files, put
from tests.ledger.test_billing_runs import (
    BY,
    NOW,
    OCT,
    SEP,
    collector_file,
    estimate,
    opened,
    refused,
    who,
)


@pytest.fixture
def approved(ledger: Ledger, tmp_path: Path) -> tuple[Ledger, str, str]:
    """A run of T1 for which bình has approved all that there is to bill: run and hash."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, SEP, {"M0": 10_000_900, "M1": 1_000_900, "M2": 5_000_100})
    put(ledger, OCT, {"M0": 10_400_000, "M1": 1_100_500, "M2": 5_200_000}, seq=2)
    run = opened(ledger)
    sha256 = make_version(ledger, run, BY, who("an")).version.sha256
    for cause in {one.cause for one in run_exceptions(ledger, run, BY) if one.blocks}:
        accept_exceptions(ledger, run, cause, who("an"))
    approve_run(ledger, run, sha256, BY, who("bình"))
    return ledger, run, sha256


def find(ledger: Ledger) -> int:
    """A finding that blocks comes up at T1/a. Its number."""
    finding = Finding(
        rule="V05", severity=Severity.BLOCK, point="T1/a", meter="M1",
        register="1-0:1.8.0", from_at=SEP, to_at=OCT, key="", facts={},
    )  # fmt: skip
    with ledger.begin() as uow:
        uow.findings.add([finding], NOW)
        (stored,) = uow.findings.find(FindingFilter(), 10)
    return stored.id


def accept(ledger: Ledger, number: int, author: str) -> None:
    place = DecidedAt(BY.book, ZONE, NOW)
    deciding = Deciding(Decision.ACCEPT, author, "a new oven")
    assert decide(ledger, FindingFilter(ids=[number]), deciding, place).decided == [number]


def test_a_finding_that_comes_up_after_the_approval_holds_the_export(
    approved: tuple[Ledger, str, str],
) -> None:
    ledger, run, sha256 = approved
    number = find(ledger)
    with refused("exceptions_open"):
        export_run(ledger, run, BY, who("an"))
    # Decided it is, and who approved has not seen that.
    accept(ledger, number, "cường")
    with refused("approval_fell"):
        export_run(ledger, run, BY, who("an"))
    approve_run(ledger, run, sha256, BY, who("bình"))
    export_run(ledger, run, BY, who("an"))


def test_who_decides_a_finding_after_the_approval_is_no_approver_any_more(
    approved: tuple[Ledger, str, str],
) -> None:
    ledger, run, sha256 = approved
    accept(ledger, find(ledger), "bình")
    with refused("approval_fell"):
        export_run(ledger, run, BY, who("an"))
    with refused("own_work"):
        approve_run(ledger, run, sha256, BY, who("bình"))
    approve_run(ledger, run, sha256, BY, who("dung"))
    export_run(ledger, run, BY, who("an"))


@pytest.mark.parametrize("author", ["bình", "cường"])
def test_a_mark_that_is_set_after_the_approval_is_approved_too(
    approved: tuple[Ledger, str, str], author: str
) -> None:
    ledger, run, sha256 = approved
    mark_point(ledger, run, "T1/a", "K", who(author))
    with refused("approval_fell"):
        export_run(ledger, run, BY, who("an"))
    # CMIS's file says marks; a run that is approved has one before it is exported.
    with refused("approval_fell"):
        export_run_cmis(ledger, run, By("an", NOW, ZONE))
    approve_run(ledger, run, sha256, BY, who("dung"))
    export_run(ledger, run, BY, who("an"))


def test_a_mark_that_is_taken_back_leaves_the_approval_as_it_was(
    approved: tuple[Ledger, str, str],
) -> None:
    ledger, run, _ = approved
    mark_point(ledger, run, "T1/a", "K", who("cường"))
    mark_point(ledger, run, "T1/a", "", who("cường"))
    export_run(ledger, run, BY, who("an"))


def test_who_puts_in_an_index_after_the_approval_is_no_approver_any_more(
    approved: tuple[Ledger, str, str],
) -> None:
    ledger, run, _ = approved
    enter_index(ledger, estimate("T1/a", "M1", OCT, 1_090_000, author="bình"), NOW)
    with refused("approval_fell"):
        export_run(ledger, run, BY, who("an"))


def test_the_command_says_that_the_approval_does_not_hold(
    approved: tuple[Ledger, str, str],
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger, run, sha256 = approved
    mark_point(ledger, run, "T1/a", "K", who("cường"))
    config = collector_file(ledger_url, tmp_path)

    def songlo(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["billing", *arguments, "--config", str(config)])
        assert done.exit_code == code, done.output
        return done.output

    out = str(tmp_path / "run.csv")
    said = songlo("export", run, "--output", out, code=1)
    assert "exceptions, marks or decisions" in said
    assert f"songlo collector billing approve {run} {sha256}" in said
    monkeypatch.setattr(cli_common, "login_name", lambda: "dung")
    songlo("approve", run, sha256)
    songlo("export", run, "--output", out)


class Interrupted(Ledger):
    """A ledger in which somebody does something just before the second transaction."""

    def __init__(self, url: str, act: Callable[[], object]) -> None:
        super().__init__(url)
        self._acts: list[Callable[[], object]] = [lambda: None, act]

    def begin(self, *, wait: bool = True) -> _GeneratorContextManager[UnitOfWork, None, None]:
        self._act()
        return super().begin(wait=wait)

    def read(self) -> _GeneratorContextManager[UnitOfWork, None, None]:
        self._act()
        return super().read()

    def _act(self) -> None:
        if self._acts:
            self._acts.pop(0)()


@pytest.mark.parametrize("changed", [True, False])
def test_a_point_that_is_held_while_a_version_is_worked_out_is_not_in_it(
    approved: tuple[Ledger, str, str], ledger_url: str, changed: bool
) -> None:
    ledger, run, _ = approved
    if changed:
        edited = replace(estimate("T1/b", "M2", OCT, 5_190_000), kind=ManualKind.EDIT)
        enter_index(ledger, edited, NOW)

    def hold() -> None:
        exclude_point(ledger, run, "T1/a", who("cường", "disputed"), include=False)

    other = Interrupted(ledger_url, hold)
    with refused("changed_meanwhile"):
        make_version(other, run, BY, who("an"))
    other.close()
    assert len(view_run(ledger, run).versions) == 1
    make_version(ledger, run, BY, who("an"))
    held = {line.point for line in version_lines(ledger, run) if line.kind is LineKind.HELD}
    assert held == {"T1/a"}
