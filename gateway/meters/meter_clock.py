"""How far a meter's own clock is from ours, by what its readout says of date and time.

Pure arithmetic; whether that is too far is decided elsewhere, and nothing here sets a clock.
"""

from datetime import datetime, timedelta, tzinfo

from gateway.protocols.meter_time import MeterTime, parse_date, parse_time
from gateway.protocols.readout import ReadoutText

# OBIS codes of the present time and date (IEC 62056-6-1, and VDEW's requirements).
TIME_CODE = "0.9.1"
DATE_CODE = "0.9.2"

_SECONDS_DIGITS = 6  # a time of day with fewer says no seconds


def clock_ahead_s(
    readout: ReadoutText, zone: tzinfo, begun_at: datetime, ended_at: datetime
) -> float | None:
    """Seconds by which the meter's clock, set to `zone`, is ahead of ours; negative: behind.

    The readout was sent between `begun_at` and `ended_at`: a time within that is 0. None where the
    readout has no date and time that can be understood.
    """
    time_text, date_text = readout.text(TIME_CODE), readout.text(DATE_CODE)
    if time_text is None or date_text is None:
        return None
    day, clock = parse_date(date_text), parse_time(time_text)
    if day is None or clock is None:
        return None
    earliest_at = latest_at = MeterTime(day, clock).at(zone)
    # What it does not show has gone by or not.
    has_seconds = sum(char.isdigit() for char in time_text) >= _SECONDS_DIGITS
    latest_at += timedelta(seconds=1) if has_seconds else timedelta(minutes=1)
    if earliest_at > ended_at:
        return (earliest_at - ended_at).total_seconds()
    if latest_at < begun_at:
        return (latest_at - begun_at).total_seconds()
    return 0.0
