"""Billing runs and bills over the API, from the first draft to the receivables system's file."""

import csv
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.operations.audit import list_audit
from collector.operations.keys import Scope, add_key
from tests.api.server import client_of
from tests.api.world import FIRST_AT, World, world
from tests.ledger.building import import_files, midnight, put
from tests.ledger.test_registry_bills import FILES_OF_BILLS

RUNS, BILLS = "/v1/billing/runs", "/v1/billing/bills"
JUNE = {"book": "A", "from_day": "2026-05-20", "to_day": "2026-06-20"}
CLERK, MANAGER, TAKER = "clerk", "manager", "taker"


@contextmanager
def office(folder: Path) -> Iterator[World]:
    """Book A read on 20 May and 20 June, and a key each for a clerk, a manager and a program."""
    with world(folder, stations=False, reads=False) as made:
        made.now = datetime(2026, 11, 24, 3, tzinfo=UTC)
        for name, scope in (
            (CLERK, Scope.SNAPSHOT), (MANAGER, Scope.APPROVE), (TAKER, Scope.EXPORT),
        ):  # fmt: skip
            made.keys[name] = add_key(made.ledger, name=name, scopes=[scope], now=FIRST_AT)
        made.keys["both"] = add_key(
            made.ledger, name="both", scopes=[Scope.SNAPSHOT, Scope.APPROVE], now=FIRST_AT
        )
        import_files(made.ledger, folder / "registry", FILES_OF_BILLS)
        put(made.ledger, midnight("2026-05-20"), {"MA": 1_000_900, "MA1": 10_000, "MB": 20_000})
        put(made.ledger, midnight("2026-06-05"), {"MB": 150_000}, seq=2)
        values = {"MA": 1_500_900, "MA1": 110_000, "MB": 220_000}
        put(made.ledger, midnight("2026-06-20"), values, seq=3)
        yield made


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[World]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def client(desk: World) -> Iterator[httpx.Client]:
    with client_of(desk.app) as made:
        yield made


