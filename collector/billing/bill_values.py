"""The values of stored bill previews: sets of them, made at once of a version of a billing run.

They hold what was made; how a preview comes about is `rating`, what must be looked at `bill_gate`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import msgspec


class BillSetState(StrEnum):
    """How far a set is; it goes forward only."""

    DRAFT = "draft"
    APPROVED = "approved"
    EXPORTED = "exported"


@dataclass(frozen=True, slots=True)
class BillSetHead:
    """The bill previews of a version of a run, immutable; `sha256` is over all of their hashes.

    Amounts are whole đồng: `amount_vnd` before tax, `vat_vnd`, `adjustments_vnd` of earlier bills
    with their tax, `total_vnd` all three.
    """

    bill_set: str
    run: str
    version: int
    run_sha256: str
    number: int
    made_at: datetime
    made_by: str
    reason: str
    split: str
    bill_count: int
    refused_count: int
    energy_kwh: int
    amount_vnd: int
    vat_vnd: int
    adjustments_vnd: int
    total_vnd: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BillRow:
    """One preview of a set, by its contract (`bill`), without what explains it.

    `root` is the point that its family's energies are taken from: itself, or the main meter.
    """

    bill: str
    point: str
    root: str
    from_day: date
    to_day: date
    energy_kwh: int
    amount_vnd: int
    vat_vnd: int
    adjustments_vnd: int
    total_vnd: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredBill:
    """A preview of a set with its canonical JSON and the determinants that it was rated from."""

    row: BillRow
    preview: bytes
    determinants: bytes


@dataclass(frozen=True, slots=True)
class StoredRefusal:
    """A point that has no preview, or a difference that is on none, and why."""

    point: str
    contract: str | None
    code: str
    reason: str
    hint: str


def bill_set_hash(
    run: str,
    run_sha256: str,
    split: str,
    bills: Iterable[tuple[str, str]],
    refused: Iterable[StoredRefusal],
) -> str:
    """The hexadecimal SHA-256 of a set's canonical JSON: its run, its bills' hashes, the refusals.

    Not when and by whom it was made: the same previews have the same hash.
    """
    document = {
        "bills": [list(one) for one in bills],
        "refused": [[one.point, one.contract, one.code, one.reason] for one in refused],
        "run": run,
        "run_sha256": run_sha256,
        "split": split,
    }
    return hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()
