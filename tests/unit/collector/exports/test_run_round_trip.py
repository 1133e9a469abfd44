"""Whatever a run bills: a new CMIS file of it, taken back to waiting, comes back the same."""

import io
import re
from datetime import timedelta
from fractions import Fraction
from functools import cache

import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.billing.exports.cmis.fill import Filler, Tally, fresh_rows
from collector.billing.exports.cmis.run_rows import run_rows
from collector.billing.exports.cmis.table1 import Table1Reader, own_form, write_table1
from collector.billing.run_values import LineKind, RunLine
from tests.unit.collector.exports.making import (
    FROM_AT,
    NORMAL,
    OFF_PEAK,
    PEAK,
    TO_AT,
    TOTAL,
    read_back,
)
from tests.unit.collector.exports.test_run_rows import CONTEXT, MIDDLE, ZONE, correction, of_run

_FILLED = re.compile(rb" *<(?:CS_MOI|SL_MOI|NGAY_MOI|SL_THAO|TTR_MOI)>.*\n")


@cache
def validator(schema: str) -> xmlschema.XMLSchema:
    """A file's own schema; it is the same in all of them."""
    return xmlschema.XMLSchema(schema)


@st.composite
def of_point(draw: st.DrawFn, number: int) -> list[RunLine]:
    """A point's lines: one rate or three, with an exchange, a return or corrections, or none."""
    point = f"P{number:03}"
    multiplier = draw(st.sampled_from([Fraction(1), Fraction(40), Fraction(3, 2)]))
    step = 1000 if multiplier == 1 else 10
    registers = draw(st.sampled_from(((TOTAL,), (TOTAL, NORMAL, PEAK, OFF_PEAK))))
    is_exchanged = draw(st.booleans())
    found: list[RunLine] = []
    for register in registers:
        begins = [(FROM_AT, MIDDLE, "M0"), (MIDDLE, None, "M1")] if is_exchanged else [
            (FROM_AT, None, "M1")
        ]  # fmt: skip
        for from_at, to_at, meter in begins:
            start = step * draw(st.integers(0, 99_999))
            end = start + step * draw(st.integers(0, 5_000))
            kind = LineKind.CONSUMPTION
            if draw(st.integers(0, 9)) == 0:
                start, end, kind = end, start, LineKind.RETURN
            until = TO_AT if to_at is None else to_at
            found.append(
                of_run(
                    start, end, kind=kind, multiplier=multiplier, point=point, meter=meter,
                    register=register, from_at=from_at, to_at=until,
                )
            )  # fmt: skip
        if draw(st.integers(0, 4)) == 0:
            billed = 1000 * draw(st.integers(-50, 50).filter(bool))
            found.append(correction(billed, point=point, register=register))
    return found


@st.composite
def runs(draw: st.DrawFn) -> list[RunLine]:
    """The lines of a few points, by point."""
    count = draw(st.integers(1, 5))
    return [line for number in range(count) for line in draw(of_point(number))]


@settings(deadline=timedelta(seconds=2), max_examples=40)
@given(runs())
def test_every_row_comes_back_once_and_says_what_is_billed(lines: list[RunLine]) -> None:
    tally = Tally()
    rows = fresh_rows(run_rows(lines, CONTEXT, ZONE), CONTEXT, tally)
    new = b"".join(write_table1(own_form(), rows))
    before, rest = new.decode().split("<xs:schema", 1)
    schema, after = rest.split("</xs:schema>", 1)
    validator(f"<xs:schema{schema}</xs:schema>").validate(before + after)
    reader = Table1Reader(io.BytesIO(_FILLED.sub(b"", new)), "waiting.xml")
    filler = Filler(reader.form, run_rows(lines, CONTEXT, ZONE), CONTEXT)
    back = b"".join(write_table1(reader.form, filler.rows(reader.rows())))
    assert back == new
    keys = [(row["MA_DDO"].text, row["LOAI_BCS"].text) for row in read_back(back)]
    assert len(keys) == len(set(keys)) == len({(line.point, line.register) for line in lines})
    assert filler.tally.by_reason() == tally.by_reason()
    written = {
        (row["MA_DDO"].text, row["LOAI_BCS"].text): Fraction(row["SL_MOI"].text)
        + Fraction(row["SL_THAO"].text)
        for row in read_back(back)
        if "SL_MOI" in row
    }
    codes = {TOTAL: "SG", NORMAL: "BT", PEAK: "CD", OFF_PEAK: "TD"}
    three = {line.point for line in lines if line.register == NORMAL}
    billed: dict[tuple[str, str], int] = {}
    for line in lines:
        code = codes[line.register] if line.point in three else "KT"
        billed[line.point, code] = billed.get((line.point, code), 0) + (line.billed or 0)
    assert all(1000 * value == billed[key] for key, value in written.items())
    credits = [one for one in tally.disagreements if one.reason.value == "credit"]
    assert len(written) + len(credits) == len(billed)
