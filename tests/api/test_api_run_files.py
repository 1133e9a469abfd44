"""Hand-over files of billing runs, and Green Button, through the API."""

import hashlib
from pathlib import Path

from collector.operations.keys import Scope, add_key
from tests.api.server import client_of
from tests.api.world import FIRST_AT, World, world
from tests.ledger import test_green_button as contracts
from tests.ledger import test_half_hours as half_hours
from tests.ledger.building import NOW
from tests.ledger.test_run_exports import district

FORMS = {
    "cmis.xml": ("application/xml", b"<?xml", "export.cmis"),
    "lines.csv": ("text/csv; charset=utf-8", b"point,", "export.csv"),
    "lines.json": ("application/json", b'{"run":', "export.json"),
    "lines.xlsx": (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        b"PK",
        "export.xlsx",
    ),
    "statement.pdf": ("application/pdf", b"%PDF-", "export.statement"),
}


def hashes(made: World, action: str) -> list[object]:
    with made.ledger.read() as uow:
        return [one.detail["sha256"] for one in uow.audit.newest(50) if one.action == action]


def test_a_run_in_every_form_and_in_part(tmp_path: Path) -> None:
    with world(tmp_path, stations=False, reads=False) as made, client_of(made.app) as client:
        run = district(made.ledger, tmp_path)
        headers = made.headers()
        for name, (media_type, begins, action) in FORMS.items():
            answer = client.get(f"/v1/billing/runs/{run}/{name}", headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["Content-Type"] == media_type
            assert answer.content.startswith(begins)
            assert answer.headers["Songlo-Line-Count"] == "5"
            assert hashes(made, action) == [hashlib.sha256(answer.content).hexdigest()]
            part = client.get(
                f"/v1/billing/runs/{run}/{name}",
                params={"station": "T1", "kind": "business"},
                headers=headers,
            )
            assert part.status_code == 200
            assert len(part.content) < len(answer.content)
            empty = client.get(
                f"/v1/billing/runs/{run}/{name}", params={"kind": "head"}, headers=headers
            )
            assert (empty.status_code, empty.json()["code"]) == (422, "empty_selection")
            missing = client.get(f"/v1/billing/runs/none/{name}", headers=headers)
            assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
            assert len(hashes(made, action)) == 2


def test_green_button_is_for_whoever_takes_exports(tmp_path: Path) -> None:
    with world(tmp_path, stations=False, reads=False) as made, client_of(made.app) as client:
        contracts.fill(made.ledger, tmp_path)
        made.now = NOW
        url = "/v1/customers/PA25SL0000001/green-button.xml"
        days = {"first_day": "2026-05-01", "last_day": "2026-05-10"}
        answer = client.get(url, params=days, headers=made.headers())
        assert answer.status_code == 200, answer.text
        assert len(contracts.readings(answer.content)) == 6
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert hashes(made, "export.green_button") == [hashlib.sha256(answer.content).hexdigest()]
        made.keys["reader"] = add_key(made.ledger, name="reader", scopes=[Scope.READ], now=FIRST_AT)
        refused = client.get(url, params=days, headers=made.headers("reader"))
        assert refused.status_code == 403
        unknown = url.replace("0000001", "0000009")
        assert client.get(unknown, params=days, headers=made.headers()).status_code == 404


def test_green_button_by_half_hours(tmp_path: Path) -> None:
    with world(tmp_path, stations=False, reads=False) as made, client_of(made.app) as client:
        half_hours.fill(made.ledger, tmp_path)
        made.now = NOW
        url = f"/v1/customers/{half_hours.NAM}/green-button.xml"
        days = {"first_day": "2026-05-01", "last_day": "2026-05-10", "by": "half-hour"}
        answer = client.get(url, params=days, headers=made.headers())
        assert answer.status_code == 200, answer.text
        assert len(list(half_hours.readings(answer.content))) == 4 * 48
        assert hashes(made, "export.green_button") == [hashlib.sha256(answer.content).hexdigest()]
        long = {**days, "first_day": "2025-04-01"}
        answer = client.get(url, params=long, headers=made.headers())
        assert (answer.status_code, "366 days at most" in answer.text) == (422, True)
        odd = client.get(url, params={**days, "by": "hour"}, headers=made.headers())
        assert odd.status_code == 422
        made.keys["reader"] = add_key(made.ledger, name="reader", scopes=[Scope.READ], now=FIRST_AT)
        assert client.get(url, params=days, headers=made.headers("reader")).status_code == 403
