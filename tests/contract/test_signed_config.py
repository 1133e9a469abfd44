"""The canonical bytes of a signed configuration: one form, and nothing else has the same."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.commands import decode_command, decode_result
from contract.limits import COMMAND_BYTES_MAX, CONFIG_BYTES_MAX, RESULT_BYTES_MAX
from contract.messages import MessageError
from contract.signed_config import (
    DOMAIN,
    SignedConfig,
    decode_config,
    signature_of,
    signature_text,
    signed_bytes,
)

AT = datetime(2026, 11, 24, 17, 30, tzinfo=UTC)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
PARTS = st.tuples(
    NAMES,
    st.integers(1, 2**53 - 1),
    st.integers(0, 10**10).map(lambda ms: AT + timedelta(milliseconds=ms)),
    st.text(min_size=1),
)
GOLDEN = Path(__file__).parent / "golden" / "config-signed.json"


def test_the_signed_bytes_are_these() -> None:
    assert signed_bytes("G1", 7, AT, "station: T1\n") == (
        b"songlo station configuration v1\0G1\x007\x001795541400000\0station: T1\n"
    )


def test_the_zone_in_which_an_instant_is_written_does_not_matter() -> None:
    local = AT.astimezone(timezone(timedelta(hours=7)))
    assert signed_bytes("G1", 7, AT, "x") == signed_bytes("G1", 7, local, "x")


@given(PARTS, PARTS)
def test_other_parts_have_other_bytes(
    one: tuple[str, int, datetime, str], other: tuple[str, int, datetime, str]
) -> None:
    assert (signed_bytes(*one) == signed_bytes(*other)) == (one == other)
    assert signed_bytes(*one).startswith(DOMAIN + b"\0")


def test_the_golden_signature_is_good() -> None:
    config = decode_config(GOLDEN.read_bytes().strip())
    signature = signature_of(config)
    assert signature is not None
    key = nacl.signing.SigningKey(bytes(range(32))).verify_key
    key.verify(
        signed_bytes(config.gateway, config.version, config.issued_at, config.station_file),
        signature,
    )


@pytest.mark.parametrize("text", ["", "AAAA", "no base64!", "A" * 88, "é" * 10])
def test_what_is_no_signature_is_none(text: str) -> None:
    config = SignedConfig(1, "G1", 1, AT, "x", text)
    found = signature_of(config)
    assert found is None or text == "A" * 88
    assert signature_of(SignedConfig(1, "G1", 1, AT, "x", signature_text(bytes(64)))) == bytes(64)


@pytest.mark.parametrize("version", [0, -1, 2**53, 1.5, "7", None])
def test_a_version_that_cannot_be_kept_is_refused(version: object) -> None:
    value = {**json.loads(GOLDEN.read_bytes()), "version": version}
    with pytest.raises(MessageError):
        decode_config(json.dumps(value).encode())


def test_half_a_character_is_no_station_file() -> None:
    payload = GOLDEN.read_bytes().replace(b"station: PA25SL", b"\\ud800: PA25SL")
    with pytest.raises(MessageError):
        decode_config(payload)


@pytest.mark.parametrize(
    ("decoder", "bytes_max"),
    [
        (decode_command, COMMAND_BYTES_MAX),
        (decode_result, RESULT_BYTES_MAX),
        (decode_config, CONFIG_BYTES_MAX),
    ],
)
def test_sizes_are_bounded(decoder: object, bytes_max: int) -> None:
    with pytest.raises(MessageError) as caught:
        decoder(b" " * (bytes_max + 1))  # type: ignore[operator]  # any of the three
    assert caught.value.code == "too_large"
