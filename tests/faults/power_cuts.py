"""Power cuts of the real gateway, one after the other, at moments that a seed chooses."""

import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from tests.endurance.station import START, Running
from tests.faults.programs import ROOT
from tests.faults.traced_disk import TracedDisk, command
from tests.faults.world import DEADLINE_S, Key, World, started, until

# What the gateway does to its files, and the latest of its calls of a kind that it may die at.
# A life of six slots has some 150 writes in 12 syncs.
MOMENTS = (("pwrite64", 40), ("pwrite64", 160), ("fdatasync", 14))
SLOTS_MAX = 6  # one that outlives them dies where it stands
ALL = "SELECT epoch, seq FROM batches JOIN epochs ON epochs.id = epoch_id"


class Traced:
    """A program under strace. What is killed is the program, and strace ends with it."""

    def __init__(self, strace: Running) -> None:
        self._strace = strace
        self.pid = strace.pid

    def poll(self) -> int | None:
        return self._strace.poll()

    def wait(self, timeout: float) -> int:
        return self._strace.wait(timeout)

    def send_signal(self, number: int) -> None:
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def is_alive(self) -> bool:
        """It runs, and is not merely waiting to be buried."""
        for child in self._children():
            with suppress(FileNotFoundError, ProcessLookupError):
                state = Path(f"/proc/{child}/stat").read_text().rsplit(") ", 1)[1][0]
                return state not in "ZX"
        return False

    def _children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [int(one) for one in text.split()]


class PowerCuts:
    """Of one gateway; `program` is what is started, up to its station file.

    `lost` are batches that a reader saw in its outbox before a cut and that are not in it after.
    """

    def __init__(self, made: World, seed: int, program: list[str]) -> None:
        self._made = made
        self._seed = seed
        self._chance = random.Random(seed)
        self._program = program
        self._slot = 0
        self._told: set[Key] = set()
        self._seen: set[Key] = set()
        self._cuts = 0
        self._unsynced = 0
        self.lost: set[Key] = set()
        self._disk = TracedDisk(made.station.outbox.parent)
        self._disk.put({})

    async def cut(self) -> None:
        """Run it to its death, and leave what its disk may hold then."""
        call, last = self._chance.choice(MOMENTS)
        trace = self._made.folder / "trace"
        nth = self._chance.randint(1, last)
        await self._live_and_die(command(trace, self._words(), (call, nth)))
        self._disk.follow(trace)
        self._disk.check()
        self._cuts += 1
        self._unsynced += self._disk.unsynced()
        self._disk.put(self._disk.after_power_cut(self._chance))
        self.lost |= self._told - self._in_image()

    async def end(self) -> None:
        """Start it untraced, and wait until all is delivered."""
        made = self._made
        lost = f"{self._unsynced} writes and names unsynced"
        made.injected.append(f"power cut ×{self._cuts} (seed {self._seed}), {lost}")
        made.quiet()
        made.station.start()
        await made.slots_to(self._slot + 2)
        assert self._told <= made.kept()
        await made.settle()
        assert "moved aside" not in made.gateway_log(), "a power cut damages no file"
        assert made.one("SELECT count(*) FROM quarantine") == 0

    def _words(self) -> list[str]:
        return [*self._program, str(self._made.station.file())]

    async def _live_and_die(self, traced: list[str]) -> None:
        made = self._made
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        running = Traced(started(traced, made.folder / "log", environment))
        made.station.process = running
        self._seen = self._told
        for _ in range(SLOTS_MAX):
            self._slot += 1
            at = START + self._slot * made.station.interval
            await made.station.clock.extend(at)

            def is_through(at: datetime = at) -> bool:
                self._look(running)
                return running.poll() is not None or self._waits_beyond(at)

            await until(is_through, f"slot {self._slot}, or its death")
            if running.poll() is not None:
                break
        running.kill()
        await until(lambda: running.poll() is not None, "its death", DEADLINE_S)
        assert running.poll() == -signal.SIGKILL, made.gateway_log()[-4000:]
        made.station.process = None

    def _look(self, running: Traced) -> None:
        """See what is in the outbox.

        A reader that comes after its death would find commits that were not synced, which nobody
        was ever told of. So what was seen counts when the program is alive the next time.
        """
        if running.is_alive():
            self._told |= self._seen
            self._seen = _batches(f"file:{self._made.station.outbox}?mode=ro")

    def _waits_beyond(self, at: datetime) -> bool:
        requests = self._made.station.clock.requests
        if not requests:
            return False
        last = json.loads(requests[-1])
        return bool(last["op"] == "wait" and datetime.fromisoformat(last["until"]) > at)

    def _in_image(self) -> set[Key]:
        """What is in the outbox; looked at in a copy, for a reader would mend what is torn."""
        outbox = self._made.station.outbox
        if not outbox.exists():
            return set()
        with tempfile.TemporaryDirectory() as folder:
            for file in outbox.parent.glob(f"{outbox.name}*"):
                shutil.copy(file, folder)
            copy = Path(folder) / outbox.name
            with closing(sqlite3.connect(copy)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return _batches(f"file:{copy}")


def _batches(uri: str) -> set[Key]:
    """Every batch of an outbox; none where there is no outbox yet."""
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=20)) as db:
            return {(str(epoch), int(seq)) for epoch, seq in db.execute(ALL)}
    except sqlite3.OperationalError:
        return set()
