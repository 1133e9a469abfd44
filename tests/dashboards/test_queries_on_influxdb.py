"""Every query of every dashboard, run on a real InfluxDB and checked for the right figures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboards import queries
from tests.dashboards import village
from tests.dashboards.interpolation import Series, View, ask
from tests.services import InfluxDatabase, InfluxServer

VIEW = View(
    village.STATION, [village.HEAD], village.START_AT, village.END_AT + timedelta(minutes=5)
)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def database(influx_server: InfluxServer) -> Iterator[InfluxDatabase]:
    influx_server.start()
    made = influx_server.create_database()
    village.fill(made)
    yield made
    influx_server.start()
    influx_server.drop_database(made)


def _ask(database: InfluxDatabase, query: str, view: View = VIEW) -> list[Series]:
    return ask(database, view.interpolate(query))


def _by_day(database: InfluxDatabase, query: str, view: View = VIEW) -> dict[str, float]:
    """The only series' value by the local date under which Grafana shows it."""
    (series,) = _ask(database, query, view)
    hours = timedelta(hours=7)
    days = [
        (datetime.fromtimestamp(at_ms / 1000, UTC) + hours).date().isoformat()
        for at_ms, _ in series.points
    ]
    assert len(set(days)) == len(days)
    return dict(zip(days, [value for _, value in series.points], strict=True))


def _days(figure: Sequence[float]) -> dict[str, float]:
    return {f"2026-01-0{5 + day}": value for day, value in enumerate(figure)}


def test_stations_and_meters_are_listed(database: InfluxDatabase) -> None:
    (stations,) = _ask(database, queries.STATIONS)
    assert [str(value) for _, value in stations.points] == ["OTHER-T001", village.STATION]
    (meters,) = _ask(database, queries.METERS_OF_STATION)
    assert sorted(str(value) for _, value in meters.points) == sorted(
        [village.HEAD, *village.CUSTOMERS]
    )


def test_energy_in_by_day_is_the_head_meters(database: InfluxDatabase) -> None:
    assert _by_day(database, queries.DAILY_ENERGY_IN) == _days(
        [village.in_wh(day) for day in range(village.DAYS)]
    )


def test_energy_sold_by_day_is_the_customers(database: InfluxDatabase) -> None:
    assert _by_day(database, queries.DAILY_ENERGY_SOLD) == _days(
        [village.sold_wh(day) for day in range(village.DAYS)]
    )


def test_loss_by_day_is_what_the_network_lost(database: InfluxDatabase) -> None:
    lost = [village.loss_wh(day) for day in range(village.DAYS)]
    assert _by_day(database, queries.DAILY_LOSS) == _days(lost)
    percent = _by_day(database, queries.DAILY_LOSS_PERCENT)
    expected = [100 * lost[day] / village.received_wh(day) for day in range(village.DAYS)]
    assert percent == pytest.approx(_days(expected), rel=1e-12)


def test_loss_of_the_period_weighs_days_by_their_energy(database: InfluxDatabase) -> None:
    (series,) = _ask(database, queries.PERIOD_LOSS_PERCENT)
    lost = sum(village.loss_wh(day) for day in range(village.DAYS))
    received = sum(village.received_wh(day) for day in range(village.DAYS))
    ((_, percent),) = series.points
    assert percent == pytest.approx(100 * lost / received, rel=1e-12)


def test_a_shorter_range_changes_no_days_figure(database: InfluxDatabase) -> None:
    view = replace(VIEW, from_at=VIEW.from_at + timedelta(days=1))
    assert _by_day(database, queries.DAILY_LOSS, view) == {
        day: value
        for day, value in _days([village.loss_wh(d) for d in range(village.DAYS)]).items()
        if day > "2026-01-05"
    }


def test_the_multiplier_applies_to_the_head_alone(database: InfluxDatabase) -> None:
    view = replace(VIEW, head_multiplier="40")
    head = _by_day(database, queries.DAILY_ENERGY_IN, view)
    assert head == _days([40 * village.in_wh(day) for day in range(village.DAYS)])
    sold = _by_day(database, queries.DAILY_ENERGY_SOLD, view)
    loss = _by_day(database, queries.DAILY_LOSS, view)
    assert loss == {day: head[day] - sold[day] for day in head}
    percent = _by_day(database, queries.DAILY_LOSS_PERCENT, view)
    fed_in = _days([village.SLOTS_A_DAY * wh for wh in village.CUSTOMER_EXPORT_WH])
    fed_back = _days([40 * village.SLOTS_A_DAY * wh for wh in village.HEAD_EXPORT_WH])
    assert percent == pytest.approx(
        {day: 100 * loss[day] / (head[day] + fed_in[day] + fed_back[day]) for day in head}
    )


