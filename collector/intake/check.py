"""Which batches are taken: what a well-formed message must hold for every store to keep it exactly.

Pure; looks at columns, never at single values where a column will do. It must not know whether a
meter is registered, nor judge whether a value is believable: that is VEE.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, cast

from collector.readings.columns import Columns, pack
from contract.limits import ENERGY_MAX, NAME_CHARS_MAX, SEQ_MAX
from contract.messages import Batch, Clock, Event, SlotGap, Status, Table, Value
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


def check_batch(batch: Batch) -> list[Columns | None]:
    """Raises RejectedError unless all that the batch holds can be stored exactly as it says.

    Returns the columns of its tables, in their order: whoever stores them needs them again. Of its
    instants `check_instants` says whether they can be.
    """
    columns: list[Columns | None] = []
    if not is_name(batch.station):
        raise RejectedError("bad_name", f"station {batch.station!r} is no station's name")
    if batch.scan is not None:
        _check_names(chain.from_iterable(batch.scan.missing))
        columns = [_check_table(table) for table in batch.scan.tables]
    for gap in batch.gaps or ():
        _check_gap(gap)
    for event in batch.events or ():
        _check_event(event)
    if batch.tombstone is not None:
        _check_names([*batch.tombstone.meters, batch.tombstone.reason])
    return columns


def check_instants(batch: Batch, now: datetime) -> None:
    """Raises RejectedError where the batch is dated and its time cannot be: no clock was right."""
    if batch.clock is Clock.UNDATED:
        return
    if batch.scan is not None:
        _check_instant("scan.slot", batch.scan.slot, now)
    for gap in batch.gaps or ():
        _check_instant("gap.first", gap.first, now)
        _check_instant("gap.last", gap.last, now)
    for event in batch.events or ():
        _check_instant("event.at", event.at, now)
    if batch.tombstone is not None:
        _check_instant("tombstone.slot", batch.tombstone.slot, now)


def check_status(status: Status) -> None:
    """Raises RejectedError unless the status can be stored and concluded from."""
    if status.station and not is_name(status.station):
        raise RejectedError("bad_name", f"station {status.station!r} is no station's name")
    # JSON has integers without end, no database has: a status that cannot be stored would be sent
    # again by the broker at every start.
    if not (0 <= status.count <= SEQ_MAX and 0 <= status.generation <= SEQ_MAX):
        raise RejectedError("bad_number", f"count and generation are from 0 to {SEQ_MAX}")
    for entry in status.epochs:
        if not 1 <= entry.oldest <= entry.next:
            raise RejectedError(
                "bad_number",
                f"epoch {entry.epoch}: oldest {entry.oldest} and next {entry.next} are not"
                " 1 <= oldest <= next",
            )


def _check_table(table: Table) -> Columns | None:
    """The columns of a table's reads; None where it has none, or none that can be packed."""
    if not table.reads:
        return None
    for obis in table.registers:
        if obis not in BY_OBIS:
            raise RejectedError("unknown_register", f"register {obis!r} is not in the catalogue")
    serials, offsets_ms, rows, qualities = zip(*table.reads, strict=True)
    _check_names(serials)
    low, high = min(offsets_ms), max(offsets_ms)
    if low < OFFSET_MIN_MS or high > OFFSET_MAX_MS:
        raise RejectedError(
            "bad_offset",
            f"a read is {low} to {high} ms from its slot, allowed are"
            f" {OFFSET_MIN_MS} to {OFFSET_MAX_MS}",
        )
    if max(qualities) > QUALITY_MAX:
        raise RejectedError("bad_quality", f"quality {max(qualities)} is above {QUALITY_MAX}")
    values: list[Any] = list(chain.from_iterable(rows))
    columns = pack(table.registers, serials, offsets_ms, values, qualities)
    for position, obis in enumerate(table.registers):
        # A momentary value is any finite number: JSON has no other, and VEE judges it. An energy
        # that is packed is at most ENERGY_MAX: more has no room in its 64 bits.
        if obis not in _INTEGERS or (columns is not None and not columns.has_negative(position)):
            continue
        column = _integers(obis, values[position :: len(table.registers)])
        low, high = min(column, default=0), max(column, default=0)
        if low < 0 or high > ENERGY_MAX:
            raise RejectedError(
                "bad_value", f"register {obis}: {low} to {high} is outside of 0 to {ENERGY_MAX}"
            )
    return columns


def _integers(obis: str, column: Sequence[Value]) -> list[int]:
    """The values that are there. Raises RejectedError where one is not an integer."""
    present = [value for value in column if value is not None]
    if any(type(value) is not int for value in present):
        raise RejectedError("bad_value", f"register {obis}: a value is not an integer")
    return cast("list[int]", present)


def _check_gap(gap: SlotGap) -> None:
    _check_names([*gap.meters, gap.reason])
    length = gap.last - gap.first
    if length < timedelta(0) or (length > timedelta(0)) != (gap.every_s > 0):
        raise RejectedError("bad_gap", "a gap has first < last and every_s > 0, or one slot and 0")
    if gap.every_s > QUALITY_MAX or (
        gap.every_s and length / timedelta(seconds=gap.every_s) > GAP_SLOTS_MAX
    ):
        raise RejectedError("bad_gap", f"a gap stands for at most {GAP_SLOTS_MAX} slots")


def _check_event(event: Event) -> None:
    names = [name for name in (event.type, event.line, event.meter) if name]
    _check_names(names)
    if max(map(len, names)) > NAME_CHARS_MAX:
        raise RejectedError(
            "bad_name", f"a name of an event has more than {NAME_CHARS_MAX} characters"
        )
    if "\0" in event.detail:
        raise RejectedError("bad_name", "the detail of an event holds the character U+0000")


def _check_instant(what: str, at: datetime, now: datetime) -> None:
    if not SLOT_MIN <= at <= now + AHEAD_MAX:
        raise RejectedError(
            "bad_instant",
            f"{what} is {at.isoformat()}, now is {now.isoformat()}: the gateway's clock is wrong",
        )


def _check_names(names: Iterable[str]) -> None:
    if not "".join(names).isprintable():
        raise RejectedError("bad_name", "a serial, a reason or a name is not printable")
