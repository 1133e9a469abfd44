"""A billing run's lines as CMIS counts them: the chain, exchanges, corrections, returns."""

import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from collector.billing.exports.cmis.fill import Filler, Tally, fresh_rows
from collector.billing.exports.cmis.rows import exact_decimal
from collector.billing.exports.cmis.run_rows import run_rows
from collector.billing.exports.cmis.table1 import Table1Reader, own_form, write_table1
from collector.billing.exports.cmis.values import CmisContext, CmisRow, Reason
from collector.billing.run_values import LineKind, RunLine
from collector.billing.values import LineQuality
from tests.unit.collector.exports.making import (
    FROM_AT,
    NORMAL,
    OFF_PEAK,
    PEAK,
    POINT,
    TO_AT,
    TOTAL,
    read_back,
    reasons,
    texts,
    their_file,
    their_row,
)

ZONE = "Asia/Ho_Chi_Minh"
CONTEXT = CmisContext(date(2026, 5, 20), date(2026, 6, 19))
MIDDLE = FROM_AT + timedelta(days=12)


def of_run(
    start: int | None,
    end: int | None,
    billed: int | None = None,
    *,
    kind: LineKind = LineKind.CONSUMPTION,
    multiplier: int | Fraction = 1,
    **changes: Any,  # noqa: ANN401  fields of a line
) -> RunLine:
    """A line of a run; what is billed is the difference of its indices unless told otherwise."""
    ratio = Fraction(multiplier)
    if billed is None and start is not None and end is not None:
        billed = int((end - start) * ratio)
    values: dict[str, Any] = {
        "point": POINT,
        "meter": "M1",
        "register": TOTAL,
        "from_at": FROM_AT,
        "to_at": TO_AT,
        "quality": LineQuality.ACTUAL,
        "cites": None,
    }
    values |= changes
    return RunLine(
        kind=kind,
        index_from=start,
        index_to=end,
        read_from_at=None if start is None else values["from_at"],
        read_to_at=None if end is None else values["to_at"],
        multiplier=ratio,
        billed=billed,
        **values,
    )


def correction(billed: int, **changes: Any) -> RunLine:  # noqa: ANN401  fields of a line
    earlier = {"from_at": FROM_AT - timedelta(days=31), "to_at": FROM_AT}
    return of_run(
        None, None, billed, kind=LineKind.CORRECTION, cites="run-0", **(earlier | changes)
    )


def row_of(*lines: RunLine) -> CmisRow:
    (found,) = run_rows(lines, CONTEXT, ZONE)
    return found


def numbers(row: CmisRow) -> list[str | None]:
    """CS_CU, CS_MOI, SL_MOI and SL_THAO."""
    values = (row.index_from_kwh, row.index_to_kwh, row.energy_kwh, row.removed_kwh)
    return [None if value is None else exact_decimal(value) for value in values]


def written(*lines: RunLine) -> tuple[list[dict[str, str]], Tally]:
    tally = Tally()
    content = b"".join(
        write_table1(own_form(), fresh_rows(run_rows(lines, CONTEXT, ZONE), CONTEXT, tally))
    )
    return [texts(row) for row in read_back(content)], tally


def filled(theirs: bytes, *lines: RunLine) -> tuple[list[dict[str, str]], Tally, bytes]:
    reader = Table1Reader(io.BytesIO(theirs), "theirs.xml")
    filler = Filler(reader.form, run_rows(lines, CONTEXT, ZONE), CONTEXT)
    content = b"".join(write_table1(reader.form, filler.rows(reader.rows())))
    return [texts(row) for row in read_back(content)], filler.tally, content


def test_indices_are_the_chains_and_the_energy_is_what_is_billed() -> None:
    (row,), tally = written(of_run(1_250_000, 1_400_000))
    assert (row["CS_CU"], row["CS_MOI"], row["SL_MOI"]) == ("1250", "1400", "150")
    assert (row["SL_THAO"], row["NGAY_CU"][:10], row["NGAY_MOI"][:10]) == (
        "0", "2026-05-20", "2026-06-19",
    )  # fmt: skip
    assert reasons(tally) == []
    assert tally.energy_kwh == 150


