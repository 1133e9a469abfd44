"""Their rows filled from ours, and what both sides must look at; or rows made new.

A row that disagrees goes back as it came: a clerk decides, not this. It must not know where files
are kept.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from collector.billing.exports.cmis.rows import exact_decimal
from collector.billing.exports.cmis.table1 import COLUMNS, Cell, Form, Row, is_writable
from collector.billing.exports.cmis.values import (
    OTHER_MARKS,
    ROLLED_OVER_MARK,
    ZERO_MARKS,
    CmisContext,
    CmisRow,
    Disagreement,
    Reason,
)
from collector.billing.values import LineQuality
from collector.errors import InvalidRequest
from contract.limits import NAME_CHARS_MAX

# Without these a file cannot take what is filled in.
FILLED = ("CS_MOI", "TTR_MOI", "SL_MOI", "NGAY_MOI", "SL_THAO")
_NEEDED = ("MA_DDO", "LOAI_BCS", "SERY_CTO", "CS_CU", *FILLED)

# A number or a date of a row is short; more is no number, and slow to look at.
_NUMBER_CHARS_MAX = 40
# Names are cut in the list of disagreements; ours are never longer.
_SHOWN_CHARS_MAX = NAME_CHARS_MAX
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d:\d\d(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?")
_VIETNAMESE_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})(?: .*)?")
_NO_CELL = Cell("")


@dataclass(slots=True)
class Tally:
    """What became of a hand-over; complete once its rows were consumed."""

    rows: int = 0
    filled: int = 0
    not_actual: int = 0  # of the filled, those that rest on a substituted or estimated index
    energy_kwh: Fraction = Fraction(0)  # SL_MOI + SL_THAO of the filled rows of BT, CD, TD and KT
    disagreements: list[Disagreement] = field(default_factory=list)

    def count(self, row: CmisRow) -> None:
        """A row of ours that was written with its new index."""
        self.filled += 1
        self.not_actual += row.quality is not LineQuality.ACTUAL
        if row.code in _SUMMED and row.energy_kwh is not None:
            self.energy_kwh += row.energy_kwh + row.removed_kwh

    def by_reason(self) -> dict[str, int]:
        """How many disagreements there are of each reason, by its name."""
        counts: dict[str, int] = {}
        for one in self.disagreements:
            counts[one.reason.value] = counts.get(one.reason.value, 0) + 1
        return dict(sorted(counts.items()))


_SUMMED = frozenset(("KT", "BT", "CD", "TD"))
# Of such a point there is one line, whatever registers its meter counts.
_STAND_INS = (Reason.NO_CONSUMPTION, Reason.HELD)


class Filler:
    """Fills a file's rows, one after another; `tally` is complete after the last."""

    def __init__(
        self,
        form: Form,
        ours: Iterable[CmisRow],
        context: CmisContext,
        *,
        from_their_index: bool = False,
    ) -> None:
        """`from_their_index`: where CS_CU differs, bill the energy from theirs on: an estimate
        that was billed is made good that way. It is listed all the same."""
        lacking = [name for name in _NEEDED if name not in form.types]
        if lacking:
            raise InvalidRequest(
                f"the file's schema has no column {', '.join(lacking)}",
                hint="export the reading book from CMIS as GCS XML",
                code="cmis_file",
            )
        self.tally = Tally()
        self._form = form
        self._context = context
        self._from_their_index = from_their_index
        self._ours = {(row.point, row.code): row for row in ours}
        self._points: dict[str, list[CmisRow]] = {}
        for row in self._ours.values():
            self._points.setdefault(row.point, []).append(row)
        self._seen: set[tuple[str, str]] = set()

    def rows(self, theirs: Iterable[Row]) -> Iterator[Row]:
        """Their rows in their order, filled where nothing speaks against it."""
        for number, row in enumerate(theirs, 1):
            self.tally.rows += 1
            yield self._one(number, row)
        for key, ours in self._ours.items():
            if key not in self._seen and not self._is_stand_in(ours):
                found = Disagreement(Reason.NOT_IN_FILE, ours.point, ours.code, ours=ours.meter)
                self.tally.disagreements.append(found)

    def _is_stand_in(self, ours: CmisRow) -> bool:
        """A meter that was never read has one line, whatever registers it counts."""
        return (
            ours.lack in _STAND_INS
            and len(self._points[ours.point]) == 1
            and any(point == ours.point for point, _ in self._seen)
        )

    def _one(self, number: int, row: Row) -> Row:
        point = row.get("MA_DDO", _NO_CELL).text.strip()
        code = row.get("LOAI_BCS", _NO_CELL).text.strip()
        ours = self._ours.get((point, code))
        is_again = (point, code) in self._seen
        self._seen.add((point, code))
        if ours is None:
            found = self._unmatched(point, code)
        elif is_again:
            found = [(Reason.DUPLICATE, "", "")]
        else:
            found = list(_against(row, ours, self._context))
        self.tally.disagreements += [
            Disagreement(reason, _shown(point), _shown(code), number, _shown(theirs), mine)
            for reason, theirs, mine in found
        ]
        reasons = {reason for reason, _, _ in found}
        if ours is None:
            return row
        energy_kwh = ours.energy_kwh
        if self._from_their_index and reasons == {Reason.OLD_INDEX_DIFFERS}:
            energy_kwh = _from_their_index(row, ours)
            reasons.clear()
        if reasons or energy_kwh is None:
            return row
        return self._filled(number, row, replace(ours, energy_kwh=energy_kwh))

    def _unmatched(self, point: str, code: str) -> list[tuple[Reason, str, str]]:
        known = self._points.get(point)
        if known is None:
            return [(Reason.UNKNOWN_POINT, "", "")]
        if len(known) == 1 and known[0].lack in _STAND_INS:
            return [(known[0].lack, "", "")]
        return [(Reason.REGISTER_DIFFERS, code, " ".join(row.code for row in known))]

    def _filled(self, number: int, row: Row, ours: CmisRow) -> Row:
        types, filled = self._form.types, dict(row)
        refusal = _refusal(row, ours, types)
        if refusal is not None:
            reason, theirs, mine = refusal
            found = Disagreement(reason, ours.point, ours.code, number, theirs, mine)
            self.tally.disagreements.append(found)
            return row
        wanted = {
            "CS_MOI": _decimal(ours.index_to_kwh),
            "SL_MOI": _decimal(ours.energy_kwh),
            "TTR_MOI": ROLLED_OVER_MARK if ours.rolled_over else _mark(row) or ours.mark,
            "NGAY_MOI": _date_text(self._context.last_day, types["NGAY_MOI"], row),
        }
        if ours.removed_kwh or ours.corrected_kwh or "SL_THAO" not in row:
            wanted["SL_THAO"] = _decimal(ours.removed_kwh)
        if ours.demand is not None and "PMAX" in types:
            wanted["PMAX"] = _decimal(Fraction(ours.demand.power_w, 1000))
            if ours.demand.day is not None and "NGAY_PMAX" in types:
                wanted["NGAY_PMAX"] = _date_text(ours.demand.day, types["NGAY_PMAX"], row)
        for name, text in wanted.items():
            if text or name in row:
                filled[name] = Cell(text)
        self.tally.count(ours)
        if ours.corrected_kwh:
            self.tally.disagreements.append(_corrected(ours, number))
        return filled


