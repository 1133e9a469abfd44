"""Green Button of a customer by half-hours, on both databases and by command: what was read at both
ends, for the own contract's days, a year of it without holding it."""

import hashlib
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from collector.cli import app
from collector.errors import InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.findings import ManualIndex, ManualKind
from collector.ledger.index_reads import IndexBlock
from collector.operations.exports import By
from collector.operations.findings import enter_index
from collector.operations.green_button import export_green_button
from collector.operations.half_hours import export_half_hours
from collector.operations.vee_files import load_limits
from contract.messages import ScanKind
from contract.quality import Quality as Bits
from contract.registers import IMPORT_ACTIVE
from tests.ledger.building import EPOCH, FILES, GATEWAY, NOW, ZONE, import_files, midnight
from tests.ledger.template import fill_file
from tests.ledger.test_green_button import CONTRACTS, ESPI
from tests.unit.collector.exports.test_espi import schema

BY = By("clerk", NOW, ZONE)
HALF_HOUR = timedelta(minutes=30)
FIRST, LAST = midnight("2026-05-01"), midnight("2026-05-11")
PERIOD = FIRST, LAST
HOA, NAM = "PA25SL0000001", "PA25SL0000002"
MULTIPLIERS = "point,from_at,multiplier\nT1/a,2026-01-01,20\n"
EXCHANGED = datetime.fromisoformat("2026-05-04T09:10:00+07:00")
INSTALLED = (
    "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
    "T1/head,M0,2026-01-01,,,\nT1/b,M2,2026-01-01,,,\n"
    "T1/a,M1,2026-01-01,2026-05-04T09:10:00+07:00,,{removed}\n"
    "T1/a,M3,2026-05-04T09:10:00+07:00,,200,\n"
)

Row = tuple[datetime, str, int, int, timedelta]


def used(number: int) -> int:
    """What the register of a meter counts in the half-hour of that number, Wh."""
    return 10 * (number * 37 % 50 + 1)


def counted(number: int) -> int:
    """What it shows at the end number `number`, beginning with 1,000,000."""
    return 1_000_000 + sum(map(used, range(number)))


def slot(number: int) -> datetime:
    return FIRST + number * HALF_HOUR


def number_of(text: str) -> int:
    """The number of a half-hour of May, `day hour:minute` of the zone."""
    at = datetime.fromisoformat(f"2026-05-{text}:00+07:00")
    return (at - FIRST) // HALF_HOUR


def row(number: int, meter: str, value: int, bits: int = 0, off_s: int = 4) -> Row:
    return slot(number), meter, value, bits, timedelta(seconds=off_s)