class Asking:
    """Requests with one key each."""

    def __init__(self, client: httpx.Client, desk: World) -> None:
        self._client, self._desk = client, desk

    def get(
        self, path: str, key: str = CLERK, status: int = 200, **asked: str | int
    ) -> httpx.Response:
        answer = self._client.get(path, headers=self._desk.headers(key), params=asked)
        assert answer.status_code == status, answer.text
        return answer

    def post(
        self,
        path: str,
        body: object = None,
        key: str = CLERK,
        status: int = 200,
        **headers: str,
    ) -> Any:  # noqa: ANN401
        answer = self._client.post(path, json=body, headers=self._desk.headers(key) | headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def refused(
        self, path: str, body: object, code: str, key: str = CLERK, status: int = 409
    ) -> None:
        answer = self._client.post(path, json=body, headers=self._desk.headers(key))
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["hint"]


def why(text: str = "a test", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"reason": text, **more}


def answered(ask: Asking, run: str, key: str = CLERK) -> None:
    """The run's days are validated, and somebody has looked at those who are billed for the first
    time."""
    ask.post(f"{run}/validation")
    body = why("the displays were looked at", verdict="accept", causes=["first"])
    assert ask.post(f"{run}/decisions", body, key=key)["decided_count"] > 0


@pytest.fixture
def ask(client: httpx.Client, desk: World) -> Asking:
    return Asking(client, desk)


def test_a_run_from_the_draft_to_the_file(ask: Asking, desk: World) -> None:
    token = {"Idempotency-Key": "june"}
    opened = ask.post(RUNS, JUNE, status=201, **token)
    assert ask.post(RUNS, JUNE, status=201, **token)["run"] == opened["run"]
    ask.refused(RUNS, JUNE, "run_unfinished")
    run = f"{RUNS}/{opened['run']}"
    ask.get(f"{run}/lines", status=409)
    made = ask.post(f"{run}/versions", why(), status=201)
    assert (made["is_new"], made["changed_count"], made["version"]["line_count"]) == (True, 3, 3)
    assert not ask.post(f"{run}/versions", why(), status=200)["is_new"]
    first = ask.get(f"{run}/lines", limit=2).json()
    second = ask.get(f"{run}/lines", limit=2, after=first["next"]).json()
    assert second["next"] is None
    assert [(line["point"], line["billed"]) for line in first["lines"] + second["lines"]] == [
        ("T1/a", 500_000), ("T1/a1", 100_000), ("T1/b", 200_000),
    ]  # fmt: skip
    found = ask.get(f"{run}/exceptions", cause="not_validated").json()["exceptions"]
    assert [(one["point"], one["blocks"], one["detail"]) for one in found] == [
        (point, True, "31 days: 2026-05-20 to 2026-06-19") for point in ("T1/a", "T1/a1", "T1/b")
    ]
    seen = {"sha256": made["version"]["sha256"]}
    ask.refused(f"{run}/approval", seen, "exceptions_open", key=MANAGER)
    ask.refused(f"{run}/validation", None, "forbidden", key=MANAGER, status=403)
    (looked_at,) = ask.post(f"{run}/validation")["validated"]
    assert (looked_at["first_day"], looked_at["last_day"]) == ("2026-05-20", "2026-06-19")
    assert (looked_at["meters"], looked_at["found_count"]) == (4, looked_at["new_count"])
    answered(ask, run)
    left = ask.get(f"{run}/exceptions", undecided=True).json()
    assert left == {"exceptions": [], "next": None}
    ask.refused(f"{run}/approval", seen, "forbidden", status=403)
    ask.refused(f"{run}/export", None, "not_approved")
    ask.refused(f"{run}/approval", {"sha256": "0" * 64}, "hash_changed", key=MANAGER)
    ask.get(f"{run}/lines.csv", key=TAKER, status=409)
    tag = ask.get(run).headers["ETag"]
    assert ask.post(f"{run}/approval", seen, key=MANAGER)["state"] == "approved"
    assert ask.get(run).headers["ETag"] != tag
    closed = ask.post(f"{run}/export")
    ask.refused(f"{run}/validation", None, "run_exported")
    assert ask.post(f"{run}/export") == closed
    lines = ask.get(f"{run}/lines.csv", key=TAKER)
    assert lines.headers["Songlo-Line-Count"] == "3"
    (entry, *_) = list_audit(desk.ledger, limit=1)
    assert entry.detail["sha256"] == hashlib.sha256(lines.content).hexdigest()
    assert (entry.actor, entry.detail["rows"]) == ("taker", 3)


def test_a_books_periods_are_what_a_run_is_opened_with(ask: Asking) -> None:
    asked = "/v1/billing/periods"
    assert ask.get(asked, book="A", month="2026-06-01").json() == {
        "periods": [{"book": "A", "number": 1, "from_day": "2026-05-20", "to_day": "2026-06-20"}]
    }
    assert ask.get(asked, book="B", month="2026-01-15").json() == {"periods": []}
    ask.get(asked, book="X", month="2026-06-01", status=404)
    ask.get(asked, book="A", month="2026-06", status=422)


def exported(ask: Asking) -> str:
    """A run of June that is exported."""
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    version = ask.post(f"{run}/versions", why(), status=201)["version"]
    answered(ask, run)
    ask.post(f"{run}/approval", {"sha256": version["sha256"]}, key=MANAGER)
    ask.post(f"{run}/export")
    return run


def test_bills_from_the_run_to_the_file(ask: Asking) -> None:
    run = exported(ask)
    bill_set = ask.post(f"{run}/bills", why(), status=201)
    assert (bill_set["bill_count"], bill_set["refused_count"]) == (4, 0)
    assert ask.post(f"{run}/bills", why(), status=200)["bill_set"] == bill_set["bill_set"]
    bills = f"{BILLS}/{bill_set['bill_set']}"
    rows = ask.get(f"{bills}/rows", limit=3).json()
    assert [row["bill"] for row in rows["bills"]] == ["HD-3", "HD-4", "HD-1"]
    assert len(ask.get(f"{bills}/rows", limit=3, after=rows["next"]).json()["bills"]) == 1
    preview = ask.get(f"{bills}/preview", contract="HD-1")
    assert preview.json()["energy_kwh"] == 400
    assert hashlib.sha256(preview.content).hexdigest() == rows["bills"][2]["sha256"]
    what_if = ask.get(f"{run}/what-if", table="QD-14-2025").json()
    assert what_if["total_vnd"] == bill_set["total_vnd"] != what_if["what_if_total_vnd"]
    ask.get(f"{run}/what-if", table="none", status=422)
    ask.refused(f"{bills}/export", None, "not_approved")
    ask.get(f"{bills}/bills.csv", key=TAKER, status=409)
    seen = {"sha256": bill_set["sha256"]}
    ask.refused(f"{bills}/approval", {"sha256": "0" * 64}, "hash_changed", key=MANAGER)
    assert ask.post(f"{bills}/approval", seen, key=MANAGER)["state"] == "approved"
    ask.post(f"{bills}/export")
    file = ask.get(f"{bills}/bills.csv", key=TAKER)
    total = sum(int(row["total_vnd"]) for row in csv.DictReader(io.StringIO(file.text)))
    assert total == bill_set["total_vnd"] == int(file.headers["Songlo-Total-Vnd"])
    assert len(ask.get(f"{bills}/bills.jsonl", key=TAKER).text.splitlines()) == 4
    assert ask.get("/v1/billing/verification", key=MANAGER).json() == {"faults": []}
    assert [one["run"] for one in ask.get(RUNS).json()["runs"]] == [bill_set["run"]]
    assert ask.get(BILLS).json()["bill_sets"][0]["state"] == "exported"


def test_who_made_it_does_not_approve_it(ask: Asking) -> None:
    opened = ask.post(RUNS, JUNE, key="both", status=201)
    run = f"{RUNS}/{opened['run']}"
    made = ask.post(f"{run}/versions", why(), key="both", status=201)
    seen = {"sha256": made["version"]["sha256"]}
    answered(ask, run, key="both")
    ask.refused(f"{run}/approval", seen, "own_work", key="both")
    ask.post(f"{run}/approval", seen, key=MANAGER)
    ask.post(f"{run}/export")
    bill_set = ask.post(f"{run}/bills", why(), key="both", status=201)
    approval = f"{BILLS}/{bill_set['bill_set']}/approval"
    ask.refused(approval, {"sha256": bill_set["sha256"]}, "own_work", key="both")


def test_exceptions_are_decided_one_by_one_and_in_bulk(ask: Asking, desk: World) -> None:
    exported(ask)
    values = {"MA": 4_500_900, "MA1": 1_110_000, "MB": 1_420_000}
    put(desk.ledger, midnight("2026-07-20"), values, seq=4)
    july = {"book": "A", "from_day": "2026-06-20", "to_day": "2026-07-20"}
    run = f"{RUNS}/{ask.post(RUNS, july, status=201)['run']}"
    version = ask.post(f"{run}/versions", why(), status=201)["version"]
    decision = why("not this time", verdict="accept", causes=["not_validated"])
    assert ask.post(f"{run}/decisions", decision) == {"decided_count": 3}
    found = ask.get(f"{run}/exceptions", cause="extreme").json()["exceptions"]
    assert [(one["point"], one["before"], one["reference"]) for one in found] == [
        ("T1/a", 500_000, "period"), ("T1/a1", 100_000, "period"), ("T1/b", 200_000, "period"),
    ]  # fmt: skip
    ask.refused(f"{run}/approval", {"sha256": version["sha256"]}, "exceptions_open", key=MANAGER)

    def decided(**wanted: Any) -> int:  # noqa: ANN401
        body = why("seen", verdict="accept", **wanted)
        return int(ask.post(f"{run}/decisions", body)["decided_count"])

    assert decided(points=["T1/a1"]) == 1
    assert decided(points=["T1/a1"]) == 0
    assert decided(causes=["extreme"], billed_max_wh=1_500_000, percent_max=500) == 0
    assert decided(causes=["extreme"], billed_max_wh=1_500_000) == 1
    left = ask.get(f"{run}/exceptions", undecided=True).json()["exceptions"]
    assert [one["point"] for one in left] == ["T1/a"]
    # The last one is held, and with it the sub-meter behind it.
    ask.post(f"{run}/decisions", why("disputed", verdict="hold"))
    assert ask.get(run).json()["held_points"] == ["T1/a", "T1/a1"]
    ask.post(f"{run}/release", why("it is right", point="T1/a1"))
    assert ask.get(run).json()["held_points"] == []
    ask.post(f"{run}/hold", why("disputed", point="T1/a"))
    version = ask.post(f"{run}/versions", why("T1/a is disputed"), status=201)["version"]
    changes = ask.get(f"{run}/versions/2/changes").json()
    assert changes["reason"] == "T1/a is disputed"
    assert {"point": "T1/a", "register": "1-0:1.8.0", "billed_before": 3_000_000,
            "billed_after": None} in changes["changes"]  # fmt: skip
    # Another version asks again.
    assert [e["point"] for e in ask.get(f"{run}/exceptions", undecided=True).json()["exceptions"]]
    ask.post(f"{run}/decisions", why("seen again", verdict="accept"))
    ask.post(f"{run}/approval", {"sha256": version["sha256"]}, key=MANAGER)


def test_a_mark_that_says_zero_is_refused_where_the_meter_counted(ask: Asking, desk: World) -> None:
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    version = ask.post(f"{run}/versions", why(), status=201)["version"]
    answered(ask, run)
    ask.refused(f"{run}/marks", why(point="T1/b", mark="D"), "mark_refused")
    ask.refused(f"{run}/marks", why(point="T1/b", mark="A"), "invalid_request", status=422)
    ask.refused(f"{run}/marks", why(point="T1/x", mark="K"), "not_found", status=404)
    ask.post(f"{run}/marks", why(point="T1/b", mark="K"), status=204)
    # What was marked before it counted is an exception that nobody can accept.
    with desk.ledger.begin() as uow:
        uow.billing_runs.add_mark(
            run.rsplit("/", maxsplit=1)[-1], "T1/b", "D", "clerk", desk.now, "cut"
        )
    (one,) = ask.get(f"{run}/exceptions", undecided=True).json()["exceptions"]
    assert (one["cause"], one["detail"], one["blocks"]) == ("zero_mark", "D", True)
    ask.refused(f"{run}/decisions", why(verdict="accept"), "invalid_request", status=422)
    seen = {"sha256": version["sha256"]}
    ask.refused(f"{run}/approval", seen, "exceptions_open", key=MANAGER)
    ask.post(f"{run}/marks", why(point="T1/b", mark=None), status=204)
    ask.post(f"{run}/approval", seen, key=MANAGER)


def test_a_mark_after_the_approval_is_approved_before_the_run_is_closed(ask: Asking) -> None:
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    seen = {"sha256": ask.post(f"{run}/versions", why(), status=201)["version"]["sha256"]}
    answered(ask, run)
    ask.post(f"{run}/approval", seen, key=MANAGER)
    ask.post(f"{run}/marks", why(point="T1/b", mark="K"), status=204)
    ask.refused(f"{run}/export", None, "approval_fell")
    ask.get(f"{run}/cmis.xml", key=TAKER, status=409)
    ask.post(f"{run}/approval", seen, key=MANAGER)
    ask.post(f"{run}/export")


def test_who_put_in_an_index_over_the_api_does_not_approve(ask: Asking, desk: World) -> None:
    desk.keys["reader"] = add_key(
        desk.ledger, name="reader", scopes=[Scope.VEE, Scope.APPROVE], now=FIRST_AT
    )
    at = midnight("2026-06-19")
    entered: dict[str, Any] = {
        "point": "T1/b",
        "meter": "MB",
        "register": "1-0:1.8.0",
        "value": 210_000,
    }
    ask.post("/v1/indices", why(**entered, at=at.isoformat()), key="reader", status=201)
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    seen = {"sha256": ask.post(f"{run}/versions", why(), status=201)["version"]["sha256"]}
    answered(ask, run)
    ask.refused(f"{run}/approval", seen, "own_work", key="reader")
    ask.post(f"{run}/approval", seen, key=MANAGER)


def test_bills_that_cannot_be_made_wait_for_a_word(
    ask: Asking, desk: World, tmp_path: Path
) -> None:
    files = {**FILES_OF_BILLS}
    files["points.csv"] += "T1/c,T1,household,c,\n"
    files["meters.csv"] += "MC,sdm120,10\n"
    files["installations.csv"] += "T1/c,MC,2026-01-01\n"
    files["memberships.csv"] += "T1/c,2026-01-01,A,A12\n"
    assert import_files(desk.ledger, tmp_path / "registry", files).errors == ()
    for day, value in (("2026-05-20", 0), ("2026-06-20", 90_000)):
        put(desk.ledger, midnight(day), {"MC": value}, seq=9)
    run = exported(ask)
    bill_set = ask.post(f"{run}/bills", why(), status=201)
    bills = f"{BILLS}/{bill_set['bill_set']}"
    (told,) = ask.get(f"{bills}/refusals").json()["refusals"]
    assert (told["point"], told["contract"]) == ("T1/c", None)
    assert "contracts.csv" in told["hint"]
    seen = {"sha256": bill_set["sha256"]}
    ask.refused(f"{bills}/approval", seen, "exceptions_open", key=MANAGER)
    (one,) = ask.get(f"{bills}/exceptions", cause="refused").json()["exceptions"]
    assert one["bill"] == "T1/c"
    body = why("a new customer", contracts=["T1/c"])
    assert ask.post(f"{bills}/acceptances", body) == {"decided_count": 1}
    ask.post(f"{bills}/approval", seen, key=MANAGER)
