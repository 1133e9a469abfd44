"""Every meter profile that is part of the product decodes the words of its vectors file.

The words were written by hand from the register maps; nothing here encodes a value.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import firmware_config
from gateway.meters.decode import Value, decode
from gateway.meters.plan import plan
from gateway.meters.profile import MeterProfile
from gateway.ports import Part
from gateway.profiles import ProfileLibrary

METERS = Path(next(iter(firmware_config.__path__))) / "meters"
LIBRARY = ProfileLibrary()


def _vectors() -> Iterator[Any]:
    for file in sorted(METERS.glob("*.vectors.yaml")):
        document = yaml.safe_load(file.read_text())
        for vector in document["vectors"]:
            yield pytest.param(
                document["profile"], vector, id=f"{document['profile']}: {vector['name']}"
            )


def _decoded(profile: MeterProfile, words: dict[int, list[int]]) -> dict[str, Value]:
    memory = {
        address + index: word for address, run in words.items() for index, word in enumerate(run)
    }
    values: dict[str, Value] = {}
    for part in Part:
        for block in plan(profile, part):
            addresses = range(block.address, block.address + block.count)
            values |= decode(profile, block, [memory.get(address, 0) for address in addresses])
    return values


@pytest.mark.parametrize(("name", "vector"), list(_vectors()))
def test_words_mean_what_the_vectors_say(name: str, vector: dict[str, Any]) -> None:
    values = _decoded(LIBRARY.get(name), vector["words"])
    expected = vector["expect"]
    assert {obis: values[obis] for obis in expected} == expected
    assert {obis: type(values[obis]) for obis in expected} == {
        obis: type(value) for obis, value in expected.items()
    }


@pytest.mark.parametrize("name", LIBRARY.names())
def test_each_profile_has_vectors_for_every_register_and_for_edges(name: str) -> None:
    document = yaml.safe_load((METERS / f"{name}.vectors.yaml").read_text())
    assert document["profile"] == name
    tried = {obis for vector in document["vectors"] for obis in vector["expect"]}
    assert tried == {mapped.obis for mapped in LIBRARY.get(name).registers}
    assert len(document["vectors"]) >= 2


def test_the_five_models_are_there() -> None:
    assert {
        "abb-b23",
        "carlo-gavazzi-em340",
        "eastron-sdm120",
        "eastron-sdm630",
        "schneider-iem3155",
    } <= set(LIBRARY.names())
