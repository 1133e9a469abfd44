"""The receipts of batches: looked up, added and completed by the hundred, the driver's own way.

Intake waits for these three statements more than for any other; each takes a whole group at once.
It must not know what a batch holds beyond what a receipt says of it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from collector.ledger.tables import to_ms

CLAIMED = "claimed"  # the ledger has it, the reading store perhaps not
COMPLETE = "complete"  # everything of it is stored
REOPENED = "reopened"  # someone asked for it again

# SQLite takes 32,766 parameters a statement, and a key has three.
KEYS_AT_ONCE = 5_000

_COLUMNS = (
    "gateway, epoch, seq, sha256, state, content, kind, slot, reads, missing, received_at,"
    " completed_at"
)
_ADD_SQLITE = f"INSERT INTO receipts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 a constant
_ADD_POSTGRESQL = f"""
    INSERT INTO receipts ({_COLUMNS})
    SELECT * FROM unnest(
        %s::text[], %s::text[], %s::bigint[], %s::bytea[], %s::text[], %s::text[], %s::text[],
        %s::bigint[], %s::int[], %s::int[], %s::bigint[], %s::bigint[])
"""  # noqa: S608 a constant

# CROSS JOIN: SQLite would rather look at every receipt there is than for each of those asked for.
_LOOK_SQLITE = """
    WITH asked(gateway, epoch, seq) AS (VALUES {keys})
    SELECT r.gateway, r.epoch, r.seq, r.sha256, r.state, r.content
    FROM asked CROSS JOIN receipts AS r
        ON r.gateway = asked.gateway AND r.epoch = asked.epoch AND r.seq = asked.seq
"""
_KEYS_POSTGRESQL = "SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])"
_LOOK_POSTGRESQL = f"""
    SELECT gateway, epoch, seq, sha256, state, content FROM receipts
    WHERE (gateway, epoch, seq) IN ({_KEYS_POSTGRESQL})
"""  # noqa: S608 a constant

_COMPLETE_SQLITE = """
    UPDATE receipts SET state = 'complete', completed_at = ?
    WHERE gateway = ? AND epoch = ? AND seq = ?
"""
_COMPLETE_POSTGRESQL = f"""
    UPDATE receipts SET state = 'complete', completed_at = %s
    WHERE (gateway, epoch, seq) IN ({_KEYS_POSTGRESQL})
"""  # noqa: S608 a constant


class BatchKey(NamedTuple):
    """What a batch is known by."""

    gateway: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class KnownReceipt:
    """What the ledger says of a batch that came before."""

    sha256: bytes
    state: str
    content: str


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A batch to be recorded. `reads` counts meter reads, `missing` meters that were not read."""

    key: BatchKey
    sha256: bytes
    state: str
    content: str  # scan, gaps, events, tombstone, quarantined
    kind: str | None = None
    slot: datetime | None = None
    reads: int = 0
    missing: int = 0


class ReceiptRows:
    """The receipts within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._postgresql = connection.dialect.name == "postgresql"

    def look(self, keys: Collection[BatchKey]) -> dict[BatchKey, KnownReceipt]:
        """The receipts that exist of `keys`."""
        found: dict[BatchKey, KnownReceipt] = {}
        wanted = sorted(keys)
        for first in range(0, len(wanted), KEYS_AT_ONCE):
            part = wanted[first : first + KEYS_AT_ONCE]
            if self._postgresql:
                statement = _LOOK_POSTGRESQL
                values: tuple[object, ...] = _columns(part)
            else:
                statement = _LOOK_SQLITE.format(keys=",".join(["(?,?,?)"] * len(part)))
                values = tuple(value for key in part for value in key)
            for row in self._connection.exec_driver_sql(statement, values):
                gateway, epoch, seq, sha256, state, content = row
                key = BatchKey(gateway, epoch, seq)
                found[key] = KnownReceipt(bytes(sha256), state, content)
        return found

    def add(self, new: Collection[NewReceipt], now: datetime) -> None:
        """Record batches that have no receipt yet, received `now`."""
        if not new:
            return
        now_ms = to_ms(now)
        rows = sorted(
            (
                *receipt.key,
                receipt.sha256,
                receipt.state,
                receipt.content,
                receipt.kind,
                None if receipt.slot is None else to_ms(receipt.slot),
                receipt.reads,
                receipt.missing,
                now_ms,
                now_ms if receipt.state == COMPLETE else None,
            )
            for receipt in new
        )
        if self._postgresql:
            self._connection.exec_driver_sql(_ADD_POSTGRESQL, _columns(rows))
        else:
            self._connection.exec_driver_sql(_ADD_SQLITE, rows)

    def complete(self, keys: Collection[BatchKey], now: datetime) -> None:
        """Everything of these batches is stored."""
        if not keys:
            return
        now_ms = to_ms(now)
        if self._postgresql:
            values = (now_ms, *_columns(sorted(keys)))
            self._connection.exec_driver_sql(_COMPLETE_POSTGRESQL, values)
        else:
            rows = [(now_ms, *key) for key in sorted(keys)]
            self._connection.exec_driver_sql(_COMPLETE_SQLITE, rows)


def _columns(rows: Collection[tuple[object, ...]]) -> tuple[list[object], ...]:
    """Rows as columns, as PostgreSQL's unnest takes them."""
    return tuple(list(column) for column in zip(*rows, strict=True))
