"""The gateway's side of an enrolment: commands, what it does not believe, and kills."""

import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.certificate import certificate_facts
from fleet import operations
from fleet.book import CERTIFICATE_LIFETIME
from fleet.cli import app as fleet_app
from gateway.cli import app as gateway_app
from gateway.config import Tls
from gateway.credentials import EXPIRES_SOON, BadCredentials, concern, context_of
from gateway.enrolment import Files, install, request_first, request_next
from gateway.enrolment_key import EnrolmentFailed
from tests.fleet.fleets import NOW, Fleet, today

OWN, OTHER = "PA25SL-T012", "PA25SL-T013"
KILLED = 9


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.begun(tmp_path / "ca")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, OWN)


def answer(fleet: Fleet, files: Files, *, replaces: bool = False) -> bytes:
    request = request_first(files, fleet.token(files.gateway, replaces=replaces))
    return operations.encoded(fleet.sign(request).answer)


# -- by the commands


def test_from_nothing_to_a_certificate_by_the_commands_alone(tmp_path: Path) -> None:
    ca, home, carried = tmp_path / "ca", tmp_path / "etc", tmp_path / "stick"
    home.mkdir()
    carried.mkdir()
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("một câu đủ dài\n", encoding="utf-8")
    request, reply = carried / "request", carried / "answer"

    def fleet_says(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(fleet_app, [*arguments, "--ca", str(ca)])
        assert done.exit_code == status, done.output
        return done.output

    def gateway_says(*arguments: str, status: int = 0) -> str:
        line = ["enrol", *arguments, "--folder", str(home)]
        done = CliRunner().invoke(gateway_app, line)
        assert done.exit_code == status, done.output
        return done.output

    locked = ("--passphrase-file", str(passphrase))
    assert "hint: give it: --host" in fleet_says("init", status=1)
    fleet_says("init", "--host", "broker.example.vn", *locked)
    assert "exists and is kept" in fleet_says("init", "--host", "x", *locked, status=1)
    (home / "token").write_text(fleet_says("token", OWN).splitlines()[0])
    first = ("request", OWN, "--token-file", str(home / "token"), "--output", str(request))
    gateway_says(*first)
    assert "has a passphrase" in fleet_says("sign", str(request), status=1)
    signed = fleet_says("sign", str(request), "--output", str(reply), *locked)
    assert "good until" in signed
    shown = gateway_says("install", OWN, str(reply))
    assert "certificate_file: PA25SL-T012.pem, key_file: PA25SL-T012.pem" in shown
    # The same again is refused on both sides.
    assert "was used at" in fleet_says("sign", str(request), *locked, status=1)
    assert "waits for no answer" in gateway_says("install", OWN, str(reply), status=1)

    _then_renewed_and_taken_back(ca, carried, locked, fleet_says, gateway_says)


def _then_renewed_and_taken_back(
    ca: Path,
    carried: Path,
    locked: tuple[str, str],
    fleet_says: Callable[..., str],
    gateway_says: Callable[..., str],
) -> None:
    request = carried / "request"
    gateway_says("renew", OWN, "--output", str(request))
    fleet_says("sign", str(request), *locked)
    gateway_says("install", OWN, str(carried / f"{OWN}.answer"))
    fleet_says("check")
    assert OWN in fleet_says("list")
    said = fleet_says("revoke", OWN, "--reason", "stolen", *locked)
    assert "reload" in said
    assert "taken back" in fleet_says("sign", str(request), *locked, status=1)
    assert '"state": "revoked"' in fleet_says("list", "--json")
    fleet_says("rotate", "intake", *locked)
    fleet_says("rotate", "broker", *locked)
    assert "none of broker, intake" in fleet_says("rotate", OWN, *locked, status=1)
    fleet_says("lists", *locked)
    broker = certificate_facts((ca / "broker" / "broker.pem").read_text())
    assert broker.common_name == "broker"


def test_a_token_that_is_mistyped_makes_no_key(fleet: Fleet, files: Files) -> None:
    token = fleet.token(OWN)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    with pytest.raises(EnrolmentFailed, match="mistyped"):
        request_first(files, wrong)
    assert not files.next_key.exists()


def test_the_key_never_leaves_the_gateway(fleet: Fleet, files: Files) -> None:
    request = request_first(files, fleet.token(OWN))
    payload = operations.encoded(fleet.sign(request).answer)
    secret = files.next_key.read_text().splitlines()[1]
    assert stat.S_IMODE(files.next_key.stat().st_mode) == 0o600
    for path in fleet.path.rglob("*"):
        assert not path.is_file() or secret not in path.read_text(encoding="ascii"), path
    assert secret.encode() not in payload
    assert secret not in repr(request).replace("\\n", "\n")


# -- what it does not believe


def test_an_answer_of_another_authority_is_not_taken_in(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    """Whoever carries the files could be taken for the broker otherwise."""
    mine = answer(fleet, files)
    stranger = Fleet.begun(tmp_path / "stranger")
    forged = mine.replace(_in_json(fleet), _in_json(stranger))
    assert forged != mine
    with pytest.raises(EnrolmentFailed, match="not from the authority"):
        install(files, forged, NOW)
    assert not files.broker_ca.exists()
    install(files, mine, NOW)


def test_an_answer_to_an_earlier_request_or_another_gateway_changes_nothing(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    earlier = answer(fleet, files)
    files.next_key.write_bytes(b"")
    current = answer(fleet, files, replaces=True)
    with pytest.raises(EnrolmentFailed, match="not for the key"):
        install(files, earlier, NOW)
    other = Files(tmp_path / "other", OTHER)
    other.folder.mkdir()
    with pytest.raises(EnrolmentFailed, match=f"the answer is for {OTHER}"):
        install(files, answer(fleet, other), NOW)
    for payload in (b"", b"{}", current[:-40]):
        with pytest.raises(EnrolmentFailed, match="no answer of an authority"):
            install(files, payload, NOW)
    assert not files.credentials.exists()
    with pytest.raises(EnrolmentFailed, match="has run out"):
        install(files, current, NOW + CERTIFICATE_LIFETIME)
    install(files, current, NOW)


def test_without_a_certificate_there_is_nothing_to_renew(files: Files) -> None:
    with pytest.raises(EnrolmentFailed, match="no certificate to renew"):
        request_next(files)


def _in_json(fleet: Fleet) -> bytes:
    """The broker's authority as an answer has it."""
    return (fleet.path / "broker-ca.pem").read_bytes().replace(b"\n", b"\\n")


# -- kills

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
pathlib.Path.rename = dying(pathlib.Path.rename)
pathlib.Path.unlink = dying(pathlib.Path.unlink)
from gateway.enrolment import Files, install, request_next
files = Files(pathlib.Path(sys.argv[2]), sys.argv[3])
if len(sys.argv) > 5:
    install(files, pathlib.Path(sys.argv[4]).read_bytes(), datetime.fromisoformat(sys.argv[5]))
else:
    request_next(files)
"""


@pytest.mark.parametrize("act", ["renew", "install"])
def test_a_gateway_is_never_without_a_key_that_fits_its_certificate(
    fleet: Fleet, files: Files, tmp_path: Path, act: str
) -> None:
    fleet.enrol(OWN, tmp_path)
    first = certificate_facts(files.credentials.read_text()).serial
    before = tmp_path / "before"
    before.mkdir()
    reply = operations.encoded(fleet.sign(request_next(files)).answer)
    (tmp_path / "answer").write_bytes(reply)
    for path in tmp_path.glob("*.*"):
        shutil.copy(path, before)
    serials = []
    for step in range(40):
        home = tmp_path / f"home-{step}"
        shutil.copytree(before, home)
        command = [sys.executable, "-c", SCRIPT, str(step), str(home), OWN]
        command += [str(tmp_path / "answer"), NOW.isoformat()] if act == "install" else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, KILLED), done.stderr
        there = Files(home, OWN)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(there.credentials)
        serials.append(certificate_facts(there.credentials.read_text()).serial)
        if act == "install" and there.pending.exists():
            # Once more, after the power is back.
            install(there, reply, NOW)
            assert certificate_facts(there.credentials.read_text()).serial != first
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert step > 5
    assert serials[0] == first
    assert set(serials) == ({first} if act == "renew" else {first, serials[-1]})


# -- the files, before they are used


@pytest.fixture
def tls(fleet: Fleet, files: Files, tmp_path: Path) -> Tls:
    fleet.enrol(OWN, tmp_path)
    return Tls(files.broker_ca, files.credentials, files.credentials)


def test_credentials_that_are_in_order_are_of_no_concern(tls: Tls) -> None:
    assert context_of(tls).minimum_version is ssl.TLSVersion.TLSv1_2
    assert concern(tls, OWN, NOW) == ""


@pytest.mark.parametrize("name", ["broker-ca.pem", f"{OWN}.pem"])
def test_a_file_that_is_missing_or_empty_is_named(tls: Tls, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(BadCredentials, match=name):
        context_of(tls)
    (tmp_path / name).unlink()
    with pytest.raises(BadCredentials, match=f"{name} does not exist"):
        context_of(tls)


def test_a_key_of_another_certificate_is_named(tls: Tls, fleet: Fleet, tmp_path: Path) -> None:
    other = fleet.enrol(OTHER, tmp_path / "other")
    with pytest.raises(BadCredentials, match="is not the key of the certificate in"):
        context_of(Tls(tls.ca_file, tls.certificate_file, other))


def test_an_encrypted_key_asks_nobody_for_a_passphrase(tls: Tls, tmp_path: Path) -> None:
    assert tls.key_file is not None
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:secret", "-in", str(tls.key_file)]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True)
    with pytest.raises(BadCredentials, match="cannot be used"):
        context_of(Tls(tls.ca_file, tls.certificate_file, locked))


def test_what_will_be_wrong_is_said_before_it_is(tls: Tls) -> None:
    end = NOW + CERTIFICATE_LIFETIME
    assert "is the clock behind" in concern(tls, OWN, NOW - timedelta(hours=2))
    assert concern(tls, OWN, end - EXPIRES_SOON - timedelta(seconds=1)) == ""
    assert "runs out in 90 days" in concern(tls, OWN, end - EXPIRES_SOON)
    assert "has run out" in concern(tls, OWN, end)
    assert f"is the certificate of {OWN}" in concern(tls, OTHER, NOW)


def test_check_says_what_is_wrong_with_the_certificate(tls: Tls, tmp_path: Path) -> None:
    config = tmp_path / "station.yaml"
    text = (
        f"station: {OWN}\ndata: data\n"
        f"broker: {{host: localhost, port: 8883, tls: {{ca_file: broker-ca.pem, "
        f"certificate_file: {OWN}.pem, key_file: {OWN}.pem}}}}\n"
        "lines:\n  - name: bridge-1\n    modbus_tcp: {host: 127.0.0.1, port: 1}\n"
        '    meters: [{serial: "1", address: 1, profile: eastron-sdm120}]\n'
    )
    config.write_text(text)
    late = today() > NOW + CERTIFICATE_LIFETIME - EXPIRES_SOON
    done = CliRunner().invoke(gateway_app, ["check", "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert ("\nbut " in done.output) is late
    config.write_text(text.replace(f"station: {OWN}", f"station: {OTHER}"))
    done = CliRunner().invoke(gateway_app, ["check", "--config", str(config)])
    assert f"is the certificate of {OWN}, and this gateway is {OTHER}" in done.output
    (tmp_path / f"{OWN}.pem").write_text("nothing")
    done = CliRunner().invoke(gateway_app, ["check", "--config", str(config)])
    assert done.exit_code == 1
    assert "cannot be used as certificate and key" in done.output
