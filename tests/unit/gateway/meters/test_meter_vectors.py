"""Every Modbus profile that is part of the product decodes the words of its vectors file.

The words were written from the register maps, independent of the code that decodes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import firmware_config
from gateway.meters.profile import MeterProfile
from gateway.meters.vectors import (
    VECTORS_SUFFIX,
    Vector,
    VectorsError,
    VectorsFile,
    mistakes,
    parse_vectors,
    untried,
    vectors_text,
)
from gateway.profiles import ProfileLibrary

METERS = Path(next(iter(firmware_config.__path__))) / "meters"
LIBRARY = ProfileLibrary()

# Every family of which a public map is known; each is a file at least.
FAMILIES = {
    "abb-b23",
    "carlo-gavazzi-em24",
    "carlo-gavazzi-em24-e1",
    "carlo-gavazzi-em340",
    "chint-ddsu666",
    "chint-dtsu666",
    "chint-dtsu666-401e",
    "eastron-sdm120",
    "eastron-sdm630",
    "eastron-sdm72",
    "eastron-sdm72-v2",
    "inepro-pro380",
    "janitza-b23",
    "janitza-umg96rm",
    "schneider-iem3155",
}


def _document(name: str) -> VectorsFile:
    file = METERS / f"{name}{VECTORS_SUFFIX}"
    return parse_vectors(file.read_text(), file.name)


def _vectors() -> Iterator[Any]:
    for name in LIBRARY.modbus_names():
        for vector in _document(name).vectors:
            yield pytest.param(name, vector, id=f"{name}: {vector.name}")


@pytest.mark.parametrize(("name", "vector"), list(_vectors()))
def test_words_mean_what_the_vectors_say(name: str, vector: Vector) -> None:
    assert mistakes(LIBRARY.get_modbus(name), vector) == []


@pytest.mark.parametrize("name", LIBRARY.modbus_names())
def test_each_profile_has_vectors_for_every_register_and_for_edges(name: str) -> None:
    document = _document(name)
    assert document.profile == name
    assert untried(LIBRARY.get_modbus(name), document) == []
    assert len(document.vectors) >= 2


@pytest.mark.parametrize("name", LIBRARY.modbus_names())
def test_each_profile_has_a_vector_for_every_kind_of_edge(name: str) -> None:
    profile = LIBRARY.get_modbus(name)
    expected = [value for vector in _document(name).vectors for value in vector.expect.values()]
    is_float_or_marked = any(
        mapped.type.is_float or profile.sentinels.of(mapped.type) for mapped in profile.registers
    )
    assert (None in expected) is is_float_or_marked, "what is not available has no value"
    assert any(isinstance(v, float) and v < 0 for v in expected), "power that is fed back"
    energies = [v for v in expected if isinstance(v, int)]
    assert max(energies) >= 100_000_000, "an energy at the limits of the type"


def test_no_family_is_missing() -> None:
    assert set(LIBRARY.modbus_names()) >= FAMILIES


def test_no_vectors_are_without_a_profile() -> None:
    files = {file.name.removesuffix(VECTORS_SUFFIX) for file in METERS.glob(f"*{VECTORS_SUFFIX}")}
    assert files == set(LIBRARY.names())


def _sdm120() -> MeterProfile:
    return LIBRARY.get_modbus("eastron-sdm120")


WORDS: dict[str, tuple[int, ...]] = {"0x0048": (0x449A, 0x51EC), "0x0000": (0x4366, 0x6666)}


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ({"1-0:1.8.0": 1234560, "1-0:32.7.0": 230.4}, []),
        ({"1-0:1.8.0": 1234570}, ["1-0:1.8.0: is 1234560, expected 1234570"]),
        ({"1-0:1.8.0": 1234560.0}, ["1-0:1.8.0: is 1234560, expected 1234560.0"]),
        ({"1-0:1.8.0": None}, ["1-0:1.8.0: is 1234560, expected null"]),
        ({"1-0:2.8.0": None}, ["1-0:2.8.0: is 0, expected null"]),
        ({"1-0:52.7.0": None}, ["1-0:52.7.0: not in the profile"]),
        ({"1-0:52.7.0": 1.0}, ["1-0:52.7.0: not in the profile"]),
    ],
)
def test_a_difference_is_found(expect: dict[str, Any], found: list[str]) -> None:
    assert mistakes(_sdm120(), Vector("x", WORDS, expect)) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profile: a\nvectors: [{name: x, words: {zz: [1]}, expect: {}}]", "'zz' is no address"),
        ("profile: a\nvectors: [{name: x, words: {0xFFFF: [1, 2]}, expect: {}}]", "lies outside"),
        ("profile: a\nvectors: [{name: x, words: {1: [-1]}, expect: {}}]", "is no word of 16"),
        ("profile: a\nvectors: [{name: x, expect: {}}]", "v.yaml:2: vectors[0].words: this key"),
        ("profile: a\nvectors: [{name: x, worlds: {}}]", "unknown key"),
    ],
)
def test_what_is_no_vectors_file_is_named(text: str, expected: str) -> None:
    with pytest.raises(VectorsError) as caught:
        parse_vectors(text, "v.yaml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", LIBRARY.modbus_names())
def test_what_is_written_from_a_meter_is_read_back_and_agrees(name: str) -> None:
    """Every profile, over the words of its first vector; of its serial number nothing is left."""
    profile = LIBRARY.get_modbus(name)
    memory = _document(name).vectors[0].memory()
    text = vectors_text(profile, 'a "meter": really', memory)
    document = parse_vectors(text, "dump.yaml")
    (vector,) = document.vectors
    assert (document.profile, vector.name) == (name, 'a "meter": really')
    assert mistakes(profile, vector) == []
    assert yaml.safe_load(text)["vectors"][0]["expect"] == dict(vector.expect)
    wanted = {a for mapped in profile.registers for a in range(mapped.address, mapped.end)}
    assert set(vector.memory()) == wanted & set(memory)


def test_registers_that_were_refused_are_left_out_and_decimals_stay_decimals() -> None:
    memory = {0x48: 0x449A, 0x49: 0x51EC, 0x06: 0x33D6, 0x07: 0xBF95, 0x4A: 0x4120}
    (vector,) = parse_vectors(vectors_text(_sdm120(), "x", memory), "x").vectors
    assert vector.expect == {"1-0:1.8.0": 1234560, "1-0:31.7.0": 1e-7}
    assert 0x4A not in vector.memory()
