"""The power company's office: what its people do when a billing period is over.

It plays three persons (one who decides findings, one who makes runs, one who approves) and calls
the same operations as commands and API do. It must not know what the truth was.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from collector.billing.bill_gate import BillFilter
from collector.billing.bill_values import BillSetHead
from collector.billing.gates import BLOCKING, Cause
from collector.billing.run_values import RunLine, VersionHead
from collector.civil import day_start
from collector.ledger import Ledger
from collector.ledger.findings import Decision, FindingFilter
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    LineChange,
    Scope,
    accept_exceptions,
    approve_run,
    exclude_point,
    export_run,
    make_version,
    open_run,
    run_exceptions,
    version_lines,
)
from collector.operations.bills import accept_bills, approve_bills, export_bills, make_bills
from collector.operations.deciding import DecidedAt, Deciding
from collector.operations.exports import By, write_file
from collector.operations.findings import BULK_MAX, decide
from collector.operations.run_exports import export_run_cmis, export_run_csv, export_run_xlsx
from collector.operations.run_rating import RatedBy
from collector.operations.run_validation import validate_run
from collector.operations.tariffs import load_tariffs
from collector.operations.vee import VeeReport, VeeRun, run_vee
from collector.operations.vee_files import load_limits
from collector.vee.values import Severity
from songlo.demo.options import ZONE

# Three people: whoever approves had no hand in what is approved.
READER, BILLER, MANAGER = "reader", "biller", "manager"

DAY = timedelta(days=1)

SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Timings:
    """Seconds that each step took, in the order in which they were taken."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Time a step; the same step again adds to it."""
        started = time.monotonic()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - started


@dataclass(slots=True)
class PeriodOutcome:
    """What became of a period: its run, version by version, and what people did on the way."""

    first: date
    last: date
    run: str
    versions: list[VersionHead] = field(default_factory=list)
    changed_by: list[list[LineChange]] = field(default_factory=list)
    exceptions: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    excluded: list[str] = field(default_factory=list)
    vee: VeeReport | None = None
    lines: list[RunLine] = field(default_factory=list)
    bills: BillSetHead | None = None
    files: list[Path] = field(default_factory=list)


