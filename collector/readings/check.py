"""Which reads no store takes, so that all stores refuse the same ones.

It judges form only (names that cannot be written, values that do not fit their register's type);
whether a value is believable is VEE's business, and it knows no store.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from collector.readings.port import ReadBlock, Refused
from contract.messages import MeterRead, Value
from contract.registers import BY_OBIS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

# InfluxDB counts nanoseconds since 1970 in 64 bits, which end in April 2262.
AT_MIN_MS = 0
AT_MAX_MS = (datetime(2262, 1, 1, tzinfo=UTC) - EPOCH) // MILLISECOND

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC of an aware instant, rounded down."""
    return (at - EPOCH) // MILLISECOND


def ceil_ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded up: for `at`, a bound means the same as this one does.

    Stored instants have whole milliseconds, so x < at exactly when x < ceil_ms(at).
    """
    return -((EPOCH - at) // MILLISECOND)


def from_ms(ms: int) -> datetime:
    """The aware UTC instant at `ms` milliseconds since 1970."""
    return EPOCH + ms * MILLISECOND


def names_are_writable(names: Sequence[str]) -> bool:
    """Whether all of `names` can be a tag: not empty, printable, without a backslash.

    InfluxDB's line protocol has no escape for a line break, nor for a backslash before a comma.
    """
    joined = "".join(names)
    return all(names) and joined.isprintable() and "\\" not in joined


def refusal(block: ReadBlock, read: MeterRead) -> str | None:
    """Why no store takes `read`, or None when all do."""
    meter, offset_ms, values, quality = read
    for what, name in (("meter", meter), ("station", block.station), ("gateway", block.gateway)):
        if not names_are_writable([name]):
            return f"{what}: {name!r} is no name that can be stored"
    if not AT_MIN_MS <= to_ms(block.slot) + offset_ms < AT_MAX_MS:
        return f"instant: {block.slot.isoformat()} and {offset_ms} ms is outside of 1970 to 2261"
    if not 0 <= quality <= INTEGER_MAX:
        return f"quality: {quality} is out of range"
    if len(values) != len(block.registers):
        return f"{len(values)} values for {len(block.registers)} registers"
    reasons = map(_value_refusal, block.registers, values)
    return next((reason for reason in reasons if reason), None)


def separate(blocks: Sequence[ReadBlock]) -> tuple[list[ReadBlock], list[Refused]]:
    """The blocks with the reads that can be stored, and those that never can."""
    good: list[ReadBlock] = []
    refused: list[Refused] = []
    for block in blocks:
        kept: list[MeterRead] = []
        for read in block.reads:
            if reason := refusal(block, read):
                refused.append(Refused(block, read, reason))
            else:
                kept.append(read)
        if kept:
            good.append(
                ReadBlock(
                    block.station, block.gateway, block.kind, block.slot, block.registers, kept
                )
            )
    return good, refused


def _value_refusal(obis: str, value: Value) -> str | None:
    register = BY_OBIS.get(obis)
    if register is None:
        return f"{obis}: no register of the catalogue"
    if value is None:
        return None
    if register.is_integer:
        if not isinstance(value, int):
            return f"{obis}: {value!r} is no integer of {register.unit.value}"
        in_range = INTEGER_MIN <= value <= INTEGER_MAX
        return None if in_range else f"{obis}: {value} does not fit 64 bits"
    try:
        finite = math.isfinite(float(value))
    except OverflowError:
        finite = False
    return None if finite else f"{obis}: {value!r} is no finite number"
