"""Marked names, addresses, telephone numbers, keys and passwords: found where they belong alone.

A collector runs over a registry whose customers are marked, with marked secrets; then everything
that it left, sent or said is searched for the marks.
"""

import io
import json
import re
import signal
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import httpx
import paho.mqtt.client as paho
import pypdfium2
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from collector.ledger import Ledger
from collector.operations.billing_lines import BilledBy
from collector.operations.billing_runs import (
    Acting,
    Scope,
    accept_exceptions,
    approve_run,
    export_run,
    make_version,
    open_run,
    run_exceptions,
    version_lines,
)
from collector.operations.keys import add_key
from collector.operations.vee_files import load_limits
from tests.compose.plain import ROOT, load_make_secrets
from tests.intake.kit import STATION, Gateway, scan, until
from tests.intake.test_collector_command import Site
from tests.ledger.building import NOW, ZONE, midnight, put, write_files
from tests.services import Mosquitto

pytestmark = pytest.mark.timeout(300)

# Plain letters, so that no encoding hides them.
PERSON_MARKS = (b"zmark", b"0987650123")
NAME, ADDRESS = "Lò Văn Zmarkname", "bản Zmarkstreet, số 7, ĐT 0987650123"
BROKER_PASSWORD, COMMANDS_PASSWORD = "qmark-intake-71f0", "qmark-commands-71f0"
WRONG_KEY = "sgl_5e5e5e5e_" + "5e5e71f0" * 5

REGISTRY = {
    "stations.csv": f"station,name,commune,capacity_kva\n{STATION},Trạm 12,Chiềng Ngần,250\n",
    "points.csv": (
        f"point,station,role,name\nP1,{STATION},household,Nhà 1\nP2,{STATION},household,Nhà 2\n"
    ),
    "meters.csv": "meter,model,resolution_wh,roll_over_wh\nM1,sdm120,1,\nM2,sdm120,1,\n",
    "installations.csv": (
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        "P1,M1,2025-12-01,,0,\nP2,M2,2025-12-01,,0,\n"
    ),
    "customers.csv": f'customer,name,address\nKH-1,{NAME},"{ADDRESS}"\n',
    "contracts.csv": "contract,point,customer,from_at,to_at\nHD-1,P1,KH-1,2026-01-01,\n",
    "terms.csv": "contract,from_at,voltage_v\nHD-1,2026-01-01,220\n",
    "allocations.csv": (
        "contract,from_at,register,position,percent,price_group\n"
        "HD-1,2026-01-01,1-0:1.8.0,1,100,household\n"
    ),
}


@dataclass
class Left:
    """What a collector left: texts by where they were found, and what secrets it had."""

    texts: dict[str, bytes] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ledger_file: bytes = b""
    shown_to_the_clerk: str = ""


def readable(answer: httpx.Response) -> bytes:
    """An answer's text: workbooks unpacked, papers read."""
    kind = answer.headers.get("Content-Type", "")
    if "pdf" in kind:
        pages = pypdfium2.PdfDocument(answer.content)
        return "\n".join(page.get_textpage().get_text_range() for page in pages).encode()
    if "zip" in kind or "spreadsheet" in kind:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
            return b"\n".join(packed.read(name) for name in packed.namelist())
    return answer.content


def overhear(port: int, heard: list[bytes]) -> paho.Client:
    """Everything that passes the broker, retained or not."""
    spy = paho.Client(CallbackAPIVersion.VERSION2)
    spy.on_connect = lambda client, *_: client.subscribe("#", 1)
    ready: list[bool] = []
    spy.on_subscribe = lambda *_: ready.append(True)
    spy.on_message = lambda _c, _d, m: heard.append(m.topic.encode() + b" " + bytes(m.payload))
    spy.connect("127.0.0.1", port)
    spy.loop_start()
    until(lambda: bool(ready), "the spy hears nothing")
    return spy


def ask_everything(url: str, keys: dict[str, str], snapshot: str) -> dict[str, bytes]:
    """Every GET that the document has, with keys that may read and bill but not bring names."""
    found: dict[str, bytes] = {}
    # Runs are looked at apart: their reading file is for whoever bills, and has names on purpose.
    names = defaultdict(
        lambda: "none", snapshot_id=snapshot, station=STATION, gateway="GW1", serial="M1",
        kind="contracts", name="HD-1",
    )  # fmt: skip
    params = {
        "from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z", "first_day": "2026-01-01",
        "last_day": "2026-01-02",
    }  # fmt: skip
    with httpx.Client(base_url=url, timeout=30) as client:
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            if "get" not in methods:
                continue
            asked = {
                one["name"]: params[one["name"]]
                for one in methods["get"].get("parameters", ())
                if one["name"] in params
            }
            filled = path.format_map(names)
            for who in ("reader", "auditor"):
                if who == "auditor" and not path.startswith("/v1/audit"):
                    continue
                answer = client.get(filled, params=asked, headers={"X-Api-Key": keys[who]})
                found[f"answer {path}"] = readable(answer)
    return found


