"""SIGKILL in the midst of commits: nothing committed is missing, numbers have no holes."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.outbox_values import Draft
from tests.gateway_delivery.building import at, epoch, open_outbox, scan_draft

LIVES = 8


@pytest.mark.timeout(120)
def test_nothing_committed_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20260101)
    committed: dict[int, tuple[int, int]] = {}
    for number in range(1, LIVES + 1):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway_delivery.outbox_writer", tmp_path, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(chance.randint(1, 60)):
            committed[number] = _said(process.stdout.readline())
        process.kill()
        for line in process.stdout:  # what it still said before it died
            if line.endswith("\n"):
                committed[number] = _said(line)
        process.stdout.close()
        process.wait()

    outbox = open_outbox(tmp_path, LIVES + 1)
    rows = outbox.pending(1_000_000, live_since=at(10**7))
    for number, (last_seq, minute) in committed.items():
        seqs = [row.key.seq for row in rows if row.key.epoch == epoch(number)]
        assert seqs == list(range(1, len(seqs) + 1))
        # One more commit may have been kept without the process having lived to say so.
        assert len(seqs) - last_seq in (0, 2)
        first_minute = minute - last_seq // 2 + 1
        expected = [d for m in range(len(seqs) // 2) for d in _drafts(first_minute + m)]
        payloads = [row.payload for row in rows if row.key.epoch == epoch(number)]
        assert payloads == [draft.payload for draft in expected]
    last = committed[LIVES]
    assert outbox.last_slot() in (at(last[1]), at(last[1] + 1)), "marked in the same transaction"
    outbox.close()


def _said(line: str) -> tuple[int, int]:
    seq, minute = line.split()
    return int(seq), int(minute)


def _drafts(minute: int) -> list[Draft]:
    return [scan_draft(minute, filler=4_000), scan_draft(minute, index=True)]
