"""Green Button of a customer, on both databases and through command and API."""

import hashlib
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from collector.cli import app
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.operations.exports import By
from collector.operations.findings import enter_index
from collector.operations.green_button import export_green_button
from collector.operations.vee_files import load_limits
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import FILES, NOW, ZONE, import_files, midnight, put

ESPI = "{http://naesb.org/espi}"
BY = By("clerk", NOW, ZONE)
BOOK = load_limits(None)
PERIOD = midnight("2026-05-01"), midnight("2026-05-11")
CONTRACTS = {
    "installations.csv": "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    "T1/head,M0,2026-01-01,,,\nT1/a,M1,2026-01-01,2026-05-04T09:00:00+07:00,,30500\n"
    "T1/a,M3,2026-05-04T09:00:00+07:00,,200,\nT1/b,M2,2026-01-01,,,\n",
    "customers.csv": "customer,name,address\nPA25SL0000001,Nguyễn Thị Hoa,Thôn 1\n"
    "PA25SL0000002,Trần Văn Nam,Thôn 2\nPA25SL0000003,Lê Thị Ba,Thôn 3\n",
    "contracts.csv": "contract,point,customer,from_at,to_at\n"
    "HD-1,T1/a,PA25SL0000001,2026-01-01,2026-05-07\nHD-2,T1/a,PA25SL0000002,2026-05-07,\n",
}


def fill(ledger: Ledger, folder: Path) -> None:
    """Ten days, a meter exchanged on the fourth, no read on two days, one estimated."""
    report = import_files(ledger, folder / "registry", {**FILES, **CONTRACTS})
    assert report.errors == ()
    for number in range(11):
        at = midnight("2026-05-01") + timedelta(days=number)
        if number <= 3:
            put(ledger, at, {"M1": 10_000 * number}, seq=number + 1)
        elif number not in {7, 8}:
            put(ledger, at, {"M3": 10_000 * (number - 3)}, seq=number + 1)
    enter_index(
        ledger,
        ManualIndex(
            kind=ManualKind.ESTIMATE,
            point="T1/a",
            meter="M3",
            register=IMPORT_ACTIVE,
            at=midnight("2026-05-09"),
            value=49_000,
            author="an",
            entered_at=NOW,
            reason="a test",
            method="E1",
        ),
        NOW,
    )


def readings(content: bytes) -> list[tuple[str, int, int, int]]:
    """Day, days, energy and quality of each interval."""
    found = []
    for one in ElementTree.fromstring(content).iter(f"{ESPI}IntervalReading"):
        begin = int(one.findtext(f"{ESPI}timePeriod/{ESPI}start") or 0)
        duration = int(one.findtext(f"{ESPI}timePeriod/{ESPI}duration") or 0)
        value = int(one.findtext(f"{ESPI}value") or 0)
        quality = int(one.findtext(f"{ESPI}ReadingQuality/{ESPI}quality") or 0)
        day = date.fromordinal(date(1970, 1, 1).toordinal() + (begin + 7 * 3600) // 86_400)
        found.append((day.isoformat()[5:], duration // 86_400, value, quality))
    return found


def test_each_customer_has_the_days_of_the_own_contract(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    export = export_green_button(ledger, "PA25SL0000001", PERIOD, BOOK, BY)
    first = b"".join(export.pieces)
    assert readings(first) == [
        ("05-01", 1, 10_000, 0),
        ("05-02", 1, 10_000, 0),
        ("05-03", 1, 10_000, 0),
        ("05-04", 1, 500 + 9_800, 0),
        ("05-05", 1, 10_000, 0),
        ("05-06", 1, 10_000, 0),
    ]
    assert (export.points, export.intervals) == (("T1/a",), 6)
    second = b"".join(export_green_button(ledger, "PA25SL0000002", PERIOD, BOOK, BY).pieces)
    assert readings(second) == [("05-07", 2, 19_000, 9), ("05-09", 1, 11_000, 9),
                                ("05-10", 1, 10_000, 0)]  # fmt: skip
    for content in (first, second):
        for word in ("Hoa", "Nam", "Thôn", "PA25SL0000001", "PA25SL0000002"):
            assert word not in content.decode()
    with ledger.read() as uow:
        entries = [one for one in uow.audit.newest(20) if one.action == "export.green_button"]
    assert entries[1].subject == "PA25SL0000001"
    assert entries[1].detail["sha256"] == hashlib.sha256(first).hexdigest()
    assert (entries[1].detail["rows"], entries[1].detail["points"]) == (6, ["T1/a"])
    again = export_green_button(ledger, "PA25SL0000001", PERIOD, BOOK, BY)
    assert b"".join(again.pieces) == first


def test_what_cannot_be_is_told(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    with pytest.raises(NotFound, match="no customer 'PA99'"):
        export_green_button(ledger, "PA99", PERIOD, BOOK, BY)
    with pytest.raises(InvalidRequest, match="nothing was counted"):
        export_green_button(ledger, "PA25SL0000003", PERIOD, BOOK, BY)
    half = PERIOD[0] + timedelta(hours=1), PERIOD[1]
    with pytest.raises(InvalidRequest, match="not the start of a day"):
        export_green_button(ledger, "PA25SL0000001", half, BOOK, BY)
    long = midnight("2020-01-01"), PERIOD[1]
    with pytest.raises(InvalidRequest, match="1100 days"):
        export_green_button(ledger, "PA25SL0000001", long, BOOK, BY)


def test_the_command_writes_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    ledger.migrate()
    fill(ledger, tmp_path)
    ledger.close()
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: {url}\nreadings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
    )
    output = tmp_path / "gb.xml"
    options = ["export", "green-button", "-c", str(config), "--customer", "PA25SL0000001",
               "--from", "2026-05-01", "--to", "2026-05-11", "-o", str(output)]  # fmt: skip
    result = CliRunner().invoke(app, options)
    assert (result.exit_code, result.stdout) == (0, f"6 intervals of 1 points in {output}\n")
    assert output.stat().st_mode & 0o077 == 0
    assert len(readings(output.read_bytes())) == 6
    result = CliRunner().invoke(app, options)
    assert (result.exit_code, "is there already" in result.stderr) == (1, True)
