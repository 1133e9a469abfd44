"""Profiles of IEC 62056-21 meters: their vectors, and what is said of mistakes in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import firmware_config
from gateway.meters.decode import Value
from gateway.meters.profile_file import ProfileError, parse_profile
from gateway.meters.readout_decode import codes_of, decode_readout, stranger
from gateway.meters.readout_profile import ReadBy, ReadoutProfile
from gateway.profiles import ProfileLibrary
from gateway.protocols.readout import ReadoutText, parse_data_sets
from gateway.station_file import Iec62056Section

METERS = Path(next(iter(firmware_config.__path__))) / "meters"
LIBRARY = ProfileLibrary()
READOUT_NAMES = sorted(set(LIBRARY.names()) - set(LIBRARY.modbus_names()))

GOOD = """\
protocol: iec62056_21
profile: acme-2
model: Acme Two
source: [a bench]
identity: ["0.0.0"]
sign_on_baud: [300, 9600]
timing: {reaction_max_ms: 2000}
registers:
  - {obis: "1-0:1.8.0", unit: kWh, resolution: 10, roll_over: 1000000000}
  - {obis: "1-0:16.7.0", code: "1.7.0", minus: "2.7.0", unit: kW, optional: true}
"""


def readout(text: str) -> ReadoutText:
    return ReadoutText(parse_data_sets(text))


def profile(text: str = GOOD) -> ReadoutProfile:
    parsed = parse_profile(text, "p.yaml")
    assert isinstance(parsed, ReadoutProfile)
    return parsed


def values(text: str, model: str = GOOD) -> dict[str, Value]:
    return decode_readout(profile(model).registers, readout(text)).values


def _vectors() -> Iterator[Any]:
    for name in READOUT_NAMES:
        document = yaml.safe_load((METERS / f"{name}.vectors.yaml").read_text())
        for vector in document["vectors"]:
            yield pytest.param(name, vector, id=f"{name}: {vector['name']}")


@pytest.mark.parametrize(("name", "vector"), list(_vectors()))
def test_a_readout_means_what_the_vectors_say(name: str, vector: dict[str, Any]) -> None:
    model = LIBRARY.get(name)
    assert isinstance(model, ReadoutProfile)
    decoded = decode_readout(model.registers, readout(vector["readout"])).values
    expected = vector["expect"]
    assert {obis: decoded[obis] for obis in expected} == expected
    assert {obis: type(decoded[obis]) for obis in expected} == {
        obis: type(value) for obis, value in expected.items()
    }


@pytest.mark.parametrize("name", READOUT_NAMES)
def test_each_readout_profile_has_vectors_for_every_register(name: str) -> None:
    document = yaml.safe_load((METERS / f"{name}.vectors.yaml").read_text())
    assert document["profile"] == name
    tried = {obis for vector in document["vectors"] for obis in vector["expect"]}
    assert tried == {mapped.obis for mapped in LIBRARY.get(name).registers}
    assert len(document["vectors"]) >= 2


def test_the_three_models_are_there() -> None:
    assert set(READOUT_NAMES) >= {"landis-gyr-zmd", "elster-a1500", "gelex-emic-me40"}


def test_a_full_profile_is_read() -> None:
    model = profile()
    assert (model.name, model.read_by, model.timing.reaction_max_ms) == (
        "acme-2",
        ReadBy.READOUT,
        2000,
    )
    assert codes_of(model.registers) == ("1.8.0", "1.7.0", "2.7.0")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("iec62056_21", "dlms", "p.yaml:1: protocol: Invalid enum value 'dlms'"),
        ("sign_on_baud: [300, 9600]", "sign_on_baud: [301]", "p.yaml:6: sign_on_baud[0]: Invalid"),
        ("source: [a bench]\n", "", "p.yaml:1: source: this key is missing"),
        ('["0.0.0"]', '["serial no"]', "p.yaml:5: identity[0]: 'serial no' is no code such as"),
        ('"1-0:1.8.0"', '"1-0:1.8.9"', "p.yaml:9: registers[0].obis: '1-0:1.8.9' is not in the"),
        ('"1-0:16.7.0"', '"1-0:1.8.0"', "p.yaml:10: registers[1].obis: 1-0:1.8.0 is already"),
        ("unit: kWh", "unit: kvarh", "p.yaml:9: registers[0].unit: 'kvarh' is no multiple of"),
        (
            "resolution: 10,",
            "",
            "p.yaml:9: registers[0].resolution: import_wh needs one, in Wh",
        ),
        ("resolution: 10", "resolution: 0.5", "p.yaml:9: registers[0].resolution: must be a whole"),
        ("resolution: 10", "resolution: 0", "p.yaml:9: registers[0].resolution: must be a number"),
        ('"1.7.0"', '"1.7.0*12"', "p.yaml:10: registers[1].code: '1.7.0*12' is no code of a"),
        ("unit: kWh", 'minus: "2.8.0"', "p.yaml:9: registers[0].minus: import_wh is a register"),
        ("optional: true", "roll_over: 9", "p.yaml:10: registers[1].roll_over: power_w is not"),
        ("reaction_max_ms: 2000", "reaction: 1", "p.yaml:7: timing.reaction: unknown key"),
        ("source:", 'password: "a(b"\nsource:', "p.yaml:4: password: must be printable ASCII"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(ProfileError) as caught:
        parse_profile(GOOD.replace(old, new), "p.yaml")
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.8.0(001234.56*kWh)", 1234560),
        ("1.8.0(001234.565*kWh)", 1234560),  # a half goes to the even step
        ("1.8.0(001234.575*kWh)", 1234580),
        ("1.8.0(1234560*Wh)", 1234560),
        ("1.8.0(1.23456*MWh)", 1234560),
        ("1.8.0(001234.56)", 1234560),
        ("1.8.0(001234.56kWh)", 1234560),
        ("1-1:1.8.0*255(001234.56*KWH)", 1234560),
        ("1.8.0(001234.56*kvarh)", None),
        ("1.8.0(001234,56*kWh)", None),
        ("1.8.0(--------*kWh)", None),
        ("1.8.0()", None),
        ("1.8.1(5)", None),
        ("7-0:1.8.0(5*kWh)", None),
        ("1.8.0(99999999999999999999*MWh)", None),
    ],
)
def test_an_energy_is_exact_or_there_is_none(text: str, expected: int | None) -> None:
    assert values(text)["1-0:1.8.0"] == expected


def test_both_directions_of_power_become_one_signed_value() -> None:
    assert values("1.7.0(0.100*kW)\n2.7.0(1.350*kW)")["1-0:16.7.0"] == -1250.0
    assert values("1.7.0(0.100*kW)")["1-0:16.7.0"] is None


def test_what_must_be_there_and_is_not_makes_a_part_partial() -> None:
    registers = profile().registers
    assert decode_readout(registers, readout("2.7.0(1*kW)")).partial
    assert not decode_readout(registers, readout("1.8.0(1*kWh)")).partial


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("0.0.0(12345678)", None),
        ("0.0.0(0012345678)", None),
        ("0.0.0(77)", None),
        ("0.0.0(1LGZ12345678)", None),
        ("1.8.0(5*kWh)", None),
        ("0.0.0()", None),
        ("0.0.0(87654321)", "87654321"),
        ("1-1:0.0.0(678)", "678"),
    ],
)
def test_a_meter_that_is_another_one_is_known(text: str, other: str | None) -> None:
    assert stranger(profile(), readout(text), "12345678", "077") == other


def test_the_profile_in_the_paper_loads_and_the_paper_has_every_key_of_the_station_file() -> None:
    docs = Path(__file__).parents[4] / "docs"
    text = (docs / "adding-a-meter.md").read_text()
    start = text.index("# meters/acme-z1.yaml")
    paper = profile(text[start : text.index("```", start)])
    assert codes_of(paper.registers) == ("1.8.0", "2.8.0", "1.7.0", "2.7.0", "32.7")
    station = (docs / "station-file.md").read_text()
    for key in Iec62056Section.__struct_fields__:
        assert f"| `{key}` |" in station
