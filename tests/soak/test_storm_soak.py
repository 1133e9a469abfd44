"""A thousand gateways come back at once after a day: bounded memory, live slots in time, fairness.

With a real broker and a real collector; `bench/reconnect_storm.py` has what happens and why.
"""

import pytest

from bench.fleet import Storm
from bench.reconnect_storm import LATENCY_S_MAX, MEMORY_MB_MAX, detail, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2_400)]

# The least served gateway had this share of the best served one's when half was through, and the
# last one was through within this many times what the middle one took.
FAIRNESS_MIN = 0.2
LAST_TO_MEDIAN_MAX = 1.5


@pytest.mark.parametrize(
    ("storm", "calm_from_s_max"),
    [
        pytest.param(Storm(), 240.0, id="a day"),
        # Takes so long that live batches compete with the backlog when it is two minutes old, too.
        pytest.param(Storm(backlog=240), float("inf"), id="five days"),
    ],
)
def test_a_thousand_gateways_come_back_at_once(storm: Storm, calm_from_s_max: float) -> None:
    outcome = run(storm)
    print(detail(outcome))  # noqa: T201
    assert outcome.weathered.ended_s < storm.give_up_s, "everything was acknowledged"
    assert outcome.missing == 0, "what was acknowledged is in the ledger"
    assert outcome.memory_mb < MEMORY_MB_MAX
    assert outcome.settled_s[-1] <= LATENCY_S_MAX
    assert outcome.calm_from_s <= calm_from_s_max
    assert outcome.fairness >= FAIRNESS_MIN
    assert outcome.last_to_median <= LAST_TO_MEDIAN_MAX
