"""Reads as lines of InfluxDB's line protocol: measurement `reads`, tags station and meter.

It owns what a line looks like and which reads cannot be one; it sends nothing and knows no server.

Each register is a field with the catalogue's name, integers with the suffix `i`; `quality` is a
field of every line, so that a read without any value exists too. Times are milliseconds.
Source: InfluxDB OSS v2 reference, "Line protocol".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from collector.readings.check import (
    AT_MAX_MS,
    AT_MIN_MS,
    INTEGER_MAX,
    INTEGER_MIN,
    names_are_writable,
    separate,
    to_ms,
)
from collector.readings.port import ReadBlock, Refused
from contract.registers import BY_OBIS, Register

MEASUREMENT = "reads"
QUALITY_FIELD = "quality"

_NONE = type(None)


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
    flat: list[Any] = list(chain.from_iterable(chain.from_iterable(b.reads for b in blocks)))
    serials, offsets, rows, qualities = flat[0::4], flat[1::4], flat[2::4], flat[3::4]
    slots = [to_ms(block.slot) for block in blocks]
    registers = [BY_OBIS.get(obis) for obis in obis_codes]
    width = len(registers)
    names = {block.station for block in blocks} | {block.gateway for block in blocks}
    if not names_are_writable(serials) or not names_are_writable(list(names)):
        return False
    if set(map(len, rows)) != {width} or min(qualities) < 0 or max(qualities) > INTEGER_MAX:
        return False
    if min(slots) + min(offsets) < AT_MIN_MS or max(slots) + max(offsets) >= AT_MAX_MS:
        return False
    values: list[Any] = list(chain.from_iterable(rows))
    return all(_column_fits(register, values[i::width]) for i, register in enumerate(registers))


def _column_fits(register: Register | None, values: list[Any]) -> bool:
    if register is None:
        return False
    types = set(map(type, values))
    if _NONE in types:
        values = [value for value in values if value is not None]
        types.discard(_NONE)
    if not values:
        return True
    if register.is_integer:
        return types == {int} and min(values) >= INTEGER_MIN and max(values) <= INTEGER_MAX
    # Integers in a float's place are rare: they are left to the check that goes read by read.
    return types == {float} and all(map(math.isfinite, values))


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
