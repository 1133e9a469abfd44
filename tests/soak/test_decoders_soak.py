"""What tests/fuzz tries a little, for long; `SONGLO_FUZZ_EXAMPLES` says how long."""

import os

import pytest

from tests.fuzz.decoders import DECODERS
from tests.fuzz.test_decoders import tried

EXAMPLES = int(os.environ.get("SONGLO_FUZZ_EXAMPLES", "10000"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("name", DECODERS)
def test_whatever_comes_is_taken_or_refused_for_long(name: str) -> None:
    tried(name, EXAMPLES)
