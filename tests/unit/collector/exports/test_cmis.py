"""The hand-over to CMIS: rows from lines, their file filled, disagreements, a file made new."""

import io
import re
import tracemalloc
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from collector.billing.exports.cmis import table1
from collector.billing.exports.cmis.fill import Tally, fresh_rows
from collector.billing.exports.cmis.rows import cmis_rows, exact_decimal
from collector.billing.exports.cmis.table1 import Cell, Form, Table1Reader, own_form, write_table1
from collector.billing.exports.cmis.values import CmisContext, Demand, PointPaper, Reason
from collector.billing.rating.determinants import Terms
from collector.billing.rating.from_snapshot import point_determinants
from collector.billing.values import LineQuality, SnapshotLine
from collector.errors import InvalidRequest
from tests.unit.collector.exports.making import (
    COLUMNS,
    CONTEXT,
    FROM_AT,
    NORMAL,
    OFF_PEAK,
    PEAK,
    POINT,
    TOTAL,
    exchanged,
    filled,
    line,
    only,
    read_back,
    reasons,
    texts,
    their_file,
    their_row,
)
from tests.unit.collector.rating.making import shares

THREE = [
    line(9_000_900, 9_400_100),
    line(5_000_000, 5_200_000, register=NORMAL),
    line(2_000_000, 2_100_000, register=PEAK),
    line(2_000_900, 2_100_100, register=OFF_PEAK),
]


def validate(content: bytes) -> None:
    """The rows against the file's own schema, by a validator that is not ours."""
    text = content.decode()
    before, rest = text.split("<xs:schema", 1)
    schema, after = rest.split("</xs:schema>", 1)
    xmlschema.XMLSchema(f"<xs:schema{schema}</xs:schema>").validate(before + after)


def fresh(lines: list[SnapshotLine], context: CmisContext = CONTEXT) -> tuple[bytes, Tally]:
    tally = Tally()
    rows = fresh_rows(cmis_rows(lines, context), context, tally)
    return b"".join(write_table1(own_form(), rows)), tally


def test_a_waiting_row_is_filled_and_the_rest_of_it_is_as_it_was() -> None:
    theirs = their_file(their_row(), their_row(MA_DDO="P2", TTR_MOI="T"))
    lines = [line(1_000_900, 1_250_100), line(1_000_000, 1_007_999, point="P2")]
    (first, second), tally, content = filled(theirs, lines)
    was = [texts(row) for row in read_back(theirs)]
    assert first == was[0] | {
        "CS_MOI": "1250",
        "SL_MOI": "250",
        "NGAY_MOI": "2026-06-19T00:00:00+07:00",
        "SL_THAO": "0",
    }
    assert second["SL_MOI"] == "7", "each end is floored to whole kWh"
    assert second["TTR_MOI"] == "T"
    assert (tally.rows, tally.filled, reasons(tally)) == (2, 2, [])
    assert tally.energy_kwh == 257
    validate(content)
    again, tally, same = filled(content, lines)
    assert (same, reasons(tally)) == (content, []), "filling twice changes nothing"
    assert again[0] == first


def test_one_rate_has_kt_and_three_rates_never_have_it_too() -> None:
    (one,) = cmis_rows([line(0, 5000)], CONTEXT)
    assert one.code == "KT"
    three = {row.code: row for row in cmis_rows(THREE, CONTEXT)}
    assert list(three) == ["BT", "CD", "TD", "SG"]
    assert [str(row.energy_kwh) for row in three.values()] == ["200", "100", "100", "400"]
    others = {"1-0:2.8.0": "SN", "1-0:2.8.1": "BN", "1-0:2.8.2": "CN", "1-0:2.8.3": "TN"}
    others |= {"1-0:3.8.0": "VC", "1-0:4.8.0": "VN", TOTAL: "KT"}
    lines = [line(0, 1000, register=obis) for obis in sorted(others)]
    assert {row.code for row in cmis_rows(lines, CONTEXT)} == set(others.values())
    assert list(cmis_rows([line(0, 1, register="1-0:21.8.0")], CONTEXT)) == []


def test_the_total_beside_three_rates_is_not_summed_twice() -> None:
    rows = [their_row(LOAI_BCS=code, CS_CU=old) for code, old in
            (("BT", "5000"), ("CD", "2000"), ("TD", "2000"), ("SG", "9000"))]  # fmt: skip
    _, tally, _ = filled(their_file(*rows), THREE)
    assert (tally.filled, str(tally.energy_kwh)) == (4, "400")


