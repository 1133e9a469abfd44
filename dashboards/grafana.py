"""The few pieces of Grafana's dashboard JSON (schema version 1) that the dashboards are made of.

Plain dictionaries, because that is what Grafana reads. It knows nothing of metering.
"""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# The data source is provisioned under this id, whatever its address.
DATASOURCE: Json = {"type": "influxdb", "uid": "songlo-readings"}
# Grafana 10 to 12 write this version; later ones migrate it when they load it.
SCHEMA_VERSION = 39


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel is, in columns of 24 and rows of about 30 pixels."""

    x: int
    y: int
    width: int
    height: int


def target(query: str, *, alias: str = "", ref: str = "A") -> Json:
    """One InfluxQL query of a panel; `alias` names its series."""
    return {
        "alias": alias,
        "datasource": DATASOURCE,
        "query": query,
        "rawQuery": True,
        "refId": ref,
        "resultFormat": "time_series",
    }


def panel(kind: str, title: str, description: str, place: Place, targets: list[Json]) -> Json:
    """A panel of Grafana's `kind` without options of its own."""
    return {
        "datasource": DATASOURCE,
        "description": description,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "gridPos": {"h": place.height, "w": place.width, "x": place.x, "y": place.y},
        "options": {},
        "targets": targets,
        "title": title,
        "type": kind,
    }


def with_defaults(made: Json, *, interval: str = "", **defaults: Any) -> Json:  # noqa: ANN401 - JSON
    """The panel with defaults of its fields (unit, decimals…) and its shortest interval."""
    config = made["fieldConfig"]
    merged = {**config, "defaults": {**config["defaults"], **defaults}}
    return {**made, "fieldConfig": merged} | ({"interval": interval} if interval else {})


def drawn(style: str, *, fill: int = 10) -> Json:
    """How a time series is drawn: "line" or "bars"."""
    return {
        "drawStyle": style,
        "fillOpacity": fill,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
    }


def query_variable(name: str, label: str, query: str, **options: Any) -> Json:  # noqa: ANN401 - JSON
    """A variable whose values the data source lists."""
    return {
        "datasource": DATASOURCE,
        "definition": query,
        "label": label,
        "name": name,
        "query": query,
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "type": "query",
        **options,
    }


def text_variable(name: str, label: str, default: str) -> Json:
    """A variable that people type in."""
    choice = {"selected": True, "text": default, "value": default}
    return {
        "current": choice,
        "label": label,
        "name": name,
        "options": [choice],
        "query": default,
        "type": "textbox",
    }


def choice_variable(name: str, label: str, choices: list[str], default: str) -> Json:
    """A variable with a fixed list of values."""
    options = [{"selected": c == default, "text": c, "value": c} for c in choices]
    return {
        "current": {"selected": True, "text": default, "value": default},
        "label": label,
        "name": name,
        "options": options,
        "query": ",".join(choices),
        "type": "custom",
    }
