"""A whole registry over the API: dry runs, every bad row, nothing half imported, the same again."""

import io
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from collector.api.routes.registry_files import XLSX, ZIP
from collector.cli import app as cli
from collector.errors import InvalidRequest
from collector.operations import registry_zip
from collector.operations.keys import add_key
from collector.operations.registry_import import import_registry
from collector.web import guards
from tests.api.server import client_of
from tests.api.world import FIRST_AT, NOW, ZONE, World, world

GOOD = {
    "stations.csv": "station,name,commune,capacity_kva\nT1,Trạm Một,Chiềng Ngần,250\n",
    "points.csv": "point,station,role,name\nP0,T1,head,Tổng\nP1,T1,household,Nhà 1\n",
    "meters.csv": "meter,model,resolution_wh,roll_over_wh\nM0,x,10,\nM1,x,10,\nM2,x,10,\n",
    "installations.csv": (
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        "P0,M0,2025-12-01,,0,\nP1,M1,2025-12-01,,0,\n"
    ),
    "multipliers.csv": "point,from_at,multiplier\nP0,2025-12-01,40\n",
    "customers.csv": "customer,name,address\nPA25SL0001,Lò Văn Ban,bản Hụm\n",
    "contracts.csv": "contract,point,customer,from_at,to_at\nHD-1,P1,PA25SL0001,2025-12-01,\n",
    "terms.csv": (
        "contract,from_at,voltage_v,households,renters,renters_undeclared,registered_w\n"
        "HD-1,2025-12-01,220,1,,,\n"
    ),
    "allocations.csv": (
        "contract,from_at,register,position,percent,kwh,price_group\n"
        "HD-1,2025-12-01,1-0:1.8.0,1,100,,household\n"
    ),
    "books.csv": "book,name\nB1,Sổ 1\n",
    "reading_days.csv": "book,from_at,reading_days\nB1,2025-12-01,10;20;last\n",
    "memberships.csv": "point,from_at,book,position\nP1,2025-12-01,B1,A10\n",
}

# What the utility fears most, each with where it is said to be.
BAD = {
    "multipliers.csv": "point,from_at,multiplier\nP0,2025-12-01,40\nP1,2025-12-01,0\n",
    "reading_days.csv": "book,from_at,reading_days\nB1,2025-12-01,32\n",
    "installations.csv": GOOD["installations.csv"]
    + "P1,M2,2025-12-20,,0,\nP7,M2,2025-11-01,2025-11-02,0,\n",
}
SAID = {
    ("installations.csv", 4, "point"): "two installations at once",
    ("installations.csv", 5, "point"): "'P7' is not known",
    ("multipliers.csv", 3, "multiplier"): "no multiplier",
    ("reading_days.csv", 2, "reading_days"): "no reading day",
}


def packed(files: dict[str, str], folder: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(folder + name, text)
    return stream.getvalue()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("files"), stations=False, reads=False) as made:
        made.keys["clerk"] = add_key(
            made.ledger, name="clerk-key", scopes=["registry:write"], now=FIRST_AT
        )
        yield made


@pytest.fixture(scope="module")
def client(desk: World) -> Iterator[httpx.Client]:
    with client_of(desk.app) as made:
        yield made


