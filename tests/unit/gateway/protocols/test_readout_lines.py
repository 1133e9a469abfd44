"""Data lines, times and load profiles in the forms in which meters really send them."""

import contextlib
from datetime import UTC, date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.registers import Unit
from gateway.protocols.load_profile import (
    IntervalStatus,
    LoadProfileError,
    parse_load_profile,
    read_command,
)
from gateway.protocols.meter_time import (
    MeterTime,
    Season,
    parse_date,
    parse_stamp,
    parse_time,
)
from gateway.protocols.readout import (
    Code,
    Quantity,
    ReadoutText,
    parse_code,
    parse_data_sets,
    parse_quantity,
)

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.8.0", Code("1.8.0")),
        ("1-0:1.8.0", Code("1.8.0", 1, 0)),
        ("1-1:1.8.0*255", Code("1.8.0", 1, 1, 255)),
        ("1.8.0*12", Code("1.8.0", storage=12)),
        ("1.8.0&07", Code("1.8.0", storage=7)),
        ("32.7", Code("32.7")),
        ("C.90", Code("C.90")),
        ("F.F", Code("F.F")),
        ("C.1.0", Code("C.1.0")),
        ("P.01", Code("P.01")),
        (" 1.8.0 ", Code("1.8.0")),
    ],
)
def test_codes(text: str, expected: Code) -> None:
    assert parse_code(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "1.8.0.0.1", "1.8.0*", "1-0:", "1.8.0*1234", "a.b", "1..0"]
)
def test_what_is_no_code(text: str) -> None:
    assert parse_code(text) is None


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("0012345.678*kWh", "12345678", Unit.WH),
        ("12345*kWh", "12345000", Unit.WH),
        ("0.0000001*kWh", "0.0001", Unit.WH),
        ("12345.6kWh", "12345600", Unit.WH),
        ("12345.6 kWh", "12345600", Unit.WH),
        ("1.5*MWh", "1500000", Unit.WH),
        ("15*Wh", "15", Unit.WH),
        ("15*KWH", "15000", Unit.WH),
        ("3.25*kvarh", "3250", Unit.VARH),
        ("3.25*kVArh", "3250", Unit.VARH),
        ("7*kVAh", "7000", Unit.VAH),
        ("-00.641*kW", "-641", Unit.W),
        ("+00.641*kW", "641", Unit.W),
        ("230.4*V", "230.4", Unit.V),
        ("49.98*Hz", "49.98", Unit.HZ),
        ("0.98", "0.98", None),
        ("000000", "0", None),
    ],
)
def test_quantities_are_exact(text: str, number: str, unit: Unit | None) -> None:
    quantity = parse_quantity(text)
    assert quantity == Quantity(Decimal(number), unit)


@pytest.mark.parametrize(
    "text", ["", "kWh", "1,5*kWh", "1.5*mWh", "1.5*kg", "12:30", "1e5*kWh", "NaN", "--", "1" * 40]
)
def test_what_is_no_quantity(text: str) -> None:
    assert parse_quantity(text) is None


def test_several_data_sets_on_a_line_and_several_brackets() -> None:
    first, second, third = parse_data_sets(
        "/ESY5METER\r\n\r\n0.9.1(103015)0.9.2(260809)\r\n"
        "1.6.0(00.641*kW)(2608091845)\r\n!\r\n9.9.9(1)"
    )
    assert (first.name, first.brackets, second.brackets) == ("0.9.1", ("103015",), ("260809",))
    assert third.brackets == ("00.641*kW", "2608091845")
    assert third.quantity == Quantity(Decimal(641), Unit.W)


def test_history_is_never_the_present_value_and_takes_its_unit() -> None:
    readout = ReadoutText(
        parse_data_sets(
            "1.8.0*11(0000090.0)\n1.8.0*12(0000100.0*kWh)\n1.8.0*255(0000110.5*kWh)\n"
            "1.8.0&10(1)\n1.8.0&10(2)\n2.8.0*12(5*kWh)\n"
        )
    )
    present = readout.current(Code("1.8.0"))
    assert present is not None
    assert present.quantity == Quantity(Decimal(110500), Unit.WH)
    assert readout.history(Code("1.8.0")) == {
        11: Quantity(Decimal(90000), Unit.WH),
        12: Quantity(Decimal(100000), Unit.WH),
    }
    assert readout.current(Code("2.8.0")) is None


def test_two_present_values_that_differ_are_none() -> None:
    assert (
        ReadoutText(parse_data_sets("1.8.0(1*kWh)\n1-1:1.8.0(2*kWh)")).current(Code("1.8.0"))
        is None
    )
    same = ReadoutText(parse_data_sets("1.8.0(1*kWh)\n1-1:1.8.0(1*kWh)")).current(Code("1.8.0"))
    assert same is not None
    channel = ReadoutText(parse_data_sets("1-1:1.8.0(1*kWh)\n1-2:1.8.0(2*kWh)"))
    second = channel.current(Code("1.8.0", 1, 2))
    assert second is not None
    assert second.name == "1-2:1.8.0"
    assert channel.text("1-1:1.8.0") == "1*kWh"


def test_serials_and_clocks_are_found_under_any_medium() -> None:
    readout = ReadoutText(parse_data_sets("0-0:96.1.0(77)\n1-0:0.9.1(120000)\nC.1.0*01(3)"))
    assert readout.text("96.1.0") == "77"
    assert readout.text("0.9.1") == "120000"
    assert readout.text("C.1.0") is None


