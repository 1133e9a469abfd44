"""Case 2: the gateway's power is cut, and its disk has lost what it was not asked to keep.

The real gateway runs under strace and dies at a write, a sync or a change of a name that a seed
chooses; what its disk may hold then is put in the place of what it does hold, and it starts again.
What a reader saw in its outbox before, and what the collector was sent, must be in it still.
"""

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.endurance.station import COMMAND
from tests.faults.power_cuts import PowerCuts
from tests.faults.programs import Forks
from tests.faults.traced_disk import TracedDisk, command
from tests.faults.world import world

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

CUTS = 8
SEED = 2
LAX_CUTS_MAX = 10


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


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
async def test_case_02_finds_an_outbox_that_syncs_too_little(
    tmp_path: Path, forks: Forks, level: str
) -> None:
    """Never, or not before it says that a batch is kept."""
    program = [sys.executable, "-m", "tests.faults.unsynced", level, *COMMAND[3:]]
    async with world(tmp_path, forks) as made:
        made.start_collector()
        await made.subscribed()
        cuts = PowerCuts(made, SEED, program)
        for _ in range(LAX_CUTS_MAX):
            await cuts.cut()
            if cuts.lost:
                return
        pytest.fail("what was never synced outlived every power cut")


SCRIPT = """
import os, sys
folder = sys.argv[1]
log = os.open(folder + "/log", os.O_CREAT | os.O_WRONLY)
os.pwrite(log, b"a" * 1024, 0)
os.fsync(log)
os.fsync(os.open(folder, os.O_RDONLY))
os.pwrite(log, b"b" * 1024, 512)
os.ftruncate(log, 1500)
with open(folder + "/new", "w") as new:
    new.write("n")
    new.flush()
    os.fsync(new.fileno())
os.rename(folder + "/new", folder + "/name")
os.pwrite(log, b"c", 0)
"""


async def test_a_traced_disk_keeps_what_was_synced_and_any_part_of_the_rest(tmp_path: Path) -> None:
    folder, trace = tmp_path / "disk", tmp_path / "trace"
    disk = TracedDisk(folder)
    disk.put({"old": b"there"})
    words = [sys.executable, "-c", SCRIPT, str(folder)]
    program = await asyncio.create_subprocess_exec(*command(trace, words, ("pwrite64", 3)))
    assert await program.wait() == -signal.SIGKILL
    disk.follow(trace)
    disk.check()
    assert disk.unsynced() == 5  # two writes, a cut, a name that came and was changed
    images = [disk.after_power_cut(random.Random(seed)) for seed in range(200)]
    assert all(image["old"] == b"there" for image in images)
    a, b = b"a" * 512, b"b" * 512
    logs = {image["log"] for image in images}
    assert {a + a, a + b, a + b + b[:476], b"c" + a[1:] + a} <= logs
    assert {one[1:512] for one in logs} == {a[1:]}, "what was synced"
    names = {frozenset(image) - {"old", "log"} for image in images}
    assert names == {frozenset(), frozenset({"new"}), frozenset({"name"})}
    assert {image["name"] for image in images if "name" in image} == {b"n"}
