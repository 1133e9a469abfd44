"""What a district run is asked to be, checked and with every default filled in.

Pure: it reads no clock and no file; today's date is an argument.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from simulator.district.planning import STATIONS_MAX, Wanted
from songlo.demo.options import DAY_MINUTES, ZONE, OptionsError

STATIONS_DEFAULT = 100
SEED_DEFAULT = 1
STATIONS_MIN = 2
BILLING_DAY = 20
PERIODS = 2
QUARTER_MINUTES = 15

# Reading begins a day before the first billing day and goes on after the last: late data come then.
DAYS_BEFORE = 1
DAYS_AFTER = 3


@dataclass(frozen=True, slots=True)
class DistrictOptions:
    """A district run: `boundaries` are the billing days, each period from one to the next."""

    stations: int
    interval_min: int
    seed: int
    first_day: date
    boundaries: tuple[date, ...]
    last_day: date

    @property
    def zone(self) -> ZoneInfo:
        """The utility's civil time."""
        return ZoneInfo(ZONE)

    @property
    def slot_quarters(self) -> int:
        """Quarter hours between two scans."""
        return self.interval_min // QUARTER_MINUTES

    @property
    def days(self) -> int:
        """Days that are simulated."""
        return (self.last_day - self.first_day).days

    def wanted(self) -> Wanted:
        """The same for whoever makes the district up."""
        return Wanted(
            stations=self.stations,
            days=self.days,
            billing_days=tuple((day - self.first_day).days for day in self.boundaries),
            slot_quarters=self.slot_quarters,
            seed=self.seed,
        )

    def instant(self, quarter: int) -> datetime:
        """A quarter hour as an instant, UTC."""
        start_at = datetime.combine(self.first_day, time(), self.zone).astimezone(UTC)
        return start_at + timedelta(minutes=QUARTER_MINUTES * quarter)


def district_options(
    *, stations: int, interval_min: int, seed: int, start: date | None, today: date
) -> DistrictOptions:
    """The options of a run; `start` is its first billing day, the third last 20th by default.

    Raises OptionsError.
    """
    if not STATIONS_MIN <= stations <= STATIONS_MAX:
        raise OptionsError(f"--stations {stations}: from {STATIONS_MIN} to {STATIONS_MAX}")
    if (
        interval_min < QUARTER_MINUTES
        or interval_min % QUARTER_MINUTES
        or DAY_MINUTES % interval_min
    ):
        raise OptionsError(
            f"--interval {interval_min}: a district is read every 15 minutes or a multiple of that"
            " which divides a day"
        )
    if start is not None and start.day != BILLING_DAY:
        raise OptionsError(f"--start {start}: a district is billed on the {BILLING_DAY}th")
    if start is None:
        last = today - timedelta(days=DAYS_AFTER)
        start = _months_on(last.replace(day=BILLING_DAY), -PERIODS - (last.day < BILLING_DAY))
    boundaries = tuple(_months_on(start, number) for number in range(PERIODS + 1))
    last_day = boundaries[-1] + timedelta(days=DAYS_AFTER)
    if last_day > today:
        raise OptionsError(
            f"--start {start}: the run would end on {last_day}, after today ({today}); "
            "indices of the future cannot be read"
        )
    first_day = start - timedelta(days=DAYS_BEFORE)
    return DistrictOptions(stations, interval_min, seed, first_day, boundaries, last_day)


def _months_on(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 + months
    return day.replace(year=month // 12, month=month % 12 + 1)
