"""Everything that reads what others made: what may come, and that it is taken or refused.

Each check raises where a decoder raises anything but its one error. A row is tried a little by the
suite and for long by `make soak`.
"""

import asyncio
import contextlib
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from collector.billing.exports.cmis.table1 import Table1Reader
from collector.errors import InvalidRequest
from collector.intake.batch import Message
from collector.intake.pipeline import Pipeline
from collector.ledger import Ledger
from collector.metrics import Metrics
from collector.operations.registry_workbook import read_workbook, write_workbook
from collector.operations.registry_zip import read_zip
from collector.readings.duckdb_store import DuckDbStore
from collector.registry.changes import plan_changes
from collector.registry.files import file_names, parse_files
from collector.registry.values import Registry
from contract.commands import decode_command, decode_result
from contract.messages import MessageError, decode_ack, decode_batch, decode_status
from contract.signed_config import decode_config
from contract.topics import BatchTopic, StatusTopic, build
from gateway.config import StationFileError, parse_station
from gateway.lines.endpoints import Framing, TcpEndpoint
from gateway.lines.modbus import ModbusConnection, ModbusError
from gateway.protocols.load_profile import LoadProfileError, parse_load_profile
from gateway.protocols.readout import ReadoutText, parse_data_sets
from tests.api.test_api_registry_files import GOOD, packed
from tests.compose.plain import ROOT
from tests.fuzz.damage import altered, damaged
from tests.gateway_lines.slave import crc
from tests.ledger.template import fill_file
from tests.unit.collector.exports.making import their_file, their_row

ZONE = "Asia/Ho_Chi_Minh"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
GOLDEN = {path.stem: path.read_bytes() for path in (ROOT / "tests/contract/golden").glob("*.json")}


def golden(kind: str) -> list[bytes]:
    return [payload for name, payload in GOLDEN.items() if name.startswith(kind)]


@dataclass(frozen=True)
class Decoder:
    """`anything` is what may come; `opened` gives what takes it, for as long as it is tried."""

    anything: st.SearchStrategy[Any]
    opened: Callable[[], contextlib.AbstractContextManager[Callable[[Any], None]]]


def plain(take: Callable[[Any], None]) -> Callable[[], Any]:
    """A decoder that keeps nothing between two tries."""
    return lambda: contextlib.nullcontext(take)


# -- messages


