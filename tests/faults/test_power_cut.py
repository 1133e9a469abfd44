"""Case 2: the gateway's power is cut, and its disk has lost what it was not asked to keep.

The real gateway runs under strace and dies at a write, a sync or a change of a name that a seed
chooses; what its disk may hold then is put in the place of what it does hold, and it starts again.
What a reader saw in its outbox before, and what the collector was sent, must be in it still.
"""

import sys
from pathlib import Path

import pytest

from tests.endurance.station import COMMAND
from tests.faults.power_cuts import PowerCuts
from tests.faults.programs import Forks
from tests.faults.world import world

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

CUTS = 8
SEED = 2
UNSYNCED_CUTS_MAX = 6
UNSYNCED = [sys.executable, "-m", "tests.faults.unsynced", *COMMAND[3:]]


async def test_case_02_the_power_is_cut_and_what_was_kept_is_there(
    tmp_path: Path, forks: Forks
) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        await made.subscribed()
        cuts = PowerCuts(made, SEED, COMMAND)
        for _ in range(CUTS):
            await cuts.cut()
            assert not cuts.lost, f"a reader had seen them: {sorted(cuts.lost)}"
        await cuts.end()
        assert made.tell(2).admitted > CUTS


async def test_case_02_finds_an_outbox_that_does_not_sync(tmp_path: Path, forks: Forks) -> None:
    async with world(tmp_path, forks) as made:
        made.start_collector()
        await made.subscribed()
        cuts = PowerCuts(made, SEED, UNSYNCED)
        for _ in range(UNSYNCED_CUTS_MAX):
            await cuts.cut()
            if cuts.lost:
                return
        pytest.fail("what was never synced outlived every power cut")
