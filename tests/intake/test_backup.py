"""Backup and restore: taken while batches come in, whole, and nothing that was acked is missing."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.errors import Conflict, InvalidRequest, LedgerStateError
from collector.ledger import Ledger
from collector.operations import delivery
from collector.operations.backup import Place, check_backup, make_backup, restore_backup
from collector.readings import duckdb_copy
from collector.readings.duckdb_copy import copy_store
from collector.readings.duckdb_store import DuckDbStore
from collector.readings.port import ReadBlock, StoreUnavailable
from tests.intake.kit import Gateway, intake, scan, until
from tests.ledger.template import fill_database, fill_file
from tests.services import Mosquitto, PostgresServer, ServerProcess, free_port

NOW = datetime(2026, 11, 24, tzinfo=UTC)
METERS = [f"M{number}" for number in range(40)]

NewLedger = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewLedger]:
    """Makes the addresses of empty databases of one kind."""
    if request.param == "sqlite":
        yield lambda: f"sqlite:///{tmp_path / f'ledger-{free_port()}.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.start()
    made: list[str] = []

    def new() -> str:
        made.append(server.create_database())
        return made[-1]

    yield new
    for url in made:
        server.drop_database(url)


@pytest.fixture
def place(request: pytest.FixtureRequest, new_ledger: NewLedger, tmp_path: Path) -> Place:
    """A place with a migrated ledger and an empty reading store."""
    url = new_ledger()
    if url.startswith("sqlite"):
        fill_file(Path(url.removeprefix("sqlite:///")))
    else:
        fill_database(request.getfixturevalue("postgres_server"), url)
    DuckDbStore(tmp_path / "reads.duckdb").close()
    return Place(url, None, tmp_path / "reads.duckdb")


def elsewhere(new_ledger: NewLedger, tmp_path: Path) -> Place:
    folder = tmp_path / f"elsewhere-{free_port()}"
    folder.mkdir()
    return Place(new_ledger(), None, folder / "reads.duckdb")


@contextmanager
def opened(place: Place) -> Iterator[tuple[Ledger, DuckDbStore]]:
    assert place.readings is not None
    ledger, store = Ledger(place.ledger_url), DuckDbStore(place.readings)
    try:
        yield ledger, store
    finally:
        store.close()
        ledger.close()


@contextmanager
def working(place: Place, port: int, folder: Path) -> Iterator[ServerProcess]:
    """A collector at work in another process, as at every backup."""
    ready = folder / f"ready-{free_port()}"
    process = ServerProcess(
        "collector",
        [sys.executable, "-m", "tests.intake.backup_collector", place.ledger_url,
         str(place.readings), str(port), str(ready)],
        folder / "collector.log",
        ready.exists,
    )  # fmt: skip
    process.start(60)
    try:
        yield process
        process.stop()
    finally:
        process.close()


@contextmanager
def load(gateway: Gateway, sent: list[int]) -> Iterator[None]:
    """Batch after batch, a window at a time, until the block ends; `sent` grows with them."""
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            seq = len(sent) + 1
            if seq > gateway.upto() + 30:
                stop.wait(0.005)
                continue
            gateway.send(seq, scan(seq, meters=METERS))
            sent.append(seq)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def test_a_backup_under_load_is_whole_and_gateways_send_what_came_after_it(
    place: Place, new_ledger: NewLedger, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    sent: list[int] = []
    with Gateway(mosquitto.port) as gateway:
        with working(place, mosquitto.port, tmp_path):
            with load(gateway, sent):
                until(lambda: gateway.upto() > 100, "the load does not start")
                before = gateway.upto()
                made = make_backup(place, folder, now=NOW)
                after = gateway.upto()
                until(lambda: gateway.upto() > after + 50, "the load does not go on")
            until(lambda: gateway.upto() == len(sent), "not all is acked")
        assert check_backup(folder) == made
        assert before <= made.ledger_rows["receipts"] < len(sent)
        assert made.readings_rows is not None
        assert made.readings_rows >= before * len(METERS)

        restored = elsewhere(new_ledger, tmp_path)
        restore_backup(restored, folder)
        with opened(restored) as (ledger, store):
            # What was claimed and not complete in that instant comes again with what came later.
            in_hand = ("not yet in the reading store", "have not come")
            problems = delivery.verify(ledger, store).problems
            assert [text for text in problems if not any(part in text for part in in_hand)] == []
            raised = delivery.restored(
                ledger, acks={"GW1": gateway.acks[-1]}, actor="tester", now=NOW
            )
            with intake(ledger, store, mosquitto.port):
                until(lambda: gateway.generation == raised["GW1"], "no new generation is told")
                held = gateway.upto()
                assert before <= held < len(sent)
                for seq in sent[held:]:
                    gateway.send(seq, scan(seq, meters=METERS))
                gateway.wait_acked(len(sent))
            found = delivery.verify(ledger, store)
            assert found.problems == ()
            assert found.reads_stored == found.reads_expected == len(sent) * len(METERS)


def test_a_backup_goes_into_no_folder_that_has_something_and_leaves_no_half(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    (folder / "letter").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        make_backup(place, folder, now=NOW)
    assert [path.name for path in folder.iterdir()] == ["letter"]
    (folder / "letter").unlink()
    broken = Place(place.ledger_url, None, tmp_path / "no-such.duckdb")
    with pytest.raises(StoreUnavailable, match="cannot be copied"):
        make_backup(broken, folder, now=NOW)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / ".backup.part").exists()
    (tmp_path / ".backup.part").mkdir()  # a power cut left it
    (tmp_path / ".backup.part" / "ledger.sqlite3").write_text("half")
    made = make_backup(place, folder, now=NOW)
    assert {path.name for path in folder.iterdir()} == {*made.files, "manifest.json"}
    assert {oct(path.stat().st_mode & 0o077) for path in [folder, *folder.iterdir()]} <= {
        "0o0",
        "0o44",  # the manifest, in a folder that nobody else can enter
    }
    assert folder.stat().st_mode & 0o077 == 0


def test_a_backup_that_was_changed_is_not_restored(
    place: Place, new_ledger: NewLedger, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    made = make_backup(place, folder, now=NOW)
    target = elsewhere(new_ledger, tmp_path)
    assert target.readings is not None
    for name in made.files:
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(LedgerStateError, match=f"{name} is not what was written"):
            restore_backup(target, folder)
        path.unlink()
        with pytest.raises(LedgerStateError, match=f"{name} cannot be read"):
            check_backup(folder)
        path.write_bytes(whole)
    manifest = folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[:100])
    with pytest.raises(LedgerStateError, match="manifest"):
        check_backup(folder)
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(InvalidRequest, match="format 2"):
        check_backup(folder)
    document = json.loads(text)
    document["files"]["../ledger"] = document["files"].popitem()[1]
    manifest.write_text(json.dumps(document))
    with pytest.raises(LedgerStateError, match="manifest"):
        check_backup(folder)
    assert not target.readings.exists()
    manifest.unlink()
    with pytest.raises(InvalidRequest, match="is no backup"):
        check_backup(folder)


def test_nothing_is_restored_over_what_is_there(
    place: Place, new_ledger: NewLedger, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    make_backup(place, folder, now=NOW)
    with pytest.raises(Conflict, match="already"):
        restore_backup(place, folder)
    target = elsewhere(new_ledger, tmp_path)
    assert target.readings is not None
    target.readings.write_text("somebody's")
    with pytest.raises(Conflict, match="already"):
        restore_backup(target, folder)
    assert target.readings.read_text() == "somebody's"
    target.readings.unlink()
    restore_backup(target, folder)
    with opened(target) as (ledger, store):
        ledger.check_schema()
        assert delivery.verify(ledger, store).problems == ()


def test_a_store_that_is_rewritten_during_the_copy_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkpoint of the source during a copy is noticed; a store that never rests is said."""
    source = tmp_path / "reads.duckdb"
    DuckDbStore(source).close()
    number = [0]
    wild = [3]
    copyfile = shutil.copyfile

    def meddling(a: Path, b: Path) -> None:
        if wild[0]:
            wild[0] -= 1
            number[0] += 1
            with contextlib.closing(DuckDbStore(source)) as store:  # which ends with a checkpoint
                store.append([_block(number[0])])
        copyfile(a, b)

    monkeypatch.setattr(shutil, "copyfile", meddling)
    monkeypatch.setattr(duckdb_copy, "PAUSE_S", 0.0)
    assert copy_store(source, tmp_path / "copy.duckdb") == 3 * len(METERS)
    wild[0] = 1_000
    with pytest.raises(StoreUnavailable, match="rewritten"):
        copy_store(source, tmp_path / "again.duckdb")
    assert 1_000 - wild[0] == duckdb_copy.TRIES


def _block(number: int) -> ReadBlock:
    batch = scan(number, meters=METERS).scan
    assert batch is not None
    table = batch.tables[0]
    return ReadBlock("S", "GW", batch.kind, batch.slot, table.registers, table.reads)


def test_the_commands_say_what_was_done_and_what_comes_next(tmp_path: Path) -> None:
    def run(folder: Path, *words: str, code: int = 0) -> str:
        folder.mkdir(exist_ok=True)
        config = folder / "collector.yaml"
        config.write_text(
            f"ledger: sqlite:///{folder / 'ledger.db'}\n"
            f"readings: {{store: duckdb, path: {folder / 'reads.duckdb'}}}\n"
            f"broker: {{host: 127.0.0.1, port: {free_port()}}}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "songlo", "collector", *words, "--config", str(config)],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    here, there, folder = tmp_path / "here", tmp_path / "there", str(tmp_path / "backup")
    here.mkdir()
    fill_file(here / "ledger.db")
    DuckDbStore(here / "reads.duckdb").close()
    assert "was made" in run(here, "backup", folder)
    assert "is whole" in run(here, "backup", "--check", folder)
    assert "songlo collector restored" in run(there, "restore", folder)
    assert "hint: restore into a new place" in run(there, "restore", folder, code=1)
