"""Reads as lines of InfluxDB's line protocol: measurement `reads`, tags station and meter.

It owns what a line looks like and which reads cannot be one; it sends nothing and knows no server.

Each register is a field with the catalogue's name, integers with the suffix `i`; `quality` is a
field of every line, so that a read without any value exists too. Times are milliseconds.
Source: InfluxDB OSS v2 reference, "Line protocol".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from collector.readings.check import (
    AT_MAX_MS,
    AT_MIN_MS,
    names_are_writable,
    separate,
    to_ms,
)
from collector.readings.columns import Columns, columns_of
from collector.readings.port import ReadBlock, Refused
from contract.registers import BY_OBIS

MEASUREMENT = "reads"
QUALITY_FIELD = "quality"


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
    present = [value for value in columns.column(position) if value is not None]
    # A sum is finite only if every term is; a sum that overflows is looked at again.
    return math.isfinite(sum(present)) or all(map(math.isfinite, present))


def _lines(block: ReadBlock) -> list[str]:
    slot_ms = to_ms(block.slot)
    start = f"{MEASUREMENT},station={_tag(block.station)},meter="
    fields = [_field_format(obis) for obis in block.registers]
    whole = _template(start, fields)
    lines: list[str] = []
    for meter, offset_ms, values, quality in block.reads:
        if None in values:
            present = [value for value in values if value is not None]
            template = _template(
                start,
                [text for text, value in zip(fields, values, strict=True) if value is not None],
            )
            lines.append(template % (_tag(meter), *present, quality, slot_ms + offset_ms))
        else:
            lines.append(whole % (_tag(meter), *values, quality, slot_ms + offset_ms))
    return lines


def _template(start: str, fields: list[str]) -> str:
    # A % in a station's name must not become part of the format.
    return start.replace("%", "%%") + "%s " + "".join(fields) + QUALITY_FIELD + "=%di %d"


def _field_format(obis: str) -> str:
    register = BY_OBIS[obis]
    return f"{register.field}=%di," if register.is_integer else f"{register.field}=%s,"


def _tag(name: str) -> str:
    if "," in name or " " in name or "=" in name:
        return name.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")
    return name
