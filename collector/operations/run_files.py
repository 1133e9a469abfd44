"""The lines of an exported run as a file, recorded in the audit trail.

It fetches and records; what a line looks like is `collector.billing.exports`.
"""

from collections.abc import Iterator

from collector.billing.exports.run_csv import run_csv
from collector.billing.run_values import RunLine, VersionHead
from collector.errors import Conflict
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.exports import recorded
from collector.operations.run_facts import Acting, run_head

# Lines that are fetched at once while a file is handed out.
PAGE_LINES = 5_000


def run_file(ledger: Ledger, run: str, by_whom: Acting) -> tuple[VersionHead, Iterator[bytes]]:
    """The CSV of what a run exported; its rows and SHA-256 are in the audit trail before its end.

    Raises NotFound, Conflict where the run is not exported.
    """
    with ledger.read() as uow:
        run_head(uow, run)
        export = uow.billing_runs.export_of(run)
        if export is None:
            raise Conflict(
                f"run {run} is not exported",
                hint="its lines are billed when it is approved and exported",
                code="not_exported",
            )
        version = uow.billing_runs.versions(run)[export.version - 1]

    def entry(sha256: str, size: int) -> AuditEntry:
        detail = {
            "version": version.version,
            "sha256": version.sha256,
            "rows": version.line_count,
            "file_sha256": sha256,
            "bytes": size,
        }
        return AuditEntry(by_whom.now, by_whom.actor, "billing.file", run, detail)

    return version, recorded(ledger, run_csv(_pages(ledger, version)), entry)


def _pages(ledger: Ledger, version: VersionHead) -> Iterator[RunLine]:
    after = -1
    while after + 1 < version.line_count:
        with ledger.read() as uow:
            page = uow.billing_runs.lines(version.run, version.version, after, PAGE_LINES)
        yield from page
        after += PAGE_LINES
