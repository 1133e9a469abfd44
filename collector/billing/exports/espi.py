"""Green Button (ESPI): one customer's energy by interval, as an Atom feed of NAESB's resources.

It knows the form (NAESB REQ.21, version 4.0); it must not know where energies come from. There is
no name, no address and no account in it: points are called by their codes, links by hashes.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from itertools import groupby
from xml.sax.saxutils import escape

from collector.civil import format_instant
from contract.registers import BY_OBIS, Unit

# Names of resources are made from codes under this one, so that a file made again has the same.
_NAMES = uuid.UUID("6f1d3c0e-6a55-5e0b-9d2e-5d0a3f2b7c11")

_DAY_S = 86_400
_HALF_HOUR_S = 1_800
_UNITS = {Unit.WH: 72, Unit.VARH: 73}
_FORWARD, _REVERSE = 1, 19
_EXPORTED = frozenset({"2", "4"})  # OBIS group C: active and reactive energy that is fed back

# ESPI's rule of daylight saving time that never applies.
_NO_RULE = "FFFFFFFF"

_LOCAL_TIME = "LocalTimeParameters/1"
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'


class Quality(IntEnum):
    """QualityOfReading of the schema: what an interval's energy rests on."""

    VALID = 0
    EDITED = 7
    ESTIMATED_REFERENCE_DAY = 8
    ESTIMATED_LINEAR = 9
    DERIVED = 11


WORST_FIRST = (
    Quality.ESTIMATED_REFERENCE_DAY,
    Quality.ESTIMATED_LINEAR,
    Quality.EDITED,
    Quality.DERIVED,
    Quality.VALID,
)


@dataclass(frozen=True, slots=True)
class Interval:
    """The energy of [from_at, to_at), the multiplier counted in: whole Wh (varh)."""

    from_at: datetime
    to_at: datetime
    energy: int
    quality: Quality


@dataclass(frozen=True, slots=True)
class Series:
    """One register of one point, its intervals in order of time; at least one."""

    point: str
    register: str
    intervals: Sequence[Interval]


def green_button(
    series: Iterable[Series], period: tuple[datetime, datetime], zone: tzinfo
) -> Iterator[bytes]:
    """The feed in pieces, UTF-8: a block of intervals for each month of the zone.

    `series` are by point. The same series of the same period have the same bytes; the file's
    dates are the end of the period.
    """
    found = list(series)
    from_at, to_at = period
    updated = format_instant(to_at.astimezone(UTC))
    days = f"{from_at.astimezone(zone):%Y-%m-%d}/{to_at.astimezone(zone):%Y-%m-%d}"
    whole = "|".join((days, *(f"{one.point}|{one.register}" for one in found)))
    yield (
        f"{_HEAD}  <id>{_urn('feed', whole)}</id>\n  <title>Green Button {days}</title>\n"
        f"  <updated>{updated}</updated>\n"
        '  <link rel="self" href="DownloadMyData"/>\n'
    ).encode()
    local_time = _local_time(to_at, zone)
    yield _entry(_LOCAL_TIME, "LocalTimeParameters", (), local_time, updated).encode()
    types = dict.fromkeys(one.register for one in found)
    for register in types:
        name = f"ReadingType/{_short('type', register)}"
        yield _entry(name, "ReadingType", (), _reading_type(register), updated, register).encode()
    for point, of_point in groupby(found, key=lambda one: one.point):
        path = f"UsagePoint/{_short('point', point)}"
        related = (f"{path}/MeterReading", _LOCAL_TIME)
        yield _entry(path, "UsagePoint", related, _USAGE_POINT, updated, point).encode()
        for one in of_point:
            yield from _reading(one, f"{path}/MeterReading", zone, updated)
    yield b"</feed>\n"


def half_hour_feed(
    blocks: Iterable[Series], points: Sequence[str], period: tuple[datetime, datetime], zone: tzinfo
) -> Iterator[bytes]:
    """The feed of half-hours in pieces, UTF-8: a piece for each of `blocks`, and none is kept.

    `blocks` have the intervals of one register and one month of the zone each, at least one;
    `points` are those that were asked for. The entries of a point, a register and its type are
    before the first block of theirs. As with days, the same has the same bytes.
    """
    from_at, to_at = period
    updated = format_instant(to_at.astimezone(UTC))
    days = f"{from_at.astimezone(zone):%Y-%m-%d}/{to_at.astimezone(zone):%Y-%m-%d}"
    yield (
        f"{_HEAD}  <id>{_urn('half-hours', '|'.join((days, *points)))}</id>\n"
        f"  <title>Green Button {days}</title>\n  <updated>{updated}</updated>\n"
        '  <link rel="self" href="DownloadMyData"/>\n'
    ).encode()
    local_time = _local_time(to_at, zone)
    yield _entry(_LOCAL_TIME, "LocalTimeParameters", (), local_time, updated).encode()
    told: set[str] = set()
    for one in blocks:
        point, register = one.point, one.register
        # Not the names that a file of days has for the same register: what they name differs.
        usage = f"UsagePoint/{_short('point', point)}"
        kind = f"ReadingType/{_short('half-hour type', register)}"
        reading = f"{usage}/MeterReading/{_short('half-hour reading', f'{point}|{register}')}"
        month = f"{one.intervals[0].from_at.astimezone(zone):%Y-%m}"
        body = _reading_type(register, _HALF_HOUR_S)
        head = (
            (kind, "ReadingType", (), body, register),
            (usage, "UsagePoint", (f"{usage}/MeterReading", _LOCAL_TIME), _USAGE_POINT, point),
            (reading, "MeterReading", (f"{reading}/IntervalBlock", kind), _METER_READING, register),
        )
        written = [
            _entry(path, name, related, text, updated, title)
            for path, name, related, text, title in head
            if path not in told
        ]
        told |= {path for path, *_ in head}
        block = f"{reading}/IntervalBlock/{month}"
        written.append(_entry(block, "IntervalBlock", (), _block(one.intervals), updated, month))
        yield "".join(written).encode()
    yield b"</feed>\n"


