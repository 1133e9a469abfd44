"""The values of the hand-over: a row as we know it, what papers say of a point, disagreements.

They hold facts; it must not know XML nor how a row comes about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fractions import Fraction

from collector.billing.values import LineQuality

# TTR_MOI of the GCS file: what the reader found. These force SL_MOI to zero in the field program:
# unused, nobody home, lost, over the limit, changed, cut off.
ZERO_MARKS = frozenset("UVMLXD")
# These leave the consumption as it is: burnt, stuck, told by the customer, broken, displaced.
OTHER_MARKS = frozenset("CKTHG")
ROLLED_OVER_MARK = "Q"


class Reason(StrEnum):
    """Why a row was not filled, or what of it both sides must look at."""

    UNKNOWN_POINT = "unknown_point"  # their MA_DDO is not in the snapshot
    REGISTER_DIFFERS = "register_differs"  # their LOAI_BCS is none of the point's
    NOT_IN_FILE = "not_in_file"  # a row of ours that the file lacks
    DUPLICATE = "duplicate"  # the file has the register of a point twice
    UNREADABLE = "unreadable"  # a number or date of theirs is none
    SERIAL_DIFFERS = "serial_differs"
    MULTIPLIER_DIFFERS = "multiplier_differs"
    OLD_INDEX_DIFFERS = "old_index_differs"
    PERIOD_DIFFERS = "period_differs"
    ALREADY_READ = "already_read"  # CS_MOI is there and is not ours
    REMOVED_DIFFERS = "removed_differs"  # SL_THAO is there and is not ours
    MARK_REFUSED = "mark_refused"  # a mark that forces zero, or Q, against what the meter says
    MARK_UNKNOWN = "mark_unknown"
    NO_CONSUMPTION = "no_consumption"  # an index is absent or went backwards
    REGISTERS_CHANGED = "registers_changed"  # the meters before and after count other registers
    SIBLING_MISSING = "sibling_missing"  # one of BT, CD, TD has no line
    ROLL_OVER_UNKNOWN = "roll_over_unknown"  # rolled over, and the registry has no modulus
    NOT_DECIMAL = "not_decimal"  # a multiplier such as 1/3, which no decimal says exactly
    HELD = "held"  # a person left the point out of the billing run
    CREDIT = "credit"  # less than nothing is billed, which CMIS does not take as a reading
    CORRECTED = "corrected"  # SL_THAO has what earlier periods were billed too little or too much


@dataclass(frozen=True, slots=True)
class Demand:
    """The maximum demand of the period: whole W, and the day that it was reached on if known."""

    power_w: int
    day: date | None = None


@dataclass(frozen=True, slots=True)
class PointPaper:
    """What the contract and the reading book say of a point; None: not known here.

    `position` is MA_GC, `trade` MA_NN, `price_chain` CHUOI_GIA, `meter_code` MA_CTO. `cycle` is KY,
    the period's number in the month of `month_of`, where the book's reading days say so.
    """

    customer: str | None = None
    unit: str | None = None
    book: str | None = None
    position: str | None = None
    station: str | None = None
    name: str | None = None
    address: str | None = None
    trade: str | None = None
    households: int | None = None
    price_chain: str | None = None
    meter_code: str | None = None
    cycle: int | None = None
    month_of: date | None = None


@dataclass(frozen=True, slots=True)
class CmisContext:
    """What a snapshot or a billing run does not say and its hand-over needs.

    `first_day` and `last_day` are NGAY_CU and NGAY_MOI: the period's, both included, unless told
    otherwise; `month_of` is a day of THANG and NAM where `last_day` is not. `roll_overs_wh` is the
    modulus by meter; `demands` by point and LOAI_BCS; `papers` by point. `cycle` is KY of points
    whose paper has none. `marks` are the letters of TTR_MOI that people gave to points.
    """

    first_day: date
    last_day: date
    roll_overs_wh: Mapping[str, int | None] = field(default_factory=dict)
    demands: Mapping[tuple[str, str], Demand] = field(default_factory=dict)
    papers: Mapping[str, PointPaper] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    cycle: int = 1
    month_of: date | None = None


@dataclass(frozen=True, slots=True)
class CmisRow:
    """One register of a point as CMIS counts it: that of the meter that is there at the end.

    Indices are kWh (kvarh), floored to billed steps. `energy_kwh` is SL_MOI, and `removed_kwh`
    SL_THAO: what was measured before the last exchange or change of multiplier, and corrections of
    earlier periods, which are `corrected_kwh` of it. `lack` says why there is none. `first_day` is
    NGAY_CU where it is the row's own: a chain may go on from an earlier period. `mark` is what a
    person here says of the meter (TTR_MOI).
    """

    point: str
    code: str
    meter: str
    multiplier: Fraction
    index_from_kwh: Fraction | None
    index_to_kwh: Fraction | None
    energy_kwh: Fraction | None
    removed_kwh: Fraction
    parts: int
    rolled_over: bool
    quality: LineQuality
    demand: Demand | None = None
    lack: Reason | None = None
    corrected_kwh: Fraction = Fraction(0)
    first_day: date | None = None
    mark: str = ""

    @property
    def billed_kwh(self) -> Fraction:
        """SL_MOI + SL_THAO: all that the row bills."""
        return (self.energy_kwh or Fraction(0)) + self.removed_kwh


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing to look at: `row` is the row's number in their file from 1, None without one."""

    reason: Reason
    point: str
    code: str
    row: int | None = None
    theirs: str = ""
    ours: str = ""
