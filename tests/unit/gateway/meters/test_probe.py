"""Telling models apart: one check at a time, then the shipped profiles over whole meters."""

import struct
from collections.abc import Callable
from decimal import Decimal

import pytest

from gateway.meters.attributes import AttributeType
from gateway.meters.checks import (
    Answer,
    Check,
    ObjectQuestion,
    Outcome,
    Question,
    Refused,
    RegistersQuestion,
)
from gateway.meters.probe import Match, evaluate, in_order, questions, rank
from gateway.meters.profile import MappedRegister, MeterProfile
from gateway.meters.vectors import VECTORS_SUFFIX, parse_vectors
from gateway.meters.wire import Order, WireType
from gateway.profiles import ProfileLibrary, built_in

FITS, CONTRADICTS, UNDECIDED = Outcome.FITS, Outcome.CONTRADICTS, Outcome.UNDECIDED
LIBRARY = ProfileLibrary()
PROFILES = [
    profile for name in LIBRARY.names() if isinstance(profile := LIBRARY.get(name), MeterProfile)
]


def _f32(value: float) -> bytes:
    return struct.pack(">f", value)


def _swapped(value: bytes) -> bytes:
    return value[2:] + value[:2]


_code = Check("code", address=0x0B, equals=(70, 71))
_not_code = Check("not that code", address=0x0B, none_of=(70, 71))
_voltage = Check("voltage", address=0, type=AttributeType.F32, between=(Decimal(40), Decimal(500)))
_tenths = Check(
    "tenths",
    address=0,
    type=AttributeType.I32,
    scale=Decimal("0.1"),
    between=(Decimal(40), Decimal(500)),
)
_counted = Check("counted", address=0x1E, type=AttributeType.F32, not_zero=True)
_there = Check("there", address=0, readable=True)
_absent = Check("absent", address=0, readable=False)
_no_phase = Check("no phase", address=2, type=AttributeType.F32, absent=True)
_type = Check("type", address=0, type=AttributeType.STRING, regs=2, starts_with=("B23", "B24"))
_vendor = Check("vendor", object=0, starts_with=("Schneider",))


@pytest.mark.parametrize(
    ("check", "answer", "outcome"),
    [
        (_code, b"\x00\x47", FITS),
        (_code, b"\x06\x70", CONTRADICTS),
        (_code, b"\x00", UNDECIDED),
        (_not_code, b"\x00\x47", CONTRADICTS),
        (_not_code, b"\x06\x70", FITS),
        (_voltage, _f32(40.0), FITS),
        (_voltage, _f32(500.0), FITS),
        (_voltage, _f32(39.9), CONTRADICTS),
        (_voltage, _f32(500.1), CONTRADICTS),
        (_voltage, _f32(0.0), CONTRADICTS),
        (_voltage, _swapped(_f32(230.4)), CONTRADICTS),
        (_voltage, b"\x7f\xc0\x00\x00", UNDECIDED),
        (_voltage, b"\x7f\x80\x00\x00", UNDECIDED),
        (_tenths, (400).to_bytes(4, "big"), FITS),
        (_tenths, (399).to_bytes(4, "big"), CONTRADICTS),
        (_counted, _f32(0.01), FITS),
        (_counted, _f32(0.0), UNDECIDED),
        (_counted, b"\x7f\xc0\x00\x00", UNDECIDED),
        (_there, b"\x00\x00", FITS),
        (_absent, b"\x00\x00", CONTRADICTS),
        (_no_phase, _f32(0.0), FITS),
        (_no_phase, b"\x7f\xc0\x00\x00", FITS),
        (_no_phase, _f32(230.0), CONTRADICTS),
        (_type, b"B23 ", FITS),
        (_type, b"B21 ", CONTRADICTS),
        (_vendor, b"Schneider Electric", FITS),
        (_vendor, b"Somebody else", CONTRADICTS),
    ],
)
def test_what_a_value_says(check: Check, answer: bytes, outcome: Outcome) -> None:
    assert check.outcome(answer, Order.ABCD) is outcome


@pytest.mark.parametrize("check", [_code, _not_code, _voltage, _counted, _there, _type])
def test_an_address_that_the_model_must_have_is_refused(check: Check) -> None:
    for code in (1, 2, 3):
        assert check.outcome(Refused(code), Order.ABCD) is CONTRADICTS
    for code in (4, 5, 6, 10, 11):
        assert check.outcome(Refused(code), Order.ABCD) is UNDECIDED
    assert check.outcome(None, Order.ABCD) is UNDECIDED