def _reading(one: Series, parent: str, zone: tzinfo, updated: str) -> Iterator[bytes]:
    path = f"{parent}/{_short('reading', f'{one.point}|{one.register}')}"
    related = (f"{path}/IntervalBlock", f"ReadingType/{_short('type', one.register)}")
    yield _entry(path, "MeterReading", related, _METER_READING, updated, one.register).encode()

    def month(interval: Interval) -> str:
        return f"{interval.from_at.astimezone(zone):%Y-%m}"

    for name, of_month in groupby(one.intervals, key=month):
        block = f"{path}/IntervalBlock/{name}"
        yield _entry(block, "IntervalBlock", (), _block(list(of_month)), updated, name).encode()


_METER_READING = '<MeterReading xmlns="http://naesb.org/espi"/>'
_USAGE_POINT = (
    '<UsagePoint xmlns="http://naesb.org/espi"><ServiceCategory><kind>0</kind>'
    "</ServiceCategory></UsagePoint>"
)


def _entry(
    path: str, kind: str, related: Sequence[str], body: str, updated: str, title: str = ""
) -> str:
    up = path.rpartition("/")[0] or path
    links = [("self", path), ("up", up), *(("related", one) for one in related)]
    written = "".join(f'    <link rel="{rel}" href="{escape(href)}"/>\n' for rel, href in links)
    return (
        f"  <entry>\n    <id>{_urn('entry', path)}</id>\n{written}"
        f"    <title>{escape(title or kind)}</title>\n    <content>{body}</content>\n"
        f"    <published>{updated}</published>\n    <updated>{updated}</updated>\n  </entry>\n"
    )


def _local_time(at: datetime, zone: tzinfo) -> str:
    offset = at.astimezone(zone).utcoffset() or timedelta(0)
    return (
        '<LocalTimeParameters xmlns="http://naesb.org/espi">'
        f"<dstEndRule>{_NO_RULE}</dstEndRule><dstOffset>0</dstOffset>"
        f"<dstStartRule>{_NO_RULE}</dstStartRule>"
        f"<tzOffset>{offset // timedelta(seconds=1)}</tzOffset></LocalTimeParameters>"
    )


def _reading_type(register: str, length_s: int = _DAY_S) -> str:
    """Energy by interval (deltaData), secondary metered; `tou` is the meter's own rate."""
    group_c, rate = register.partition(":")[2].split(".")[0], int(register.rpartition(".")[2])
    parts = (
        ("accumulationBehaviour", 4),
        ("commodity", 1),
        ("dataQualifier", 12),
        ("flowDirection", _REVERSE if group_c in _EXPORTED else _FORWARD),
        ("intervalLength", length_s),
        ("kind", 12),
        ("powerOfTenMultiplier", 0),
        ("timeAttribute", 11),
        *((("tou", rate),) if rate else ()),
        ("uom", _UNITS[BY_OBIS[register].unit]),
    )
    body = "".join(f"<{name}>{value}</{name}>" for name, value in parts)
    return f'<ReadingType xmlns="http://naesb.org/espi">{body}</ReadingType>'


def _block(intervals: Sequence[Interval]) -> str:
    whole = _span(intervals[0].from_at, intervals[-1].to_at)
    readings = "".join(
        f"\n      <IntervalReading><ReadingQuality><quality>{one.quality.value}</quality>"
        f"</ReadingQuality><timePeriod>{_span(one.from_at, one.to_at)}</timePeriod>"
        f"<value>{one.energy}</value></IntervalReading>"
        for one in intervals
    )
    return (
        f'<IntervalBlock xmlns="http://naesb.org/espi"><interval>{whole}</interval>'
        f"{readings}</IntervalBlock>"
    )


def _span(from_at: datetime, to_at: datetime) -> str:
    duration_s = (to_at - from_at) // timedelta(seconds=1)
    return f"<duration>{duration_s}</duration><start>{_epoch_s(from_at)}</start>"


def _epoch_s(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def _urn(kind: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMES, f'{kind}|{name}')}"


def _short(kind: str, name: str) -> str:
    return uuid.uuid5(_NAMES, f"{kind}|{name}").hex
