"""Hours of time of use: rows to minutes, and the check that they cover every week exactly once.

It must not know what a file looks like beyond its rows.
"""

from collections.abc import Callable, Iterable, Sequence

from collector.billing.rating.tariff import HoursPart, Rate

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60


def hours_parts(
    rows: Sequence[tuple[Iterable[str], Rate, str, str]], add: Callable[[str, str], None]
) -> tuple[HoursPart, ...]:
    """The parts that rows of (days, rate, from, to) mean; `add` is told of each path and fault."""
    parts: list[HoursPart] = []
    for number, (days, rate, start, end) in enumerate(rows):
        part = HoursPart(tuple(DAYS.index(day) for day in days), rate, _minute(start), _minute(end))
        if part.to_minute <= part.from_minute:
            add(f"hours[{number}].to", f"{end} is not after {start}; split at 24:00 and 00:00")
        if len(set(part.weekdays)) < len(part.weekdays):
            add(f"hours[{number}].days", "a day is there twice")
        parts.append(part)
    for weekday, day in enumerate(DAYS):
        _check_day(parts, weekday, day, add)
    return tuple(parts)


def _check_day(
    parts: Sequence[HoursPart], weekday: int, day: str, add: Callable[[str, str], None]
) -> None:
    of_day = sorted(
        (part.from_minute, part.to_minute, number)
        for number, part in enumerate(parts)
        if weekday in part.weekdays
    )
    reached = 0
    for start, end, number in of_day:
        if start > reached:
            add(f"hours[{number}].from", f"{day}: a hole from {_text(reached)} to {_text(start)}")
        elif start < reached:
            until = _text(min(end, reached))
            add(f"hours[{number}].from", f"{day}: an overlap from {_text(start)} to {until}")
        reached = max(reached, end)
    if reached < DAY_MINUTES:
        add("hours", f"{day}: a hole from {_text(reached)} to 24:00")


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _text(minute: int) -> str:
    hours, minutes = divmod(minute, 60)
    return f"{hours:02}:{minutes:02}"
