"""The authority's folder after a kill at every step, after damage, and with two at the door."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from contract.certificate import certificate_facts
from fleet import certificates
from fleet.book import Kind
from fleet.errors import DamagedFolder, FleetError
from fleet.folder import opened
from gateway.enrolment import Files, request_first
from tests.fleet.fleets import NOW, Fleet

OWN = "PA25SL-T012"
KILLED = 9

# Dies at the nth write to the disk, or rename: before it, so that what was written may be torn.
SCRIPT = """
import os, pathlib, sys
from datetime import datetime
left = int(sys.argv[1])

def dying(real):
    def step(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*arguments, **options)
    return step

os.fsync = dying(os.fsync)
os.pwrite = dying(os.pwrite)
pathlib.Path.rename = dying(pathlib.Path.rename)
now = datetime.fromisoformat(sys.argv[3])
from pathlib import Path
from contract.enrolment import decode_request
from fleet import operations
from fleet.folder import opened, make_folder
if sys.argv[2] == "init":
    make_folder(Path(sys.argv[4]), None, now)
else:
    with opened(Path(sys.argv[4])) as folder:
        operations.sign(folder, decode_request(Path(sys.argv[5]).read_bytes()), None, now)
"""


def dies_at(step: int, *arguments: str) -> bool:
    command = [sys.executable, "-c", SCRIPT, str(step), arguments[0], NOW.isoformat()]
    done = subprocess.run([*command, *arguments[1:]], capture_output=True, text=True, check=False)
    assert done.returncode in (0, KILLED), done.stderr
    return done.returncode == KILLED


def test_an_authority_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    step, steps = 0, 0
    # The last of its steps only makes the rename last.
    while dies_at(step, "init", str(path)):
        if path.exists():
            with opened(path) as folder:
                assert folder.book.begun is not None
            shutil.rmtree(path)
        step += 1
        steps += 1
    assert steps > 15
    with opened(path) as folder:
        folder.authority(Kind.GATEWAY, None)


def test_a_token_is_used_and_its_certificate_issued_together_or_not_at_all(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "before")
    request = request_first(Files(tmp_path, OWN), fleet.token(OWN))
    path = tmp_path / "request"
    path.write_bytes(msgspec.json.encode(request))
    outcomes = []
    for step in range(30):
        copy = Fleet(tmp_path / f"ca-{step}")
        shutil.copytree(fleet.path, copy.path)
        if not dies_at(step, "sign", str(copy.path), str(path)):
            break
        with opened(copy.path) as folder:
            issued = [one for one in folder.book.issued.values() if one.name == OWN]
            assert [one.claim for one in issued] == list(folder.book.used)
        outcomes.append(len(issued))
        if issued:
            with pytest.raises(FleetError, match="was used at"):
                copy.sign(request)
        else:
            copy.sign(request)
        certificates.listed_serials((copy.path / "broker" / "gateways-crl.pem").read_text())
    assert {0, 1} == set(outcomes)
    assert outcomes == sorted(outcomes)


def test_an_event_counts_once_its_line_is_whole(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "ca")
    journal = fleet.path / "journal"
    before = journal.read_bytes()
    fleet.token(OWN)
    after = journal.read_bytes()
    for length in range(len(before), len(after)):
        journal.write_bytes(after[:length])
        with opened(fleet.path) as folder:
            assert not folder.book.tokens
    # What is left of a line goes when the next is written, which may be the shorter one.
    journal.write_bytes(before + b'{"before":"' + b"0" * 5_000)
    fleet.token(OWN)
    with opened(fleet.path) as folder:
        assert len(folder.book.tokens) == 1
    assert journal.read_bytes().endswith(b"}\n")
    assert journal.read_bytes().count(b"\n") == before.count(b"\n") + 1


def test_a_journal_that_was_changed_is_not_signed_with(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "ca")
    fleet.enrol(OWN, tmp_path / "gateway")
    fleet.revoke(OWN)
    journal = fleet.path / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    for damaged in (
        [*lines[:-2], lines[-1]],  # the certificate was never issued
        [line.replace(b"stolen", b"lost!!") for line in [*lines, lines[-1]]],
        [lines[0].replace(b"2026", b"2025"), *lines[1:]],
        [lines[0], b"{}\n", *lines[1:]],
    ):
        journal.write_bytes(b"".join(damaged))
        with pytest.raises(DamagedFolder), opened(fleet.path):
            pass


def test_an_authority_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    fleet, other = Fleet.begun(tmp_path / "ca"), Fleet.begun(tmp_path / "other")
    for suffix in ("key", "pem"):
        shutil.copy(other.path / f"gateways-ca.{suffix}", fleet.path)
    with pytest.raises(DamagedFolder, match="another one than was made here"), opened(fleet.path):
        pass


def test_one_at_a_time(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "ca")
    with (
        opened(fleet.path),
        pytest.raises(FleetError, match="in use by another command"),
        opened(fleet.path),
    ):
        pass


def test_a_list_that_was_not_written_is_missed(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "ca")
    fleet.enrol(OWN, tmp_path / "gateway")
    list_file = fleet.path / "broker" / "gateways-crl.pem"
    before = list_file.read_bytes()
    fleet.revoke(OWN)
    assert fleet.warnings() == []
    list_file.write_bytes(before)
    assert fleet.warnings() == [
        "broker/gateways-crl.pem is behind: write it with songlo fleet lists"
    ]


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    fleet = Fleet.begun(tmp_path / "ca")
    facts = certificate_facts((fleet.path / "gateways-ca.pem").read_text())
    with pytest.raises(FleetError, match="exists and is kept"):
        Fleet.begun(tmp_path / "ca")
    assert certificate_facts((fleet.path / "gateways-ca.pem").read_text()) == facts
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
