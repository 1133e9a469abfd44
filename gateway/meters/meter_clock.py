"""A meter's own clock: how far it is from ours, whether it may be set now, by which commands.

Pure arithmetic; whether a difference is too far is decided elsewhere. It must not know sessions or
lines, nor ask what time it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from contract.commands import ResultCode
from gateway.meters.readout_profile import ClockCodes
from gateway.ports import ClockSetting
from gateway.protocols.iec_events import Command
from gateway.protocols.iec_messages import CommandType
from gateway.protocols.meter_time import MeterTime, Season, parse_date, parse_time
from gateway.protocols.readout import ReadoutText

# Clocks of one-second steps, read over a slow line, cannot be compared any better.
IN_STEP_S = 2.0

# A clock that is put over the end of an interval leaves one short or counts one twice. Within a
# small drift that is avoided by waiting; a clock that is wrong by more has spoilt them anyway.
INTERVAL = timedelta(minutes=15)
INTERVAL_CARE_S = 300.0
SESSION_MAX = timedelta(seconds=30)  # between the comparison and the last write

_SECONDS_DIGITS = 6  # a time of day with fewer says no seconds


def clock_ahead_s(
    codes: ClockCodes, readout: ReadoutText, zone: tzinfo, begun_at: datetime, ended_at: datetime
) -> float | None:
    """Seconds by which the meter's clock, set to `zone`, is ahead of ours; negative: behind.

    The readout was sent between `begun_at` and `ended_at`: a time within that is 0. None where the
    readout has no date and time that can be understood.
    """
    earliest_at = _shown_at(codes, readout, zone)
    if earliest_at is None:
        return None
    # What it does not show has gone by or not.
    digits = sum(char.isdigit() for char in readout.text(codes.time) or "")
    shown = timedelta(seconds=1) if digits >= _SECONDS_DIGITS else timedelta(minutes=1)
    latest_at = earliest_at + shown
    if earliest_at > ended_at:
        return (earliest_at - ended_at).total_seconds()
    if latest_at < begun_at:
        return (latest_at - begun_at).total_seconds()
    return 0.0


def _shown_at(codes: ClockCodes, readout: ReadoutText, zone: tzinfo) -> datetime | None:
    """The instant that the meter's date and time stand for; None if they cannot be understood."""
    time_text = readout.text(codes.time) or ""
    day, clock = parse_date(readout.text(codes.date) or ""), parse_time(time_text)
    if day is None or clock is None:
        return None
    digits = [char for char in time_text if char.isdigit()]
    # An odd number of digits: the first is the season's.
    season = Season(int(digits[0])) if codes.season and len(digits) % 2 else None
    return MeterTime(day, clock, season).at(zone)


@dataclass(frozen=True, slots=True)
class ClockOrder:
    """One meter's clock to be set to the civil time of `zone`, if at most `limit_s` wrong."""

    codes: ClockCodes
    zone: tzinfo
    limit_s: float

    def reading(self) -> tuple[Command, ...]:
        """The commands that read date and time."""
        return tuple(
            Command(CommandType.READ, f"{code}()") for code in (self.codes.date, self.codes.time)
        )

    def drift_s(self, readout: ReadoutText, now: datetime) -> float | None:
        """How much the meter is ahead of `now`, in whole seconds; None if it told no time."""
        shown_at = _shown_at(self.codes, readout, self.zone)
        return None if shown_at is None else float(round((shown_at - now).total_seconds()))

    def judge(self, drift_s: float | None, now: datetime) -> ClockSetting | None:
        """What keeps the clock from being set, or makes it needless; None if it is to be set."""
        if drift_s is None:
            return ClockSetting(ResultCode.FAILED, "the meter tells no date and time")
        if abs(drift_s) <= IN_STEP_S:
            return ClockSetting(ResultCode.DONE, "it was in step and was not set", drift_s, drift_s)
        if abs(drift_s) > self.limit_s:
            text = f"it is wrong by {drift_s:+.0f} s, more than the limit of {self.limit_s:g} s"
            return ClockSetting(ResultCode.REFUSED, text, drift_s)
        if abs(drift_s) <= INTERVAL_CARE_S and self._is_at_an_edge(drift_s, now):
            text = "an interval ends between the two clocks; send it again in a minute or two"
            return ClockSetting(ResultCode.REFUSED, text, drift_s)
        return None

    def writing(self, drift_s: float, now: Callable[[], datetime]) -> tuple[Command, ...]:
        """The commands that set the clock; the date only where it is another."""
        assert self.codes.write is not None, "profiles say how"
        kind = CommandType(self.codes.write)
        meter_at = now() + timedelta(seconds=drift_s)
        commands = []
        if meter_at.astimezone(self.zone).date() != now().astimezone(self.zone).date():
            commands.append(Command(kind, self.codes.date, lambda: self._date_text(now())))
        commands.append(Command(kind, self.codes.time, lambda: self._time_text(now())))
        return tuple(commands)

    def outcome(self, drift_s: float, after_s: float | None) -> ClockSetting:
        """What became of it, by what the meter says afterwards."""
        if after_s is not None and abs(after_s) <= IN_STEP_S:
            return ClockSetting(ResultCode.DONE, "it was set", drift_s, after_s)
        return ClockSetting(ResultCode.FAILED, "the meter did not take it", drift_s, after_s)

    def _is_at_an_edge(self, drift_s: float, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        instants = (local, local + timedelta(seconds=drift_s))
        intervals = {
            (at + later - midnight) // INTERVAL
            for at in instants
            for later in (timedelta(0), SESSION_MAX)
        }
        return len(intervals) > 1

    def _time_text(self, now: datetime) -> str:
        local = now.astimezone(self.zone)
        form = "%H:%M:%S" if ":" in self.codes.time_form else "%H%M%S"
        return f"{self.codes.time}({self._season(local)}{local.strftime(form)})"

    def _date_text(self, now: datetime) -> str:
        local = now.astimezone(self.zone)
        form = "%y-%m-%d" if "-" in self.codes.date_form else "%y%m%d"
        return f"{self.codes.date}({self._season(local)}{local.strftime(form)})"

    def _season(self, local: datetime) -> str:
        return ("1" if local.dst() else "0") if self.codes.season else ""
