"""The registry over the API: rows looked at, added, changed, put right; nothing half done."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.ledger import Ledger
from collector.operations.keys import add_key
from collector.web.context import Context
from tests.api.server import client_of
from tests.api.world import FIRST_AT, STATION, World, world

POINT = f"{STATION}/1"
METER = "2026000101"
SCOPES = {"clerk": ["registry:write", "readings:read"], "writer": ["registry:write"]}
NAME = "Lò Văn Ban"
ADDRESS = "bản Hụm, xã Chiềng Ngần"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, World]]:
    """A filled ledger at rest, to be copied: migrating and filling one takes longer than a test."""
    folder = tmp_path_factory.mktemp("registry")
    with world(folder, reads=False) as made:
        for name, scopes in SCOPES.items():
            made.keys[name] = add_key(made.ledger, name=f"{name}-key", scopes=scopes, now=FIRST_AT)
        made.ledger.close()
        yield folder / "ledger.db", made


@pytest.fixture(scope="module")
def client(template: tuple[Path, World]) -> Iterator[httpx.Client]:
    """One server for all tests; `desk` puts a ledger behind it."""
    with client_of(template[1].app) as made:
        yield made


@pytest.fixture
def desk(template: tuple[Path, World], tmp_path: Path) -> Iterator[World]:
    file, filled = template
    ledger = Ledger(f"sqlite:///{shutil.copy(file, tmp_path / 'ledger.db')}")
    context: Context = filled.app.state.context
    filled.app.state.context = replace(context, ledger=ledger)
    yield replace(filled, ledger=ledger)
    filled.app.state.context = context
    ledger.close()


class Clerk:
    """Somebody who writes: asks, and expects."""

    def __init__(self, client: httpx.Client, desk: World) -> None:
        self.client = client
        self.desk = desk

    def get(self, path: str, status: int = 200, **params: str | int) -> Any:  # noqa: ANN401  JSON
        answer = self.client.get(
            f"/v1/registry/{path}", params=params, headers=self.desk.headers("clerk")
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def rows(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(path)["rows"]
        return found

    def tag(self, path: str) -> str:
        answer = self.client.get(f"/v1/registry/{path}", headers=self.desk.headers("clerk"))
        assert answer.status_code == 200, answer.text
        return answer.headers["ETag"]

    def send(
        self,
        method: str,
        path: str,
        *rows: dict[str, Any],
        status: int = 200,
        reason: str | None = None,
        **headers: str,
    ) -> Any:  # noqa: ANN401  JSON
        answer = self.client.request(
            method,
            f"/v1/registry/{path}",
            json={"rows": list(rows)} | ({} if reason is None else {"reason": reason}),
            headers=self.desk.headers("clerk")
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        assert answer.status_code == status, answer.text
        self.last = answer
        return answer.json()

    def add(self, kind: str, *rows: dict[str, Any], status: int = 201) -> Any:  # noqa: ANN401
        return self.send("POST", kind, *rows, status=status)

    def change(self, path: str, *rows: dict[str, Any], **more: Any) -> Any:  # noqa: ANN401
        return self.send("POST", path, *rows, If_Match=self.tag(path), **more)

    def trail(self, action: str = "registry.change") -> list[dict[str, Any]]:
        with self.desk.ledger.read() as uow:
            return [dict(entry.detail) for entry in uow.audit.of_action(action)]


@pytest.fixture
def clerk(client: httpx.Client, desk: World) -> Clerk:
    return Clerk(client, desk)


def contracted(clerk: Clerk) -> None:
    """A customer at POINT who pays since the first day."""
    clerk.add("customers", {"customer": "PA25SL0001", "name": NAME, "address": ADDRESS})
    clerk.add("contracts", {
        "contract": "HD-1", "point": POINT, "customer": "PA25SL0001", "from_at": "2026-01-01",
    })  # fmt: skip
    clerk.add("terms", {"contract": "HD-1", "from_at": "2026-01-01", "voltage_v": 220})
    clerk.add("allocations", {
        "contract": "HD-1", "from_at": "2026-01-01", "register": "1-0:1.8.0", "position": 1,
        "percent": "100", "price_group": "household",
    })  # fmt: skip


def test_kinds_say_their_columns(clerk: Clerk) -> None:
    kinds = {
        row["kind"]: row
        for row in clerk.client.get("/v1/registry", headers=clerk.desk.headers("read")).json()[
            "kinds"
        ]
    }
    assert len(kinds) == 17
    assert kinds["multipliers"]["dated"]
    assert kinds["multipliers"]["correctable"]
    assert not kinds["points"]["correctable"]
    columns = {row["column"]: row for row in kinds["terms"]["columns"]}
    assert (columns["from_at"]["key"], columns["voltage_v"]["optional"]) == (True, False)


def test_rows_are_listed_page_by_page(clerk: Clerk) -> None:
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = clerk.get("points", limit=3, **after)
        found += [row["point"] for row in page["rows"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == [f"{STATION}/{number}" for number in range(4)]
    (row,) = clerk.get("installations", meter=METER)["rows"]
    assert {name: cell for name, cell in row.items() if cell is not None} == {
        "point": POINT, "meter": METER, "installed_at": "2025-11-30T17:00:00Z",
        "install_index_wh": 0,
    }  # fmt: skip
    assert row["removal_import_rate2_wh"] is None
    assert clerk.get("installations", at="2025-11-01T00:00:00Z")["rows"] == []
    assert clerk.get("points", meter=METER, status=422)["code"] == "invalid_request"
    assert clerk.get("points", at="2025-11-01T00:00:00Z", status=422)["code"] == "invalid_request"
    for wrong in ("x", "W10", "bnVsbA", "WyJhIiwiYiJd"):
        assert "next" in clerk.get("points", after=wrong, status=422)["hint"]


def test_a_name_has_a_tag_by_which_a_copy_is_known(clerk: Clerk) -> None:
    tag = clerk.tag(f"points/{POINT}")
    headers = clerk.desk.headers("read") | {"If-None-Match": tag}
    answer = clerk.client.get(f"/v1/registry/points/{POINT}", headers=headers)
    assert answer.status_code == 304
    assert clerk.get("points/none", status=404)["code"] == "not_found"


def test_a_change_is_a_row_with_a_later_date(clerk: Clerk) -> None:
    first = {"point": POINT, "from_at": "2026-01-01", "multiplier": "40"}
    made = clerk.add("multipliers", first)
    assert (made["added"], made["repeated"]) == (1, False)
    path = f"multipliers/{POINT}"
    stale = clerk.tag(path)
    clerk.change(path, {"from_at": "2026-01-08", "multiplier": "125/3"}, reason="CTs exchanged")
    assert clerk.last.headers["ETag"] == clerk.tag(path) != stale
    assert [row["multiplier"] for row in clerk.rows(path)] == ["40", "125/3"]
    # What somebody saw before is no ground to write on.
    refused = clerk.send(
        "POST", path, {"from_at": "2026-01-09", "multiplier": "1"}, status=412, If_Match=stale
    )
    assert refused["code"] == "stale"
    assert path in refused["hint"]
    refused = clerk.send("POST", path, {"from_at": "2026-01-09", "multiplier": "1"}, status=428)
    assert refused["code"] == "precondition_required"
    # What is stored is not said otherwise.
    refused = clerk.change(path, {"from_at": "2026-01-08", "multiplier": "1"}, status=422)
    assert refused["faults"] == [
        {"where": "body.rows.0.multiplier",
         "detail": "contradicts what is stored: 125/3, not 1",
         "detail_vi": "trái với dữ liệu đã lưu: 125/3, không phải 1"}
    ]  # fmt: skip
    assert len(clerk.rows(path)) == 2
    assert clerk.add("multipliers", first, status=409)["code"] == "conflict"
    entry = clerk.trail()[-1]
    assert (entry["reason"], entry["name"], entry["purpose"]) == ("CTs exchanged", POINT, "change")
    assert entry["added"][0]["multiplier"] == "125/3"


def test_an_exchange_is_one_request(clerk: Clerk) -> None:
    clerk.add("meters", {"meter": "NEW-1", "model": "eastron-sdm120", "resolution_wh": 1})
    path = f"installations/{POINT}"
    opened = {"meter": "NEW-1", "installed_at": "2026-01-05T09:30:00+07:00", "install_index_wh": 7}
    overlapping = clerk.change(path, opened, status=422)
    assert overlapping["code"] == "bad_rows"
    assert "two installations at once" in overlapping["faults"][0]["detail"]
    assert len(clerk.rows(path)) == 1
    closed = {
        "installed_at": "2025-12-01", "removed_at": "2026-01-05T09:00:00+07:00",
        "removal_index_wh": 1_234_567,
    }  # fmt: skip
    done = clerk.change(path, closed, opened, reason="burnt in a thunderstorm")
    assert (done["added"], done["ended"]) == (1, 1)
    assert done["touched"]["points"] == [POINT]
    # The index of the removal is one of the time before it.
    assert done["touched"]["from_at"] == "2026-01-05T01:59:59.999Z"
    old, new = clerk.rows(path)
    assert (old["removal_index_wh"], old["removed_at"]) == (1_234_567, "2026-01-05T02:00:00Z")
    assert (new["meter"], new["install_index_wh"]) == ("NEW-1", 7)
    (was,) = clerk.trail()[-1]["changed"]
    assert (was["old"]["removed_at"], was["new"]["removal_index_wh"]) == (None, 1_234_567)


def test_what_was_never_said_may_be_said_and_contracts_end(clerk: Clerk) -> None:
    contracted(clerk)
    done = clerk.change(f"stations/{STATION}", {"kind": "public", "feeder": "371-E17.2"})
    assert (done["completed"], done["touched"]) == (1, None)
    assert clerk.rows(f"stations/{STATION}")[0]["feeder"] == "371-E17.2"
    done = clerk.change("contracts/HD-1", {"to_at": "2026-01-09"}, reason="moved out")
    assert done["ended"] == 1
    clerk.add("customers", {"customer": "PA25SL0002"})
    clerk.add("contracts", {
        "contract": "HD-2", "point": POINT, "customer": "PA25SL0002", "from_at": "2026-01-09",
    })  # fmt: skip
    held = clerk.get("contracts", point=POINT, at="2026-01-08T16:59:59Z")["rows"]
    assert [row["contract"] for row in held] == ["HD-1"]


def test_a_correction_has_a_reason_and_says_what_it_touches(clerk: Clerk) -> None:
    contracted(clerk)
    period = {"from_at": "2026-01-01T00:00:00+07:00", "to_at": "2026-01-02T00:00:00+07:00"}
    headers = clerk.desk.headers("admin")
    assert clerk.client.post("/v1/snapshots", json=period, headers=headers).status_code == 201
    path = "terms/HD-1"
    tag = clerk.tag(path)
    wrong = {"from_at": "2026-01-01", "households": 2}
    assert clerk.change(path, wrong, status=422)["code"] == "bad_rows"
    refused = clerk.send("PATCH", path, wrong, status=422, If_Match=tag)
    assert "reason" in refused["detail"]
    assert clerk.rows(path)[0]["households"] is None
    done = clerk.send("PATCH", path, wrong, If_Match=tag, reason="quota was typed wrongly")
    assert (done["corrected"], done["touched"]["points"]) == (1, [POINT])
    assert (done["touched"]["snapshots"], done["touched"]["to_at"]) == (1, None)
    (row,) = clerk.rows(path)
    assert (row["households"], row["voltage_v"]) == (2, 220)
    entry = clerk.trail()[-1]
    assert entry["reason"] == "quota was typed wrongly"
    (was,) = entry["changed"]
    assert (was["old"]["households"], was["new"]["households"]) == (None, 2)
    path = f"installations/{POINT}"
    done = clerk.send(
        "PATCH", path,
        {"instead_of": "2025-12-01", "installed_at": "2025-12-02", "install_index_wh": 5},
        If_Match=clerk.tag(path), reason="read and dated wrongly",
    )  # fmt: skip
    assert (done["corrected"], done["touched"]["from_at"]) == (1, "2025-11-30T17:00:00Z")
    (row,) = clerk.rows(path)
    assert (row["installed_at"], row["install_index_wh"]) == ("2025-12-01T17:00:00Z", 5)
    assert (row["meter"], row["instead_of"]) == (METER, None)
    # What has no dates stays.
    path = f"points/{POINT}"
    refused = clerk.send(
        "PATCH", path, {"role": "business"},
        If_Match=clerk.tag(path), reason="read wrongly", status=422,
    )  # fmt: skip
    assert "not corrected" in refused["detail"]


def test_a_transfer_is_cut_at_the_start_of_a_day(clerk: Clerk) -> None:
    clerk.add("stations", {"station": "T2", "name": "Trạm 2", "kind": "dedicated"})
    row = {"point": POINT, "from_at": "2026-01-05T10:00:00+07:00", "station": "T2"}
    refused = clerk.add("transfers", row, status=422)
    assert "00:00" in refused["faults"][0]["detail"]
    done = clerk.add("transfers", row | {"from_at": "2026-01-05"})
    assert done["touched"]["from_at"] == "2026-01-04T17:00:00Z"


BAD = [
    ("multipliers", {"point": POINT, "from_at": "2026-01-01", "multiplier": "0"}, "multiplier",
     "no multiplier"),
    ("multipliers", {"point": "none", "from_at": "2026-01-01", "multiplier": "1"}, "point",
     "not known"),
    ("reading_days", {"book": "B1", "from_at": "2026-01-01", "reading_days": 32}, "reading_days",
     "no reading day"),
    ("points", {"point": "P9", "station": STATION, "role": "household"}, "name", "empty"),
    ("points", {"point": "P9", "station": STATION, "role": "x", "name": "y"}, "role", "none of"),
    ("meters", {"meter": "M9", "model": "x", "resolution_wh": True}, "resolution_wh", "integer"),
    ("books", {"book": "B2", "name": "=1+1"}, "name", "begin with ="),
    ("books", {"book": "B2", "name": "x", "color": "red"}, "color", "no such column"),
    ("inspections", {"meter": METER, "inspected_at": "0001-01-01"}, "inspected_at", "years"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "row", "column", "reason"), BAD)
def test_bad_rows_are_named_and_nothing_is_done(
    clerk: Clerk, kind: str, row: dict[str, Any], column: str, reason: str
) -> None:
    clerk.add("books", {"book": "B1", "name": "Sổ 1"})
    before = clerk.rows(kind)
    rows: dict[str, dict[str, Any]] = {
        "multipliers": {"point": f"{STATION}/2", "from_at": "2026-01-01", "multiplier": "2"},
        "reading_days": {"book": "B1", "from_at": "2026-02-01", "reading_days": "5;last"},
        "points": {"point": "P8", "station": STATION, "role": "household", "name": "x"},
        "meters": {"meter": "M8", "model": "x", "resolution_wh": 10},
        "books": {"book": "B8", "name": "x"},
        "inspections": {"meter": METER, "inspected_at": "2026-01-01", "seals": "C1;C2"},
    }
    good = rows[kind]
    problem = clerk.add(kind, good, row, status=422)
    assert problem["code"] == "bad_rows"
    (fault,) = problem["faults"]
    assert fault["where"] == f"body.rows.1.{column}"
    assert reason in fault["detail"]
    assert clerk.rows(kind) == before
    assert clerk.add(kind, good)["added"] == 1


def test_the_same_request_is_done_once(clerk: Clerk) -> None:
    row = {"point": POINT, "from_at": "2026-01-01", "multiplier": "40"}
    first = clerk.send("POST", "multipliers", row, status=201, Idempotency_Key="a")
    again = clerk.send("POST", "multipliers", row, status=201, Idempotency_Key="a")
    assert again == first | {"repeated": True}
    assert len(clerk.trail()) == 1
    other = clerk.send(
        "POST", "multipliers", row | {"multiplier": "1"}, status=409, Idempotency_Key="a"
    )
    assert other["code"] == "idempotency_key_reused"
    # What failed may be sent again, put right, with the same token.
    bad = row | {"point": f"{STATION}/2", "multiplier": "0"}
    clerk.send("POST", "multipliers", bad, status=422, Idempotency_Key="b")
    good = bad | {"multiplier": "10"}
    clerk.send("POST", "multipliers", good, status=201, Idempotency_Key="b")
    path = f"multipliers/{POINT}"
    change, tag = {"from_at": "2026-01-05", "multiplier": "2"}, clerk.tag(path)
    done = clerk.send("POST", path, change, If_Match=tag, Idempotency_Key="c")
    # The tag is stale by now, by this very request.
    assert clerk.send("POST", path, change, If_Match=tag, Idempotency_Key="c") == done | {
        "repeated": True
    }


def test_names_and_addresses_are_for_those_who_bring_them(
    clerk: Clerk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    contracted(clerk)
    assert clerk.rows("customers") == [
        {
            "customer": "PA25SL0001", "name": NAME, "address": ADDRESS, "phone": None,
            "email": None,
        }
    ]  # fmt: skip
    assert clerk.rows("customers/PA25SL0001")[0]["name"] == NAME
    for scope in ("read", "snapshot"):
        for path in ("customers", "customers/PA25SL0001", "export.zip", "export.xlsx"):
            answer = clerk.client.get(f"/v1/registry/{path}", headers=clerk.desk.headers(scope))
            assert answer.status_code == 403, path
    right = clerk.change("customers/PA25SL0001", {"name": "Lò Văn Bang"})
    assert right["corrected"] == 1
    assert clerk.rows("customers/PA25SL0001")[0]["address"] == ADDRESS
    clerk.send(
        "POST", "customers/PA25SL0001", {"name": "=Lò"}, status=422,
        If_Match=clerk.tag("customers/PA25SL0001"),
    )  # fmt: skip
    looks = clerk.trail("registry.look")
    assert len(looks) >= 3
    with clerk.desk.ledger.read() as uow:
        said = [f"{entry.subject} {entry.detail}" for entry in uow.audit.newest(1000)]
    assert any("'facts': ['name']" in text for text in said)
    for text in (*said, *caplog.messages):
        for secret in ("Lò", "Hụm", "L\\u00f2"):
            assert secret not in text


@pytest.mark.parametrize(
    ("scope", "write", "read"), [("read", 403, 200), ("writer", 201, 403), ("admin", 201, 200)]
)
def test_who_may_write(clerk: Clerk, scope: str, write: int, read: int) -> None:
    headers = clerk.desk.headers(scope)
    body = {"rows": [{"book": "B1", "name": "Sổ 1"}]}
    answer = clerk.client.post("/v1/registry/books", json=body, headers=headers)
    assert answer.status_code == write, answer.text
    assert clerk.client.get("/v1/registry/books", headers=headers).status_code == read


def test_nothing_is_deleted(clerk: Clerk) -> None:
    answer = clerk.client.delete(
        f"/v1/registry/points/{POINT}", headers=clerk.desk.headers("clerk")
    )
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
