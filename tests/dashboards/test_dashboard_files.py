"""The dashboards' JSON and provisioning: generated, complete, and of the contract's words only."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contract.registers import BY_FIELD
from dashboards import queries
from dashboards.files import FOLDER, rendered
from tests.dashboards import test_queries_on_influxdb as suite

PROVISIONING = FOLDER.parent / "provisioning"
RESERVED_ALIASES = re.compile(r'AS "([a-z ]+)"')
# What InfluxDB 3 lacks of InfluxQL, and what is no InfluxQL at all.
NOT_PORTABLE = re.compile(
    r"SHOW (SERIES|DATABASES)|CARDINALITY|SLIMIT|SOFFSET|SAMPLE|HOLT_WINTERS|"
    r"EXPONENTIAL_|KAUFMANS|CHANDE|TRIPLE_|RELATIVE_STRENGTH|from\(|SELECT .* INTO ",
    re.IGNORECASE,
)


def _dashboards() -> Iterator[dict[str, Any]]:
    for path in FOLDER.glob("*.json"):
        yield json.loads(path.read_text(encoding="utf-8"))


def _queries(node: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Every query text of a dashboard, of panels and variables."""
    if isinstance(node, dict):
        if "refId" in node or node.get("type") == "query":
            yield node["query"]
        for child in node.values():
            yield from _queries(child)
    elif isinstance(node, list):
        for child in node:
            yield from _queries(child)


ALL_QUERIES = sorted({query for dashboard in _dashboards() for query in _queries(dashboard)})


def test_regenerating_gives_no_difference() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert on_disk == rendered(), "run: python -m dashboards"


def test_every_query_is_one_that_the_suite_runs() -> None:
    named = {
        name: value
        for name, value in vars(queries).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    texts = {value: name for name, value in named.items()}
    assert suite.__file__ is not None
    with open(suite.__file__, encoding="utf-8") as file:
        source = file.read()
    assert len(ALL_QUERIES) >= 10
    for query in ALL_QUERIES:
        assert query in texts, query
        assert f"queries.{texts[query]}" in source, f"{texts[query]} is never run on InfluxDB"


@pytest.mark.parametrize("query", ALL_QUERIES)
def test_queries_use_only_what_the_contract_declares(query: str) -> None:
    ours = set(RESERVED_ALIASES.findall(query)) | {"station", "meter", queries.MEASUREMENT}
    for name in re.findall(r'"([^"]+)"', query):
        assert name in ours or name in BY_FIELD, name
    assert set(re.findall(r'FROM "([^"]+)"', query)) == {queries.MEASUREMENT}


@pytest.mark.parametrize("query", ALL_QUERIES)
def test_queries_keep_to_the_portable_subset(query: str) -> None:
    assert NOT_PORTABLE.search(query) is None
    assert "tz(" not in query  # does not reach into subqueries on 1.x


def test_panels_do_not_overlap_and_read_from_the_provisioned_source() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "readings.yaml").read_text())
    (source,) = sources["datasources"]
    for dashboard in _dashboards():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not taken & cells, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_no_secret_is_written_into_provisioning() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "readings.yaml").read_text())[
        "datasources"
    ]
    assert "database" not in source  # deprecated in favour of jsonData.dbName
    assert all(value.startswith("$__file{") for value in source["secureJsonData"].values())
    assert source["jsonData"]["version"] == "InfluxQL"
