"""What is installed is pinned and under licences that are taken; known holes are asked for."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RULES = PROJECT["tool"]["songlo"]["licences"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")


def script(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(
        name.replace("-", "_"), str(ROOT / "scripts" / name)
    )
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


check = script("check-dependencies")
audit = script("audit-dependencies")


def faults_of(name: str, said: str, **rules: Any) -> list[str]:  # noqa: ANN401  tables of TOML
    wanted = {"allowed": ["MIT", "Apache-2.0"], "readings": {}, "exceptions": {}} | rules
    found: list[str] = check.licence_faults([check.Installed(name, "1.0", said)], wanted)
    return found


def test_every_licence_is_taken_and_every_rule_needed() -> None:
    assert check.licence_faults(check.installed(), RULES) == []
    for table in ("readings", "exceptions"):
        assert all(RULES[table].values())
    assert all(one["reason"] for one in RULES["exceptions"].values())


def test_what_is_installed_is_what_is_pinned() -> None:
    found = check.installed()
    pins = check.pins_of(CONSTRAINTS)
    assert check.pin_faults(found, pins) == []
    # Each way to differ is seen.
    del pins["starlette"]
    pins |= {"httpx": "0.1", "left-pad": "1.0"}
    faults = check.pin_faults(found, pins)
    assert [fault.split(":")[0].split()[0] for fault in faults] == [
        "starlette",
        "httpx",
        "left-pad",
    ]
    for loose in ("httpx>=1", "httpx==1.*"):
        with pytest.raises(ValueError, match="pins"):
            check.pins_of(loose)


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("GPL-3.0-only OR MIT AND Apache-2.0", True),
        ("(GPL-3.0-only OR MIT) AND AGPL-3.0-only", False),
        ("MIT WITH something", False),
        ("BSD", False),
        ("", False),
        ("Copyright (c) somebody", False),
        ("(MIT", False),
    ],
)
def test_a_licence_that_is_not_taken_is_a_fault(said: str, is_taken: bool) -> None:
    assert (faults_of("thing", said) == []) is is_taken


def test_exceptions_and_readings_hold_for_what_they_were_made_for() -> None:
    exception = {"exceptions": {"thing": {"licence": "MPL-2.0", "reason": "a list"}}}
    assert faults_of("thing", "MPL-2.0", **exception) == []
    assert "GPL" in faults_of("thing", "GPL-3.0-only", **exception)[0]
    assert "not needed" in faults_of("thing", "MIT", **exception)[0]
    assert "not installed" in faults_of("other", "MIT", **exception)[0]
    reading = {"readings": {"thing": {"said": "BSD", "licence": "MIT"}}}
    assert faults_of("thing", "BSD", **reading) == []
    assert "read its licence again" in faults_of("thing", "BSD-like", **reading)[0]


def test_an_expression_counts_before_words_and_classifiers() -> None:
    osi = "License :: OSI Approved :: "
    words = {"License": "free as in beer"}
    assert check.said_by(words | {"License-Expression": "GPL-3.0-only"}, []) == "GPL-3.0-only"
    assert check.said_by(words, [f"{osi}MIT License"]) == "free as in beer"
    both = [f"{osi}MIT License", f"{osi}GNU General Public License v3 (GPLv3)"]
    assert not check.is_met("MIT AND GPL-3.0-only", {"MIT"}.__contains__)
    assert faults_of("thing", check.said_by({}, both)) != []


@contextmanager
def osv(answer: bytes, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A service that answers so to whatever is asked, and what was."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_audit(service: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "scripts" / "audit-dependencies", "--service", service, "--timeout-s", "5"]
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def test_a_known_hole_fails_the_audit_and_none_passes_it() -> None:
    pins = audit.pins_of(CONSTRAINTS)
    assert len(pins) > 100
    clean: list[dict[str, Any]] = [{} for _ in pins]
    with osv(json.dumps({"results": clean}).encode()) as (service, asked):
        done = run_audit(service)
    assert done.returncode == 0, done.stderr
    names = [query["package"]["name"] for query in asked[0]["queries"]]
    assert len(names) == len(pins)
    assert "starlette" in names
    clean[names.index("starlette")] = {"vulns": [{"id": "GHSA-xxxx"}]}
    with osv(json.dumps({"results": clean}).encode()) as (service, _):
        done = run_audit(service)
    assert done.returncode == 1
    assert "starlette" in done.stderr
    assert "GHSA-xxxx" in done.stderr


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 500),
        (b"<html>", 200),
        (b'{"results": []}', 200),
        (b"[]", 200),
        (b'{"results":1}', 200),
    ],
)
def test_who_could_not_look_does_not_say_that_all_is_well(answer: bytes, status: int) -> None:
    with osv(answer, status) as (service, _), pytest.raises(audit.NotLookedError, match="127"):
        audit.ask(service, [("a", "1")], 5)


def test_an_audit_without_a_network_says_so() -> None:
    done = run_audit("http://127.0.0.1:9/")
    assert done.returncode == audit.COULD_NOT_LOOK
    assert "COULD NOT LOOK" in done.stderr
    assert done.stdout == ""


def test_what_was_accepted_is_accepted_while_it_is_known() -> None:
    known = {"a 1": ["GHSA-1"], "b 2": []}
    assert audit.judged(known, {"GHSA-1": "not reached"}) == []
    assert "GHSA-2" in audit.judged(known, {"GHSA-1": "x", "GHSA-2": "y"})[0]