def brought(
    client: httpx.Client, desk: World, body: bytes, *, status: int = 200, **params: str
) -> Any:  # noqa: ANN401  JSON
    token = params.pop("token", None)
    headers = desk.headers("clerk") | ({} if token is None else {"Idempotency-Key": token})
    answer = client.post("/v1/registry/import", content=body, params=params, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def taken(client: httpx.Client, desk: World, form: str) -> bytes:
    answer = client.get(f"/v1/registry/export.{form}", headers=desk.headers("clerk"))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == (ZIP if form == "zip" else XLSX)
    assert "no-store" in answer.headers["Cache-Control"]
    return answer.content


def unpacked(body: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_every_bad_row_is_said_and_nothing_is_imported(
    client: httpx.Client, desk: World, tmp_path: Path
) -> None:
    body = packed(GOOD | BAD)
    tried = brought(client, desk, body, dry_run="true")
    found = {(row["file"], row["row"], row["column"]): row["reason"] for row in tried["errors"]}
    assert found.keys() == SAID.keys()
    assert all(reason in found[key] for key, reason in SAID.items())
    assert (tried["written"], tried["error_count"]) == (False, 4)
    problem = brought(client, desk, body, status=422)
    assert problem["code"] == "bad_rows"
    assert {fault["where"] for fault in problem["faults"]} == {
        f"{file}, row {row}, column {column}" for file, row, column in SAID
    }
    assert unpacked(taken(client, desk, "zip")) == {}
    # The command line says the same of the same files.
    (tmp_path / "registry").mkdir()
    for name, text in (GOOD | BAD).items():
        (tmp_path / "registry" / name).write_text(text)
    report = import_registry(
        desk.ledger, tmp_path / "registry", "test", NOW, zone=ZONE, dry_run=True
    )
    assert [
        {
            "file": row.file,
            "row": row.row,
            "column": row.column,
            "reason": row.reason,
            "reason_vi": row.reason_vi,
        }
        for row in report.errors
    ] == tried["errors"]


def test_the_command_line_says_them_too(desk: World, tmp_path: Path) -> None:
    config = tmp_path / "collector.yaml"
    config.write_text(
        "broker: {host: 127.0.0.1, port: 1}\n"
        f"ledger: sqlite:///{tmp_path / 'ledger.db'}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
    )
    (tmp_path / "bad.zip").write_bytes(packed(GOOD | BAD))
    (tmp_path / "good.zip").write_bytes(packed(GOOD))
    run = CliRunner()
    assert run.invoke(cli, ["migrate", "--config", str(config)]).exit_code == 0
    done = run.invoke(
        cli, ["registry", "import", str(tmp_path / "bad.zip"), "--config", str(config)]
    )
    assert done.exit_code == 1
    for (file, row, column), reason in SAID.items():
        assert f"error: {file}, row {row}, column {column}: " in done.output
        assert reason in done.output
    assert "nothing was imported" in done.output
    done = run.invoke(
        cli, ["registry", "import", str(tmp_path / "good.zip"), "--config", str(config)]
    )
    assert done.exit_code == 0, done.output


def test_a_district_comes_in_and_goes_out_the_same(client: httpx.Client, desk: World) -> None:
    body = packed(GOOD, "danh mục/")
    planned = brought(client, desk, body, dry_run="true")
    assert not planned["written"]
    assert unpacked(taken(client, desk, "zip")) == {}
    done = brought(client, desk, body, token="first")
    assert done == planned | {"written": True}
    assert done["added"]["points"] == 2
    assert done["touched"]["points"] == ["P0", "P1"]
    exported = taken(client, desk, "zip")
    assert unpacked(exported) == GOOD
    assert taken(client, desk, "zip") == exported
    # The same again changes nothing; with its token it is not even tried.
    assert brought(client, desk, exported)["unchanged"] == 16
    assert brought(client, desk, taken(client, desk, "xlsx"))["unchanged"] == 16
    assert brought(client, desk, body, token="first") == done | {
        "repeated": True, "warnings": [],
    }  # fmt: skip
    again = brought(client, desk, exported, token="first", status=409)
    assert again["code"] == "idempotency_key_reused"
    # Corrected with a reason, which the trail has with what was there before.
    wrong = {"terms.csv": GOOD["terms.csv"].replace(",220,1,", ",220,2,")}
    assert brought(client, desk, packed(wrong), status=422, token="w")["code"] == "bad_rows"
    done = brought(client, desk, packed(wrong), correct="typed wrongly", token="w")
    assert (done["corrected"], done["touched"]["points"]) == (1, ["P1"])
    with desk.ledger.read() as uow:
        detail = uow.audit.of_action("registry.import")[-1].detail
        exports = uow.audit.of_action("registry.export")
    assert detail["reason"] == "typed wrongly"
    assert detail["changed"][0]["old"]["households"] == 1
    assert detail["changed"][0]["new"]["households"] == 2
    assert {entry.actor for entry in exports} == {"clerk-key"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no zip"),
        (b"PK\x03\x04 and more", "no zip"),
        (packed({"other.csv": "a\n1\n"}), "no registry files"),
        (packed({"a/books.csv": "book,name\n", "b/books.csv": "book,name\n"}), "twice"),
        (packed({f"x{number}.csv": "" for number in range(101)}), "more than 100"),
        (packed({"[Content_Types].xml": "<Types/>"}), "registry.xlsx cannot be read: "),
    ],
)  # fmt: skip
def test_what_is_no_registry_is_refused(
    client: httpx.Client, desk: World, body: bytes, said: str
) -> None:
    problem = brought(client, desk, body, status=422)
    assert (problem["code"], said in problem["detail"]) == ("invalid_request", True), problem
    assert problem["hint"]
    assert "/tmp" not in str(problem)


def test_a_file_that_is_no_utf_8_is_named(client: httpx.Client, desk: World) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("books.csv", "book,name\nB9,Sổ\n".encode("utf-16"))
    problem = brought(client, desk, stream.getvalue(), status=422)
    assert "books.csv is not UTF-8" in problem["detail"]


def test_a_zip_that_would_explode_is_refused(
    client: httpx.Client, desk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_zip, "UNPACKED_BYTES_MAX", 1000)
    body = packed({"books.csv": "book,name\n" + "\n" * 2000})
    assert "unpacks to more" in brought(client, desk, body, status=422)["detail"]


def test_a_zip_that_would_explode_is_not_unpacked_to_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_zip, "UNPACKED_BYTES_MAX", 1000)
    path = tmp_path / "registry.zip"
    path.write_bytes(packed({"books.csv": "book,name\n" + "\n" * 20_000_000}))
    assert path.stat().st_size < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="unpacks to more"):
            registry_zip.read_zip(path, ["books.csv"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_body_has_a_limit_and_others_keep_theirs(
    client: httpx.Client, desk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(guards.BODY_BYTES_MAX_OF, "/v1/registry/import", 100_000)
    assert brought(client, desk, b"x" * 90_000, status=422)["code"] == "invalid_request"
    assert brought(client, desk, b"x" * 110_000, status=413)["code"] == "too_large"
    body = {"rows": [{"book": "B7", "name": "x" * 90_000}]}
    answer = client.post("/v1/registry/books", json=body, headers=desk.headers("clerk"))
    assert answer.status_code == 413
    # Who has no key sends nothing at all.
    answer = client.post("/v1/registry/import", content=b"x" * 90_000)
    assert answer.status_code == 401
