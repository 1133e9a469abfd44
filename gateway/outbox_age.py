"""How long batches have been delivered, by the time that the gateway ran and not by its clock.

What was delivered is kept for the day on which the collector's ledger is restored from a backup. A
clock that jumps a year ahead must not make it old, nor must a month without a network that ends
today. Works within a transaction of its caller.
"""

import sqlite3

from gateway.outbox_slots import set_fact

_RAN_S = "ran_s"
# Before a day of running: up to which row all had been delivered when that day began.
_DELIVERED = "delivered/"
_AFTER_DELIVERED = "delivered0"  # "0" follows "/"
_DAY_S = 86_400


def delivered_for(db: sqlite3.Connection, ran_s: float, keep_days: int) -> int:
    """The last row of those that have all been delivered for `keep_days` days of running.

    `ran_s` is how long the gateway has run since it was last asked. 0 if there are none.
    """
    (now_s,) = db.execute(
        "SELECT coalesce(max(value), 0) + ? FROM facts WHERE name = ?", (round(ran_s), _RAN_S)
    ).fetchone()
    set_fact(db, _RAN_S, now_s)
    (row_id,) = db.execute(
        "SELECT coalesce((SELECT min(id) - 1 FROM batches WHERE acked = 0),"
        " (SELECT max(id) FROM batches), 0)"
    ).fetchone()
    today = now_s // _DAY_S
    db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (_name(today), row_id))
    if keep_days == 0:
        return int(row_id)
    found = db.execute(
        "SELECT name, value FROM facts WHERE name BETWEEN ? AND ? ORDER BY name DESC LIMIT 1",
        (_DELIVERED, _name(today - keep_days) if today >= keep_days else _DELIVERED),
    ).fetchone()
    if found is None:
        return 0
    name, row_id = found
    db.execute("DELETE FROM facts WHERE name >= ? AND name < ?", (_DELIVERED, name))
    return int(row_id)


def begin_again(db: sqlite3.Connection) -> None:
    """Nothing counts as delivered any more: the collector asks for all of it."""
    db.execute("DELETE FROM facts WHERE name >= ? AND name < ?", (_DELIVERED, _AFTER_DELIVERED))


def _name(day: int) -> str:
    return f"{_DELIVERED}{day:08}"
