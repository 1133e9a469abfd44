"""Approved bill previews as files for the receivables system: CSV, and JSON lines with everything.

They know shapes; they must not compute anything.
"""

from collections.abc import Iterable, Iterator

from collector.billing.bill_values import BillRow, BillSetHead
from collector.billing.exports.csv_export import csv_pieces

COLUMNS = (
    "contract",
    "point",
    "from_day",
    "to_day",
    "energy_kwh",
    "amount_vnd",
    "vat_vnd",
    "adjustments_vnd",
    "total_vnd",
    "preview_sha256",
    "run",
    "bill_set",
)

# Bills to a piece: some hundreds of kB.
PIECE_BILLS = 200


def bills_csv(head: BillSetHead, bills: Iterable[tuple[BillRow, bytes]]) -> Iterator[bytes]:
    """One row a bill; UTF-8, comma, header row, LF. Amounts are whole đồng."""
    return csv_pieces(
        COLUMNS,
        (
            {
                "contract": row.bill,
                "point": row.point,
                "from_day": row.from_day.isoformat(),
                "to_day": row.to_day.isoformat(),
                "energy_kwh": row.energy_kwh,
                "amount_vnd": row.amount_vnd,
                "vat_vnd": row.vat_vnd,
                "adjustments_vnd": row.adjustments_vnd,
                "total_vnd": row.total_vnd,
                "preview_sha256": row.sha256,
                "run": head.run,
                "bill_set": head.bill_set,
            }
            for row, _ in bills
        ),
    )


def bills_jsonl(head: BillSetHead, bills: Iterable[tuple[BillRow, bytes]]) -> Iterator[bytes]:
    """`{"preview":{…},"sha256":"…"}` a line; each preview is in its canonical form."""
    del head
    held: list[bytes] = []
    for row, preview in bills:
        held.append(b'{"preview":' + preview + b',"sha256":"' + row.sha256.encode() + b'"}\n')
        if len(held) == PIECE_BILLS:
            yield b"".join(held)
            held.clear()
    yield b"".join(held)