def test_a_chain_that_goes_on_from_an_earlier_period_says_its_own_first_day() -> None:
    (row,), _ = written(of_run(0, 9_000, from_at=datetime(2026, 4, 19, 17, tzinfo=UTC)))
    assert row["NGAY_CU"][:10] == "2026-04-20"


def test_behind_transformers_indices_and_energy_have_decimals() -> None:
    assert numbers(row_of(of_run(1_234_560, 1_235_070, multiplier=40))) == [
        "1234.56", "1235.07", "20.4", "0",
    ]  # fmt: skip


def test_over_exchanges_the_last_meter_is_sl_moi_and_all_before_it_sl_thao() -> None:
    row = row_of(
        of_run(12_345_000, 12_398_000, meter="M0", to_at=MIDDLE),
        of_run(0, 7_000, meter="M5", from_at=MIDDLE, to_at=MIDDLE + timedelta(days=2)),
        of_run(0, 101_000, from_at=MIDDLE + timedelta(days=2)),
    )
    assert (row.meter, numbers(row)) == ("M1", ["0", "101", "101", "60"])
    assert row.first_day == date(2026, 5, 20)


def test_a_correction_is_in_sl_thao_and_a_person_is_told() -> None:
    lines = (of_run(1_000_000, 1_250_000), correction(12_000))
    (row,), tally = written(*lines)
    assert (row["SL_MOI"], row["SL_THAO"], row["CS_MOI"]) == ("250", "12", "1250")
    (found,) = tally.disagreements
    assert (found.reason, found.ours) == (Reason.CORRECTED, "12")
    assert (tally.filled, str(tally.energy_kwh)) == (1, "262")
    below = row_of(
        of_run(5_000_000, 5_100_000, meter="M0", to_at=MIDDLE),
        of_run(0, 50_000, from_at=MIDDLE),
        correction(-30_000, meter="M0"),
    )
    assert (below.lack, numbers(below)[3]) == (None, "70")


def test_their_exchange_agrees_with_ours_whatever_is_corrected() -> None:
    lines = (
        of_run(5_000_000, 5_100_000, meter="M0", to_at=MIDDLE),
        of_run(0, 50_000, from_at=MIDDLE),
        correction(30_000, meter="M0"),
    )
    theirs = their_file(their_row(CS_CU="0", SL_THAO="100"))
    (row,), tally, content = filled(theirs, *lines)
    assert (row["SL_THAO"], reasons(tally)) == ("130", ["corrected"])
    _, tally, again = filled(content, *lines)
    assert (again, reasons(tally)) == (content, ["corrected"])
    _, tally, _ = filled(their_file(their_row(CS_CU="0", SL_THAO="99")), *lines)
    assert reasons(tally) == ["removed_differs"]


@pytest.mark.parametrize(
    ("lines", "billed"),
    [
        ((of_run(1_250_000, 1_240_000, kind=LineKind.RETURN),), "-10"),
        ((of_run(1_000_000, 1_005_000), correction(-12_000)), "-7"),
        ((correction(-12_000),), "-12"),
    ],
)
def test_less_than_nothing_is_never_a_reading(lines: tuple[RunLine, ...], billed: str) -> None:
    (row,), tally = written(*lines)
    assert not {"CS_MOI", "SL_MOI", "SL_THAO"} & row.keys()
    (found,) = tally.disagreements
    assert (found.reason, found.ours, tally.filled) == (Reason.CREDIT, billed, 0)
    theirs = their_file(their_row(CS_CU="1250"))
    (row,), tally, _ = filled(theirs, *lines)
    assert row == texts(read_back(theirs)[0]), "it goes back as it came"
    assert "credit" in reasons(tally)


