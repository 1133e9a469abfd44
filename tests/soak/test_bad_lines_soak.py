"""Ten thousand seeded exchanges on every rung of the bad-line ladder (`make soak`)."""

import pytest

from tests.bad_lines import iec_ladder, modbus_ladder
from tests.bad_lines.test_ladder import IEC_RUNGS, MODBUS_RUNGS, check, share

EXCHANGES = 10_000
SEED = 1

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.mark.parametrize("fault", MODBUS_RUNGS)
def test_modbus_rtu_ten_thousand_times(fault: str) -> None:
    outcome = modbus_ladder.climb(fault, EXCHANGES, SEED, share(fault))
    print(f"modbus rtu, {fault}: {outcome}")  # noqa: T201 the figures are what a soak is for
    check(outcome, fault, EXCHANGES)


@pytest.mark.parametrize("fault", IEC_RUNGS)
def test_iec_62056_21_ten_thousand_times(fault: str) -> None:
    outcome = iec_ladder.climb(fault, EXCHANGES, SEED, share(fault))
    print(f"iec 62056-21, {fault}: {outcome}")  # noqa: T201 the figures are what a soak is for
    check(outcome, fault, EXCHANGES)