def test_an_exchange_is_sl_moi_and_sl_thao() -> None:
    (row,), tally, _ = filled(their_file(their_row(CS_CU="0", NGAY_CU="")), exchanged())
    assert (row["CS_MOI"], row["SL_MOI"], row["SL_THAO"]) == ("101", "101", "53")
    assert tally.energy_kwh == 154
    assert row["NGAY_MOI"] == "2026-06-19T00:00:00", "as the row's old date: without offset"


def test_a_changed_multiplier_is_a_removal_and_an_installation() -> None:
    at = FROM_AT + timedelta(days=3)
    lines = [
        line(1_200_000, 1_234_560, multiplier=20, to_at=at),
        line(1_234_560, 1_260_060, multiplier=40, from_at=at),
    ]
    (row,), _, _ = filled(their_file(their_row(CS_CU="1234", HSN="40.00")), lines)
    assert (row["SL_MOI"], row["SL_THAO"]) == ("1040", "680")


def test_a_roll_over_is_q_by_the_meters_modulus_not_by_the_digits_of_the_old_index() -> None:
    """9,950 to 120 on six digits is no roll-over of four, whatever the field program says."""
    rolled = line(99_850_000, 120_000, consumption=270_000)
    (row,), tally, _ = filled(their_file(their_row(CS_CU="99850")), [rolled])
    assert (row["TTR_MOI"], row["SL_MOI"], reasons(tally)) == ("Q", "270", [])
    unknown = replace(rolled, meter="M2")
    (row,), tally, _ = filled(their_file(their_row(CS_CU="99850", SERY_CTO="M2")), [unknown])
    assert reasons(tally) == ["roll_over_unknown"]
    assert row["SL_MOI"] == "0"
    _, tally, _ = filled(their_file(their_row(CS_CU="99850", TTR_MOI="K")), [rolled])
    assert only(tally).reason is Reason.MARK_REFUSED, "Q would overwrite what the reader saw"
    backward = line(9_950_000, 120_000, consumption=None)
    _, tally, _ = filled(their_file(their_row(CS_CU="9950")), [backward])
    assert reasons(tally) == ["no_consumption"]


@pytest.mark.parametrize("mark", ["U", "V", "M", "L", "X", "D", "v"])
def test_a_mark_that_forces_zero_is_refused_where_the_meter_consumed(mark: str) -> None:
    theirs = their_file(their_row(TTR_MOI=mark))
    (row,), tally, _ = filled(theirs, [line(1_000_000, 1_250_000)])
    assert (row["SL_MOI"], row["CS_MOI"], row["TTR_MOI"]) == ("0", "0", mark), "as it came"
    found = only(tally)
    assert (found.reason, found.theirs, found.ours) == (Reason.MARK_REFUSED, mark.upper(), "250")
    assert (found.row, tally.filled) == (1, 0)
    (row,), tally, _ = filled(theirs, [line(1_000_000, 1_000_900)])
    assert (row["SL_MOI"], row["TTR_MOI"], reasons(tally)) == ("0", mark.upper(), [])
    assert row["CS_MOI"] == "1000"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"CS_CU": "999"}, "old_index_differs"),
        ({"CS_CU": "1000.4"}, "old_index_differs"),
        ({"CS_CU": ""}, "unreadable"),
        ({"CS_CU": "1e3"}, "unreadable"),
        ({"CS_CU": "NaN"}, "unreadable"),
        ({"CS_CU": "9" * 5000}, "unreadable"),
        ({"HSN": "20"}, "multiplier_differs"),
        ({"SERY_CTO": "M7"}, "serial_differs"),
        ({"NGAY_CU": "2026-04-20T00:00:00+07:00"}, "period_differs"),
        ({"NGAY_CU": "hôm qua"}, "unreadable"),
        ({"NGAY_CU": "2026-02-30T00:00:00"}, "unreadable"),
        ({"CS_MOI": "1249"}, "already_read"),
        ({"SL_THAO": "12"}, "removed_differs"),
        ({"TTR_MOI": "Q"}, "mark_refused"),
        ({"TTR_MOI": "Z"}, "mark_unknown"),
        ({"LOAI_BCS": "BT"}, "register_differs"),
    ],
)
def test_a_row_that_disagrees_goes_back_as_it_came(columns: dict[str, str], reason: str) -> None:
    theirs = their_file(their_row(**columns))
    rows, tally, content = filled(theirs, [line(1_000_000, 1_250_000)])
    expected = [reason, "not_in_file"] if reason == "register_differs" else [reason]
    assert reasons(tally) == expected
    assert rows == [texts(row) for row in read_back(theirs)]
    assert tally.filled == 0
    assert content.count(b"<Table1>") == 1


