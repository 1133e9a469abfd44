"""Gateway, collector and broker are killed at random moments; the snapshot is the same."""

import random
import time
from pathlib import Path

import pytest

from tests.e2e.driver import Ended, system_in, three_days, wait_for_end, wait_for_slot
from tests.services import Mosquitto

KILLS_EACH = 5
SEED = 20261124


@pytest.mark.timeout(600)
def test_fifteen_kills_change_nothing(
    undisturbed: Ended, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    victims = ["gateway", "collector", "broker"] * KILLS_EACH
    chance.shuffle(victims)
    options = three_days(broker=(mosquitto.host, mosquitto.port))
    # One victim in each fifteenth of the period, at a random slot of it and a random moment in it.
    stretch = options.slot_count // len(victims)
    with system_in(tmp_path, options) as system:
        for number, victim in enumerate(victims):
            wait_for_slot(system, number * stretch + chance.randint(1, stretch))
            time.sleep(chance.uniform(0, 0.1))
            if victim == "broker":
                mosquitto.kill()
                time.sleep(chance.uniform(0, 1))
                mosquitto.start()
            else:
                program = system.gateway if victim == "gateway" else system.collector
                program.kill()
                time.sleep(chance.uniform(0, 1))
                program.start()
        ended = wait_for_end(system)
    assert ended.progress.read == ended.progress.due
    assert ended.lines == undisturbed.lines
    assert ended.sha256 == undisturbed.sha256
