"""Damaged messages, frames and files are taken or refused, never anything else."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings

from contract.messages import MessageError
from tests.api.test_api_registry_files import GOOD, packed
from tests.contract.test_messages import DECODERS as MESSAGES
from tests.fuzz.damage import PIECES, each_part_replaced
from tests.fuzz.decoders import (
    DECODERS,
    GOLDEN,
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
                                                       ("workbook", workbook(), 97)])  # fmt: skip
def test_a_packed_file_with_a_wrong_byte_is_read_or_refused(
    name: str, content: bytes, step: int
) -> None:
    with DECODERS[name].opened() as take:
        for wrong in each_byte_wrong(content, step):
            take(wrong)