def test_two_head_meters_count_together(database: InfluxDatabase) -> None:
    view = replace(VIEW, heads=[village.HEAD, village.CUSTOMERS[2]])
    third = [village.SLOTS_A_DAY * (7 - wh) for wh in village.CUSTOMER_EXPORT_WH]
    assert _by_day(database, queries.DAILY_ENERGY_IN, view) == _days(
        [village.in_wh(day) + third[day] for day in range(village.DAYS)]
    )
    assert _by_day(database, queries.DAILY_ENERGY_SOLD, view) == _days(
        [village.sold_wh(day) - third[day] for day in range(village.DAYS)]
    )


def test_head_power_is_the_mean_of_each_interval(database: InfluxDatabase) -> None:
    view = replace(VIEW, interval="1h", to_at=VIEW.from_at + timedelta(hours=2, minutes=-1))
    (series,) = _ask(database, queries.HEAD_POWER, view)
    assert series.tags == {"meter": village.HEAD}
    assert [value for _, value in series.points] == [1000.5, 1002.5]


def test_voltage_band_spans_all_meters_and_phases(database: InfluxDatabase) -> None:
    view = replace(VIEW, to_at=VIEW.from_at + timedelta(hours=4, minutes=-1))
    (series,) = _ask(database, queries.VOLTAGE_BAND, view)
    assert series.columns == ["time", "lowest", "highest"]
    assert [(low, high) for _, low, high in series.points] == [
        (207.5 if slot == 7 else 225.0, 240.0 if slot == 5 else 232.0) for slot in range(8)
    ]


def test_collection_rate_counts_each_meter_once_a_slot(database: InfluxDatabase) -> None:
    (seen,) = _ask(database, queries.METERS_SEEN)
    assert [value for _, value in seen.points] == [4]
    view = replace(VIEW, meters="4")
    (series,) = _ask(database, queries.COLLECTION_RATE, view)
    first_ms = round(village.START_AT.timestamp() * 1000)
    slots = range(village.DAYS * village.SLOTS_A_DAY + 1)
    assert series.points == [
        [
            first_ms + slot * 1_800_000,
            75 if slot // village.SLOTS_A_DAY == 2 and slot % village.SLOTS_A_DAY else 100,
        ]
        for slot in slots
    ]
    # Two slots in one bucket are still one meter that was read.
    (hourly,) = _ask(database, queries.COLLECTION_RATE, replace(view, cadence="1h"))
    assert {value for _, value in hourly.points} == {75, 100}


def test_a_slot_without_any_read_is_a_rate_of_zero(database: InfluxDatabase) -> None:
    until = village.END_AT + timedelta(hours=2)
    view = replace(VIEW, meters="4", from_at=village.END_AT, to_at=until)
    (series,) = _ask(database, queries.COLLECTION_RATE, view)
    assert [value for _, value in series.points] == [100, 0, 0, 0, 0]


def test_energy_needs_no_meter_that_can_feed_in(influx: InfluxDatabase) -> None:
    village.append(
        influx, [block for block in village.blocks() if village.EXPORT not in block.registers]
    )
    assert _by_day(influx, queries.DAILY_ENERGY_SOLD) == _days(
        [
            village.SLOTS_A_DAY * sum(customer[day] for customer in village.CUSTOMER_WH[:2])
            for day in range(village.DAYS)
        ]
    )


def test_voltage_needs_no_meter_with_three_phases(influx: InfluxDatabase) -> None:
    village.append(influx, [village.one_phase_read(230.5)])
    (series,) = _ask(influx, queries.VOLTAGE_BAND)
    assert [values[1:] for values in series.points] == [[230.5, 230.5]]


def test_a_station_without_reads_gives_no_series_and_no_error(database: InfluxDatabase) -> None:
    view = replace(VIEW, station="NOWHERE", heads=["1"])
    for query in (
        queries.HEAD_POWER,
        queries.VOLTAGE_BAND,
        queries.DAILY_ENERGY_IN,
        queries.DAILY_ENERGY_SOLD,
        queries.DAILY_LOSS,
        queries.DAILY_LOSS_PERCENT,
        queries.PERIOD_LOSS_PERCENT,
        queries.METERS_SEEN,
        queries.COLLECTION_RATE,
    ):
        assert _ask(database, query, view) == []
