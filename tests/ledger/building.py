"""Small registries and index reads for tests, put in the way the product does it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from collector.civil import day_start
from collector.ledger import Ledger
from collector.ledger.index_reads import IndexBlock, IndexInsertion
from collector.operations.registry import ImportReport, import_registry
from contract.messages import MeterRead, ScanKind
from contract.registers import IMPORT_ACTIVE

ZONE = "Asia/Ho_Chi_Minh"
NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
STATION = "T1"
GATEWAY = "GW-1"
EPOCH = "0" * 32

STATIONS = "station,name,commune,capacity_kva\nT1,Trạm 1,Sông Lô,250\n"
POINTS = """point,station,role,name
T1/head,T1,head,Công tơ tổng
T1/a,T1,household,Nguyễn Văn A
T1/b,T1,business,"Xưởng mộc, B"
"""
METERS = """meter,model,resolution_wh,roll_over_wh
M0,sdm630,10,
M1,sdm120,10,100000000
M2,sdm120,10,100000000
M3,sdm120,10,100000000
"""
INSTALLATIONS = """point,meter,installed_at,removed_at,install_index_wh,removal_index_wh
T1/head,M0,2026-01-01,,,
T1/a,M1,2026-01-01,,,
T1/b,M2,2026-01-01,,,
"""
FILES = {
    "stations.csv": STATIONS,
    "points.csv": POINTS,
    "meters.csv": METERS,
    "installations.csv": INSTALLATIONS,
}


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def import_files(ledger: Ledger, folder: Path, files: Mapping[str, str]) -> ImportReport:
    return import_registry(ledger, write_files(folder, files), "tester", NOW, zone=ZONE)


def midnight(day: str) -> datetime:
    return day_start(date.fromisoformat(day), ZONE)


def put(
    ledger: Ledger,
    slot: datetime,
    values: Mapping[str, int | Sequence[int | None]],
    *,
    registers: Sequence[str] = (IMPORT_ACTIVE,),
    offset: timedelta = timedelta(milliseconds=400),
    quality: int = 0,
    seq: int = 1,
) -> IndexInsertion:
    """Index reads of one scan: per meter a value, or one for each of `registers`."""
    reads: list[MeterRead] = [
        (
            meter,
            offset // timedelta(milliseconds=1),
            [value] if isinstance(value, int) else list(value),
            quality,
        )
        for meter, value in values.items()
    ]
    block = IndexBlock(GATEWAY, EPOCH, seq, ScanKind.INDEX, slot, registers, reads)
    with ledger.begin() as uow:
        return uow.index_reads.insert_many([block], NOW)
