"""The script that makes a deployment's secrets: random, private, and never replaced."""

import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.compose.plain import ROOT, load_make_secrets

SCRIPT = ROOT / "scripts" / "make-secrets"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments], check=False, capture_output=True, text=True, timeout=30
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = _run("--project", str(tmp_path), "--host", "broker.example")
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_only_the_owner_reads_them(project: Path) -> None:
    secrets = project / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for path in secrets.rglob("*"):
        if path.is_file() and path.suffix != ".pem":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert path.suffix not in {".csr", ".ext"}
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600


def test_no_two_are_alike_and_none_is_short(project: Path) -> None:
    secrets = [
        p.read_text()
        for p in (project / "secrets").iterdir()
        if p.suffix == "" and p.is_file() and p.name != "gateways-crl-number"
    ]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 32 for secret in secrets)


def test_nothing_is_replaced(project: Path) -> None:
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    done = _run("--project", str(project))
    assert done.returncode == 1
    assert "exists and is kept" in done.stderr
    again = _run("--project", str(project), "gateway", "DEMO-T001")
    assert again.returncode == 1
    assert {p: p.read_bytes() for p in project.rglob("*") if p.is_file()} == before


def test_an_existing_env_file_stops_it_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")
    assert _run("--project", str(tmp_path)).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("name", ["intake", "commands", "monitor", "a/b", "#", "+", "-x", "x" * 65])
def test_a_gateways_name_cannot_be_a_services_or_bend_a_topic(project: Path, name: str) -> None:
    done = _run("--project", str(project), "gateway", "--", name)
    assert done.returncode == 1, done.stdout
    assert not list((project / "secrets" / "gateways").glob(f"{name}*"))


def test_every_service_of_the_acl_is_a_reserved_name() -> None:
    acl = (ROOT / "firmware_config" / "broker" / "acl").read_text(encoding="utf-8")
    assert set(re.findall(r"^user (\S+)", acl, re.MULTILINE)) == set(
        load_make_secrets().BROKER_SERVICES
    )


def test_certificates_are_for_one_purpose_and_verify(project: Path) -> None:
    secrets = project / "secrets"

    def verify(authority: str, purpose: str, certificate: str) -> bool:
        command = ["openssl", "verify", "-CAfile", secrets / authority, "-purpose", purpose]
        done = subprocess.run(
            [*map(str, command), str(secrets / certificate)],
            check=False,
            capture_output=True,
            timeout=30,
        )
        return done.returncode == 0

    assert verify("gateways-ca.pem", "sslclient", "gateways/DEMO-T001.pem")
    assert not verify("gateways-ca.pem", "sslserver", "gateways/DEMO-T001.pem")
    assert not verify("gateways-ca.pem", "sslclient", "broker.pem")
    assert verify("broker-ca.pem", "sslserver", "broker.pem")
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", secrets / "broker.pem"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert re.findall(r"DNS:([^,\s]+)", text) == ["broker", "localhost", "broker.example"]


def test_the_brokers_certificate_is_renewed_under_the_same_authority(project: Path) -> None:
    secrets = project / "secrets"
    renew = ("--project", str(project), "--host", "broker.example", "broker")
    assert "exists and is kept" in _run(*renew).stderr
    before = (secrets / "broker.pem").read_bytes()
    (secrets / "broker.key").unlink()
    done = _run(*renew)
    assert done.returncode == 0, done.stderr
    assert (secrets / "broker.pem").read_bytes() != before
    subprocess.run(
        ["openssl", "verify", "-CAfile", secrets / "broker-ca.pem", secrets / "broker.pem"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    (secrets / "broker-ca.key").unlink()
    (secrets / "broker.key").unlink()
    assert "bring it back" in _run(*renew).stderr


def test_a_certificate_taken_back_is_on_the_list_and_its_name_is_free(project: Path) -> None:
    secrets = project / "secrets"

    def listed() -> list[str]:
        command = ["openssl", "crl", "-noout", "-text", "-in", str(secrets / "gateways-crl.pem")]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return re.findall(r"Serial Number: (\w+)", text)

    assert listed() == []
    for number in (1, 2):
        assert _run("--project", str(project), "gateway", "T1").returncode == 0
        done = _run("--project", str(project), "revoke", "T1")
        assert done.returncode == 0, done.stderr
        assert len(set(listed())) == number
        assert (secrets / "gateways" / "revoked" / f"T1.{number}.pem").is_file()
    before = listed()
    assert _run("--project", str(project), "revocations").returncode == 0
    assert listed() == before, "signed anew, with the same on it"
    for name in ("T1", "nobody", "../gateways-ca"):
        assert "no certificate" in _run("--project", str(project), "revoke", name).stderr
    (secrets / "gateways-ca.key").unlink()
    assert "bring it back" in _run("--project", str(project), "revocations").stderr
    names = {path.name for path in secrets.iterdir()}
    assert not {name for name in names if name.endswith((".cnf", ".old"))}


def test_mosquittos_own_tool_writes_the_same_kind_of_line(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("someone:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, timeout=30)
    theirs = passwords.read_text().strip()
    ours = load_make_secrets().mosquitto_line("someone", "secret").strip()
    shape = r"someone:\$7\$101\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}=="
    assert re.fullmatch(shape, theirs)
    assert re.fullmatch(shape, ours)
