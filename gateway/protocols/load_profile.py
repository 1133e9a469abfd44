"""Load profiles as IEC 62056-21 meters send them: P.01 headers, their status word, their rows.

Turns text into dated rows. It must not know how they were fetched or what becomes of them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import IntFlag

from contract.registers import Unit
from gateway.protocols.iec_events import Command
from gateway.protocols.iec_messages import CommandType
from gateway.protocols.meter_time import MeterTime, parse_stamp
from gateway.protocols.readout import Code, parse_code, parse_data_sets, parse_quantity, parse_unit

CODE = "P.01"
CHANNELS_MAX = 32
INTERVAL_MINUTES_MAX = 1440
ROWS_MAX = 50_000  # a year of quarter-hours is 35,040

_HEADER_BRACKETS = 4  # time stamp, status word, interval, number of channels


class LoadProfileError(ValueError):
    """A text that is no load profile; says where and what."""


class IntervalStatus(IntFlag):
    """The last byte of a status word, as VDEW-style meters agree on it; other bits are makers'."""

    FATAL_ERROR = 1 << 0
    CLOCK_RESERVE_EXHAUSTED = 1 << 1  # the clock may be wrong
    DISTURBED = 1 << 2  # the interval is incomplete or its value unsure
    SEASON_CHANGED = 1 << 3
    RESET = 1 << 4  # of the billing period; not used by all
    CLOCK_SET = 1 << 5
    POWER_RETURNED = 1 << 6
    POWER_FAILED = 1 << 7


STATUS_MASK = 0xFF


@dataclass(frozen=True, slots=True)
class Channel:
    """One column: its code as the meter writes it, its unit and the power of ten before it.

    `unit` is None where the meter gives none, or one that is not in the catalogue.
    """

    name: str
    code: Code | None
    unit: Unit | None
    exponent: int


@dataclass(frozen=True, slots=True)
class Header:
    """What holds for the rows that follow it.

    `stamp` is on the meter's clock and stands for the end of the first row's interval.
    """

    stamp: MeterTime
    status_word: int
    interval_min: int
    channels: tuple[Channel, ...]

    @property
    def status(self) -> IntervalStatus:
        """What the status word's last byte says."""
        return IntervalStatus(self.status_word & STATUS_MASK)


@dataclass(frozen=True, slots=True)
class Row:
    """One interval that ended at `at`: a value per channel in its base unit; None for none.

    The status word is given with the first row after a header: what it reports happened then.
    """

    at: datetime
    header: Header
    values: tuple[Decimal | None, ...]
    status_word: int


def read_command(from_stamp: str, to_stamp: str, *, in_blocks: bool = False) -> Command:
    """The command that asks for a period; stamps as the meter writes them, empty for open ends."""
    kind = CommandType.READ_PROFILE_BLOCKS if in_blocks else CommandType.READ_PROFILE
    return Command(kind, f"{CODE}({from_stamp};{to_stamp})")


def parse_load_profile(text: str, zone: tzinfo) -> tuple[Row, ...]:
    """The rows in `text`, in their order; the meter's clock is set to `zone`.

    Partial blocks are to be joined before. Raises LoadProfileError for a header that is none, a
    row before any header, a row with another number of values than channels, or too many rows.
    """
    rows: list[Row] = []
    header: Header | None = None
    row_of_header = 0
    for number, data_set in enumerate(parse_data_sets(text), 1):
        if data_set.name == CODE:
            if data_set.brackets == ("",):
                continue  # nothing was recorded in the period
            header, row_of_header = _header(data_set.brackets, number), 0
            continue
        if header is None:
            raise LoadProfileError(f"data set {number}: no {CODE} header before it")
        if data_set.name:
            raise LoadProfileError(f"data set {number}: {data_set.name!r} in a load profile")
        if len(data_set.brackets) != len(header.channels):
            found, expected = len(data_set.brackets), len(header.channels)
            raise LoadProfileError(f"data set {number}: {found} values for {expected} channels")
        if len(rows) >= ROWS_MAX:
            raise LoadProfileError(f"more than {ROWS_MAX} rows")
        rows.append(_row(header, row_of_header, data_set.brackets, zone))
        row_of_header += 1
    return tuple(rows)


def _row(header: Header, index: int, brackets: tuple[str, ...], zone: tzinfo) -> Row:
    at = header.stamp.at(zone) + timedelta(minutes=header.interval_min * index)
    values = tuple(
        _value(text, channel) for text, channel in zip(brackets, header.channels, strict=True)
    )
    return Row(at, header, values, header.status_word if index == 0 else 0)


def _value(text: str, channel: Channel) -> Decimal | None:
    quantity = parse_quantity(text)
    if quantity is None or quantity.unit not in (None, channel.unit):
        return None
    # A value that has a unit of its own is scaled by it already.
    return quantity.number.scaleb(channel.exponent if quantity.unit is None else 0)


def _header(brackets: tuple[str, ...], number: int) -> Header:
    if len(brackets) < _HEADER_BRACKETS:
        raise LoadProfileError(f"data set {number}: a header of {len(brackets)} brackets")
    stamp_text, status_text, interval_text, count_text = brackets[:_HEADER_BRACKETS]
    stamp = parse_stamp(stamp_text)
    if stamp is None:
        raise LoadProfileError(f"data set {number}: {stamp_text!r} is no time stamp")
    interval_min = _number(interval_text, 10, INTERVAL_MINUTES_MAX, number)
    count = _number(count_text, 10, CHANNELS_MAX, number)
    status_word = _number(status_text, 16, (1 << 64) - 1, number, least=0)
    pairs = brackets[_HEADER_BRACKETS:]
    if len(pairs) != 2 * count:
        raise LoadProfileError(f"data set {number}: {len(pairs)} brackets for {count} channels")
    channels = tuple(_channel(*pairs[i : i + 2]) for i in range(0, len(pairs), 2))
    return Header(stamp, status_word, interval_min, channels)


def _number(text: str, base: int, greatest: int, number: int, *, least: int = 1) -> int:
    text = text.strip()
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 16 or any(character not in digits for character in text.lower()):
        raise LoadProfileError(f"data set {number}: {text[:20]!r} is no number")
    value = int(text, base)
    if not least <= value <= greatest:
        raise LoadProfileError(f"data set {number}: {value} is not {least} to {greatest}")
    return value


def _channel(name: str, unit_text: str) -> Channel:
    unit, exponent = parse_unit(unit_text.strip()) or (None, 0)
    return Channel(name, parse_code(name), unit, exponent)
