"""Meter profile files: what is wrong is said with file, line and key; the schema keeps step."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import firmware_config
from gateway.meters.profile import MeterProfile, Parity
from gateway.meters.profile_file import ProfileError, parse_profile
from gateway.meters.schema import SCHEMA_FILE, profile_schema_text
from gateway.meters.wire import Order, WireType
from gateway.profiles import ProfileLibrary, UnknownProfileError, profile_from_file

METERS = Path(next(iter(firmware_config.__path__))) / "meters"

GOOD = """\
profile: acme-1
model: Acme One
source: [a bench]
function: 3
order: CDAB
sentinels:
  u32: [0xFFFFFFFF]
requests: {max_regs: 20, max_gap: 4, forbidden: [[0x40, 0x4F]]}
timing: {response_timeout_ms: 300, late_reply_ms: 900, id_switch_pause_ms: 50}
serial: {baud: [9600], parity: [E]}
rating: {phases: 1, u_n_v: 230, i_max_a: 60}
attributes: [{name: type, address: 0x60, type: string, regs: 4}]
probe: [{says: it is one, address: 0x60, equals: [7]}]
registers:
  - {obis: "1-0:1.8.0", address: 0x10, type: u32, scale: 10, resolution: 10, roll_over: 100000000}
  - obis: "1-0:32.7.0"
    address: 0x20
    type: i16
    scale: 0.1
    optional: true
