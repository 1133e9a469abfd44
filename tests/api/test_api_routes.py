"""What each route answers over a small utility whose figures can be worked out by hand."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest

from collector.billing.snapshot import snapshot_hash
from collector.operations import snapshots
from collector.readings.port import ReadBlock
from contract.messages import ScanKind
from contract.quality import Quality
from tests.api.server import client_of
from tests.api.world import CUSTOMERS, FIRST_AT, GATEWAY, HEAD, IMPORT, NOW, POWER, STATION, World

DAY_WH = 48
PERIOD = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-11T00:00:00+07:00"}
RANGE = {"from": PERIOD["from_at"], "to": PERIOD["to_at"]}


def get(client: httpx.Client, utility: World, path: str, **query: object) -> dict[str, Any]:
    answer = client.get(path, params=cast(Any, query), headers=utility.headers())
    assert answer.status_code == 200, answer.text
    return cast(dict[str, Any], answer.json())


def make(client: httpx.Client, utility: World, **body: object) -> dict[str, Any]:
    answer = client.post("/v1/snapshots", json=PERIOD | body, headers=utility.headers("snapshot"))
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/v1/snapshots/{answer.json()['id']}"
    found: dict[str, Any] = answer.json()
    return found


def test_a_snapshot_is_made_found_and_listed(client: httpx.Client, utility: World) -> None:
    made = make(client, utility, station=STATION)
    assert made["station"] == STATION
    assert made["from_at"] == "2025-12-31T17:00:00Z"
    assert made["created_at"] == "2026-01-11T05:00:00Z"
    assert made["created_by"] == "snapshot-key"
    assert made["line_count"] == 4
    assert get(client, utility, f"/v1/snapshots/{made['id']}") == made
    listed = get(client, utility, "/v1/snapshots", limit=1)
    assert len(listed["snapshots"]) == 1
    assert make(client, utility, station=STATION)["sha256"] == made["sha256"]
    assert get(client, utility, "/v1/snapshots", limit=1)["truncated"] is True
    assert get(client, utility, "/v1/snapshots")["truncated"] is False


def test_a_snapshots_lines_are_the_same_in_both_forms(client: httpx.Client, utility: World) -> None:
    made = make(client, utility)
    url = f"/v1/snapshots/{made['id']}/lines"
    csv = client.get(f"{url}.csv", headers=utility.headers())
    assert csv.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert csv.headers["Songlo-Line-Count"] == "4"
    assert csv.headers["Songlo-Snapshot-Sha256"] == made["sha256"]
    header, *rows = csv.text.splitlines()
    assert header == (
        "point,meter,register,index_from_wh,index_to_wh,read_from_at,read_to_at,multiplier,"
        "consumption_wh,quality"
    )
    assert rows[0].startswith(f"{STATION}/0,{HEAD},{IMPORT},1000000,1316800,2025-12-31T17:00:00")
    assert rows[0].endswith(",1,316800,A")
    document = get(client, utility, f"{url}.json")
    assert document["id"] == made["id"]
    lines = [",".join(map(str, line.values())) for line in document["lines"]]
    assert sorted(header.split(",")) == sorted(document["lines"][0])
    assert [line["consumption_wh"] for line in document["lines"]] == [
        int(row.split(",")[8]) if row.split(",")[8] else None for row in rows
    ]
    assert len(lines) == len(rows) == 4


def test_a_snapshot_as_a_reading_file_for_cmis(client: httpx.Client, utility: World) -> None:
    made = make(client, utility)
    url = f"/v1/snapshots/{made['id']}/cmis.xml"
    answer = client.get(url, headers=utility.headers())
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.text.count("<Table1>") == 4
    with utility.ledger.read() as uow:
        (entry,) = [one for one in uow.audit.newest(50) if one.action == "export.cmis"]
    assert entry.actor == "read-key"
    assert entry.detail["sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert client.get(url).status_code == 401
    assert client.get("/v1/snapshots/none/cmis.xml", headers=utility.headers()).status_code == 404


def test_a_snapshot_to_print(client: httpx.Client, utility: World) -> None:
    made = make(client, utility)
    url = f"/v1/snapshots/{made['id']}/statement.pdf"
    answer = client.get(url, headers=utility.headers())
    assert (answer.status_code, answer.content[:5]) == (200, b"%PDF-")
    of_one = client.get(url, params={"point": f"{STATION}/1"}, headers=utility.headers())
    assert of_one.status_code == 200
    unknown = client.get(url, params={"point": "none"}, headers=utility.headers())
    assert unknown.status_code == 404


def test_a_snapshots_bytes_may_be_kept(client: httpx.Client, utility: World) -> None:
    made = make(client, utility)
    for form in ("csv", "json", "xlsx"):
        url = f"/v1/snapshots/{made['id']}/lines.{form}"
        first = client.get(url, headers=utility.headers())
        tag = {"If-None-Match": first.headers["ETag"]}
        assert client.get(url, headers=utility.headers() | tag).status_code == 304
    assert hashlib.sha256(b"").hexdigest() != made["sha256"]


def test_the_hash_is_that_of_the_lines(client: httpx.Client, utility: World) -> None:
    made = make(client, utility)
    head = snapshots.get_snapshot(utility.ledger, made["id"])
    lines = list(snapshots.snapshot_lines(utility.ledger, made["id"]))
    assert snapshot_hash(None, head.from_at, head.to_at, lines) == made["sha256"]


def test_stations_and_points(client: httpx.Client, utility: World) -> None:
    listed = get(client, utility, "/v1/stations")
    assert listed == {
        "stations": [
            {
                "station": STATION,
                "name": "Trạm Chiềng Ngần 12",
                "commune": "Chiềng Ngần",
                "capacity_kva": 250,
                "heads": 1,
                "points": 4,
            }
        ],
        "next": None,
    }
    assert get(client, utility, f"/v1/stations/{STATION}") == listed["stations"][0]
    points = get(client, utility, "/v1/points", station=STATION)["points"]
    assert [point["meter"] for point in points] == [HEAD, *CUSTOMERS]
    assert points[0]["role"] == "head"
    assert points[0]["multiplier"] == "1"
    heads = get(client, utility, "/v1/points", role="head")["points"]
    assert [point["point"] for point in heads] == [f"{STATION}/0"]
    before = get(client, utility, "/v1/points", at="2025-11-01T00:00:00Z")["points"]
    assert [point["meter"] for point in before] == [None] * 4


def test_lists_come_in_pages(client: httpx.Client, utility: World) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    for _ in range(4):
        page = get(client, utility, "/v1/meters", limit=1, **after)
        seen += [meter["meter"] for meter in page["meters"]]
        after = {"after": page["next"]}
    assert seen == [HEAD, *CUSTOMERS]
    assert page["next"] is None


def test_balance_of_a_period_and_by_day(client: httpx.Client, utility: World) -> None:
    found = get(
        client,
        utility,
        f"/v1/stations/{STATION}/balance",
        **{"from": "2026-01-01T00:00:00+07:00", "to": "2026-01-10T00:00:00+07:00"},
    )
    assert found["head_wh"] == 9 * 48 * 660
    assert found["customers_wh"] == 9 * 48 * 600
    assert found["loss_wh"] == 9 * 48 * 60
    assert found["loss_percent"] == "9.0909"
    assert found["complete"] is True
    days = get(
        client,
        utility,
        f"/v1/stations/{STATION}/daily-balance",
        first_day="2026-01-09",
        last_day="2026-01-10",
    )["days"]
    assert [day["day"] for day in days] == ["2026-01-09", "2026-01-10"]
    assert days[0]["loss_wh"] == 48 * 60
    # The last customer's index of the 11th is missing: the 10th cannot be told.
    assert [day["complete"] for day in days] == [True, False]
    assert days[1]["lacking"] == [f"{STATION}/3"]
    csv = client.get(
        f"/v1/stations/{STATION}/daily-balance.csv?first_day=2026-01-09&last_day=2026-01-10",
        headers=utility.headers(),
    )
    assert csv.headers["Content-Type"] == "text/csv; charset=utf-8"
    header, *rows = csv.text.splitlines()
    assert header == "station,day,head_wh,customers_wh,loss_wh,loss_percent,complete"
    assert rows[0] == f"{STATION},2026-01-09,{48 * 660},{48 * 600},{48 * 60},9.0909,true"
    assert rows[1].startswith(f"{STATION},2026-01-10,")
    assert rows[1].endswith(",false")


def test_losses_of_all_stations(client: httpx.Client, utility: World) -> None:
    period = {"from": "2026-01-05T00:00:00+07:00", "to": "2026-01-10T00:00:00+07:00"}
    found = get(client, utility, "/v1/losses", **period)
    assert found["next"] is None
    [station] = found["stations"]
    assert (station["station"], station["standing"], station["band"]) == (STATION, "ranked", "warn")
    assert (station["loss_wh"], station["loss_percent"]) == (5 * 48 * 60, "9.0909")
    assert station["unexplained_wh"] == station["loss_wh"]
    assert station["technical_note"] == "no_transformer_data"
    assert (station["points"], station["points_complete"], station["complete"]) == (4, 4, True)
    assert {cause["kind"] for cause in station["causes"]} >= {"multiplier", "theft"}
    assert all(cause["title_vi"] for cause in station["causes"])
    areas = get(client, utility, "/v1/losses/areas", **period)
    assert [area["name"] for area in areas["communes"]] == ["Chiềng Ngần"]
    assert areas["units"][0]["loss_wh"] == 5 * 48 * 60
    one = client.get(f"/v1/stations/{STATION}/loss", params=period, headers=utility.headers())
    assert one.json() == station
    again = client.get(
        f"/v1/stations/{STATION}/loss",
        params=period,
        headers=utility.headers() | {"If-None-Match": one.headers["ETag"]},
    )
    assert (again.status_code, again.content) == (304, b"")
    wrong = client.get("/v1/losses", params=period | {"after": "T9"}, headers=utility.headers())
    assert wrong.status_code == 422


def test_meters_that_lack_an_index(client: httpx.Client, utility: World) -> None:
    today = get(client, utility, "/v1/meters/without-index")
    assert today["day"] == "2026-01-11"
    assert [row["meter"] for row in today["meters"]] == [CUSTOMERS[-1]]
    assert today["count"] == 1
    assert today["meters"][0]["last_read_at"].startswith("2026-01-09T17:00:00")
    assert get(client, utility, "/v1/meters/without-index", day="2026-01-05")["count"] == 0
    assert get(client, utility, "/v1/meters/without-index", station=STATION)["count"] == 1
    assert get(client, utility, "/v1/meters/unassigned") == {"count": 0, "meters": [], "next": None}


def test_readings_of_a_meter_in_pages(client: httpx.Client, utility: World) -> None:
    query: dict[str, Any] = {"from": "2026-01-01T00:00:00+07:00", "to": "2026-01-02T00:00:00+07:00"}
    path = f"/v1/meters/{CUSTOMERS[0]}/readings"
    everything = get(client, utility, path, **query)
    assert len(everything["readings"]) == 48
    first = everything["readings"][0]
    assert first["at"] == "2025-12-31T17:00:00.250Z"
    assert first["quality"] == []
    assert first["values"][IMPORT] == 1_000_000
    assert everything["units"] == {IMPORT: "Wh", POWER: "W", "1-0:32.7.0": "V"}
    assert everything["next_from_at"] is None
    seen = []
    while True:
        page = get(client, utility, path, limit=20, **query)
        seen += page["readings"]
        if page["next_from_at"] is None:
            break
        query["from"] = page["next_from_at"]
    assert seen == everything["readings"]


def test_readings_of_one_register(client: httpx.Client, utility: World) -> None:
    found = get(
        client, utility, f"/v1/meters/{HEAD}/readings", **RANGE, register=[POWER, IMPORT], limit=1
    )
    assert set(found["readings"][0]["values"]) == {POWER, IMPORT}
    assert isinstance(found["readings"][0]["values"][IMPORT], int)


def test_a_meter_that_nobody_assigned_has_readings_too(empty: World) -> None:
    quality = int(Quality.LATE | Quality.CLOCK_UNSYNCED)
    empty.store.append(
        [
            ReadBlock(
                STATION, GATEWAY, ScanKind.INTERVAL, FIRST_AT, [IMPORT], [("777", 0, [5], quality)]
            )
        ]
    )
    with client_of(empty.app) as client:
        found = get(client, empty, "/v1/meters/777/readings", **RANGE)
    assert found["readings"][0]["quality"] == ["clock_unsynced", "late"]


def test_health_and_metrics(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert set(health["parts"]) == {"ledger", "readings"}
    assert client.get("/metrics").headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("part", "status", "code"), [("broker", "degraded", 200), ("intake", "failing", 503)]
)
def test_health_of_a_process_that_takes_batches_itself(
    empty: World, part: str, status: str, code: int
) -> None:
    wrong = {"broker": "", "intake": "", part: "it is away; look at it"}
    empty.app.state.context = replace(empty.app.state.context, intake=lambda: wrong)
    with client_of(empty.app) as client:
        answer = client.get("/health")
    assert answer.status_code == code
    health = answer.json()
    assert health["status"] == status
    assert {name for name, value in health["parts"].items() if value["status"] != "ok"} == {part}
    assert health["parts"][part]["detail"] == "it is away; look at it"


@pytest.mark.parametrize("days", [1])
def test_answers_are_kept_by_nobody(client: httpx.Client, utility: World, days: int) -> None:
    answer = client.get("/v1/stations", headers=utility.headers())
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert timedelta(days=days) < NOW - FIRST_AT
    assert json.loads(answer.text)


def test_gateways_and_their_delivery_state(client: httpx.Client, utility: World) -> None:
    [gateway] = get(client, utility, "/v1/gateways")["gateways"]
    assert gateway["gateway"] == GATEWAY
    assert gateway["station"] == STATION
    assert gateway["online"] is True
    assert gateway["silent_s"] == 0
    assert gateway["waiting"] == 3
    assert gateway["batches"] == 10 * 48 + 25
    assert gateway["reads"] == 4 * (10 * 48 + 25) - 1
    assert gateway["holes"] == []
    [line] = gateway["lines"]
    assert [line[key] for key in ("line", "state", "meters", "answered")] == ["rs485-1", "up", 4, 4]
    assert (line["degraded"], line["offline"], line["troubled"]) == (0, 0, [])
    assert gateway["version"] == "0.1.0"


def test_every_slot_is_accounted_for(client: httpx.Client, utility: World) -> None:
    found = get(
        client,
        utility,
        f"/v1/stations/{STATION}/accounting",
        **{"from": "2026-01-10T00:00:00+07:00", "to": "2026-01-11T12:00:00+07:00"},
    )
    assert found["slots"] == 72
    assert found["due"] == 72 * 4
    assert found["had"] == 72 * 4 - 1
    assert found["missing"] == {"timeout": 1}
    assert found["gaps"] == {}
    assert found["gateways"] == [GATEWAY]