def _message(decode: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def take(payload: bytes) -> None:
        with contextlib.suppress(MessageError):
            decode(payload)

    return take


def _json(kind: str) -> st.SearchStrategy[bytes]:
    documents = [json.loads(payload) for payload in golden(kind)]
    return damaged(golden(kind)) | altered(documents).map(lambda value: json.dumps(value).encode())


@contextmanager
def intake() -> Iterator[Callable[[list[bytes]], None]]:
    """The collector's intake with its stores: nothing that a gateway sends ends it."""
    with tempfile.TemporaryDirectory() as folder:
        fill_file(Path(folder, "ledger.db"))
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        store = DuckDbStore(Path(folder, "readings.duckdb"))
        pipeline = Pipeline(ledger, store, lambda: NOW, Metrics())
        sent = 0

        def take(payloads: list[bytes]) -> None:
            nonlocal sent
            topics = [
                build(BatchTopic("GW1", "a" * 32, sent + one)) for one, _ in enumerate(payloads, 1)
            ]
            sent += len(topics)
            claim = pipeline.claim([*map(Message, topics, payloads)])
            refused = pipeline.append(claim.pending)
            pipeline.complete(claim.pending, refused, claim.settled)
            # Taken or put aside, each is settled: its gateway need not send it again.
            assert sum(claim.outcomes.values()) == len(payloads)
            for payload in payloads:
                pipeline.take_statuses([Message(build(StatusTopic("GW1")), payload)])

        try:
            yield take
        finally:
            store.close()
            ledger.close()


# -- lines


class _Port(asyncio.Transport):
    """A connection to nowhere: what is sent is dropped, what comes is put in by hand."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def abort(self) -> None: ...


_UNIT, _COUNT = 17, 4
_CUT = 3_000


def _rtu_frames() -> st.SearchStrategy[bytes]:
    body = st.binary(min_size=1, max_size=12) | st.binary(max_size=8).map(
        lambda data: bytes((_UNIT, 3, 8)) + data
    )
    whole = body.map(lambda frame: frame + crc(frame))
    identified = st.binary(max_size=30).map(lambda data: b"\x11\x2b\x0e" + data)
    return st.binary(max_size=300) | whole | identified.map(lambda frame: frame + crc(frame))


def _tcp_frames() -> st.SearchStrategy[bytes]:
    def frame(parts: tuple[int, int, int, bytes]) -> bytes:
        transaction, protocol, more, pdu = parts
        return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 + more, _UNIT) + pdu

    pdu = st.binary(max_size=12) | st.binary(max_size=8).map(lambda data: b"\x03\x08" + data)
    fields = st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 7]), st.integers(0, 2), pdu)
    return st.binary(max_size=300) | fields.map(frame)


def _on_a_line(framing: Framing) -> Callable[[list[bytes]], None]:
    async def talk(pieces: list[bytes], *, identifying: bool) -> None:
        loop = asyncio.get_running_loop()
        wrong: list[object] = []
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        connection = ModbusConnection(TcpEndpoint("nowhere", 1, framing))
        connection.connection_made(_Port())
        asked = (
            connection.identify(_UNIT, 0, 0.001)
            if identifying
            else connection.read(_UNIT, 3, 0, _COUNT, 0.001)
        )
        answer = asyncio.ensure_future(asked)
        await asyncio.sleep(0)
        for piece in pieces:
            connection.data_received(piece)
            assert len(connection._buffer) <= 2**16 + 2 * _CUT
        with contextlib.suppress(ModbusError):
            found = await answer
            assert not isinstance(found, bytes) or len(found) == 2 * _COUNT
        connection.close()
        assert wrong == []

    def take(pieces: list[bytes]) -> None:
        for identifying in (False, True):
            asyncio.run(talk(pieces, identifying=identifying))

    return take


def _readout(text: str) -> None:
    ReadoutText(parse_data_sets(text)).text("C.1.0")
    with contextlib.suppress(LoadProfileError):
        parse_load_profile(text, ZoneInfo(ZONE))


READOUTS = [path.read_bytes() for path in sorted((ROOT / "tests/golden/readouts").glob("*.txt"))]
PROFILE = (
    b"P.01(0260809001500)(00)(15)(2)(1.5)(kW)(2.5)(kvar)(0.100)(0.010)\n(0.101)(0.011)\n"
    b"P.01(0260809004500)(40)(15)(1)(1.5)(kW)(0.102)\n"
)


# -- files


def _cmis(content: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        for _ in Table1Reader(io.BytesIO(content), "x.xml").rows():
            pass


def registry_files(texts: dict[str, bytes]) -> None:
    """Rows that are read and judged, whatever their files hold."""
    decoded = {name: text.decode("utf-8", "replace") for name, text in texts.items()}
    files = parse_files(decoded, ZONE)
    changes = plan_changes(Registry(), files, None, {"household"})
    assert all(str(error) for error in changes.errors)


def _packed_file(read: Callable[[Path, Any], object], suffix: str) -> Any:  # noqa: ANN401
    @contextmanager
    def opened() -> Iterator[Callable[[bytes], None]]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"registry{suffix}")

            def take(content: bytes) -> None:
                path.write_bytes(content)
                with contextlib.suppress(InvalidRequest):
                    read(path, file_names())

            yield take

    return opened


def workbook() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "registry.xlsx")
        write_workbook(path, GOOD, lambda where: where.open("wb"))
        return path.read_bytes()


@st.composite
def _repacked(draw: st.DrawFn, content: bytes) -> bytes:
    """A packed file with one of its parts damaged, or left out, and whole as a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(parts)))
    wrong = draw(st.none() | st.binary(max_size=20) | damaged([parts[name]]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, part in parts.items():
            new = wrong if each == name else part
            if new is not None:
                archive.writestr(each, new)
    return stream.getvalue()


def each_byte_wrong(content: bytes, step: int) -> Iterator[bytes]:
    """The file with one wrong byte, at every `step`-th place."""
    for place in range(0, len(content), step):
        yield content[:place] + bytes((content[place] ^ 0x5A,)) + content[place + 1 :]


def _station(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    with contextlib.suppress(StationFileError):
        parse_station(text, "station.yaml", Path("/nonexistent"))


STATION_EXAMPLE = (ROOT / "firmware_config" / "stations" / "example.yaml").read_bytes()
STATIONS = [
    path.read_bytes()
    for folder in ("stations", "demo")
    for path in sorted((ROOT / "firmware_config" / folder).glob("station*.yaml"))
] + [STATION_EXAMPLE]


def _files() -> st.SearchStrategy[dict[str, bytes]]:
    each = {name: damaged([text.encode()]) for name, text in GOOD.items()}
    return st.fixed_dictionaries({}, optional=each)


DECODERS: dict[str, Decoder] = {
    "batch": Decoder(_json("batch"), plain(_message(decode_batch))),
    "ack": Decoder(_json("ack"), plain(_message(decode_ack))),
    "status": Decoder(_json("status"), plain(_message(decode_status))),
    "command": Decoder(_json("command"), plain(_message(decode_command))),
    "result": Decoder(_json("result"), plain(_message(decode_result))),
    "config": Decoder(_json("config"), plain(_message(decode_config))),
    "intake": Decoder(st.lists(_json("batch") | _json("status"), max_size=5), intake),
    "modbus rtu": Decoder(st.lists(_rtu_frames(), max_size=6), plain(_on_a_line(Framing.RTU))),
    "modbus tcp": Decoder(st.lists(_tcp_frames(), max_size=6), plain(_on_a_line(Framing.TCP))),
    "readout": Decoder(
        damaged([*READOUTS, PROFILE]).map(lambda content: content.decode("latin-1")),
        plain(_readout),
    ),
    "cmis": Decoder(
        st.binary(max_size=400) | damaged([their_file(their_row(), their_row(MA_DDO="P2"))]),
        plain(_cmis),
    ),
    "csv": Decoder(_files(), plain(registry_files)),
    "zip": Decoder(
        damaged([packed(GOOD)]) | _repacked(packed(GOOD)), _packed_file(read_zip, ".zip")
    ),
    "workbook": Decoder(
        damaged([workbook()]) | _repacked(workbook()), _packed_file(read_workbook, ".xlsx")
    ),
    "station file": Decoder(damaged(STATIONS), plain(_station)),
}
