"""Reads as lines of InfluxDB's line protocol: measurement `reads`, tags station and meter.

It owns what a line looks like and which reads cannot be one; it sends nothing and knows no server.

Each register is a field with the catalogue's name, integers with the suffix `i`; `quality` is a
field of every line, so that a read without any value exists too. Times are milliseconds.
Source: InfluxDB OSS v2 reference, "Line protocol".
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import msgspec

from collector.readings.check import (
    AT_MAX_MS,
    AT_MIN_MS,
    names_are_writable,
    separate,
    to_ms,
)
from collector.readings.columns import Columns, columns_of
from collector.readings.port import ReadBlock, Refused
from contract.messages import Value
from contract.registers import BY_OBIS

MEASUREMENT = "reads"
QUALITY_FIELD = "quality"

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class BlockLines:
    """A block and its lines, one for each of its reads in the same order."""

    block: ReadBlock
    lines: list[str]


def encode(blocks: Sequence[ReadBlock]) -> tuple[list[BlockLines], list[Refused]]:
    """The lines of all reads that can be stored, block by block, and the reads that cannot."""
    groups: dict[tuple[str, ...], list[ReadBlock]] = {}
    for block in blocks:
        if block.reads:
            groups.setdefault(tuple(block.registers), []).append(block)
    encoded: list[BlockLines] = []
    refused: list[Refused] = []
    for obis_codes, given in groups.items():
        group = given
        if not _all_fit(obis_codes, group):
            group, bad = separate(group)
            refused += bad
        encoded += [BlockLines(block, _lines(block)) for block in group]
    return encoded, refused


def _all_fit(obis_codes: tuple[str, ...], blocks: list[ReadBlock]) -> bool:
    """Whether every read of these blocks, which have the same registers, can be stored.

    By columns, because one Python call for each read would take longer than writing it.
    """
    names = {block.station for block in blocks} | {block.gateway for block in blocks}
    return (
        all(obis in BY_OBIS for obis in obis_codes)
        and names_are_writable(list(names))
        and all(map(_fits, blocks))
    )


def _fits(block: ReadBlock) -> bool:
    try:
        columns = columns_of(block.registers, block.reads)
    except ValueError:
        return False
    if columns is None:
        return False
    slot_ms = to_ms(block.slot)
    offsets_ms = memoryview(columns.offsets_ms).cast("q")
    return (
        names_are_writable(columns.serials())
        and min(memoryview(columns.qualities).cast("q")) >= 0
        and slot_ms + min(offsets_ms) >= AT_MIN_MS
        and slot_ms + max(offsets_ms) < AT_MAX_MS
        and all(_column_fits(columns, at) for at in range(len(columns.registers)))
    )


def _column_fits(columns: Columns, position: int) -> bool:
    if BY_OBIS[columns.registers[position]].is_integer:
        return True  # 64 bits it was packed in
    # An absent value is 0 where it is packed.
    present = memoryview(columns.values).cast("d")[position :: len(columns.registers)].tolist()
    # A sum is finite only if every term is; a sum that overflows is looked at again.
    return math.isfinite(sum(present)) or all(map(math.isfinite, present))


def _lines(block: ReadBlock) -> list[str]:
    columns = columns_of(block.registers, block.reads)
    if columns is None or columns.absent:
        return _lines_one_by_one(block)
    slot_ms = to_ms(block.slot)
    texts = [_texts(columns.column(position)) for position in range(len(columns.registers))]
    at_texts = _texts([slot_ms + offset for offset in memoryview(columns.offsets_ms).cast("q")])
    quality_texts = _texts(memoryview(columns.qualities).cast("q").tolist())
    template = _template(_start(block), map(_field_format, block.registers))
    rows = zip(map(_tag, columns.serials()), *texts, quality_texts, at_texts, strict=True)
    return list(map(template.__mod__, rows))


def _lines_one_by_one(block: ReadBlock) -> list[str]:
    slot_ms = to_ms(block.slot)
    start = _start(block)
    fields = [_field_format(obis) for obis in block.registers]
    lines: list[str] = []
    for meter, offset_ms, values, quality in block.reads:
        present = [value is not None for value in values]
        template = _template(start, compress(fields, present))
        texts = _texts(list(compress(values, present)))
        lines.append(template % (_tag(meter), *texts, quality, slot_ms + offset_ms))
    return lines


def _texts(values: Sequence[Value]) -> list[str]:
    """Numbers as a line has them: the shortest text that means the same number."""
    # The encoder of JSON writes them all several times as fast as formatting one by one.
    text = _encoder.encode(values)[1:-1].decode()
    return text.split(",") if text else []


def _start(block: ReadBlock) -> str:
    return f"{MEASUREMENT},station={_tag(block.station)},meter="


def _template(start: str, fields: Iterable[str]) -> str:
    # A % in a station's name must not become part of the format.
    return start.replace("%", "%%") + "%s " + "".join(fields) + QUALITY_FIELD + "=%si %s"


def _field_format(obis: str) -> str:
    register = BY_OBIS[obis]
    return f"{register.field}=%si," if register.is_integer else f"{register.field}=%s,"


def _tag(name: str) -> str:
    if "," in name or " " in name or "=" in name:
        return name.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")
    return name
