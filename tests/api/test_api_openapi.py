"""The OpenAPI document: whole, true, and enough to write a client from."""

from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from collector.web.problems import MEDIA_TYPE


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def walk(node: Any) -> None:  # noqa: ANN401  JSON
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = document
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_operation_says_its_key_and_its_problems(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, method, operation in operations(document):
        assert operation["summary"]
        assert operation["tags"]
        if not path.startswith("/v1"):
            continue
        schemes = {name for scheme in operation["security"] for name in scheme}
        assert schemes == {"bearer", "header"}, path
        for status in ("401", "403", "422", "503"):
            assert MEDIA_TYPE in operation["responses"][status]["content"], (path, method, status)
        if "{" in path:
            assert "404" in operation["responses"], path


def test_the_console_is_not_in_it(document: dict[str, Any]) -> None:
    paths = set(document["paths"])
    assert all(path.startswith(("/v1/", "/health", "/metrics")) for path in paths)
    assert "/v1/snapshots/{snapshot_id}/lines.csv" in paths


def test_there_is_no_page_that_loads_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404