@pytest.mark.parametrize(
    "text", ["260809", "26-08-09", "26.08.09", "26/08/09", "0260809", "1260809"]
)
def test_dates(text: str) -> None:
    assert parse_date(text) == date(2026, 8, 9)
    assert parse_date("2026-08-09") == parse_date("126-08-09") == date(2026, 8, 9)


@pytest.mark.parametrize("text", ["183007", "18:30:07", "1183007", "0183007"])
def test_times(text: str) -> None:
    assert parse_time(text) == time(18, 30, 7)
    assert parse_time("1830") == parse_time("18:30") == parse_time("11830") == time(18, 30)


@pytest.mark.parametrize("text", ["", "261309", "260230", "26-08.09", "3260809", "26080", "kWh"])
def test_what_is_no_date(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("text", "season"),
    [
        ("2608091830", None),
        ("260809183000", None),
        ("02608091830", Season.NORMAL),
        ("1260809183000", Season.SUMMER),
        ("26-08-09 18:30", None),
        ("260809,183000", None),
        ("2026-08-09T18:30:00", None),
    ],
)
def test_time_stamps(text: str, season: Season | None) -> None:
    assert parse_stamp(text) == MeterTime(date(2026, 8, 9), time(18, 30), season)


@pytest.mark.parametrize(
    "text", ["", "260809", "2608092460", "26080918300000", "26-08-09", "x y z"]
)
def test_what_is_no_time_stamp(text: str) -> None:
    assert parse_stamp(text) is None


def test_instants_follow_the_meters_zone_and_season() -> None:
    stamp = parse_stamp("2608091830")
    assert stamp is not None
    assert stamp.at(HANOI) == datetime(2026, 8, 9, 11, 30, tzinfo=UTC)
    twice = [parse_stamp(text) for text in ("12610250230", "02610250230", "22610250230")]
    assert [stamp.at(BERLIN).hour for stamp in twice if stamp is not None] == [0, 1, 2]


PROFILE = """\
P.01(0260809001500)(00)(15)(2)(1.5)(kW)(3.5)(kvar)
(0.1234)(0.0010)
(0.2000)(-)
P.01(0260809010000)(C0)(15)(2)(1.5)(kW)(3.5)(kvar)
(0.0000)(0.0000)
"""


def test_a_load_profile_has_dated_rows_and_its_status_words() -> None:
    rows = parse_load_profile(PROFILE, HANOI)
    assert [row.at for row in rows] == [
        datetime(2026, 8, 8, 17, 15, tzinfo=UTC),
        datetime(2026, 8, 8, 17, 30, tzinfo=UTC),
        datetime(2026, 8, 8, 18, 0, tzinfo=UTC),
    ]
    assert [row.values for row in rows] == [
        (Decimal("123.4"), Decimal(1)),
        (Decimal(200), None),
        (Decimal(0), Decimal(0)),
    ]
    failed, returned = IntervalStatus.POWER_FAILED, IntervalStatus.POWER_RETURNED
    assert [row.status_word for row in rows] == [0, 0, 0xC0]
    assert rows[2].header.status == failed | returned
    channel = rows[0].header.channels[1]
    assert (channel.name, channel.code, channel.unit) == ("3.5", Code("3.5"), Unit.VAR)


def test_a_period_without_rows_is_empty() -> None:
    assert parse_load_profile("P.01()", HANOI) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(1)(2)", "data set 1: no P.01 header before it"),
        ("P.01(0260809001500)(00)(15)", "data set 1: a header of 3 brackets"),
        ("P.01(soon)(00)(15)(1)(1.5)(kW)", "data set 1: 'soon' is no time stamp"),
        ("P.01(0260809001500)(xy)(15)(1)(1.5)(kW)", "data set 1: 'xy' is no number"),
        ("P.01(0260809001500)(00)(0)(1)(1.5)(kW)", "data set 1: 0 is not 1 to 1440"),
        ("P.01(0260809001500)(00)(15)(2)(1.5)(kW)", "data set 1: 2 brackets for 2 channels"),
        (PROFILE + "(1)\n", "data set 6: 1 values for 2 channels"),
        (PROFILE + "1.8.0(1)\n", "data set 6: '1.8.0' in a load profile"),
    ],
)
def test_what_is_no_load_profile(text: str, reason: str) -> None:
    with pytest.raises(LoadProfileError, match="data set") as caught:
        parse_load_profile(text, HANOI)
    assert str(caught.value) == reason


def test_the_command_for_a_period() -> None:
    assert read_command("02608090000", "02608100000").data == "P.01(02608090000;02608100000)"
    assert read_command("", "", in_blocks=True).kind.value == "R6"


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    readout = ReadoutText(parse_data_sets(text))
    readout.history(Code("1.8.0"))
    readout.text("C.1.0")
    parse_date(text)
    parse_time(text)
    parse_stamp(text)
    with contextlib.suppress(LoadProfileError):
        parse_load_profile(text, HANOI)


@given(st.text(alphabet="P.01()58*kWh\n260809&-:;", max_size=200))
def test_text_that_looks_like_a_readout_is_parsed_or_refused(text: str) -> None:
    for data_set in parse_data_sets(text):
        assert data_set.quantity is None or data_set.quantity.number.is_finite()
    with contextlib.suppress(LoadProfileError):
        parse_load_profile(text, HANOI)
