"""What is known of watched meters as cells and sentences for people.

Pure text. It must not read meters, nor know whether a terminal shows it.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from contract.registers import BY_OBIS
from gateway.advice import advice
from gateway.watch import Row

HEADINGS = ("line", "address", "meter", "profile", "energy", "power", "age", "ok", "time", "state")
RIGHT_ALIGNED = frozenset({"energy", "power", "age", "ok", "time"})
_THOUSAND = 1000


def cells(row: Row, now: datetime) -> tuple[str, ...]:
    """One cell for each of HEADINGS."""
    return (
        row.line,
        str(row.meter.address) or "-",
        row.meter.serial,
        row.meter.profile.name,
        _energy(row),
        "-" if row.power_w is None else f"{row.power_w:.0f} W",
        "-" if row.read_at is None else f"{max(0.0, (now - row.read_at).total_seconds()):.0f} s",
        f"{row.succeeded}/{len(row.outcomes)}" if row.outcomes else "-",
        "-" if row.round_trip_s is None else f"{_THOUSAND * row.round_trip_s:.0f} ms",
        _state(row),
    )


def advices(rows: Sequence[Row]) -> list[str]:
    """What to try, once for all meters that fail in the same way on the same line."""
    told: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.reason is not None:
            others_answer = any(
                other.line == row.line and other.outcomes and other.outcomes[-1] for other in rows
            )
            text = advice(
                row.reason,
                row.detail,
                is_serial=row.is_serial,
                others_answer=others_answer if len(rows) > 1 else None,
            )
            told.setdefault((row.line, text), []).append(row)
    return [f"{line}, {_named(failing)}: {text}" for (line, text), failing in told.items()]


def as_text(rows: Sequence[Row], now: datetime) -> str:
    """A table in plain text, and what to try under it."""
    table = [HEADINGS, *(cells(row, now) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if heading in RIGHT_ALIGNED else f"{cell:<{width}}"
            for heading, cell, width in zip(HEADINGS, row, widths, strict=True)
        ).rstrip()
        for row in table
    ]
    return "\n".join([*lines, *advices(rows)])


def _energy(row: Row) -> str:
    if row.energy is None or row.energy_obis is None:
        return "-"
    register = BY_OBIS[row.energy_obis]
    if not isinstance(row.energy, int):
        return f"{row.energy} {register.unit.value}"
    thousands = Decimal(row.energy).scaleb(-3)
    return f"{thousands:.3f} k{register.unit.value}"


def _state(row: Row) -> str:
    if row.reason is not None:
        return f"{row.reason.value}: {row.detail}"
    return "ok" if row.outcomes else "not asked yet"


def _named(rows: Sequence[Row]) -> str:
    noun = "meter" if len(rows) == 1 else "meters"
    shown = ", ".join(f"{row.meter.serial} (address {row.meter.address or '-'})" for row in rows)
    return f"{noun} {shown}"