def misbehave(url: str, keys: dict[str, str]) -> dict[str, bytes]:
    """Requests that go wrong with marks in them; what is answered."""
    clerk = {"X-Api-Key": keys["clerk"]}
    rows = {"rows": [{"customer": "KH-9", "name": "=Zmarkbad", "address": "Zmarkbad"}]}
    unknown = {"rows": [{"customer": "KH-9", "fax": "0987650123"}]}
    found: dict[str, bytes] = {}
    with httpx.Client(base_url=url, timeout=30) as client:
        answers = (
            client.post("/v1/registry/customers", json=rows, headers=clerk),
            client.post("/v1/registry/customers", json=unknown, headers=clerk),
            client.post("/v1/registry/customers", content=b"{Zmarkbroken", headers=clerk),
            client.get("/v1/stations", headers={"X-Api-Key": WRONG_KEY}),
            client.get("/v1/stations", params={"key": WRONG_KEY}),
            client.get("/v1/stations", params={"key": keys["reader"]}, headers=clerk),
        )
        for number, answer in enumerate(answers):
            assert 400 <= answer.status_code < 500, answer.text
            found[f"problem {number}"] = answer.content
        for number, key in enumerate((WRONG_KEY, keys["reader"])):
            token = re.search(r'name="form_token" value="([^"]+)"', client.get("/login").text)
            assert token
            client.post("/login", data={"key": key, "form_token": token[1]})
            found[f"page {number}"] = client.get("/", follow_redirects=True).content
    return found


def bill(ledger_url: str) -> bytes:
    """A billing run from its opening to its export, and its lines."""
    ledger = Ledger(ledger_url)
    try:
        first, last = midnight("2026-09-20"), midnight("2026-10-20")
        put(ledger, first, {"M1": 2_000_000, "M2": 3_000_000})
        put(ledger, last, {"M1": 2_100_000, "M2": 3_200_000}, seq=2)
        an, by = Acting("an", NOW, "a test"), BilledBy(load_limits(None), ZONE)
        run = open_run(ledger, from_at=first, to_at=last, zone=ZONE, by_whom=an, scope=Scope()).run
        made = make_version(ledger, run, by, an)
        for cause in {one.cause for one in run_exceptions(ledger, run, by) if one.blocks}:
            accept_exceptions(ledger, run, cause, an)
        approve_run(ledger, run, made.version.sha256, by, Acting("bình", NOW, "a test"))
        lines = version_lines(ledger, run)
        assert {line.point for line in lines} == {"P1", "P2"}
        exported = export_run(ledger, run, by, an)
        return f"{lines!r} {exported!r}".encode()
    finally:
        ledger.close()


