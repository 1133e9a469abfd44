"""Damaged messages, frames and files are taken or refused, never anything else."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.decoders import DECODERS

EXAMPLES = 60


def tried(name: str, examples: int) -> None:
    """Let a decoder meet so many things."""
    decoder = DECODERS[name]
    quiet = settings(
        max_examples=examples,
        # What is damaged is a real file: large, and never small again.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    with decoder.opened() as take:
        quiet(given(decoder.anything)(lambda content: take(content)))()


@pytest.mark.parametrize("name", DECODERS)
def test_whatever_comes_is_taken_or_refused(name: str) -> None:
    tried(name, EXAMPLES)
