"""What of each epoch is complete, or known to be lost, beyond its `upto`.

Asked with every group of batches, so it must never look at what lies below `upto`: that is the
whole history. Left to itself, SQLite's planner does; CROSS JOIN keeps it to the order written
(SQLite, "The SQLite Query Optimizer Overview", manual control of query plans using CROSS JOIN).
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import Connection

from collector.ledger.ranges import Range, merged
from collector.ledger.tables import to_ms

# The reason of a gap in an epoch that its gateway lists no more. No ack covers it: whoever has that
# epoch after all (a card that was put back, a clone's original, a gateway that delivered it before
# this ledger came back from a backup) must not forget it.
EPOCH_GONE = "epoch_gone"

Pair = tuple[str, str]

_SOME_SQLITE = """
    json_each(?) AS asked CROSS JOIN epochs AS e ON e.gateway = asked.value AND e.last_seen_at >= ?
"""
_ONE_SQLITE = "(SELECT * FROM epochs WHERE gateway = ? AND epoch = ?) AS e"
_SOME_POSTGRESQL = """
    (SELECT * FROM epochs WHERE gateway = ANY(%s::text[]) AND last_seen_at >= %s) AS e
"""
_ONE_POSTGRESQL = "(SELECT * FROM epochs WHERE gateway = %s AND epoch = %s) AS e"

# The runs of complete receipts: within one, seq and its rank move together.
_COMPLETE = """
    SELECT gateway, epoch, min(seq), max(seq) FROM (
        SELECT r.gateway, r.epoch, r.seq,
            r.seq - row_number() OVER (PARTITION BY r.gateway, r.epoch ORDER BY r.seq) AS run
        FROM {epochs} {join} receipts AS r
            ON r.gateway = e.gateway AND r.epoch = e.epoch AND r.seq > e.upto
        WHERE r.state = 'complete'
    ) AS numbered
    GROUP BY gateway, epoch, run
"""
_LOST = """
    SELECT g.gateway, g.epoch, g.seq_from, g.seq_to
    FROM {epochs} {join} gaps AS g
        ON g.gateway = e.gateway AND g.epoch = e.epoch AND g.source = 'seq'
    WHERE g.seq_to > {above} AND (g.reason <> '{gone}' OR {with_gone})
"""


def ranges_beyond(
    connection: Connection, names: Collection[str], since: datetime
) -> dict[Pair, list[Range]]:
    """Per (gateway, epoch) of these gateways' epochs heard of `since`: merged, above `upto`.

    Without what is lost with an epoch that is gone: see EPOCH_GONE.
    """
    postgresql = connection.dialect.name == "postgresql"
    asked = list(names) if postgresql else json.dumps(list(names))
    epochs = _SOME_POSTGRESQL if postgresql else _SOME_SQLITE
    rows = _rows(connection, epochs, (asked, to_ms(since)), above="e.upto", with_gone=False)
    found: dict[Pair, list[Range]] = defaultdict(list)
    for gateway, epoch, first, last in rows:
        found[gateway, epoch].append((first, last))
    return {pair: merged(ranges) for pair, ranges in found.items()}


def ranges_of_epoch(connection: Connection, gateway: str, epoch: str) -> list[Range]:
    """Of one epoch: complete above `upto`, or lost for whatever reason; in no order."""
    postgresql = connection.dialect.name == "postgresql"
    epochs = _ONE_POSTGRESQL if postgresql else _ONE_SQLITE
    rows = _rows(connection, epochs, (gateway, epoch), above="0", with_gone=True)
    return [(first, last) for _, _, first, last in rows]


def _rows(
    connection: Connection,
    epochs: str,
    parameters: tuple[object, ...],
    *,
    above: str,
    with_gone: bool,
) -> Iterable[tuple[str, str, int, int]]:
    join = "JOIN" if connection.dialect.name == "postgresql" else "CROSS JOIN"
    statement = f"{_COMPLETE} UNION ALL {_LOST}".format(
        epochs=epochs,
        join=join,
        above=above,
        gone=EPOCH_GONE,
        with_gone="TRUE" if with_gone else "FALSE",
    )
    for row in connection.exec_driver_sql(statement, parameters * 2):
        yield row[0], row[1], row[2], row[3]