def _corrected(row: CmisRow, number: int) -> Disagreement:
    """SL_THAO has more in it than the meter that was removed: a person must know."""
    ours = _decimal(row.corrected_kwh)
    return Disagreement(Reason.CORRECTED, row.point, row.code, number, ours=ours)


_WHOLE = frozenset(("int", "long", "short", "integer"))


def fresh_rows(ours: Iterable[CmisRow], context: CmisContext, tally: Tally) -> Iterator[Row]:
    """Rows made new. What cannot be told has no new index, and is listed."""
    for number, row in enumerate(ours, 1):
        tally.rows += 1
        if row.lack is not None:
            ours_is = row.meter if row.energy_kwh is None else _decimal(row.billed_kwh)
            found = Disagreement(row.lack, row.point, row.code, number, ours=ours_is)
            tally.disagreements.append(found)
        else:
            tally.count(row)
            if row.corrected_kwh:
                tally.disagreements.append(_corrected(row, number))
        yield _fresh(row, context)


def _fresh(row: CmisRow, context: CmisContext) -> Row:
    paper = context.papers.get(row.point)
    first, last = row.first_day or context.first_day, context.last_day
    month = (paper and paper.month_of) or context.month_of or last
    texts: dict[str, str | None] = {
        "MA_DDO": row.point,
        "LOAI_BCS": row.code,
        "SERY_CTO": row.meter,
        "HSN": exact_decimal(row.multiplier),
        "CS_CU": None if row.index_from_kwh is None else exact_decimal(row.index_from_kwh),
        "NGAY_CU": _date_text(first, "dateTime", {}),
        "KY": str(context.cycle),
        "THANG": str(month.month),
        "NAM": str(month.year),
    }
    if paper is not None:
        texts |= {
            "MA_KHANG": paper.customer,
            "MA_DVIQLY": paper.unit,
            "MA_GC": paper.position,
            "MA_QUYEN": paper.book,
            "MA_TRAM": paper.station,
            "TEN_KHANG": paper.name,
            "DIA_CHI": paper.address,
            "MA_NN": paper.trade,
            "SO_HO": None if paper.households is None else str(paper.households),
            "CHUOI_GIA": paper.price_chain,
            "MA_CTO": paper.meter_code,
            "KY": str(context.cycle if paper.cycle is None else paper.cycle),
        }
    if row.lack is None and row.energy_kwh is not None:
        texts |= {
            "CS_MOI": _decimal(row.index_to_kwh),
            "TTR_MOI": ROLLED_OVER_MARK if row.rolled_over else row.mark or None,
            "SL_MOI": exact_decimal(row.energy_kwh),
            "NGAY_MOI": _date_text(last, "dateTime", {}),
            "SL_THAO": exact_decimal(row.removed_kwh),
        }
    if row.demand is not None:
        texts["PMAX"] = exact_decimal(Fraction(row.demand.power_w, 1000))
        if row.demand.day is not None:
            texts["NGAY_PMAX"] = _date_text(row.demand.day, "dateTime", {})
    made: Row = {}
    for name in COLUMNS:
        text = texts.get(name)
        if text is not None:
            if not is_writable(text):
                raise InvalidRequest(
                    f"{name} of {row.point} has a character that XML cannot hold",
                    hint="correct it in the registry",
                    code="cmis_file",
                )
            made[name] = Cell(text)
    return made


