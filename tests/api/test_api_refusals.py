"""What billing over the API refuses that takes more to bring about than one wrong request."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from collector.app import open_ledger
from collector.billing.rating.tariff import PriceTable
from collector.billing.rating.tariff_book import make_book
from collector.config import load_config
from collector.operations.billing_settings import default_rules
from tests.api.server import client_of
from tests.api.test_api_billing import (
    BILLS,
    CLERK,
    JUNE,
    MANAGER,
    RUNS,
    Asking,
    answered,
    office,
    why,
)
from tests.api.world import ZONE, World

MANY = 6


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[World]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def client(desk: World) -> Iterator[httpx.Client]:
    with client_of(desk.app) as made:
        yield made


@pytest.fixture
def ask(client: httpx.Client, desk: World) -> Asking:
    return Asking(client, desk)


def test_of_two_who_open_the_same_run_at_once_one_has_it(
    client: httpx.Client, desk: World, ask: Asking
) -> None:
    def opened(_: int) -> httpx.Response:
        return client.post(RUNS, json=JUNE, headers=desk.headers(CLERK))

    with ThreadPoolExecutor(MANY) as pool:
        answers = list(pool.map(opened, range(MANY)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (MANY - 1)
    refused = [answer.json() for answer in answers if answer.status_code == httpx.codes.CONFLICT]
    assert {problem["code"] for problem in refused} == {"run_unfinished"}
    assert len(ask.get(RUNS).json()["runs"]) == 1


def test_a_hash_that_was_right_until_the_run_changed_is_refused(ask: Asking) -> None:
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    seen = ask.post(f"{run}/versions", why(), status=201)["version"]
    ask.post(f"{run}/hold", why("disputed", point="T1/b"))
    now = ask.post(f"{run}/versions", why("T1/b is left out"), status=201)["version"]
    assert now["sha256"] != seen["sha256"]
    ask.refused(f"{run}/approval", {"sha256": seen["sha256"]}, "hash_changed", key=MANAGER)
    assert ask.get(run).json()["state"] == "draft"
    answered(ask, run)
    ask.post(f"{run}/approval", {"sha256": now["sha256"]}, key=MANAGER)


def test_days_without_a_price_have_no_bill_and_say_why(ask: Asking, desk: World) -> None:
    rules = default_rules(ZONE)
    kept = [
        value
        for value in rules.rated.tariffs.values.values()
        if not isinstance(value, PriceTable) or not value.header.in_force
    ]
    desk.app.state.context = replace(
        desk.app.state.context,
        billing=replace(rules, rated=replace(rules.rated, tariffs=make_book(kept))),
    )
    run = f"{RUNS}/{ask.post(RUNS, JUNE, status=201)['run']}"
    version = ask.post(f"{run}/versions", why(), status=201)["version"]
    answered(ask, run)
    ask.post(f"{run}/approval", {"sha256": version["sha256"]}, key=MANAGER)
    ask.post(f"{run}/export")
    made = ask.post(f"{run}/bills", why(), status=201)
    assert (made["bill_count"], made["refused_count"]) == (0, 4)
    bills = f"{BILLS}/{made['bill_set']}"
    for told in ask.get(f"{bills}/refusals").json()["refusals"]:
        assert "no price table is in force on 2026-0" in told["reason"]
        assert told["hint"]
    ask.refused(f"{bills}/approval", {"sha256": made["sha256"]}, "exceptions_open", key=MANAGER)


def test_a_collector_with_a_hole_in_its_tariffs_does_not_start(tmp_path: Path) -> None:
    shipped = files("collector.billing").joinpath("tariffs", "prices-qd-2699-2024.yaml")
    own = tmp_path / "own.yaml"
    own.write_text(shipped.read_text("utf-8").replace("above_kwh: 50,", "above_kwh: 51,"), "utf-8")
    config = tmp_path / "collector.yaml"
    config.write_text(
        "broker: {host: 127.0.0.1, port: 1}\n"
        f"ledger: sqlite:///{tmp_path / 'ledger.db'}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        f"billing: {{tariffs: [{own}]}}\n",
        encoding="utf-8",
    )
    ledger = open_ledger(load_config(config))
    ledger.migrate()
    ledger.close()
    done = subprocess.run(
        [sys.executable, "-m", "songlo", "collector", "run", "-c", str(config), "--role", "api"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{own}:21: groups[0].levels[0].tiers[1].above_kwh: a hole from 50 to 51" in done.stderr
    assert "hint: correct these lines" in done.stderr
