"""How far a meter's clock is off, from what readouts say."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.meters.meter_clock import clock_ahead_s
from gateway.meters.readout_profile import ClockCodes
from gateway.protocols.readout import ReadoutText, parse_data_sets

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
BEGUN = datetime(2026, 8, 9, 11, 30, 0, tzinfo=UTC)  # 18:30 in Hanoi
ENDED = BEGUN + timedelta(seconds=20)


@pytest.mark.parametrize(
    ("text", "ahead_s"),
    [
        ("0.9.1(183007)\r\n0.9.2(260809)", 0.0),
        ("0.9.1(18:30:07)\r\n0.9.2(26/08/09)", 0.0),
        ("0.9.1(18:30:07)\r\n0.9.2(26-08-09)", 0.0),
        ("1-1:0.9.1(1183007)\r\n1-1:0.9.2(1260809)", 0.0),
        ("0.9.1(18:30)\r\n0.9.2(260809)", 0.0),
        ("0.9.1(18:29)\r\n0.9.2(260809)", 0.0),
        ("0.9.1(18:27)\r\n0.9.2(260809)", -120.0),
        ("0.9.1(183220)\r\n0.9.2(260809)", 120.0),
        ("0.9.1(182858)\r\n0.9.2(260809)", -61.0),
        ("0.9.1(183007)\r\n0.9.2(260808)", -86392.0),
        ("0.9.1(113007)\r\n0.9.2(260809)", -25192.0),
        ("0.9.1(183007)", None),
        ("0.9.1(999999)\r\n0.9.2(260809)", None),
        ("1.8.0(1*kWh)", None),
    ],
)
def test_how_far_it_is_off(text: str, ahead_s: float | None) -> None:
    readout = ReadoutText(parse_data_sets(text))
    assert clock_ahead_s(ClockCodes(), readout, HANOI, BEGUN, ENDED) == ahead_s
