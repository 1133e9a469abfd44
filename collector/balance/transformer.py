"""The technical part of a station's loss that its transformers make, where the head is before them.

ΔA = P0·T + Pk·(A / (cos φ·S·T))²·T·k, k = (c·LF + (1 − c)·LF²) / LF²: the no-load loss over the
time, the load loss over the square of the load. LF is the load factor (mean over maximum load), and
c·LF + (1 − c)·LF² the loss factor (mean over maximum loss) after F. H. Buller and C. A. Woodrow,
"Load factor-equivalent hour values compared", Electrical World, 14 July 1928, with c = 0.3. It must
not know where energies or ratings come from.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from collector.balance.settings import Transformer, transformer_cuts
from collector.registry.values import HeadSide

LOSS_FACTOR_C = Fraction(3, 10)

_MS = timedelta(milliseconds=1)
_HOUR_MS = timedelta(hours=1) // _MS


class TechnicalNote(StrEnum):
    """What the technical part rests on."""

    COMPUTED = "computed"  # from the transformers' data
    HEAD_ON_LV = "head_on_lv"  # the transformers are before the head: none of their loss is here
    NO_DATA = "no_transformer_data"  # not known on which side the head is, nor the transformers
    NO_HEAD = "no_head"  # without what was received there is no load


@dataclass(frozen=True, slots=True)
class Technical:
    """The transformers' part of a loss in Wh, None where it is not known."""

    energy_wh: int | None
    note: TechnicalNote


def technical_part(
    rows: tuple[Transformer, ...],
    station: str,
    period: tuple[datetime, datetime],
    received_wh: int | None,
) -> Technical:
    """The transformers' loss in the period, rounded half up to Wh.

    Where the transformers changed within the period the energy is shared out by time.
    """
    whole_ms = (period[1] - period[0]) // _MS
    total = Fraction(0)
    note = TechnicalNote.HEAD_ON_LV
    for row, from_at, to_at in transformer_cuts(rows, station, *period):
        if row is None:
            return Technical(None, TechnicalNote.NO_DATA)
        if row.head_side is HeadSide.LV:
            continue
        if received_wh is None:
            return Technical(None, TechnicalNote.NO_HEAD)
        note = TechnicalNote.COMPUTED
        part_ms = (to_at - from_at) // _MS
        energy = Fraction(received_wh * part_ms, whole_ms)
        total += transformer_loss(row, energy, Fraction(part_ms, _HOUR_MS))
    return Technical(_half_up(total), note)


def transformer_loss(row: Transformer, energy_wh: Fraction, hours: Fraction) -> Fraction:
    """What transformers lose in Wh while `energy_wh` passes them in `hours`."""
    shape = (LOSS_FACTOR_C + (1 - LOSS_FACTOR_C) * row.load_factor) * Fraction(1, row.load_factor)
    rated_w = row.rated_kva * 1000 * row.power_factor
    mean_load = energy_wh * Fraction(1, rated_w * hours)
    return row.no_load_loss_w * hours + row.load_loss_w * mean_load**2 * shape * hours


def _half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
