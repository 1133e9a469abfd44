"""What is sent and stored in the measurements: scans of 100 meters with 8 registers.

100 gateways scan every half hour; the scan at midnight in Vietnam is an index scan, as in the
field. The same count of batches is always the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collector.readings.port import ReadBlock
from contract.messages import Batch, Clock, MeterRead, Scan, ScanKind, Table, decode_batch, encode
from contract.topics import BatchTopic, build, parse

GATEWAYS = 100
METERS = 100
REGISTERS = (
    "1-0:1.8.0",
    "1-0:2.8.0",
    "1-0:3.8.0",
    "1-0:32.7.0",
    "1-0:31.7.0",
    "1-0:16.7.0",
    "1-0:13.7.0",
    "1-0:14.7.0",
)
GROUP_BATCHES = 500  # the collector's `intake.group_max`

START = datetime(2026, 3, 1, 17, 0, tzinfo=UTC)
INTERVAL = timedelta(minutes=30)
INDEX_HOUR_UTC = 17

# A measurement takes whole days, so that as many of its scans are index scans as in the field, and
# some of them, so that its start and its last group do not count.
DAY_BATCHES = 48 * GATEWAYS
EPOCH = f"{7:032x}"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: the topic and the payload."""

    topic: str
    payload: bytes


def gateway_name(number: int) -> str:
    """The name of a gateway and of its station."""
    return f"PA25SL-T{number:03}"


def messages(count: int) -> Iterator[Sent]:
    """`count` batches, gateway after gateway, slot after slot."""
    for number in range(count):
        turn, gateway = divmod(number, GATEWAYS)
        yield message(gateway_name(gateway), gateway, turn)


def message(name: str, gateway: int, turn: int) -> Sent:
    """The batch of one gateway's scan number `turn`; its seq is one more."""
    slot = START + turn * INTERVAL
    is_index = (slot.hour, slot.minute) == (INDEX_HOUR_UTC, 0)
    kind = ScanKind.INDEX if is_index else ScanKind.INTERVAL
    reads = [_read(gateway, meter, turn) for meter in range(METERS)]
    scan = Scan(kind=kind, slot=slot, tables=[Table(list(REGISTERS), reads)])
    batch = Batch(v=1, station=name, clock=Clock.SYNCED, scan=scan)
    return Sent(build(BatchTopic(name, EPOCH, turn + 1)), encode(batch))


def blocks(sent: list[Sent]) -> list[ReadBlock]:
    """The same reads as the collector hands them to its store."""
    made = []
    for one in sent:
        topic = parse(one.topic)
        scan = decode_batch(one.payload).scan
        assert scan is not None
        made += [
            ReadBlock(topic.gateway, topic.gateway, scan.kind, scan.slot, t.registers, t.reads)
            for t in scan.tables
        ]
    return made


def groups(count: int) -> list[list[ReadBlock]]:
    """The reads of `count` batches in groups as large as the collector's."""
    sent = list(messages(count))
    return [blocks(sent[first : first + GROUP_BATCHES]) for first in range(0, count, GROUP_BATCHES)]


def _read(gateway: int, meter: int, turn: int) -> MeterRead:
    wobble = (gateway * 31 + meter * 17 + turn * 7) % 100
    return (
        f"2026{gateway:03}{meter:03}",
        40 * meter + wobble,
        [
            123_456_000 + 41_000 * meter + (150 + meter) * turn,
            wobble * turn,
            9_000_000 + 11 * turn * meter,
            round(228 + wobble / 10, 1),
            round(1.2 + wobble / 50, 3),
            round(240 + 3.7 * wobble, 1),
            round(0.9 + wobble / 1000, 3),
            round(49.95 + wobble / 1000, 2),
        ],
        0,
    )
