"""Damaged messages, frames and files are taken or refused, never anything else."""

import contextlib
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings

from contract.messages import MessageError
from tests.api.test_api_registry_files import GOOD, packed
from tests.contract.test_messages import DECODERS as MESSAGES
from tests.fuzz.damage import PIECES, each_part_replaced
from tests.fuzz.decoders import (
    DECODERS,
    GOLDEN,
    STATION_EXAMPLE,
    each_byte_wrong,
    golden,
    intake,
    registry_files,
    workbook,
)

EXAMPLES = 100


def tried(name: str, examples: int) -> None:
    """Let a decoder meet so many things."""
    decoder = DECODERS[name]
    quiet = settings(
        max_examples=examples,
        # What is damaged is a real file: large, and never small again.
        suppress_health_check=[
            HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example,
        ],
    )  # fmt: skip
    with decoder.opened() as take:

        def meets(content: object) -> None:
            take(content)

        quiet(given(decoder.anything)(meets))()


@pytest.mark.parametrize("name", DECODERS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    tried(name, EXAMPLES)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_message_with_a_hostile_value_anywhere_decodes_or_is_refused(name: str) -> None:
    decode = MESSAGES[name.partition("-")[0]]
    for document in each_part_replaced(json.loads(GOLDEN[name])):
        with contextlib.suppress(MessageError):
            decode(json.dumps(document).encode())


def test_intake_takes_or_puts_aside_what_has_a_hostile_value_anywhere() -> None:
    payloads = [
        json.dumps(document).encode()
        for kind in ("batch", "status")
        for payload in golden(kind)
        for document in each_part_replaced(json.loads(payload))
    ]
    with intake() as take:
        for start in range(0, len(payloads), 100):
            take(payloads[start : start + 100])


@pytest.mark.parametrize("name", GOOD)
def test_a_registry_file_with_a_hostile_text_anywhere_is_read_or_refused(name: str) -> None:
    text = GOOD[name].encode()
    for place in range(0, len(text) + 1, 3):
        for piece in PIECES:
            registry_files({name: text[:place] + piece + text[place:]})


@pytest.mark.parametrize(("name", "content", "step"), [("zip", packed(GOOD), 1),
                                                       ("workbook", workbook(), 41)])  # fmt: skip
def test_a_packed_file_with_a_wrong_byte_is_read_or_refused(
    name: str, content: bytes, step: int
) -> None:
    with DECODERS[name].opened() as take:
        for wrong in each_byte_wrong(content, step):
            take(wrong)


# What YAML makes something else of than text, or cannot.
HOSTILE_YAML = (
    "2026-13-45", "2026-01-01", "0x", "1e999", ".nan", "-1", "9" * 25, "~", "[]", "{a: 1}", "'",
    "*a", "&a [*a]", "!!python/object:os.x 1", "!!binary x", '"\\ud800"', "x" * 300, "\x01",
)  # fmt: skip


def test_a_station_file_with_a_hostile_value_anywhere_is_taken_or_refused() -> None:
    text = STATION_EXAMPLE.decode()
    values = list(re.finditer(r"(?<=: )[^\s,{}\[\]#]+", text))
    assert len(values) > 30
    with DECODERS["station file"].opened() as take:
        for number, value in enumerate(values):
            # Each value meets every sixth of them; all of them meet the first.
            for hostile in HOSTILE_YAML[number % 6 :: 6 if number else 1]:
                take((text[: value.start()] + hostile + text[value.end() :]).encode())
