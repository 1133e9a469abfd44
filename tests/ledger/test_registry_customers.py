"""Telephone numbers and e-mail addresses of customers: personal data, as names and addresses."""

import json
from pathlib import Path

from collector.ledger import Ledger
from collector.operations.audit import list_audit
from collector.operations.registry_export import export_registry
from tests.ledger.building import NOW, ZONE, import_files

PLAIN = "customer,name,address\nPA25SL0000001,Nguyễn Văn A,Thôn 2\n"
FULL = (
    "customer,name,address,phone,email\n"
    "PA25SL0000001,Nguyễn Văn A,Thôn 2,0912 345 678,a@songlo.vn\n"
)


def exported(ledger: Ledger, folder: Path) -> str:
    export_registry(ledger, folder, "clerk", NOW, zone=ZONE)
    return (folder / "customers.csv").read_text("utf-8")


def test_they_are_added_kept_and_never_in_the_audit_trail(ledger: Ledger, tmp_path: Path) -> None:
    import_files(ledger, tmp_path / "in", {"customers.csv": PLAIN})
    assert exported(ledger, tmp_path / "old") == PLAIN
    report = import_files(ledger, tmp_path / "in", {"customers.csv": FULL})
    assert (report.errors, report.corrected_customers) == ((), 1)
    assert exported(ledger, tmp_path / "new") == FULL
    # A file without the columns leaves what is there.
    assert import_files(ledger, tmp_path / "in", {"customers.csv": PLAIN}).unchanged == 1
    trail = list_audit(ledger, limit=20)
    said = json.dumps([entry.detail for entry in trail], ensure_ascii=False, default=str)
    assert "0912" not in said
    assert "a@songlo" not in said
    assert '"facts": ["phone", "email"]' in said


def test_what_a_spreadsheet_would_run_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    rows = "PA25SL0000001,+84912345678,=a@songlo.vn\nPA25SL0000002,12345,a@b\n"
    text = f"customer,phone,email\n{rows}"
    report = import_files(ledger, tmp_path / "in", {"customers.csv": text})
    assert [(error.row, error.column) for error in report.errors] == [
        (2, "email"), (2, "phone"), (3, "email"), (3, "phone"),
    ]  # fmt: skip
