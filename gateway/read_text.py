"""What one meter said, as people and programs read it; of whatever protocol.

Pure text and values. It must not read meters.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from contract.registers import BY_OBIS


def instant(at: datetime) -> str:
    """As everywhere in the product: UTC, with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def answer(
    profile: str,
    address: int | str,
    at: datetime,
    values: Mapping[str, int | float],
    missing: Sequence[str],
) -> dict[str, object]:
    """The object that `read --json` prints."""
    return {
        "profile": profile,
        "address": address,
        "at": instant(at),
        "registers": {
            obis: {"value": value, "unit": BY_OBIS[obis].unit.value}
            for obis, value in values.items()
        },
        "missing": list(missing),
    }


def rows(values: Mapping[str, int | float], missing: Sequence[str]) -> list[str]:
    """A line for each register: code, name, value, unit."""
    table = [
        (obis, BY_OBIS[obis].field, f"{value:,}".replace(",", " "), BY_OBIS[obis].unit.value)
        for obis, value in values.items()
    ]
    table += [(obis, BY_OBIS[obis].field, "no value", "") for obis in missing]
    widths = [max((len(row[column]) for row in table), default=0) for column in range(3)]
    return [
        f"{obis:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}} {unit}".rstrip()
        for obis, name, value, unit in table
    ]
