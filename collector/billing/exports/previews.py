"""Bill previews as files: JSON with everything, CSV with one line per line of a bill.

They know shapes; they must not compute anything.
"""

import csv
import io
from collections.abc import Iterable, Iterator

from collector.billing.rating.preview import (
    BillPreview,
    EnergyLine,
    ReactiveLine,
    canonical_json,
    preview_hash,
)
from collector.registry.cells import tame_cell

COLUMNS = (
    "bill",
    "from_day",
    "to_day",
    "point",
    "kind",
    "group",
    "tariff",
    "line_from_day",
    "line_to_day",
    "tier",
    "rate",
    "quantity",
    "unit",
    "price_vnd",
    "amount_vnd",
    "what_if",
    "preview_sha256",
)

# Bills to a piece: some hundreds of kB.
PIECE_BILLS = 200


def previews_json(previews: Iterable[BillPreview]) -> Iterator[bytes]:
    """`[{"preview": {…}, "sha256": "…"}, …]` in pieces; each preview is in its canonical form."""
    separator = b"["
    for preview in previews:
        digest = preview_hash(preview).encode()
        yield separator + b'{"preview":' + canonical_json(preview) + b',"sha256":"' + digest + b'"}'
        separator = b",\n"
    yield b"[]\n" if separator == b"[" else b"]\n"


def previews_csv(previews: Iterable[BillPreview]) -> Iterator[bytes]:
    """UTF-8, comma, header row, LF. A bill's lines, then its `amount`, `vat` and `total`.

    `price_vnd` of tax and of reactive energy is empty: theirs is a per cent.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, preview in enumerate(previews, 1):
        head = (preview.bill, preview.from_day, preview.to_day)
        tail = (preview.what_if, preview_hash(preview))
        for row in (*map(_energy, preview.lines), *map(_reactive, preview.reactive)):
            writer.writerow(map(tame_cell, (*head, *row, *tail)))
        for kind, amount in (
            ("amount", preview.amount_vnd),
            ("vat", preview.vat_vnd),
            ("total", preview.total_vnd),
        ):
            row = ("", kind, *[""] * 9, amount)
            writer.writerow(map(tame_cell, (*head, *row, *tail)))
        if number % PIECE_BILLS == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _energy(line: EnergyLine) -> tuple[object, ...]:
    days = (line.from_day, line.to_day)
    what = (line.point, "energy", line.group, line.tariff, *days, line.tier, line.rate)
    return (*what, line.energy_kwh, "kWh", line.price_vnd, line.amount_vnd)


def _reactive(line: ReactiveLine) -> tuple[object, ...]:
    what = (line.point, "reactive", "", line.tariff, "", "", "", "")
    return (*what, line.reactive_kvarh, "kvarh", "", line.amount_vnd)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
