"""Daily balances as CSV: a projection, never a computation.

It knows columns; it must not know where the balances come from.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from collector.balance.station import DayBalance

COLUMNS = ("station", "day", "head_wh", "customers_wh", "loss_wh", "loss_percent", "complete")


def balance_csv(balances: Iterable[DayBalance]) -> Iterator[bytes]:
    """UTF-8, comma, header row, lines end in LF; `complete` is true or false, unknown is empty."""
    yield _row(COLUMNS)
    for entry in balances:
        balance = entry.balance
        yield _row(
            (
                balance.station,
                entry.day.isoformat(),
                balance.head_wh,
                balance.customers_wh,
                balance.loss_wh,
                balance.loss_percent,
                "true" if balance.complete else "false",
            )
        )


def _row(cells: Sequence[str | int | None]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode()