@pytest.mark.parametrize("check", [_absent, _no_phase])
def test_an_address_that_the_model_must_not_have(check: Check) -> None:
    assert check.outcome(Refused(2), Order.ABCD) is FITS
    assert check.outcome(Refused(6), Order.ABCD) is UNDECIDED
    assert check.outcome(None, Order.ABCD) is UNDECIDED


def test_no_device_identification_tells_nothing_since_bridges_lack_it() -> None:
    assert _vendor.outcome(Refused(1), Order.ABCD) is UNDECIDED


def test_a_check_with_an_order_of_its_own_keeps_it() -> None:
    own = Check("v", address=0, type=AttributeType.U32, order=Order.CDAB, equals=(1,))
    assert own.outcome(b"\x00\x01\x00\x00", Order.ABCD) is FITS


def test_text_is_read_with_its_bytes_swapped_where_the_model_swaps_them() -> None:
    assert _type.outcome(b"2B 3", Order.BADC) is FITS
    assert _type.outcome(b"2B 3", Order.ABCD) is CONTRADICTS
    assert _vendor.outcome(b"Schneider Electric", Order.BADC) is FITS
    assert _type.outcome(bytes(4), Order.ABCD) is CONTRADICTS


def test_each_question_is_asked_once() -> None:
    asked = questions(PROFILES)
    assert len(asked) == len(set(asked))
    assert RegistersQuestion(4, 0x000B, 1) in asked
    assert ObjectQuestion(0) in asked
    assert len(asked) < sum(len(profile.probe) for profile in PROFILES)


# Whole meters: what the words of a vector are where it has any, what the meter does elsewhere.


def _meter(words: dict[int, int], elsewhere: Answer, function: int) -> Callable[[Question], Answer]:
    def answer(question: Question) -> Answer:
        if isinstance(question, ObjectQuestion):
            return Refused(1)
        if question.function != function:
            return Refused(1)
        addresses = range(question.address, question.address + question.count)
        if not any(address in words for address in addresses):
            return bytes(2 * question.count) if elsewhere == b"" else elsewhere
        return b"".join(words.get(address, 0).to_bytes(2, "big") for address in addresses)

    return answer


def _words(name: str) -> dict[int, int]:
    file = built_in() / f"{name}{VECTORS_SUFFIX}"
    return parse_vectors(file.read_text(), name).vectors[0].memory()


def _ranked(
    name: str, elsewhere: Answer, words: dict[int, int] | None = None
) -> tuple[list[Match], dict[Question, Answer]]:
    profile = LIBRARY.get(name)
    assert isinstance(profile, MeterProfile)
    meter = _meter(words or _words(name), elsewhere, profile.function)
    answers = {question: meter(question) for question in questions(PROFILES)}
    return rank(PROFILES, answers), answers


@pytest.mark.parametrize("elsewhere", [Refused(2), b""], ids=["refuses gaps", "zeros in gaps"])
@pytest.mark.parametrize(
    "name",
    [
        "abb-b23",
        "carlo-gavazzi-em24",
        "carlo-gavazzi-em24-e1",
        "carlo-gavazzi-em340",
        "chint-ddsu666",
        "chint-dtsu666",
        "chint-dtsu666-401e",
        "eastron-sdm120",
        "inepro-pro380",
        "janitza-b23",
        "schneider-iem3155",
    ],
)
def test_each_model_is_found_and_stands_alone(name: str, elsewhere: Answer) -> None:
    matches, _ = _ranked(name, elsewhere)
    assert matches[0].profile == name
    assert matches[0].order is _profile(name).order
    assert [match.profile for match in matches if match.score == matches[0].score] == [name]


def _profile(name: str) -> MeterProfile:
    profile = LIBRARY.get(name)
    assert isinstance(profile, MeterProfile)
    return profile


