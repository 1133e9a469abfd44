"""The papers about meters: the list is generated, and the walk through adding one is true."""

import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import app
from gateway.meters.attributes import AttributeType
from gateway.meters.checks import Check
from gateway.meters.profile import (
    MappedRegister,
    MeterProfile,
    Rating,
    Requests,
    Sentinels,
    SerialSettings,
    Timing,
)
from gateway.meters.schema import profile_schema_text
from gateway.meters.supported import supported_text
from gateway.meters.wire import Order, WireType
from gateway.profiles import ProfileLibrary

ROOT = Path(__file__).parents[4]
SUPPORTED = ROOT / "docs" / "supported-meters.md"
ADDING = ROOT / "docs" / "adding-a-meter.md"
LIBRARY = ProfileLibrary()


def test_the_list_of_meters_is_the_one_of_the_profiles() -> None:
    text = supported_text(LIBRARY.get(name) for name in LIBRARY.names())
    assert SUPPORTED.read_text() == text, (
        "regenerate: python -m gateway.meters.supported docs/supported-meters.md"
    )


@pytest.mark.parametrize("name", LIBRARY.names())
def test_every_profile_is_listed_with_its_source_and_its_status(name: str) -> None:
    profile = LIBRARY.get(name)
    text = SUPPORTED.read_text()
    assert f"### {name}\n" in text
    assert f"[`{name}`](#{name}) | {profile.model} |" in text
    for source in profile.source:
        assert " ".join(source.split()) in text
    assert profile.family, "the list groups models by family"


def _block(start: str) -> str:
    blocks: list[str] = re.findall(r"```\w*\n(.*?)```", ADDING.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(start)]
    return found


@pytest.fixture
def meters(tmp_path: Path) -> Path:
    folder = tmp_path / "meters"
    folder.mkdir()
    for name in ("acme-m1.yaml", "acme-m1.vectors.yaml"):
        (folder / name).write_text(_block(f"# meters/{name}\n"))
    return folder


def test_the_example_is_checked_as_the_paper_says(
    meters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(meters.parent)
    command, _, output = _block("$ songlo gateway profile").partition("\n")
    result = CliRunner().invoke(app, command.removeprefix("$ songlo gateway ").split())
    assert (result.exit_code, result.output) == (0, output)


def test_the_example_is_what_the_schema_takes(meters: Path) -> None:
    schema = yaml.safe_load(profile_schema_text())
    document = yaml.safe_load((meters / "acme-m1.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert ProfileLibrary([meters]).get("acme-m1").model.startswith("Acme M1")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("acme-m1.yaml", "order: CDAB", "order: ABCD", "1-0:1.8.0: is 37958451210"),
        ("acme-m1.yaml", "scale: 10\n", "scale: 1\n", "1-0:1.8.0: is 123460, expected 1234560"),
        ("acme-m1.yaml", "i32: [0x7FFFFFFF]", "i32: []", "is 21474836.47, expected null"),
        ("acme-m1.yaml", "max_gap: 8", "max_gapp: 8", "acme-m1.yaml:14: requests.max_gapp"),
        ("acme-m1.yaml", "bit: 3", "bit: 2", 'alarms: is ["bit 3"], expected ["cover open"]'),
        ("acme-m1.vectors.yaml", "[0x0900]", "[0x10900]", "0x10900 is no word of 16 bits"),
        ("acme-m1.vectors.yaml", "profile: acme-m1", "profile: acme-m2", "are of 'acme-m2'"),
        ("acme-m1.vectors.yaml", '"1-0:32.7.0"', '"1-0:52.7.0"', "1-0:52.7.0: not in the profile"),
    ],
)
def test_a_mistake_in_the_example_is_found(
    meters: Path, file: str, old: str, new: str, expected: str
) -> None:
    text = (meters / file).read_text()
    assert old in text
    (meters / file).write_text(text.replace(old, new))
    result = CliRunner().invoke(app, ["profile", str(meters / "acme-m1.yaml")])
    assert result.exit_code == 1
    assert expected in result.output


def test_a_profile_without_vectors_is_told_how_to_get_some(meters: Path) -> None:
    (meters / "acme-m1.vectors.yaml").unlink()
    result = CliRunner().invoke(app, ["profile", str(meters / "acme-m1.yaml")])
    assert result.exit_code == 0
    assert "no vectors" in result.output
    assert "read --dump" in result.output


def test_what_no_vector_tries_is_said(meters: Path) -> None:
    vectors = meters / "acme-m1.vectors.yaml"
    vectors.write_text(vectors.read_text().replace('      "1-0:32.7.0": 230.4\n', ""))
    result = CliRunner().invoke(app, ["profile", str(meters / "acme-m1.yaml")])
    assert (result.exit_code, "by any of them: 1-0:32.7.0" in result.output) == (0, True)


def test_an_unknown_profile_is_answered_with_those_that_there_are() -> None:
    result = CliRunner().invoke(app, ["profile", "acme"])
    assert result.exit_code == 1
    assert "abb-b23, carlo-gavazzi-em24" in result.output


def test_every_key_of_a_modbus_profile_is_in_the_paper() -> None:
    text = ADDING.read_text()
    for part in (MeterProfile, MappedRegister, Requests, Timing, SerialSettings, Rating, Check):
        for field in msgspec.structs.fields(part):
            if field.name != "protocol":
                assert re.search(rf"\b{field.name}\b", text), f"{part.__name__}.{field.name}"
    for names in (WireType, Order, AttributeType):
        for member in names:
            assert member.value in text
    assert {field.name for field in msgspec.structs.fields(Sentinels)} == {*WireType}
