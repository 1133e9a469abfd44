"""Claim tokens as people type them, and certificates as they are read without a library."""

import base64
import contextlib
import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.certificate import BadCertificate, certificate_facts, der_of
from contract.enrolment import (
    ALPHABET,
    TOKEN_CHARS,
    BadToken,
    decode_answer,
    decode_request,
    fingerprint,
    new_token,
    parse_token,
)
from contract.limits import ENROLMENT_BYTES_MAX
from contract.messages import MessageError
from contract.tls_words import explained
from fleet.certificates import Authority, new_authority, new_key_and_request

random_bytes = st.binary(min_size=16, max_size=16)


@given(random_bytes, st.binary(max_size=40))
def test_a_token_is_read_as_it_was_made(random: bytes, authority: bytes) -> None:
    token = new_token(random, authority)
    assert parse_token(token.text) == token
    assert token.fingerprint == fingerprint(authority)
    assert len(token.text.replace("-", "")) == TOKEN_CHARS
    # As people type it.
    careless = token.text.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert parse_token(f"  {careless}\n") == token


@given(random_bytes, st.data())
def test_a_mistyped_token_is_seen_almost_always(random: bytes, data: st.DataObject) -> None:
    text = new_token(random, b"authority").text.replace("-", "")
    place = data.draw(st.integers(0, TOKEN_CHARS - 1))
    other = data.draw(st.sampled_from(sorted(set(ALPHABET) - {text[place]})))
    wrong = text[:place] + other + text[place + 1 :]
    # Two characters of SHA-256: one in 1024 mistakes passes, and is then no token of anybody's.
    body = hashlib.sha256(wrong[:-2].encode()).digest()
    expected = ALPHABET[body[0] >> 3] + ALPHABET[(body[0] & 7) << 2 | body[1] >> 6]
    if wrong[-2:] == expected:
        assert parse_token(wrong).text.replace("-", "") == wrong
    else:
        with pytest.raises(BadToken, match="mistyped"):
            parse_token(wrong)


@pytest.mark.parametrize("text", ["", "AAAAA-BBBBB", "U" * TOKEN_CHARS, "é" * TOKEN_CHARS])
def test_what_is_no_token_says_why(text: str) -> None:
    with pytest.raises(BadToken, match="claim token"):
        parse_token(text)


def test_tokens_secrets_differ_in_every_bit_of_the_random() -> None:
    seeds = {new_token(bytes([value]) + bytes(15), b"x").seed for value in range(256)}
    assert len(seeds) == 256


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b'{"v":2}',
        b'{"v":1,"gateway":"a","csr":"x","proof":"","serial":"zz"}',
        b'{"v":1,"gateway":"a","csr":"x","proof":"","claim":"ab"}',
        b'{"v":1,"gateway":"a","csr":"' + b"x" * ENROLMENT_BYTES_MAX + b'","proof":""}',
    ],
)
def test_files_from_elsewhere_are_checked(payload: bytes) -> None:
    for decode in (decode_request, decode_answer):
        with pytest.raises(MessageError):
            decode(payload)


# -- certificates


@given(
    st.text("abcXYZ019._-", min_size=1, max_size=64),
    st.integers(0, 115 * 365 * 86_400),
)
def test_facts_are_those_of_the_library(name: str, since_s: int) -> None:
    now = datetime(1975, 1, 1, tzinfo=UTC) + timedelta(seconds=since_s)
    key, ca = new_authority("ca", timedelta(days=4000), None, now)
    _, csr = new_key_and_request(name)
    facts = certificate_facts(Authority(ca, key, None).sign_client(csr, name, timedelta(9), now))
    assert (facts.common_name, facts.not_after_at) == (name, now + timedelta(9))
    assert facts.not_before_at == now - timedelta(hours=1)


def test_facts_are_those_of_openssl(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k", "-days"]
    command += ["9", "-out", "c.pem", "-subj", "/C=VN/O=Điện lực/CN=Trạm 12", "-utf8"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    shown = subprocess.run(
        [
            "openssl",
            "x509",
            "-in",
            "c.pem",
            "-noout",
            "-serial",
            "-enddate",
            "-dateopt",
            "iso_8601",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    facts = certificate_facts((tmp_path / "c.pem").read_text())
    assert facts.common_name == "Trạm 12"
    assert f"serial={int(facts.serial, 16):040X}" in shown
    assert f"notAfter={facts.not_after_at:%Y-%m-%d %H:%M:%SZ}" in shown


@given(st.data())
def test_a_damaged_certificate_is_no_crash(data: st.DataObject) -> None:
    der = bytearray(der_of(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    body = base64.b64encode(bytes(der[:cut])).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    with contextlib.suppress(BadCertificate):
        certificate_facts(pem)


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_what_is_no_certificate_says_so(text: str) -> None:
    with pytest.raises(BadCertificate):
        certificate_facts(text)


def test_a_reason_that_is_not_known_stays_as_it_is() -> None:
    assert explained("[Errno 111] Connection refused") == "[Errno 111] Connection refused"


_KEY, GOOD = new_authority("ca", timedelta(days=9), None, datetime(2026, 1, 1, tzinfo=UTC))
