"""The reads of one table packed column by column: what checking, sending on and storing all need.

Packed once, while the reads are still warm in the processor's cache; stores then only join
buffers, and a process hands them to another as they are. It must not judge values; it says where
they cannot be packed.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from struct import Struct, error
from typing import NamedTuple, overload

import msgspec

from contract.messages import MeterRead, Value
from contract.registers import BY_OBIS

_FORMS_KEPT = 256

# Where in its eight bytes a number has its sign.
_SIGN_AT = 7 if sys.byteorder == "little" else 0


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Reads of meters that have the same registers; all numbers in the machine's own byte order.

    `names` are the meters' serials one after another in UTF-8, `name_bytes` their lengths as 32-bit
    integers. `offsets_ms` and `qualities` are 64-bit integers. `values` has of each read, one after
    another, the values of all registers, 64 bits each, integers or floats as the catalogue says;
    `absent` has, for each register (by its position) of which values are absent, one byte a read, 1
    where it is: the value itself is 0 there.
    """

    registers: tuple[str, ...]
    count: int
    names: bytes
    name_bytes: bytes
    offsets_ms: bytes
    qualities: bytes
    values: bytes
    absent: dict[int, bytes]

    def serials(self) -> list[str]:
        """The meters, in order."""
        lengths = memoryview(self.name_bytes).cast("i")
        if len(self.names) == sum(lengths) and self.names.isascii():
            text = self.names.decode()
            return [text[a:b] for a, b in pairwise(accumulate(lengths, initial=0))]
        return [self.names[a:b].decode() for a, b in pairwise(accumulate(lengths, initial=0))]

    def has_negative(self, position: int) -> bool:
        """Whether an integer register has a value below zero, which no counted energy is."""
        # The byte with the sign is below 128 where the value is not negative.
        return not self.values[8 * position + _SIGN_AT :: 8 * len(self.registers)].isascii()

    def column(self, position: int) -> Sequence[Value]:
        """The values of one register, in order."""
        width = len(self.registers)
        values: Sequence[Value] = (
            memoryview(self.values).cast("q")[position::width].tolist()
            if BY_OBIS[self.registers[position]].is_integer
            else memoryview(self.values).cast("d")[position::width].tolist()
        )
        missing = self.absent.get(position)
        if missing is None:
            return values
        return [None if gone else value for value, gone in zip(values, missing, strict=True)]

    def reads(self) -> list[MeterRead]:
        """The reads as a batch has them."""
        offsets = memoryview(self.offsets_ms).cast("q")
        qualities = memoryview(self.qualities).cast("q")
        rows = list(map(list, _form(self.registers, self.count).row.iter_unpack(self.values)))
        for position, missing in self.absent.items():
            for row, gone in zip(rows, missing, strict=True):
                if gone:
                    row[position] = None
        return list(zip(self.serials(), offsets, rows, qualities, strict=True))


class PackedReads(Sequence[MeterRead]):
    """Reads that lie packed; they are unpacked when somebody looks at one of them."""

    __slots__ = ("_reads", "columns")

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._reads: list[MeterRead] | None = None

    def __len__(self) -> int:
        return self.columns.count

    def __iter__(self) -> Iterator[MeterRead]:
        return iter(self._unpacked())

    @overload
    def __getitem__(self, index: int) -> MeterRead: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[MeterRead]: ...
    def __getitem__(self, index: int | slice) -> MeterRead | Sequence[MeterRead]:
        return self._unpacked()[index]

    def _unpacked(self) -> list[MeterRead]:
        if self._reads is None:
            self._reads = self.columns.reads()
        return self._reads


def columns_of(registers: Sequence[str], reads: Sequence[MeterRead]) -> Columns | None:
    """The columns of `reads`, of which there is at least one; None where they cannot be packed.

    Raises ValueError where a read has another number of values than there are registers.
    """
    if isinstance(reads, PackedReads):
        return reads.columns
    serials, offsets_ms, rows, qualities = zip(*reads, strict=True)
    widths = set(map(len, rows))
    if widths != {len(registers)}:
        raise ValueError(f"{widths} values for {len(registers)} registers")
    return pack(registers, serials, offsets_ms, list(chain.from_iterable(rows)), qualities)


def pack(
    registers: Sequence[str],
    serials: Sequence[str],
    offsets_ms: Sequence[int],
    values: Sequence[Value],
    qualities: Sequence[int],
) -> Columns | None:
    """Reads as one value; None where something does not fit its register's 64 bits.

    `values` are those of the first read, then those of the second, and so on. A float in an
    integer's place does not fit; an integer in a float's place becomes one.
    """
    codes = tuple(registers)
    absent: dict[int, bytes] = {}
    try:
        form = _form(codes, len(serials))
        offsets = form.signed.pack(*offsets_ms)
        quality = form.signed.pack(*qualities)
        try:
            packed = form.values.pack(*values)
        except error:
            width = len(codes)
            columns = [values[position::width] for position in range(width)]
            absent = {
                position: bytes(value is None for value in column)
                for position, column in enumerate(columns)
                if None in column
            }
            packed = form.values.pack(*(0 if value is None else value for value in values))
    except (error, KeyError, OverflowError):
        return None
    names = "".join(serials)
    encoded = names.encode()
    if len(encoded) == len(names):
        lengths = form.lengths.pack(*map(len, serials))
    else:
        lengths = form.lengths.pack(*(len(serial.encode()) for serial in serials))
    return Columns(codes, len(serials), encoded, lengths, offsets, quality, packed, absent)


def code_of(obis: str) -> str:
    """How a register's values are packed, as `struct` names it. Raises KeyError."""
    return "q" if BY_OBIS[obis].is_integer else "d"


class _Form(NamedTuple):
    """How a table of some registers and so many reads is packed."""

    row: Struct
    values: Struct
    signed: Struct
    lengths: Struct


@lru_cache(maxsize=_FORMS_KEPT)
def _form(registers: tuple[str, ...], count: int) -> _Form:
    row = "".join(map(code_of, registers))
    return _Form(
        Struct("=" + row), Struct("=" + row * count), Struct(f"={count}q"), Struct(f"={count}i")
    )