"""


def modbus(text: str) -> MeterProfile:
    profile = parse_profile(text, "acme-1.yaml")
    assert isinstance(profile, MeterProfile)
    return profile


def test_a_full_profile_is_read() -> None:
    profile = modbus(GOOD)
    energy, voltage = profile.registers
    assert (profile.name, profile.order, profile.timing.late_after_timeout_s) == (
        "acme-1",
        Order.CDAB,
        0.6,
    )
    assert profile.serial is not None
    assert profile.serial.parity == (Parity.EVEN,)
    assert (energy.roll_over, energy.end, energy.register.field) == (100_000_000, 0x12, "import_wh")
    assert (voltage.type, voltage.optional, str(voltage.scale)) == (WireType.I16, True, "0.1")
    assert modbus(GOOD.replace("late_reply_ms: 900, ", "")).timing.late_after_timeout_s == 0.3


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("function: 3", "function: 5", "p.yaml:4: function: Invalid enum value 5"),
        ("order: CDAB", "word_order: x", "p.yaml:5: word_order: unknown key"),
        ("model: Acme One\n", "", "p.yaml:1: model: this key is missing"),
        ("max_gap: 4", "max_gapp: 4", "p.yaml:8: requests.max_gapp: unknown key"),
        ("max_regs: 20", "max_regs: 126", "p.yaml:8: requests.max_regs: Expected `int` <= 125"),
        ("max_regs: 20", "max_regs: 1", "p.yaml:15: registers[0].type: takes 2 registers"),
        ("[0x40, 0x4F]", "[0x4F, 0x40]", "p.yaml:8: requests.forbidden[0]: 0x004f is after"),
        ("[0x40, 0x4F]", "[0x20, 0x2F]", "p.yaml:17: registers[1].address: lies in one of"),
        ("[0xFFFFFFFF]", "[0x1FFFFFFFF]", "p.yaml:7: sentinels.u32: 0x1ffffffff is no pattern"),
        ("late_reply_ms: 900", "late_reply_ms: 9", "p.yaml:9: timing.late_reply_ms: must not be"),
        ("parity: [E]", "parity: [X]", "p.yaml:10: serial.parity[0]: Invalid enum value 'X'"),
        ("u_n_v: 230", "u_n_v: -1", "p.yaml:11: rating.u_n_v: must be a number above 0"),
        ('"1-0:1.8.0"', '"1-0:1.8.9"', "p.yaml:15: registers[0].obis: '1-0:1.8.9' is not in"),
        ('"1-0:32.7.0"', '"1-0:1.8.0"', "p.yaml:16: registers[1].obis: 1-0:1.8.0 is already"),
        (
            "resolution: 10",
            "resolution: 0.5",
            "p.yaml:15: registers[0].resolution: must be a",
        ),
        (", resolution: 10", "", "p.yaml:15: registers[0].resolution: import_wh needs one, in Wh"),
        ("scale: 0.1", "scale: 0", "p.yaml:19: registers[1].scale: must be a number other than 0"),
        ("scale: 0.1", "scale: .nan", "p.yaml:19: registers[1].scale: must be a number other"),
        ("scale: 0.1", 'scale: "1e999999"', "p.yaml:19: registers[1].scale: must be a number"),
        ("address: 0x20", "address: 0x10000", "p.yaml:17: registers[1].address: Expected `int` <="),
        ("address: 0x10,", "address: 0xFFFF,", "p.yaml:15: registers[0].address: u32 does not end"),
        ("    optional: true", "    roll_over: 9", "p.yaml:20: registers[1].roll_over: voltage_l1"),
        ("type: i16", "type: i24", "p.yaml:18: registers[1].type: Invalid enum value 'i24'"),
        (", regs: 4", "", "p.yaml:12: attributes[0].regs: text needs the number"),
        ("type: string", "type: u16", "p.yaml:12: attributes[0].regs: u16 says itself"),
        ("string, regs: 4", "bits, regs: 3", "p.yaml:12: attributes[0].regs: bits take 1, 2 or 4"),
        ("regs: 4}", "regs: 4, flags: [{bit: 1, name: x}]}", "p.yaml:12: attributes[0].flags: are"),
        (
            "string, regs: 4",
            "bits, flags: [{bit: 16, name: x}]",
            "p.yaml:12: attributes[0].flags: there are only 16 bits",
        ),
        ("regs: 4}", "regs: 4, hex: true}", "p.yaml:12: attributes[0].hex: is for integers"),
        ("string, regs: 4", "i16, scale: 0", "p.yaml:12: attributes[0].scale: must be a number"),
        ("address: 0x60, type", "address: 0xFFFD, type", "p.yaml:12: attributes[0].address: 4 reg"),
        (
            "regs: 4}]",
            "regs: 4}, {name: type, address: 1, type: u16}]",
            "p.yaml:12: attributes[1].name: 'type' is already given",
        ),
        (", equals: [7]", "", "p.yaml:13: probe[0]: needs exactly one condition, has none"),
        ("equals: [7]", "equals: [7], absent: true", "p.yaml:13: probe[0]: needs exactly one"),
        ("0x60, equals: [7]", "0x60, object: 1, equals: [7]", "p.yaml:13: probe[0]: needs either"),
        ("address: 0x60, eq", "object: 1, eq", "p.yaml:13: probe[0].equals: is for numbers"),
        ("equals: [7]", "starts_with: [B]", "p.yaml:13: probe[0].starts_with: is for text"),
        ("equals: [7]", "between: [2, 1]", "p.yaml:13: probe[0].between: its first number"),
        (
            "equals: [7]",
            "type: string, starts_with: [B]",
            "p.yaml:13: probe[0].regs: text needs the number",
        ),
        ("equals: [7]", "type: bits, readable: true", "p.yaml:13: probe[0].type: bits cannot"),
        ("order: CDAB", "order: CDAB\nother_orders: [CDAB]", "p.yaml:6: other_orders: CDAB is the"),
        ("profile: acme-1", "profile: Acme 1", "p.yaml:1: profile: Expected `str` matching"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(ProfileError) as caught:
        parse_profile(GOOD.replace(old, new), "p.yaml")
    assert str(caught.value).startswith(expected)


def test_the_schema_that_is_checked_in_is_the_one_of_the_classes() -> None:
    assert (METERS / SCHEMA_FILE).read_text() == profile_schema_text(), (
        f"regenerate: python -m gateway.meters.schema firmware_config/meters/{SCHEMA_FILE}"
    )


def test_the_schema_takes_every_profile_and_refuses_an_unknown_key() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(profile_schema_text()))
    for name in ProfileLibrary().names():
        validator.validate(yaml.safe_load((METERS / f"{name}.yaml").read_text()))
    validator.validate(yaml.safe_load(GOOD))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(yaml.safe_load(GOOD + "colour: grey\n"))


def test_a_folder_of_ones_own_comes_before_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "acme-1.yaml").write_text(GOOD)
    (tmp_path / "abb-b23.yaml").write_text(GOOD.replace("acme-1", "abb-b23"))
    library = ProfileLibrary([tmp_path])
    assert library.get("acme-1") is library.get("acme-1")
    assert library.get("abb-b23").model == "Acme One"
    assert library.get_modbus("eastron-sdm120").function == 4
    assert "acme-1" in library.names()
    assert not any("vectors" in name for name in library.names())


def test_an_unknown_profile_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    library = ProfileLibrary([tmp_path, tmp_path / "not-there"])
    for name in ("acme-2", "../secret", "abb-b23.vectors"):
        with pytest.raises(UnknownProfileError, match="abb-b23, carlo-gavazzi") as caught:
            library.get(name)
        assert "eastron-sdm630" in caught.value.known


def test_a_file_that_is_no_profile_is_named(tmp_path: Path) -> None:
    wrong_name = tmp_path / "acme-2.yaml"
    wrong_name.write_text(GOOD)
    with pytest.raises(ProfileError, match=r"acme-2\.yaml:1: profile: is 'acme-1'"):
        ProfileLibrary([tmp_path]).get("acme-2")
    assert profile_from_file(wrong_name).name == "acme-1"
    with pytest.raises(ProfileError, match=r"nothing\.yaml:1: cannot be read: No such file"):
        profile_from_file(tmp_path / "nothing.yaml")
    wrong_name.write_bytes(b"profile: \xff")
    with pytest.raises(ProfileError, match="not UTF-8"):
        profile_from_file(wrong_name)
    wrong_name.write_text("x" * 300_000)
    with pytest.raises(ProfileError, match="larger than"):
        profile_from_file(wrong_name)
