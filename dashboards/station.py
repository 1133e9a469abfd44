"""The dashboard of one station: power, voltage, energy in and sold, loss, collection rate.

It arranges the queries of `dashboards.queries`; what they mean is said there.

Which meter is the head meter is the registry's knowledge and not in InfluxDB, where it would be a
tag that changes with every exchange. So `$head` is chosen from the station's serials; a link with
`?var-station=…&var-head=…` fills it in.
"""

from dashboards import queries
from dashboards.grafana import (
    SCHEMA_VERSION,
    Json,
    Place,
    choice_variable,
    drawn,
    panel,
    query_variable,
    target,
    text_variable,
    with_defaults,
)

UID = "songlo-station"

# The demo's cadence after its replay; longer cadences leave buckets empty, which draws nothing.
_SHORTEST = "1m"
_NOT_BILLING = (
    "From the time series, for watching. What is billed comes from the collector's ledger."
)
_WHOLE_DAYS = (
    "The first day shown is whole only if the time range begins at midnight. Energy of a meter "
    "between its exchange and the next midnight is missing here. " + _NOT_BILLING
)


def _variables() -> list[Json]:
    return [
        query_variable("station", "Station", queries.STATIONS),
        query_variable("head", "Head meter", queries.METERS_OF_STATION, multi=True),
        text_variable("head_multiplier", "Head multiplier", "1"),
        choice_variable("cadence", "Scan every", ["1m", "5m", "15m", "30m", "1h"], "30m"),
        query_variable("meters", "Meters seen", queries.METERS_SEEN, hide=2),
    ]


def _stat(title: str, unit: str, place: Place, query: str, reduce: str, decimals: int) -> Json:
    made = with_defaults(
        panel("stat", title, _WHOLE_DAYS, place, [target(query, alias=title)]),
        unit=unit,
        decimals=decimals,
        color={"fixedColor": "text", "mode": "fixed"},
    )
    options = {"colorMode": "none", "reduceOptions": {"calcs": [reduce], "values": False}}
    return {**made, "options": options}


def _power(place: Place) -> Json:
    made = panel(
        "timeseries",
        "Head power",
        "Active power at each head meter, times the multiplier. " + _NOT_BILLING,
        place,
        [target(queries.HEAD_POWER, alias="$tag_meter")],
    )
    return with_defaults(made, interval=_SHORTEST, unit="watt", custom=drawn("line"))


def _voltage(place: Place) -> Json:
    made = panel(
        "timeseries",
        "Voltage band",
        "Lowest and highest voltage at any meter and phase of the station.",
        place,
        [target(queries.VOLTAGE_BAND, alias="$col")],
    )
    return with_defaults(
        made, interval=_SHORTEST, unit="volt", decimals=1, custom=drawn("line", fill=0)
    )


def _energy(place: Place) -> Json:
    targets = [
        target(queries.DAILY_ENERGY_IN, alias="In", ref="A"),
        target(queries.DAILY_ENERGY_SOLD, alias="Sold", ref="B"),
    ]
    made = panel("timeseries", "Energy in and sold by day", _WHOLE_DAYS, place, targets)
    return with_defaults(made, unit="watth", min=0, custom=drawn("bars", fill=60))


def _loss(place: Place) -> Json:
    targets = [target(queries.DAILY_LOSS_PERCENT, alias="Loss")]
    made = panel("timeseries", "Loss by day", _WHOLE_DAYS, place, targets)
    return with_defaults(made, unit="percent", decimals=2, custom=drawn("bars", fill=60))


def _loss_energy(place: Place) -> Json:
    targets = [target(queries.DAILY_LOSS, alias="Loss")]
    made = panel("timeseries", "Energy lost by day", _WHOLE_DAYS, place, targets)
    return with_defaults(made, unit="watth", custom=drawn("bars", fill=60))


def _collection(place: Place) -> Json:
    made = panel(
        "timeseries",
        "Collection rate",
        "Of the meters that reported at all in the time shown, how many did in each slot. A meter "
        "that never reported is not in it: the console lists the meters without today's index.",
        place,
        [target(queries.COLLECTION_RATE, alias="Collected")],
    )
    return with_defaults(made, unit="percent", min=0, max=100, custom=drawn("line"))


def dashboard() -> Json:
    """The dashboard's JSON, as Grafana's file provisioning reads it."""
    panels = [
        _stat("Energy in", "watth", Place(0, 0, 8, 4), queries.DAILY_ENERGY_IN, "sum", 1),
        _stat("Energy sold", "watth", Place(8, 0, 8, 4), queries.DAILY_ENERGY_SOLD, "sum", 1),
        _stat("Loss", "percent", Place(16, 0, 8, 4), queries.PERIOD_LOSS_PERCENT, "lastNotNull", 2),
        _power(Place(0, 4, 12, 8)),
        _voltage(Place(12, 4, 12, 8)),
        _energy(Place(0, 12, 12, 8)),
        _loss(Place(12, 12, 12, 8)),
        _collection(Place(0, 20, 12, 8)),
        _loss_energy(Place(12, 20, 12, 8)),
    ]
    return {
        "description": "One transformer station: power, voltage, energy, loss, collection rate.",
        "editable": False,
        "graphTooltip": 1,  # one crosshair over all panels
        "panels": [{"id": number, **made} for number, made in enumerate(panels, start=1)],
        "refresh": "1m",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["songlo"],
        "templating": {"list": _variables()},
        "time": {"from": "now-7d/d", "to": "now"},
        "timezone": queries.ZONE,
        "title": "Station",
        "uid": UID,
    }