def test_rows_of_one_side_only_are_listed() -> None:
    lines = [line(1_000_000, 1_250_000), line(0, 9000, point="P7", meter="M7")]
    theirs = their_file(their_row(), their_row(MA_DDO="P6"), their_row(), their_row(MA_DDO=""))
    rows, tally, _ = filled(theirs, lines)
    assert [(one.reason.value, one.point, one.row) for one in tally.disagreements] == [
        ("unknown_point", "P6", 2),
        ("duplicate", POINT, 3),
        ("unknown_point", "", 4),
        ("not_in_file", "P7", None),
    ]
    assert [row.get("MA_DDO") for row in rows] == [POINT, "P6", POINT, None]
    assert [row["SL_MOI"] for row in rows] == ["250", "0", "0", "0"]


def test_an_estimate_that_was_billed_is_made_good_from_their_index() -> None:
    """1,000 → estimate 1,250 billed; the true index was 1,240; next 1,400: 150, never 160."""
    lines = [line(1_240_000, 1_400_000)]
    theirs = their_file(their_row(CS_CU="1250"))
    (row,), tally, _ = filled(theirs, lines)
    assert (row["SL_MOI"], reasons(tally)) == ("0", ["old_index_differs"])
    (row,), tally, _ = filled(theirs, lines, from_their_index=True)
    assert (row["SL_MOI"], row["CS_CU"], reasons(tally)) == ("150", "1250", ["old_index_differs"])
    assert (tally.filled, str(tally.energy_kwh)) == (1, "150")
    beyond = their_file(their_row(CS_CU="1500"))
    (row,), tally, _ = filled(beyond, lines, from_their_index=True)
    assert row["SL_MOI"] == "0", "no negative energy: a correction is for people"
    twice = their_file(their_row(CS_CU="1250", HSN="20"))
    (row,), tally, _ = filled(twice, lines, from_their_index=True)
    assert row["SL_MOI"] == "0", "only where nothing else speaks against it"
    marked = their_file(their_row(CS_CU="1300", TTR_MOI="V"))
    (row,), tally, _ = filled(marked, [line(1_250_000, 1_350_000)], from_their_index=True)
    assert reasons(tally) == ["old_index_differs", "mark_refused"]


def test_what_cannot_be_told_is_not_filled() -> None:
    at = FROM_AT + timedelta(days=3)
    never_read = [line(None, None)]
    # Whatever registers it counts: all its rows wait, and none of ours is missing from the file.
    rows = [their_row(LOAI_BCS=code) for code in ("BT", "CD", "TD", "SG")]
    _, tally, _ = filled(their_file(*rows), never_read)
    assert reasons(tally) == ["no_consumption"] * 4
    changed = [
        line(0, 9_000_000, meter="M0", to_at=at),
        *(line(0, 1000, register=one, from_at=at) for one in (TOTAL, NORMAL, PEAK, OFF_PEAK)),
    ]
    changed.sort(key=lambda one: one.register)
    lacks = [row.lack for row in cmis_rows(changed, CONTEXT)]
    assert lacks == [Reason.REGISTERS_CHANGED] * 3 + [None], "KT before and BT after are no sum"
    missing = [one for one in THREE if one.register != PEAK]
    assert {row.lack for row in cmis_rows(missing, CONTEXT)} == {Reason.SIBLING_MISSING}
    third = [line(0, 3_000, multiplier=Fraction(1, 3))]
    assert [row.lack for row in cmis_rows(third, CONTEXT)] == [Reason.NOT_DECIMAL]
    whole = {**COLUMNS, "SL_MOI": "int"}
    theirs = their_file(their_row(CS_CU="0", HSN="0.5"), schema=whole)
    (row,), tally, _ = filled(theirs, [line(0, 3_000, multiplier=Fraction(1, 2))])
    assert (row["SL_MOI"], only(tally).ours) == ("0", "1.5")


