"""Which batches are taken: what a well-formed message must hold for every store to keep it exactly.

Pure; looks at columns, never at single values where a column will do. It must not know whether a
meter is registered, nor judge whether a value is believable: that is VEE.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

from contract.limits import ENERGY_MAX, NAME_CHARS_MAX
from contract.messages import Batch, Clock, Event, Scan, SlotGap, Status, Table, Value
from contract.registers import BY_OBIS, CATALOGUE
from contract.topics import is_name

# A gateway that is a day ahead of the collector has a wrong clock, whatever it believes.
AHEAD_MAX = timedelta(days=1)

# Nothing was metered before: an instant from there comes from a clock that was never set.
SLOT_MIN = datetime(2000, 1, 1, tzinfo=UTC)

# A read may precede its slot when it is taken from a load profile, and follow it by the longest
# outage that an outbox bridges.
OFFSET_MIN_MS = -24 * 3_600_000
OFFSET_MAX_MS = 40 * 24 * 3_600_000

# Quality bits are stored in 32 bits.
QUALITY_MAX = 2**31 - 1

# One gap message stands for at most this many slots: a year of one-minute slots.
GAP_SLOTS_MAX = 600_000

_INTEGERS = frozenset(register.obis for register in CATALOGUE if register.is_integer)


class RejectedError(ValueError):
    """A message that is not taken. `code` is short and stable, for counters and filters."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def check_batch(batch: Batch, now: datetime) -> None:
    """Raises RejectedError unless all that the batch holds can be stored exactly as it says."""
    if not is_name(batch.station):
        raise RejectedError("bad_name", f"station {batch.station!r} is no station's name")
    dated = batch.clock is not Clock.UNDATED
    if batch.scan is not None:
        _check_scan(batch.scan, now, dated=dated)
    for gap in batch.gaps or ():
        _check_gap(gap, now, dated=dated)
    for event in batch.events or ():
        _check_event(event, now, dated=dated)
    if batch.tombstone is not None:
        _check_names([*batch.tombstone.meters, batch.tombstone.reason])
        _check_instant("tombstone.slot", batch.tombstone.slot, now, dated=dated)


def check_status(status: Status) -> None:
    """Raises RejectedError unless the status can be stored and concluded from."""
    if status.station and not is_name(status.station):
        raise RejectedError("bad_name", f"station {status.station!r} is no station's name")
    if status.count < 0 or status.generation < 0:
        raise RejectedError("bad_number", "count and generation are never negative")
    for entry in status.epochs:
        if not 1 <= entry.oldest <= entry.next:
            raise RejectedError(
                "bad_number",
                f"epoch {entry.epoch}: oldest {entry.oldest} and next {entry.next} are not"
                " 1 <= oldest <= next",
            )


def _check_scan(scan: Scan, now: datetime, *, dated: bool) -> None:
    _check_instant("scan.slot", scan.slot, now, dated=dated)
    for table in scan.tables:
        _check_table(table)
    _check_names(chain.from_iterable(scan.missing))


def _check_table(table: Table) -> None:
    if not table.reads:
        return
    # One flat list and slices of it: several times faster than zip over many small tuples.
    flat: list[object] = list(chain.from_iterable(table.reads))
    _check_names(flat[0::4])  # type: ignore[arg-type]  # serials, by the decoder
    offsets: list[int] = flat[1::4]  # type: ignore[assignment]  # integers, by the decoder
    if min(offsets) < OFFSET_MIN_MS or max(offsets) > OFFSET_MAX_MS:
        raise RejectedError(
            "bad_offset",
            f"a read is {min(offsets)} to {max(offsets)} ms from its slot, allowed are"
            f" {OFFSET_MIN_MS} to {OFFSET_MAX_MS}",
        )
    qualities: list[int] = flat[3::4]  # type: ignore[assignment]  # integers, by the decoder
    if max(qualities) > QUALITY_MAX:
        raise RejectedError("bad_quality", f"quality {max(qualities)} is above {QUALITY_MAX}")
    width = len(table.registers)
    rows: list[list[Value]] = flat[2::4]  # type: ignore[assignment]  # lists, by the decoder
    values = list(chain.from_iterable(rows))
    for position, obis in enumerate(table.registers):
        if obis not in BY_OBIS:
            raise RejectedError("unknown_register", f"register {obis!r} is not in the catalogue")
        # A momentary value is any finite number: JSON has no other, and VEE judges it.
        if obis in _INTEGERS:
            _check_integers(obis, values[position::width])


def _check_integers(obis: str, column: Sequence[Value]) -> None:
    total, low, high = _extent(column)
    # A single float among integers makes their sum a float.
    if type(total) is not int:
        raise RejectedError("bad_value", f"register {obis}: a value is not an integer")
    if low < 0 or high > ENERGY_MAX:
        raise RejectedError(
            "bad_value", f"register {obis}: {low} to {high} is outside of 0 to {ENERGY_MAX}"
        )


def _extent(column: Sequence[Value]) -> tuple[int | float, int | float, int | float]:
    """Sum, least and greatest of a column's values, all 0 where it has none."""
    try:
        # Mostly no value is absent; asking for forgiveness costs a quarter of looking first.
        return sum(column), min(column), max(column)  # type: ignore[arg-type, type-var, return-value]
    except TypeError:
        present = [value for value in column if value is not None]
        return sum(present), min(present, default=0), max(present, default=0)


def _check_gap(gap: SlotGap, now: datetime, *, dated: bool) -> None:
    _check_names([*gap.meters, gap.reason])
    _check_instant("gap.first", gap.first, now, dated=dated)
    _check_instant("gap.last", gap.last, now, dated=dated)
    length = gap.last - gap.first
    if length < timedelta(0) or (length > timedelta(0)) != (gap.every_s > 0):
        raise RejectedError("bad_gap", "a gap has first < last and every_s > 0, or one slot and 0")
    if gap.every_s > QUALITY_MAX or (
        gap.every_s and length / timedelta(seconds=gap.every_s) > GAP_SLOTS_MAX
    ):
        raise RejectedError("bad_gap", f"a gap stands for at most {GAP_SLOTS_MAX} slots")


def _check_event(event: Event, now: datetime, *, dated: bool) -> None:
    _check_instant("event.at", event.at, now, dated=dated)
    names = [name for name in (event.type, event.line, event.meter) if name]
    _check_names(names)
    if max(map(len, names)) > NAME_CHARS_MAX:
        raise RejectedError(
            "bad_name", f"a name of an event has more than {NAME_CHARS_MAX} characters"
        )
    if "\0" in event.detail:
        raise RejectedError("bad_name", "the detail of an event holds the character U+0000")


def _check_instant(what: str, at: datetime, now: datetime, *, dated: bool) -> None:
    if dated and not SLOT_MIN <= at <= now + AHEAD_MAX:
        raise RejectedError(
            "bad_instant",
            f"{what} is {at.isoformat()}, now is {now.isoformat()}: the gateway's clock is wrong",
        )


def _check_names(names: Iterable[str]) -> None:
    if not "".join(names).isprintable():
        raise RejectedError("bad_name", "a serial, a reason or a name is not printable")