def tables_of(path: Path, *without: str) -> dict[str, bytes]:
    """Every table of a ledger as text, but some."""
    found: dict[str, bytes] = {}
    with sqlite3.connect(path) as base:
        names = [
            row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for name in names:
            if name not in without:
                rows = base.execute(f'SELECT * FROM "{name}"').fetchall()
                found[f"table {name}"] = repr(rows).encode()
    base.close()
    return found


def stored_readings(path: Path) -> bytes:
    with duckdb.connect(str(path), read_only=True) as base:
        tables = [row[0] for row in base.execute("SHOW TABLES").fetchall()]
        rows = [base.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables]
    assert any(rows)
    return repr(rows).encode()


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("marked")
    line = load_make_secrets().mosquitto_line
    broker = Mosquitto("password_file {folder}/passwords")
    (broker.folder / "passwords").write_text(
        line("intake", BROKER_PASSWORD) + line("commands", COMMANDS_PASSWORD)
    )
    broker.start()
    try:
        yield lived(folder, broker)
    finally:
        broker.close()


def prepared(folder: Path, broker: Mosquitto) -> tuple[Site, dict[str, str], str]:
    """A site with its secrets and its registry, its keys, and what the import said."""
    site = Site(folder, broker.port)
    (folder / "intake").write_text(BROKER_PASSWORD)
    (folder / "commands").write_text(COMMANDS_PASSWORD)
    text = site.file.read_text().replace(
        "broker: {", f"broker: {{username: intake, password_file: {folder}/intake, "
    )
    text += f"commands: {{username: commands, password_file: {folder}/commands}}\n"
    site.file.write_text(text)
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    ledger.migrate()
    keys = {
        name: add_key(ledger, name=name, scopes=scopes, now=NOW)
        for name, scopes in {
            "reader": ("snapshot", "command:send"),
            "clerk": ("registry:write",),
            "auditor": ("admin",),
        }.items()
    }
    ledger.close()
    write_files(folder / "registry", REGISTRY)
    return site, keys, site.run("registry", "import", str(folder / "registry"))


def work(url: str, keys: dict[str, str]) -> tuple[str, str]:
    """What people do over the API: the snapshot that they made, the names that a clerk saw."""
    reader, clerk = ({"X-Api-Key": keys[name]} for name in ("reader", "clerk"))
    with httpx.Client(base_url=url, timeout=30) as client:
        period = {"from_at": "2026-01-01T00:30:00Z", "to_at": "2026-01-01T01:30:00Z"}
        snapshot = client.post("/v1/snapshots", json=period, headers=reader)
        assert snapshot.status_code == 201, snapshot.text
        sent = client.post("/v1/gateways/GW1/commands", json={"kind": "ping"}, headers=reader)
        assert sent.status_code == 202, sent.text
        shown = client.get("/v1/registry/customers", headers=clerk).text
        rows = [{"customer": "KH-2", "name": "Zmarksecond", "address": "Zmarksecond"}]
        once = {**clerk, "Idempotency-Key": "once"}
        added = client.post("/v1/registry/customers", json={"rows": rows}, headers=once)
        assert added.status_code == 201, added.text
        assert client.get("/v1/registry/export.zip", headers=clerk).status_code == 200
    return snapshot.json()["id"], shown


def lived(folder: Path, broker: Mosquitto) -> Left:
    site, keys, said = prepared(folder, broker)
    random = [key.split("_")[2] for key in keys.values()]
    made = Left(secrets=(BROKER_PASSWORD, COMMANDS_PASSWORD, WRONG_KEY[13:], *random))
    heard: list[bytes] = []
    spy = overhear(broker.port, heard)
    url = f"http://127.0.0.1:{site.api_port}"
    with site.running() as process, Gateway(broker.port) as gateway:
        until(site.answers, "the API does not answer", 60)
        until(lambda: "songlo_intake_connected 1.0" in site.get("/metrics"), "not connected", 30)
        for seq in (1, 2, 3):
            gateway.send(seq, scan(seq))
        gateway.wait_acked(3)
        snapshot, made.shown_to_the_clerk = work(url, keys)
        made.texts |= ask_everything(url, keys, snapshot)
        made.texts |= misbehave(url, keys)
        until(lambda: any(b"/command" in one for one in heard), "no command was heard")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    spy.disconnect()
    spy.loop_stop()
    made.ledger_file = (folder / "ledger.db").read_bytes()
    said += site.run("audit", "list") + site.run("key", "list")
    made.texts |= {"log": log.encode(), "commands": said.encode(), "mqtt": b"\n".join(heard)}
    made.texts["billing run"] = bill(f"sqlite:///{folder}/ledger.db")
    made.texts |= tables_of(folder / "ledger.db", "customers")
    made.texts["readings"] = stored_readings(folder / "readings.duckdb")
    return made


# What must be there to be searched: a part that was left out would hide everything.
PARTS = (
    "log", "commands", "mqtt", "readings", "billing run", "answer /metrics", "answer /health",
    "answer /v1/audit", "answer /v1/snapshots/{snapshot_id}/statement.pdf",
    "answer /v1/snapshots/{snapshot_id}/lines.xlsx", "answer /v1/snapshots/{snapshot_id}/cmis.xml",
    "answer /v1/registry/{kind}/{name}", "problem 0", "problem 5", "page 1",
)  # fmt: skip


def test_the_marks_are_where_they_belong(left: Left) -> None:
    assert NAME.encode() in left.ledger_file
    assert NAME in left.shown_to_the_clerk
    assert "0987650123" in left.shown_to_the_clerk
    for part in PARTS:
        assert len(left.texts[part]) > 10, part
    assert b"songlo/v1/GW1/batch" in left.texts["mqtt"]
    assert b"a wrong key came from" in left.texts["log"]
    assert b"registry.look" in left.texts["answer /v1/audit"]
    assert b"M1" in left.texts["answer /v1/snapshots/{snapshot_id}/lines.xlsx"]
    assert b"P1" in left.texts["answer /v1/snapshots/{snapshot_id}/statement.pdf"]


def test_names_and_addresses_are_nowhere_else(left: Left) -> None:
    found = [
        (where, mark)
        for where, text in left.texts.items()
        for mark in PERSON_MARKS
        if mark in text.lower()
    ]
    assert found == []


def test_keys_and_passwords_are_nowhere(left: Left) -> None:
    assert len(left.secrets) == 6
    found = [
        (where, secret[:12])
        for where, text in (left.texts | {"ledger file": left.ledger_file}).items()
        for secret in left.secrets
        if secret.encode() in text
    ]
    assert found == []


def test_dashboards_reach_the_readings_only() -> None:
    """Grafana is given no way to the ledger, which has the names."""
    sources = [
        source
        for path in (ROOT / "dashboards" / "provisioning" / "datasources").glob("*.yaml")
        for source in yaml.safe_load(path.read_text("utf-8"))["datasources"]
    ]
    assert {source["type"] for source in sources} == {"influxdb"}
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"][
        "grafana"
    ]
    assert set(grafana["secrets"]) == {"grafana_admin_password", "influxdb_grafana_password"}
    boards = list((ROOT / "dashboards" / "json").glob("*.json"))
    assert boards
    for board in boards:
        text = json.dumps(json.loads(board.read_text("utf-8"))).lower()
        assert not re.search(r"customer|address|postgres", text), board.name
