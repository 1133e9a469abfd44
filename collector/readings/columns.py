"""The reads of one table column by column, packed: what checking and storing both need.

Made once, while the reads are still warm in the processor's cache; stores then only join buffers.
It must not judge values; it says where a column could not be packed.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contract.messages import MeterRead, Value
from contract.registers import BY_OBIS

Packed = array  # of 'q' (64-bit integers) or 'd' (floats)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of reads that all have as many values as the table has registers.

    `values` has a column for each register: packed as 64-bit integers or floats, whichever the
    catalogue says, or a plain list where a value is absent or does not fit.
    """

    serials: tuple[str, ...]
    offsets_ms: "Packed[int]"
    values: "list[Packed[int] | Packed[float] | list[Value]]"
    qualities: "Packed[int]"


def columns_of(registers: Sequence[str], reads: Sequence[MeterRead]) -> Columns:
    """The columns of `reads`, of which there is at least one.

    Raises ValueError where a read has another number of values than there are registers, and
    OverflowError where an offset or a quality does not fit 64 bits.
    """
    serials, offsets_ms, rows, qualities = zip(*reads, strict=True)
    columns = list(zip(*rows, strict=True))
    if len(columns) != len(registers):
        raise ValueError(f"{len(columns)} values for {len(registers)} registers")
    values = [_packed(obis, column) for obis, column in zip(registers, columns, strict=True)]
    return Columns(serials, array("q", offsets_ms), values, array("q", qualities))


def _packed(obis: str, column: tuple[Value, ...]) -> "Packed[int] | Packed[float] | list[Value]":
    register = BY_OBIS.get(obis)
    if register is None:
        return list(column)
    packed: Packed[Any]
    try:
        # An array of integers refuses floats, and either refuses what is absent.
        packed = array("q" if register.is_integer else "d", column)
    except (TypeError, OverflowError):
        return list(column)
    return packed