def test_the_two_em24_are_told_apart_by_their_codes() -> None:
    e1, _ = _ranked("carlo-gavazzi-em24-e1", b"")
    assert "carlo-gavazzi-em24" not in [match.profile for match in e1]
    rs485, _ = _ranked("carlo-gavazzi-em24", b"")
    assert "carlo-gavazzi-em24-e1" not in [match.profile for match in rs485]
    assert "carlo-gavazzi-em340" not in [match.profile for match in rs485]
    assert (e1[0].identified, rs485[0].identified) == (1, 1)


def test_the_two_dtsu666_are_told_apart_once_they_have_counted() -> None:
    both = {"chint-dtsu666", "chint-dtsu666-401e"}
    matches, _ = _ranked("chint-dtsu666-401e", b"")
    scores = {match.profile: match.score for match in matches}
    assert scores["chint-dtsu666-401e"] > scores["chint-dtsu666"]
    new = {
        address: word
        for address, word in _words("chint-dtsu666").items()
        if not 0x1000 <= address <= 0x1FFF
    }
    matches, _ = _ranked("chint-dtsu666", b"", new)
    assert {m.profile for m in matches if m.score == matches[0].score} == both


def test_an_sdm630_looks_like_no_smaller_sdm() -> None:
    words = _words("eastron-sdm630") | {0x015A: 0x449A, 0x015B: 0x51EC}
    matches, _ = _ranked("eastron-sdm630", Refused(2), words)
    assert matches[0].profile == "eastron-sdm630"
    assert matches[0].score > matches[1].score
    assert matches[1].profile == "eastron-sdm72-v2"


def test_an_sdm72_without_voltages_is_no_other_sdm() -> None:
    words = _words("eastron-sdm72") | {0x0156: 0x4587, 0x0157: 0x6D1F}
    for elsewhere in (Refused(2), b""):
        matches, _ = _ranked("eastron-sdm72", elsewhere, words)
        assert matches[0].profile == "eastron-sdm72"
        assert not {"eastron-sdm120", "eastron-sdm630"} & {m.profile for m in matches}


@pytest.mark.parametrize("name", ["eastron-sdm120", "eastron-sdm72-v2"])
def test_the_word_order_of_an_sdm_is_seen(name: str) -> None:
    words = _words(name)
    reversed_words = {address ^ 1: word for address, word in words.items()}
    profile = _profile(name)
    matches, answers = _ranked(name, Refused(2), reversed_words)
    match = next(match for match in matches if match.profile == name)
    assert match.order is Order.CDAB
    assert match.is_possible
    assert in_order(profile, match.order).order is Order.CDAB
    assert in_order(profile, profile.order) is profile
    strict = evaluate(profile, answers)
    assert strict.against == ()


def test_both_janitza_maps_are_named_because_they_cannot_be_told_apart() -> None:
    """They have the same addresses; only the function codes differ, and many meters take both."""
    words = _words("janitza-b23")
    answers = {
        question: _meter(words, b"", getattr(question, "function", 0))(question)
        for question in questions(PROFILES)
    }
    best = rank(PROFILES, answers)
    assert {"janitza-b23", "janitza-umg96rm"} <= {match.profile for match in best}


def test_a_model_that_is_named_goes_before_one_that_is_only_alike() -> None:
    def made_up(name: str, *probe: Check) -> MeterProfile:
        register = MappedRegister("1-0:32.7.0", 0, WireType.F32)
        return MeterProfile(name, name, ("a test",), 4, (register,), probe=probe)

    alike = made_up("alike", _voltage, _there)
    named = made_up("named", _code)
    answers: dict[Question, Answer] = {
        RegistersQuestion(4, 0, 2): _f32(230.0),
        RegistersQuestion(4, 0, 1): b"\x00\x00",
        RegistersQuestion(4, 0x0B, 1): b"\x00\x46",
    }
    assert [match.profile for match in rank([alike, named], answers)] == ["named", "alike"]


def test_a_silent_meter_fits_nothing() -> None:
    assert rank(PROFILES, {}) == []
    match = evaluate(_profile("abb-b23"), {})
    assert (match.fits, match.undecided, match.is_possible) == (0, 3, False)


def test_what_speaks_against_a_profile_is_said() -> None:
    asked = questions([_profile("abb-b23")])
    match = evaluate(_profile("abb-b23"), {question: Refused(2) for question in asked})
    assert match.against == (
        "its type begins with B23, B24, A43 or A44",
        "phase 1 has a voltage",
        "the frequency is that of a grid",
    )
