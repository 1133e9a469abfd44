"""What the figures about lines rest on: how many requests, and what the wire needs for them."""

import pytest

from bench.scan_vs_single import one_by_one, whole_map, wire_s
from gateway.meters.plan import plan
from gateway.ports import Part


def test_everything_that_an_sdm630_documents_takes_three_requests() -> None:
    profile = whole_map()
    assert len(profile.registers) == 49
    assert [block.count for part in Part for block in plan(profile, part)] == [8, 44, 72]
    single = [block for part in Part for block in plan(one_by_one(profile), part)]
    assert len(single) == 49


def test_the_arithmetic_of_the_wire() -> None:
    """49 requests of 24 characters at 9600 baud, against 20 + 2 × 8, 2 × 44 and 2 × 72."""
    assert wire_s(one_by_one(whole_map()), 20) == pytest.approx(49 * (0.025 + 0.020))
    assert wire_s(whole_map(), 20) == pytest.approx((36 + 108 + 164) / 960 + 0.060)