def _against(row: Row, ours: CmisRow, context: CmisContext) -> Iterator[tuple[Reason, str, str]]:
    """What speaks against filling a row: reason, theirs, ours."""
    if ours.lack is not None:
        yield ours.lack, "", ours.meter if ours.energy_kwh is None else _decimal(ours.billed_kwh)
    if ours.lack is Reason.HELD:
        # The run says nothing of its indices.
        return
    serial = _text(row, "SERY_CTO")
    if serial != ours.meter:
        yield Reason.SERIAL_DIFFERS, serial, ours.meter
        # Its indices, multiplier and marks are another meter's.
        return
    yield from _numbers(row, ours)
    first = _text(row, "NGAY_CU")
    if first and ours.parts == 1:
        day = _day(first)
        if day is None:
            yield Reason.UNREADABLE, f"NGAY_CU {first[:_NUMBER_CHARS_MAX]}", ""
        elif day != (ours.first_day or context.first_day):
            mine = ours.first_day or context.first_day
            yield Reason.PERIOD_DIFFERS, day.isoformat(), mine.isoformat()
    yield from _marks(row, ours)


def _numbers(row: Row, ours: CmisRow) -> Iterator[tuple[Reason, str, str]]:
    for name, reason, mine in (
        ("HSN", Reason.MULTIPLIER_DIFFERS, ours.multiplier),
        ("CS_CU", Reason.OLD_INDEX_DIFFERS, ours.index_from_kwh),
    ):
        text = _text(row, name)
        if name == "HSN" and not text:
            continue
        value = _number(text)
        if value is None:
            yield Reason.UNREADABLE, f"{name} {text[:_NUMBER_CHARS_MAX]}".strip(), ""
        elif mine is not None and value != mine:
            yield reason, text, exact_decimal(mine) or str(mine)
    removed = (ours.removed_kwh, ours.removed_kwh - ours.corrected_kwh)
    for name, reason, known in (
        ("CS_MOI", Reason.ALREADY_READ, (ours.index_to_kwh,)),
        # An exchange is known to CMIS; what it was billed wrongly by earlier is not.
        ("SL_THAO", Reason.REMOVED_DIFFERS, removed),
    ):
        text = _text(row, name)
        value = _number(text)
        if not text or value == 0:
            continue
        if value is None:
            yield Reason.UNREADABLE, f"{name} {text[:_NUMBER_CHARS_MAX]}", ""
        elif known[0] is not None and value not in known:
            yield reason, text, exact_decimal(known[0]) or str(known[0])


