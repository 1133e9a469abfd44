"""Whatever the OpenAPI document allows, and what it does not: no answer outside of it, none of 5xx.

Schemathesis makes the requests, from the document and from its opposite; the seed is fixed, so that
a failure is the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from collector.api.app import create_app
from collector.api.routes.registry_files import XLSX
from collector.operations.billing_runs import Acting, Scope, make_version, open_run
from collector.operations.billing_settings import default_rules
from collector.operations.bills import make_bills
from collector.operations.vee import VeeRun, run_vee
from collector.operations.vee_files import load_limits
from collector.web.context import Context
from collector.web.rates import Rates
from tests.api.server import serve
from tests.api.world import FIRST_AT, GATEWAY, NOW, STATION, ZONE, World, world

EXAMPLES = 16
# There are many of these, and most of what they are asked for is not there.
BILLING_EXAMPLES = 6
SEED = 20261124
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Broker:
    """Takes everything."""

    def send(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        del topic, payload, retain, timeout_s
        return True


@pytest.fixture(scope="module")
def utility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("fuzz")) as made:
        rates = Rates(burst=1_000_000)
        made.app = create_app(replace(made.app.state.context, sender=Broker(), rates=rates))
        NAMES.update(bill(made))
        days = VeeRun(date(2026, 1, 1), date(2026, 1, 10), ZONE, load_limits(None))
        assert run_vee(made.ledger, days, actor="test", now=NOW).new > 0
        yield made


def bill(made: World) -> dict[str, str]:
    """A run that is not finished, and a set of its bills; what is known by then is refused."""
    days = (FIRST_AT, FIRST_AT + timedelta(days=5))
    by_whom = Acting("clerk", NOW, "to be asked for")
    head = open_run(
        made.ledger, from_at=days[0], to_at=days[1], zone=ZONE, by_whom=by_whom, scope=Scope()
    )
    rules = default_rules(ZONE)
    make_version(made.ledger, head.run, rules.billed, by_whom)
    bills = make_bills(made.ledger, head.run, rules.rated, by_whom).head
    return {"run": head.run, "bill_set": bills.bill_set}


@pytest.fixture(scope="module")
def address(utility: World) -> Iterator[str]:
    with serve(utility.app) as url:
        yield url


# The document is the same whatever stands behind the application: here, nothing.
DOCUMENT = create_app(Context(cast(Any, None), cast(Any, None), "UTC", lambda: NOW)).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]

# Names that exist, so that requests get further than to "not found".
NAMES = {
    "station": STATION, "gateway": GATEWAY, "serial": "2026000101", "name": f"{STATION}/1",
    "finding": 1,
}  # fmt: skip


@schemathesis.serializer("application/zip", XLSX)
def as_it_is(_context: object, value: Any) -> bytes:  # noqa: ANN401  whatever is generated
    return value if isinstance(value, bytes) else str(value).encode()


# What takes nothing cannot be asked wrongly.
ASKED = [
    (mode, method, path)
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    for method, path in OPERATIONS
    if mode is GenerationMode.POSITIVE or path.startswith("/v1")
]


@pytest.mark.parametrize(("mode", "method", "path"), ASKED)
def test_no_request_gets_an_answer_outside_the_document(
    utility: World, address: str, mode: GenerationMode, method: str, path: str
) -> None:
    operation = SCHEMA[path][method.upper()]
    headers = utility.headers("admin")

    @seed(SEED)
    @settings(
        max_examples=BILLING_EXAMPLES if "/billing/" in path else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def ask(case: Case[Any], known: bool) -> None:
        if known:
            for name in NAMES.keys() & set(case.path_parameters or {}):
                case.path_parameters[name] = NAMES[name]
            if "If-Match" in case.headers:
                case.headers["If-Match"] = "*"
        case.call_and_validate(base_url=address, headers=headers, checks=CHECKS)

    ask()
