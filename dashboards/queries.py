"""The InfluxQL of the dashboards, in the subset that every version of InfluxDB serves.

One function or constant a question, built from the register catalogue. It knows nothing of panels;
what is money comes from the collector's ledger and never from these queries.

Variables that Grafana fills in: `$station`, `${head:regex}` (serials of the head meters),
`$head_multiplier`, `$cadence` (time between scans), `$meters` (what METERS_SEEN answers),
`$timeFilter`, `$__interval`.

A daily index is the first read of a civil day. The buckets of a day begin one second before its
midnight, so that the difference of two indices carries the date of the day that it measures, and
not that of the day after. Midnights are at a fixed distance from UTC: InfluxQL's `tz()` does not
reach into subqueries.
"""

# ruff: noqa: S608 - made of constants only; Grafana puts its variables in, not we
from contract.registers import BY_FIELD

MEASUREMENT = "reads"
# The utility's zone, which must be one without daylight saving time.
ZONE = "Asia/Ho_Chi_Minh"
ZONE_OFFSET_S = 7 * 3600

_DAY = f"GROUP BY time(1d, -{ZONE_OFFSET_S + 1}s)"
_AT_STATION = """"station" = '$station'"""
_IS_HEAD = '"meter" =~ /^${head:regex}$/'
_IS_CUSTOMER = '"meter" !~ /^${head:regex}$/'


def _field(name: str) -> str:
    """The field's identifier; raises KeyError where the catalogue has no such register."""
    return f'"{BY_FIELD[name].field}"'


def _daily_energy(register: str, meters: str, *columns: tuple[str, str]) -> str:
    """A subquery: what each of `meters` added to `register` on each civil day, in Wh.

    Each column is (factor, name). Subqueries that are asked for together must have the same
    columns, because InfluxQL takes their types from the first.
    """
    energy = f"DIFFERENCE(FIRST({_field(register)}))"
    selected = ", ".join(f'{energy} * {factor} AS "{name}"' for factor, name in columns)
    return (
        f'(SELECT {selected} FROM "{MEASUREMENT}" '
        f'WHERE {_AT_STATION} AND {meters} AND $timeFilter {_DAY}, "meter" fill(none))'
    )


def _phase_band(field: str) -> str:
    """Lowest and highest voltage of one phase over all meters, in V."""
    return (
        f'(SELECT MIN({_field(field)}) AS "low", MAX({_field(field)}) AS "high" '
        f'FROM "{MEASUREMENT}" WHERE {_AT_STATION} AND $timeFilter '
        "GROUP BY time($__interval) fill(none))"
    )


_IN = ", ".join(
    (
        _daily_energy("import_wh", _IS_HEAD, ("$head_multiplier", "energy")),
        _daily_energy("export_wh", _IS_HEAD, ("-$head_multiplier", "energy")),
    )
)
_SOLD = ", ".join(
    (
        _daily_energy("import_wh", _IS_CUSTOMER, ("1", "energy")),
        _daily_energy("export_wh", _IS_CUSTOMER, ("-1", "energy")),
    )
)
# As the collector's balance has it: the per cent is over all that the network received, from the
# head and from customers who feed in.
_IN_LESS_SOLD = ", ".join(
    (
        _daily_energy(
            "import_wh", _IS_HEAD, ("$head_multiplier", "lost"), ("$head_multiplier", "received")
        ),
        _daily_energy("export_wh", _IS_HEAD, ("-$head_multiplier", "lost"), ("0", "received")),
        _daily_energy("import_wh", _IS_CUSTOMER, ("-1", "lost"), ("0", "received")),
        _daily_energy("export_wh", _IS_CUSTOMER, ("1", "lost"), ("1", "received")),
    )
)
_LOSS_PERCENT = 'SELECT SUM("lost") / SUM("received") * 100 AS "loss"'
_BY_DAY = f"WHERE $timeFilter {_DAY} fill(none)"

STATIONS = f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "station"'
"""The values of `$station`."""

METERS_OF_STATION = f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "meter" WHERE {_AT_STATION}'
"""The serials among which `$head` is chosen: InfluxDB does not know which is a head meter."""

HEAD_POWER = (
    f'SELECT MEAN({_field("power_w")}) * $head_multiplier AS "power" FROM "{MEASUREMENT}" '
    f"WHERE {_AT_STATION} AND {_IS_HEAD} AND $timeFilter "
    'GROUP BY time($__interval), "meter" fill(none)'
)
"""Active power at each head meter, in W."""

VOLTAGE_BAND = (
    'SELECT MIN("low") AS "lowest", MAX("high") AS "highest" FROM '
    + ", ".join(_phase_band(f"voltage_l{phase}_v") for phase in (1, 2, 3))
    + " WHERE $timeFilter GROUP BY time($__interval) fill(none)"
)
"""Lowest and highest voltage at any meter and phase of the station, in V."""

DAILY_ENERGY_IN = f'SELECT SUM("energy") AS "energy in" FROM {_IN} {_BY_DAY}'
"""Net energy through the head meters by civil day, in Wh."""

DAILY_ENERGY_SOLD = f'SELECT SUM("energy") AS "energy sold" FROM {_SOLD} {_BY_DAY}'
"""Net energy through all other meters by civil day, in Wh."""

DAILY_LOSS = f'SELECT SUM("lost") AS "loss" FROM {_IN_LESS_SOLD} {_BY_DAY}'
"""Energy in less energy sold by civil day, in Wh."""

DAILY_LOSS_PERCENT = f"{_LOSS_PERCENT} FROM {_IN_LESS_SOLD} {_BY_DAY}"
"""The same as a share of the energy received, in per cent."""

PERIOD_LOSS_PERCENT = f"{_LOSS_PERCENT} FROM {_IN_LESS_SOLD} WHERE $timeFilter"
"""Loss over all whole days shown, as a share of the energy received, in per cent."""

_LAST_INDEX = (
    f'SELECT LAST({_field("import_wh")}) AS "index" FROM "{MEASUREMENT}" '
    f"WHERE {_AT_STATION} AND $timeFilter"
)

METERS_SEEN = (
    f'SELECT COUNT("index") AS "meters" FROM ({_LAST_INDEX} GROUP BY "meter") WHERE $timeFilter'
)
"""The value of `$meters`: how many meters reported at all in the time shown."""

COLLECTION_RATE = (
    'SELECT COUNT("index") * 100.0 / $meters AS "collected" FROM '
    f'({_LAST_INDEX} GROUP BY time($cadence), "meter" fill(none)) '
    "WHERE $timeFilter GROUP BY time($cadence) fill(0)"
)
"""How many of those meters were read in each slot, in per cent; each counts once a slot."""
