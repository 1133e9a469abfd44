"""A thousand gateways come back at once after a day: bounded memory, live slots in time, fairness.

With a real broker and a real collector; `bench/reconnect_storm.py` has what happens and why.
"""

import statistics

import pytest

from bench.fleet import Storm
from bench.reconnect_storm import LATENCY_S_MAX, MEMORY_MB_MAX, detail, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]

# The least served gateway had this share of the best served one's when half was through, and the
# last one was through within this many times what the middle one took.
FAIRNESS_MIN = 0.2
LAST_TO_MEDIAN_MAX = 1.5


@pytest.mark.parametrize(
    "storm",
    [
        pytest.param(Storm(), id="a day"),
        # Takes so long that live batches compete with the backlog when it is two minutes old, too.
        pytest.param(Storm(backlog=240), id="five days"),
    ],
)
def test_a_thousand_gateways_come_back_at_once(storm: Storm) -> None:
    outcome = run(storm)
    print(detail(outcome))  # noqa: T201
    drained_s = outcome.weathered.drained_s
    assert outcome.weathered.ended_s < storm.give_up_s, "everything was acknowledged"
    assert outcome.memory_mb < MEMORY_MB_MAX
    assert outcome.settled_s[-1] <= LATENCY_S_MAX
    assert outcome.fairness >= FAIRNESS_MIN
    assert max(drained_s) <= LAST_TO_MEDIAN_MAX * statistics.median(drained_s)