class Office:
    """The people, with the ledger in front of them. `now` says what time it is for them."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime], timings: Timings) -> None:
        self._ledger = ledger
        self._now = now
        self._timings = timings
        self._limits = load_limits(None)
        self._by = BilledBy(self._limits, ZONE)
        self._rated_by = RatedBy(load_tariffs(), ZONE)

    def begin(self, first: date, last: date) -> PeriodOutcome:
        """Open the run of [first, last) for all points."""
        head = open_run(
            self._ledger,
            scope=Scope(),
            from_at=day_start(first, ZONE),
            to_at=day_start(last, ZONE),
            zone=ZONE,
            by_whom=self._acting(BILLER, "the period is over"),
        )
        return PeriodOutcome(first, last, head.run)

    def make(self, outcome: PeriodOutcome, reason: str) -> None:
        """Look through the period's reads, decide what was found, and make a version."""
        self._validate(outcome)
        self._make(outcome, reason)
        with self._timings.of("exceptions"):
            found = run_exceptions(self._ledger, outcome.run, self._by)
        unclear = sorted({one.point for one in found if one.cause is Cause.NO_CONSUMPTION})
        if unclear:
            for point in unclear:
                exclude_point(
                    self._ledger,
                    outcome.run,
                    point,
                    self._acting(BILLER, "no index can be had: billed next time"),
                    include=False,
                )
            outcome.excluded = sorted({*outcome.excluded, *unclear})
            self._make(outcome, f"{len(unclear)} points without an index are left out")
            found = run_exceptions(self._ledger, outcome.run, self._by)
        outcome.exceptions = Counter(one.cause.value for one in found)

    def close(self, outcome: PeriodOutcome) -> None:
        """Answer for the exceptions, have another person approve the hash, and export.

        What was decided is validated too: an estimate is something new of its day.
        """
        with self._timings.of("validate the run"):
            acting = self._acting(READER, "what was decided")
            validate_run(self._ledger, outcome.run, self._by, acting)
        causes = {
            one.cause for one in run_exceptions(self._ledger, outcome.run, self._by) if one.blocks
        }
        assert Cause.NOT_VALIDATED not in causes, "the run was validated just now"
        for cause in sorted(causes & BLOCKING):
            accept_exceptions(
                self._ledger, outcome.run, cause, self._acting(BILLER, "looked at; it is so")
            )
        with self._timings.of("approve"):
            approve_run(
                self._ledger,
                outcome.run,
                outcome.versions[-1].sha256,
                self._by,
                self._acting(MANAGER, "looked through and approved"),
            )
        with self._timings.of("export run"):
            export_run(self._ledger, outcome.run, self._by, self._acting(BILLER, "to be billed"))
        outcome.lines = version_lines(self._ledger, outcome.run)

    def bill(self, outcome: PeriodOutcome) -> None:
        """Make the bills of an exported run, answer for what blocks, and have them approved."""
        with self._timings.of("bill previews"):
            made = make_bills(
                self._ledger, outcome.run, self._rated_by, self._acting(BILLER, "the run is closed")
            )
        outcome.bills = made.head
        acting = self._acting(BILLER, "looked at; it is so")
        accept_bills(self._ledger, made.head.bill_set, self._rated_by, BillFilter(), acting)
        approve_bills(
            self._ledger,
            made.head.bill_set,
            made.head.sha256,
            self._rated_by,
            self._acting(MANAGER, "looked through and approved"),
        )

    def hand_over(self, outcome: PeriodOutcome, folder: Path) -> None:
        """Write the files of a closed period: for CMIS, for receivables, to look at."""
        folder.mkdir(parents=True, exist_ok=True)
        by = By(BILLER, self._now(), ZONE)
        with self._timings.of("CMIS file"):
            self._write(
                outcome, folder / "cmis.xml", export_run_cmis(self._ledger, outcome.run, by).pieces
            )
        with self._timings.of("workbook"):
            self._write(
                outcome,
                folder / "lines.xlsx",
                export_run_xlsx(self._ledger, outcome.run, by).pieces,
            )
        with self._timings.of("CSV file"):
            self._write(
                outcome, folder / "lines.csv", export_run_csv(self._ledger, outcome.run, by).pieces
            )
        assert outcome.bills is not None
        with self._timings.of("file of bills"):
            acting = self._acting(BILLER, "to the receivables system")
            _, pieces = export_bills(self._ledger, outcome.bills.bill_set, "jsonl", acting)
            self._write(outcome, folder / "bills.jsonl", pieces)

    def _write(self, outcome: PeriodOutcome, path: Path, pieces: Iterable[bytes]) -> None:
        write_file(pieces, path)
        outcome.files.append(path)

    def _make(self, outcome: PeriodOutcome, reason: str) -> None:
        with self._timings.of("snapshot" if not outcome.versions else "snapshot again"):
            made = make_version(self._ledger, outcome.run, self._by, self._acting(BILLER, reason))
        if made.is_new:
            outcome.versions.append(made.version)
            outcome.changed_by.append(made.changes)

    def _validate(self, outcome: PeriodOutcome) -> None:
        wanted = VeeRun(outcome.first, outcome.last - DAY, ZONE, self._limits)
        with self._timings.of("vee"):
            outcome.vee = run_vee(self._ledger, wanted, actor=READER, now=self._now())
        first, end = day_start(outcome.first, ZONE), day_start(outcome.last, ZONE)
        # The index that closes the period is needed; days in between need not be estimated.
        closing = FindingFilter(rule="V01", from_at=end - SECOND, to_at=end)
        blocking = FindingFilter(severity=Severity.BLOCK, from_at=first, to_at=end + DAY)
        with self._timings.of("decide"):
            outcome.estimated += self._decide(outcome, closing, Decision.ESTIMATE)
            outcome.accepted += self._decide(outcome, blocking, Decision.ACCEPT)

    def _decide(self, outcome: PeriodOutcome, wanted: FindingFilter, decision: Decision) -> int:
        """Decide all that are open, in bulk; how many were."""
        estimating = decision is Decision.ESTIMATE
        reason = "no read of that day: estimated" if estimating else "looked at: it is so"
        deciding = Deciding(decision, READER, reason)
        decided = 0
        while True:
            place = DecidedAt(self._limits, ZONE, self._now())
            report = decide(self._ledger, wanted, deciding, place)
            decided += len(report.decided)
            if len(report.decided) < BULK_MAX:
                outcome.refused.update(reason for _, reason in report.refused)
                return decided

    def _acting(self, actor: str, reason: str) -> Acting:
        return Acting(actor, self._now(), reason)
