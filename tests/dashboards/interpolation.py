"""What Grafana makes of a query before it sends it to InfluxDB, for the variables we use."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.services import InfluxDatabase

# What Grafana's `:regex` format escapes.
_SPECIAL = re.compile(r"[\\^$*+?.()|{}\[\]/]")


@dataclass(frozen=True)
class View:
    """A dashboard as someone looks at it: the chosen variables and the time range."""

    station: str
    heads: Sequence[str]
    from_at: datetime
    to_at: datetime
    head_multiplier: str = "1"
    cadence: str = "30m"
    interval: str = "30m"
    meters: str = "1"

    def interpolate(self, query: str) -> str:
        escaped = [_SPECIAL.sub(lambda found: "\\" + found[0], head) for head in self.heads]
        heads = escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
        from_ms, to_ms = (round(at.timestamp() * 1000) for at in (self.from_at, self.to_at))
        values = {
            "$timeFilter": f"time >= {from_ms}ms and time <= {to_ms}ms",
            "$__interval": self.interval,
            "$station": self.station,
            "${head:regex}": heads,
            "$head_multiplier": self.head_multiplier,
            "$cadence": self.cadence,
            "$meters": self.meters,
        }
        for name, value in values.items():
            query = query.replace(name, value)
        assert not re.search(r"\$[a-z_{]", query), query
        return query


@dataclass(frozen=True)
class Series:
    """One series of an answer: its tags, and its points as (milliseconds, values…)."""

    tags: dict[str, str]
    columns: list[str]
    points: list[list[float]]


def ask(database: InfluxDatabase, query: str) -> list[Series]:
    """The answer as Grafana gets it: over POST, with epoch milliseconds."""
    form = urllib.parse.urlencode({"q": query, "db": database.bucket, "epoch": "ms"}).encode()
    with urllib.request.urlopen(f"{database.url}/query", data=form, timeout=20) as answer:
        results = json.load(answer)["results"]
    assert len(results) == 1
    assert "error" not in results[0], results[0]
    return [
        Series(found.get("tags", {}), found["columns"], found["values"])
        for found in results[0].get("series", [])
    ]
