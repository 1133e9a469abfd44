"""Case 2 a hundred times: the real gateway's power is cut (`make soak`).

`SONGLO_POWER_CUTS` says how often, `SONGLO_POWER_CUT_SEED` repeats the moments of a run.
"""

import os
import time
from pathlib import Path

import pytest

from tests.endurance.station import COMMAND
from tests.faults.power_cuts import PowerCuts
from tests.faults.programs import Forks
from tests.faults.world import world

CUTS = int(os.environ.get("SONGLO_POWER_CUTS", "100"))
SEED = int(os.environ.get("SONGLO_POWER_CUT_SEED", str(time.time_ns() % 2**31)))

pytestmark = [pytest.mark.soak, pytest.mark.asyncio, pytest.mark.timeout(3600)]


async def test_case_02_the_power_is_cut_a_hundred_times(tmp_path: Path, forks: Forks) -> None:
    print(f"power cuts: {CUTS}, SONGLO_POWER_CUT_SEED={SEED}", flush=True)  # noqa: T201
    async with world(tmp_path, forks) as made:
        made.start_collector()
        await made.subscribed()
        cuts = PowerCuts(made, SEED, COMMAND)
        for number in range(CUTS):
            await cuts.cut()
            assert not cuts.lost, f"cut {number}: a reader had seen {sorted(cuts.lost)}"
        await cuts.end()
        assert made.tell(2).admitted > CUTS
