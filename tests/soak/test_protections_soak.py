"""Every protection of docs/security.md is taken away, one at a time, and its tests fail.

In copies of the project; what is taken away stands in tests/protections/.
"""

from pathlib import Path

import pytest

from tests.protections.taking_away import Taken, all_entries, unnoticed

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.mark.parametrize("taken", all_entries(), ids=str)
def test_a_protection_that_is_gone_is_missed(taken: Taken, tmp_path: Path) -> None:
    missed = unnoticed(taken, tmp_path)
    assert not missed, "\n".join(missed)