def put_all(
    ledger: Ledger, rows: Iterable[Row], registers: tuple[str, ...] = (IMPORT_ACTIVE,)
) -> None:
    """Reads of the regular cadence, in one transaction."""
    blocks = [
        IndexBlock(GATEWAY, EPOCH, number, ScanKind.INTERVAL, at, registers, [
            (meter, off // timedelta(milliseconds=1), [value] * len(registers), bits)
        ])
        for number, (at, meter, value, bits, off) in enumerate(rows, 1)
    ]  # fmt: skip
    with ledger.begin() as uow:
        uow.index_reads.insert_many(blocks, NOW)


GAP = range(number_of("02 10:00"), number_of("02 12:30"))
UNSURE, ZERO, AGAIN = (number_of(f"03 {text}") for text in ("06:00", "07:00", "08:00"))
TOO_LATE = number_of("03 09:00")
LAST_OF_M1 = number_of("04 09:00")
# Of the new meter what it shows at 09:30 is 200 + 1,500 Wh.
NEW = 200 + 1_500 - counted(LAST_OF_M1 + 1)


def fill(ledger: Ledger, folder: Path, installed: str = INSTALLED) -> None:
    """Ten days at the meters' cadence with all that can befall them; T1/a is Hoa's until 7 May,
    then Nam's."""
    removed = counted(LAST_OF_M1) + 40
    files = {"installations.csv": installed.format(removed=removed), "multipliers.csv": MULTIPLIERS}
    report = import_files(ledger, folder / "registry", {**FILES, **CONTRACTS, **files})
    assert report.errors == ()
    rows = []
    for number in range(10 * 48 + 1):
        if number in GAP:
            continue
        meter, value = ("M1", counted(number))
        if number > LAST_OF_M1:
            meter, value = "M3", counted(number) + NEW
        if number == UNSURE:
            rows.append(row(number, meter, value, Bits.CLOCK_UNSYNCED))
        elif number == ZERO:
            rows.append(row(number, meter, 0))
        elif number == AGAIN:
            rows.append(row(number, meter, value, Bits.LATE, off_s=600))
        elif number == TOO_LATE:
            rows.append(row(number, meter, value, Bits.LATE, off_s=1_200))
        else:
            rows.append(row(number, meter, value))
    put_all(ledger, rows)


def readings(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Number of the half-hour, seconds, energy and quality of each interval."""
    for one in ElementTree.fromstring(content).iter(f"{ESPI}IntervalReading"):
        begin = int(one.findtext(f"{ESPI}timePeriod/{ESPI}start") or 0)
        duration = int(one.findtext(f"{ESPI}timePeriod/{ESPI}duration") or 0)
        at = datetime.fromtimestamp(begin, UTC)
        value = int(one.findtext(f"{ESPI}value") or 0)
        quality = int(one.findtext(f"{ESPI}ReadingQuality/{ESPI}quality") or 0)
        yield (at - FIRST) // HALF_HOUR, duration, value, quality


def by_number(content: bytes) -> dict[int, tuple[int, int]]:
    """Energy and quality by the half-hour's number."""
    return {number: (energy, quality) for number, _, energy, quality in readings(content)}


def of(ledger: Ledger, customer: str, period: tuple[datetime, datetime] = PERIOD) -> bytes:
    return b"".join(export_half_hours(ledger, customer, period, BY).pieces)


def test_each_half_hour_is_what_was_read_at_both_its_ends(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    export = export_half_hours(ledger, HOA, PERIOD, BY)
    content = b"".join(export.pieces)
    schema().validate(content.decode())
    lacking = {*GAP, UNSURE, ZERO, TOO_LATE}
    exchange = LAST_OF_M1
    wanted = [
        (number, 1_800, 20 * used(number), 11 if AGAIN in {number, number + 1} else 0)
        if number != exchange
        else (number, 1_800, 20 * (40 + 1_500), 0)
        for number in range(6 * 48)
        if not lacking & {number, number + 1}
    ]
    assert list(readings(content)) == wanted
    assert (export.points, export.intervals) == (("T1/a",), len(wanted))
    of_nam = of(ledger, NAM)
    assert list(readings(of_nam)) == [
        (number, 1_800, 20 * used(number), 0) for number in range(6 * 48, 10 * 48)
    ]
    for text in (content.decode(), of_nam.decode()):
        for word in ("Hoa", "Nam", "Thôn", HOA, NAM):
            assert word not in text
    assert of(ledger, HOA) == content
    with ledger.read() as uow:
        found = [one for one in uow.audit.newest(20) if one.action == "export.green_button"]
    entry = found[-1]
    assert (entry.subject, entry.detail["by"]) == (HOA, "half-hour")
    assert entry.detail["sha256"] == hashlib.sha256(content).hexdigest()
    assert (entry.detail["rows"], entry.detail["points"]) == (len(wanted), ["T1/a"])


def test_half_hours_add_up_to_their_days(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    days = export_green_button(ledger, NAM, PERIOD, load_limits(None), BY)
    of_days = {number // 48: energy for number, _, energy, _ in readings(b"".join(days.pieces))}
    sums: dict[int, int] = {}
    for number, _, energy, _ in readings(of(ledger, NAM)):
        sums[number // 48] = sums.get(number // 48, 0) + energy
    assert sums == of_days
    assert len(sums) == 4


def test_what_people_put_in_counts_and_an_estimate_is_no_read(
    ledger: Ledger, tmp_path: Path
) -> None:
    fill(ledger, tmp_path)

    def enter(kind: ManualKind, day: int, value: int, original: int | None = None) -> None:
        at = slot(day * 48)
        one = ManualIndex(
            kind=kind, point="T1/a", meter="M3", register=IMPORT_ACTIVE, at=at, value=value,
            author="an", entered_at=NOW, reason="a test", original_value=original,
            original_read_at=None if original is None else at,
            method="E1" if kind is ManualKind.ESTIMATE else None,
        )  # fmt: skip
        enter_index(ledger, one, NOW)

    before = by_number(of(ledger, NAM))
    shown = [counted(day * 48) + NEW for day in range(11)]
    enter(ManualKind.EDIT, 7, shown[7] - 10, shown[7])
    enter(ManualKind.ESTIMATE, 8, shown[8] - 10, shown[8])
    enter(ManualKind.ESTIMATE, 9, shown[9] - 10)
    after = by_number(of(ledger, NAM))
    edited, estimated = 7 * 48, 8 * 48
    assert after.pop(edited - 1) == (before.pop(edited - 1)[0] - 200, 7)
    assert after.pop(edited) == (before.pop(edited)[0] + 200, 7)
    assert before.keys() - after.keys() == {estimated - 1, estimated}
    assert all(before[number] == of_number for number, of_number in after.items())


def test_an_exchange_without_its_index_leaves_its_half_hour_out(
    ledger: Ledger, tmp_path: Path
) -> None:
    fill(ledger, tmp_path, INSTALLED.replace(",{removed}", ",").replace(",200,", ",,"))
    numbers = {number for number, *_ in readings(of(ledger, HOA))}
    assert LAST_OF_M1 not in numbers
    assert {LAST_OF_M1 - 1, LAST_OF_M1 + 1} <= numbers


def test_what_cannot_be_is_told(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path)
    with pytest.raises(NotFound, match="no customer 'PA99'"):
        export_half_hours(ledger, "PA99", PERIOD, BY)
    with pytest.raises(InvalidRequest, match="no half-hour of customer PA25SL0000003"):
        export_half_hours(ledger, "PA25SL0000003", PERIOD, BY)
    with pytest.raises(InvalidRequest, match="no half-hour"):
        export_half_hours(ledger, HOA, (midnight("2026-03-01"), midnight("2026-04-01")), BY)
    with pytest.raises(InvalidRequest, match="not the start of a day"):
        export_half_hours(ledger, HOA, (FIRST + HALF_HOUR, LAST), BY)
    with pytest.raises(InvalidRequest, match="366 days at most"):
        export_half_hours(ledger, HOA, (midnight("2025-05-01"), midnight("2026-05-03")), BY)
    with pytest.raises(InvalidRequest, match="in the future"):
        export_half_hours(ledger, HOA, (LAST, midnight("2027-01-01")), BY)


REGISTERS = (IMPORT_ACTIVE, "1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")


def test_a_year_is_streamed_and_never_held(tmp_path: Path) -> None:
    fill_file(tmp_path / "ledger.db")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    files = {**FILES, "customers.csv": CONTRACTS["customers.csv"]}
    files["contracts.csv"] = f"contract,point,customer,from_at,to_at\nHD-1,T1/a,{HOA},2025-01-01,\n"
    files["installations.csv"] = (
        "point,meter,installed_at,removed_at,install_index_wh,removal_index_wh\n"
        "T1/a,M1,2025-01-01,,,\n"
    )
    assert import_files(ledger, tmp_path / "registry", files).errors == ()
    begin, end = midnight("2025-11-01"), midnight("2026-11-01")
    count = (end - begin) // HALF_HOUR
    assert count == 365 * 48
    rows = [(begin + n * HALF_HOUR, "M1", 1_000 + 10 * n, 0, timedelta(seconds=4))
            for n in range(count + 1)]  # fmt: skip
    put_all(ledger, rows, REGISTERS)

    def peak(period: tuple[datetime, datetime]) -> tuple[int, int, int, int]:
        tracemalloc.start()
        export = export_half_hours(ledger, HOA, period, BY)
        pieces, size = 0, 0
        for piece in export.pieces:
            pieces, size = pieces + 1, size + len(piece)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return export.intervals, pieces, size, held

    of_months = peak((midnight("2026-09-01"), end))
    of_year = peak((begin, end))
    assert (of_months[0], of_year[0]) == (61 * 48 * 4, count * 4)
    assert of_year[1] > 12 * 4
    assert of_year[3] < 1.3 * of_months[3], (of_months, of_year)
    assert of_year[3] < of_year[2] / 2, (of_months, of_year)
    ledger.close()


def test_the_command_writes_it(tmp_path: Path) -> None:
    fill_file(tmp_path / "ledger.db")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    fill(ledger, tmp_path)
    ledger.close()
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"ledger: {url}\nreadings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n"
    )
    output = tmp_path / "gb.xml"
    options = ["export", "green-button", "-c", str(config), "--customer", NAM, "--by", "half-hour",
               "--from", "2026-05-01", "--to", "2026-05-11", "-o", str(output)]  # fmt: skip
    result = CliRunner().invoke(app, options)
    assert (result.exit_code, result.stdout) == (0, f"192 intervals of 1 points in {output}\n")
    assert output.stat().st_mode & 0o077 == 0
    numbers = [number for number, *_ in readings(output.read_bytes())]
    assert numbers[0] == 6 * 48
    assert all(later == one + 1 for one, later in pairwise(numbers))