def test_who_was_left_out_has_no_reading() -> None:
    held = of_run(None, None, None, kind=LineKind.HELD, quality=LineQuality.NONE)
    (row,), tally = written(held)
    assert "CS_MOI" not in row
    assert reasons(tally) == ["held"]
    three = their_file(*(their_row(LOAI_BCS=code) for code in ("BT", "CD", "TD", "SG")))
    rows, tally, _ = filled(three, held)
    assert [row["SL_MOI"] for row in rows] == ["0"] * 4
    assert reasons(tally) == ["held"] * 4


def test_a_roll_over_is_what_is_billed_although_the_index_fell() -> None:
    (row,), _ = written(of_run(99_850_000, 120_000, 270_000))
    assert (row["TTR_MOI"], row["SL_MOI"]) == ("Q", "270")


@pytest.mark.parametrize("mark", ["U", "V", "M", "L", "X", "D"])
def test_a_mark_that_forces_zero_is_refused_where_the_run_bills(mark: str) -> None:
    theirs = their_file(their_row(TTR_MOI=mark))
    (row,), tally, _ = filled(theirs, of_run(1_000_000, 1_001_000))
    assert (row["SL_MOI"], reasons(tally)) == ("0", ["mark_refused"])
    (row,), tally, _ = filled(theirs, of_run(1_000_000, 1_000_000))
    assert (row["CS_MOI"], reasons(tally)) == ("1000", [])


def test_a_mark_of_ours_is_written_and_held_to_the_same() -> None:
    def made(mark: str, line: RunLine) -> tuple[dict[str, str], list[str]]:
        context, tally = replace(CONTEXT, marks={POINT: mark}), Tally()
        rows = fresh_rows(run_rows([line], context, ZONE), context, tally)
        (row,) = read_back(b"".join(write_table1(own_form(), rows)))
        return texts(row), reasons(tally)

    row, found = made("K", of_run(1_000_000, 1_001_000))
    assert (row["TTR_MOI"], row["SL_MOI"], found) == ("K", "1", [])
    row, found = made("V", of_run(1_000_000, 1_001_000))
    assert ("CS_MOI" in row, found) == (False, ["mark_refused"])
    row, found = made("V", of_run(1_000_000, 1_000_000))
    assert (row["TTR_MOI"], row["SL_MOI"], found) == ("V", "0", [])


def test_three_rates_are_bt_cd_td_sg_and_of_one_mind() -> None:
    lines = [
        of_run(9_000_000, 9_400_000),
        of_run(5_000_000, 5_200_000, register=NORMAL),
        of_run(2_000_000, 2_100_000, register=PEAK),
        of_run(2_000_000, 2_100_000, register=OFF_PEAK),
    ]
    rows, tally = written(*lines)
    assert [row["LOAI_BCS"] for row in rows] == ["BT", "CD", "TD", "SG"]
    assert (str(tally.energy_kwh), reasons(tally)) == ("400", [])
    _, tally = written(*lines[:3])
    assert reasons(tally) == ["sibling_missing"] * 3
    # A three-rate meter gave way to a one-rate meter within the period.
    after = of_run(0, 50_000, meter="M7", from_at=MIDDLE)
    _, tally = written(lines[0], after, *lines[1:])
    assert reasons(tally) == ["registers_changed"] * 3


def test_what_no_decimal_says_is_listed() -> None:
    _, tally = written(of_run(0, 3_000, 1_000, multiplier=Fraction(1, 3)))
    assert reasons(tally) == ["not_decimal"]
    columns = {"CS_MOI": "long", **dict.fromkeys(("CS_CU", "SL_MOI", "SL_THAO"), "decimal")}
    texts_only = dict.fromkeys(("MA_DDO", "LOAI_BCS", "SERY_CTO", "TTR_MOI", "NGAY_MOI"), "string")
    theirs = their_file(their_row(CS_CU="1.5", HSN=""), schema=columns | texts_only)
    _, tally, _ = filled(theirs, of_run(1_500, 2_750, multiplier=40))
    assert reasons(tally) == ["not_decimal"], "their column of indices holds whole numbers"