def test_the_columns_types_are_the_files_own() -> None:
    kinds = {**COLUMNS, "NGAY_MOI": "string", "NGAY_PMAX": "date", "NGAY_CU": "string"}
    context = replace(CONTEXT, demands={(POINT, "KT"): Demand(4_250, date(2026, 6, 3))})
    theirs = their_file(their_row(NGAY_CU="20/05/2026"), schema=kinds)
    (row,), tally, content = filled(theirs, [line(1_000_000, 1_250_000)], context)
    assert (row["NGAY_MOI"], row["PMAX"], row["NGAY_PMAX"]) == ("19/06/2026", "4.25", "2026-06-03")
    assert reasons(tally) == []
    validate(content)
    without = their_file(their_row(), schema=None)
    (row,), _, content = filled(without, [line(1_000_000, 1_250_000)])
    assert row["SL_MOI"] == "250"
    assert b"schema" not in content
    lacking = {name: kind for name, kind in COLUMNS.items() if name != "SL_THAO"}
    with pytest.raises(InvalidRequest, match="SL_THAO"):
        filled(their_file(their_row(), schema=lacking), [])


def test_what_rests_on_no_actual_index_is_counted() -> None:
    substituted = line(1_000_000, 1_250_000, quality=LineQuality.SUBSTITUTED)
    _, tally, _ = filled(their_file(their_row()), [substituted])
    assert (tally.filled, tally.not_actual) == (1, 1)


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{more}]>'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "well-formed"),
        (b"<NewDataSet><Table1>", "well-formed"),
        (b"not XML", "well-formed"),
        (b'<?xml version="1.0" encoding="no-such"?><NewDataSet/>', "well-formed"),
        (b"<DocumentElement><Table1/></DocumentElement>", "root"),
        (b"<NewDataSet><Table2/></NewDataSet>", "Table2"),
        (their_file(their_row()).replace(b"</NewDataSet>", b"<x/></NewDataSet>"), "<x>"),
        (b"<NewDataSet><Table1><A><B/></A></Table1></NewDataSet>", "plain column"),
        (b"<NewDataSet><Table1><A/><A/></Table1></NewDataSet>", "twice"),
        (b'<NewDataSet><Table1><A x="1"/></Table1></NewDataSet>', "attribute"),
        (their_file(schema={}), "no columns"),
        (their_file(before=BOMB.format(more='<!ENTITY b "&a;&a;">')), "entities"),
        (their_file(before='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "entities"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        list(Table1Reader(io.BytesIO(content), "x.xml").rows())


class Endless(io.RawIOBase):
    """A row that never ends, or rows that never end."""

    def __init__(self, piece: bytes) -> None:
        self._piece = piece
        self._first = b"<NewDataSet><Table1><A>"
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        self.given += size
        content, self._first = self._first or self._piece * (size // len(self._piece)), b""
        return content


def test_a_file_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Endless(b"x")
    with pytest.raises(InvalidRequest, match="a row of more than"):
        Table1Reader(endless, "x.xml")
    assert endless.given <= table1.ROW_BYTES_MAX + 2**17
    monkeypatch.setattr(table1, "FILE_BYTES_MAX", 2**20)
    endless = Endless(b"x</A></Table1><Table1><A>")
    with pytest.raises(InvalidRequest, match="bytes"):
        for _ in Table1Reader(endless, "x.xml").rows():
            pass


def test_rows_are_let_go_as_they_are_read() -> None:
    content = their_file(*[their_row()] * 3_000)
    stream = io.BytesIO(content)
    tracemalloc.start()
    reader = Table1Reader(stream, "x.xml")
    rows = reader.rows()
    assert texts(next(rows))["THEIR_OWN"] == " hai  dấu cách "
    assert sum(1 for _ in rows) == 2_999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(content) > 1_500_000
    assert peak < 500_000


def test_what_they_wrote_is_shown_in_letters_and_cut() -> None:
    theirs = their_file(their_row(MA_DDO="&#x9b;31m" + "A" * 500, SERY_CTO="x"))
    _, tally, _ = filled(theirs, [])
    found = only(tally)
    assert found.point == "31m" + "A" * 60


ENERGY_WH = st.integers(0, 99_999_999)


@given(
    st.lists(st.tuples(ENERGY_WH, ENERGY_WH).map(sorted), min_size=1, max_size=4),
    st.integers(1, 4_000),
)
def test_cmis_is_handed_what_a_bill_preview_rests_on(
    ends: list[list[int]], multiplier: int
) -> None:
    """Any number of exchanges: SL_MOI + SL_THAO is the energy of the bill, to the last kWh."""
    step = timedelta(days=1)
    lines = [
        line(start, end, meter=f"M{number}", multiplier=multiplier,
             from_at=FROM_AT + number * step, to_at=FROM_AT + (number + 1) * step)
        for number, (start, end) in enumerate(ends)
    ]  # fmt: skip
    (row,) = cmis_rows(lines, CONTEXT)
    assert row.energy_kwh is not None
    terms = (Terms(from_day=CONTEXT.first_day, shares=shares(household=100)),)
    period = (CONTEXT.first_day, CONTEXT.last_day + step)
    determinants = point_determinants(POINT, lines, terms, period)
    billed = sum(part.energy for part in determinants.registers[0].parts)
    assert row.energy_kwh + row.removed_kwh == billed
    content, _ = fresh(lines)
    waiting = re.sub(rb" *<(?:CS_MOI|SL_MOI|NGAY_MOI|SL_THAO)>.*\n", b"", content)
    _, tally, back = filled(waiting, lines)
    assert (reasons(tally), back) == ([], content)


XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), max_size=30
).filter(table1.is_writable)


@given(st.lists(st.dictionaries(st.sampled_from(sorted(COLUMNS)), XML_TEXT), max_size=4))
def test_any_text_comes_back_as_it_was(rows: list[dict[str, str]]) -> None:
    cells = [{name: Cell(text) for name, text in row.items()} for row in rows]
    content = b"".join(write_table1(Form("", COLUMNS), cells))
    assert [texts(row) for row in read_back(content)] == rows


def test_spaces_that_are_marked_are_kept() -> None:
    theirs = their_file(their_row()).replace(b"<THEIR_OWN>", b'<THEIR_OWN xml:space="preserve">')
    _, _, content = filled(theirs, [line(1_000_000, 1_250_000)])
    assert '<THEIR_OWN xml:space="preserve"> hai  dấu cách </THEIR_OWN>'.encode() in content


def test_a_file_made_new_is_valid_and_says_what_is_known() -> None:
    paper = PointPaper(
        customer=POINT[:-3], unit="PA25SL", book="S01", position="0001", station="T012",
        name="Trần <B>", address="Xóm 3", trade="SHBT", households=2, price_chain="KT: 100%",
        meter_code="VSE1",
    )  # fmt: skip
    context = replace(
        CONTEXT,
        papers={POINT: paper},
        demands={(POINT, "KT"): Demand(900, date(2026, 6, 1))},
    )
    lines = [*exchanged(), line(None, 5_000, point="P2", meter="M2")]
    content, tally = fresh(lines, context)
    validate(content)
    first, second = (texts(row) for row in read_back(content))
    expected: dict[str, Any] = {
        "MA_KHANG": "PA25SL0000001", "MA_DDO": POINT, "MA_DVIQLY": "PA25SL", "MA_GC": "0001",
        "MA_QUYEN": "S01", "MA_TRAM": "T012", "LOAI_BCS": "KT", "TEN_KHANG": "Trần <B>",
        "DIA_CHI": "Xóm 3", "MA_NN": "SHBT", "SO_HO": "2", "MA_CTO": "VSE1", "SERY_CTO": "M1",
        "HSN": "1", "CS_CU": "0", "NGAY_CU": "2026-05-20T00:00:00", "CS_MOI": "101",
        "SL_MOI": "101", "CHUOI_GIA": "KT: 100%", "KY": "1", "THANG": "6", "NAM": "2026",
        "NGAY_MOI": "2026-06-19T00:00:00", "SL_THAO": "53", "PMAX": "0.9",
        "NGAY_PMAX": "2026-06-01T00:00:00",
    }  # fmt: skip
    assert first == expected
    assert list(first) == [name for name in table1.COLUMNS if name in expected]
    assert "CS_MOI" not in second, "no consumption: the row waits"
    assert (tally.rows, tally.filled, reasons(tally)) == (2, 1, ["no_consumption"])
    assert fresh(lines, context)[0] == content
    assert fresh([])[0].endswith(b"</NewDataSet>\n")
    with pytest.raises(InvalidRequest, match="TEN_KHANG"):
        fresh(lines, replace(context, papers={POINT: replace(paper, name="a\x00b")}))


def test_a_file_made_new_can_be_filled() -> None:
    content, _ = fresh(THREE)
    _, tally, again = filled(content, THREE)
    assert (tally.filled, reasons(tally), again) == (4, [], content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(7), "7"),
        (Fraction(1, 8), "0.125"),
        (Fraction(17112, 10), "1711.2"),
        (Fraction(-5, 4), "-1.25"),
        (Fraction(1, 3), None),
        (Fraction(10**30 + 1), str(10**30 + 1)),
    ],
)
def test_exact_decimals(value: Fraction, text: str | None) -> None:
    assert exact_decimal(value) == text