def _marks(row: Row, ours: CmisRow) -> Iterator[tuple[Reason, str, str]]:
    """Of marks that force zero: see `_refusal`, which knows the energy that would be written."""
    mark = _mark(row)
    if mark in ZERO_MARKS:
        return
    if mark == ROLLED_OVER_MARK:
        if not ours.rolled_over and ours.lack is None:
            yield Reason.MARK_REFUSED, mark, ""
    elif mark and mark not in OTHER_MARKS:
        yield Reason.MARK_UNKNOWN, mark[:_NUMBER_CHARS_MAX], ""
    elif mark and ours.rolled_over:
        yield Reason.MARK_REFUSED, mark, ROLLED_OVER_MARK


def _from_their_index(row: Row, ours: CmisRow) -> Fraction | None:
    """SL_MOI counted from their CS_CU; None where that is above what was reached."""
    theirs = _number(_text(row, "CS_CU"))
    if theirs is None or ours.index_from_kwh is None or ours.energy_kwh is None:
        return None
    energy = ours.energy_kwh + (ours.index_from_kwh - theirs) * ours.multiplier
    return energy if energy >= 0 and exact_decimal(energy) is not None else None


def _refusal(row: Row, ours: CmisRow, types: Mapping[str, str]) -> tuple[Reason, str, str] | None:
    """What speaks against the energy that would be written: a mark, or a column of integers."""
    mark = _mark(row)
    if mark in ZERO_MARKS and ours.energy_kwh:
        return Reason.MARK_REFUSED, mark, _decimal(ours.energy_kwh)
    for name, value in (
        ("CS_MOI", ours.index_to_kwh),
        ("SL_MOI", ours.energy_kwh),
        ("SL_THAO", ours.removed_kwh),
    ):
        text = _decimal(value)
        if types[name] in _WHOLE and not text.isdigit():
            return Reason.NOT_DECIMAL, f"{name} {types[name]}", text
    return None


def _decimal(value: Fraction | None) -> str:
    text = None if value is None else exact_decimal(value)
    assert text is not None, "a row that decimals cannot say has a lack"
    return text


def _shown(text: str) -> str:
    """Of what their file says, as much as a list for people needs, and nothing but letters."""
    return "".join(char for char in text[:_SHOWN_CHARS_MAX] if char.isprintable())


def _mark(row: Row) -> str:
    return _text(row, "TTR_MOI").upper()


def _text(row: Mapping[str, Cell], name: str) -> str:
    return row.get(name, _NO_CELL).text.strip()


def _number(text: str) -> Fraction | None:
    if len(text) > _NUMBER_CHARS_MAX:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    # An exponent is no XSD decimal, and a large one would be slow to write out.
    return Fraction(value) if value.is_finite() and "E" not in text.upper() else None


def _day(text: str) -> date | None:
    if len(text) > _NUMBER_CHARS_MAX:
        return None
    try:
        if match := _DATE.fullmatch(text):
            return date.fromisoformat(match[1])
        if match := _VIETNAMESE_DATE.fullmatch(text):
            return date(int(match[3]), int(match[2]), int(match[1]))
    except ValueError:
        pass
    return None


def _date_text(day: date, kind: str, row: Mapping[str, Cell]) -> str:
    """A day in the column's type; with the offset that the row's own old date has, if any."""
    if kind == "date":
        return day.isoformat()
    if kind != "dateTime":
        return f"{day:%d/%m/%Y}"
    match = _DATE.fullmatch(_text(row, "NGAY_CU"))
    offset = match[2] if match else None
    return f"{day.isoformat()}T00:00:00{offset or ''}"
