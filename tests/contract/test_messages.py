"""The golden payloads are kept for ever: both sides must read and write them as they stand."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import messages
from contract.commands import decode_command, decode_result
from contract.limits import BATCH_BYTES_MAX
from contract.messages import (
    MessageError,
    ScanKind,
    decode_ack,
    decode_batch,
    decode_status,
)
from contract.schema import MESSAGES, schema_text
from contract.signed_config import decode_config

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = Path(messages.__file__).parent / "schemas"
DECODERS: dict[str, Callable[[bytes], msgspec.Struct]] = {
    "batch": decode_batch,
    "ack": decode_ack,
    "status": decode_status,
    "command": decode_command,
    "result": decode_result,
    "config": decode_config,
}
FILES = sorted(GOLDEN.glob("*.json"))


def payload_of(path: Path) -> bytes:
    return path.read_bytes().strip()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_payloads_survive_a_round_trip_byte_for_byte(path: Path) -> None:
    payload = payload_of(path)
    message = DECODERS[path.stem.split("-")[0]](payload)
    if "later-version" in path.stem:
        assert DECODERS[path.stem.split("-")[0]](messages.encode(message)) == message
    else:
        assert messages.encode(message) == payload


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_payloads_satisfy_the_published_schema(path: Path) -> None:
    schema = json.loads((SCHEMAS / f"{path.stem.split('-')[0]}.schema.json").read_text())
    jsonschema.validate(json.loads(payload_of(path)), schema)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_checked_in_schemas_are_the_generated_ones(name: str) -> None:
    assert (SCHEMAS / f"{name}.schema.json").read_text() == schema_text(name)


def scan(**changes: object) -> dict[str, object]:
    batch = json.loads(payload_of(GOLDEN / "batch-scan.json"))
    batch["scan"].update(changes)
    return dict(batch)


def as_payload(value: object) -> bytes:
    return json.dumps(value).encode()


HUGE_KEYS = b"{" + b",".join(b'"k%d":1' % i for i in range(10**6)) + b"}"
MANY_KEYS = b'{"v":1,' + b",".join(b'"k%d":1' % i for i in range(5000)) + b"}"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (payload_of(GOLDEN / "batch-scan.json")[:-5], "not_json"),
        (payload_of(GOLDEN / "batch-scan.json").replace(b"231.4", b"NaN"), "not_json"),
        (payload_of(GOLDEN / "batch-scan.json").replace(b"231.4", b"Infinity"), "not_json"),
        (b"[" * 60_000, "wrong_shape"),
        (b'{"v":' + b"[" * 60_000, "wrong_shape"),
        (b'{"x":' + b"[" * 60_000, "not_json"),
        (HUGE_KEYS, "too_large"),
        (MANY_KEYS, "wrong_shape"),
        (b" " * (BATCH_BYTES_MAX + 1), "too_large"),
        (as_payload({**scan(), "v": 2}), "wrong_shape"),
        (as_payload({**scan(), "clock": "sundial"}), "wrong_shape"),
        (as_payload({**scan(), "gaps": []}), "wrong_shape"),
        (as_payload({k: v for k, v in scan().items() if k != "scan"}), "wrong_shape"),
        (as_payload(scan(slot="2026-11-24T17:00:00")), "wrong_shape"),
        (as_payload(scan(slot=1764000000)), "wrong_shape"),
        (as_payload(scan(tables=[{"registers": [], "reads": []}])), "wrong_shape"),
        (as_payload(scan(tables=[{"registers": ["a", "a"], "reads": []}])), "wrong_shape"),
        (as_payload(scan(tables=[{"registers": ["a"], "reads": [["m", 0, [1, 2], 0]]}])),
         "wrong_shape"),
        (as_payload(scan(tables=[{"registers": ["a"], "reads": [["m", 0, ["1"], 0]]}])),
         "wrong_shape"),
        (as_payload(scan(tables=[{"registers": ["a"], "reads": [["", 0, [1], 0]]}])),
         "wrong_shape"),
        (as_payload(scan(missing=[["m"]])), "wrong_shape"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_with_a_code(payload: bytes, code: str) -> None:
    with pytest.raises(MessageError) as caught:
        decode_batch(payload)
    assert caught.value.code == code
    assert len(str(caught.value)) > 10


@given(st.binary(max_size=2000))
def test_any_bytes_decode_or_raise_the_one_error(payload: bytes) -> None:
    for decode in DECODERS.values():
        with contextlib.suppress(MessageError):
            decode(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["v", "scan", "slot", "tables", "reads", "missing", "gaps", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_any_json_decodes_or_raises_the_one_error(value: object) -> None:
    for decode in DECODERS.values():
        with contextlib.suppress(MessageError):
            decode(json.dumps(value).encode())


@pytest.mark.parametrize("generation", [0, -1, 2**53, 2**70])
def test_an_ack_of_a_generation_that_cannot_be_kept_is_refused(generation: int) -> None:
    """A gateway keeps the generation in 64 bits; a retained ack would fell it at every start."""
    with pytest.raises(MessageError) as caught:
        decode_ack(b'{"generation":%d,"epochs":[]}' % generation)
    assert caught.value.code == "wrong_shape"


def test_scan_kinds_have_distinct_strengths_with_index_on_top() -> None:
    strengths = {kind: kind.strength for kind in ScanKind}
    assert len(set(strengths.values())) == len(ScanKind)
    assert max(strengths, key=lambda kind: strengths[kind]) is ScanKind.INDEX
