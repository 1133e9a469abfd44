"""Large snapshots go out in pieces: nobody holds them whole, and a broken stream shows."""

import hashlib
import json
from datetime import timedelta
from fractions import Fraction

import httpx
import pytest

from collector.billing.snapshot import snapshot_hash
from collector.billing.values import LineQuality, SnapshotHead, SnapshotLine
from tests.api.server import client_of
from tests.api.world import FIRST_AT, IMPORT, World

LINES = 10_000


def line(number: int) -> SnapshotLine:
    return SnapshotLine(
        point=f"P{number:06}",
        meter=f"{number:010}",
        register=IMPORT,
        index_from=number,
        index_to=number * 2,
        read_from_at=FIRST_AT,
        read_to_at=FIRST_AT + timedelta(days=31, milliseconds=number),
        multiplier=Fraction(1),
        consumption=number,
        quality=LineQuality.ACTUAL,
    )


@pytest.fixture
def large(empty: World) -> SnapshotHead:
    lines = [line(number) for number in range(LINES)]
    to_at = FIRST_AT + timedelta(days=31)
    digest = snapshot_hash(None, FIRST_AT, to_at, lines)
    head = SnapshotHead("large", None, FIRST_AT, to_at, to_at, "test", LINES, digest)
    with empty.ledger.begin() as uow:
        uow.snapshots.add(head, lines)
    return head


@pytest.mark.parametrize("form", ["csv", "json"])
def test_ten_thousand_lines_are_streamed(empty: World, large: SnapshotHead, form: str) -> None:
    url = f"/v1/snapshots/{large.id}/lines.{form}"
    with (
        client_of(empty.app) as client,
        client.stream("GET", url, headers=empty.headers()) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.headers["Songlo-Line-Count"] == str(LINES)
        pieces = list(answer.iter_raw())
    assert len(pieces) > 10
    whole = b"".join(pieces)
    assert max(len(piece) for piece in pieces) < len(whole) / 5
    if form == "csv":
        rows = whole.decode().splitlines()
        assert len(rows) == LINES + 1
        assert rows[-1].split(",")[8] == str(LINES - 1)
    else:
        document = json.loads(whole)
        assert len(document["lines"]) == document["line_count"] == LINES
        assert document["sha256"] == large.sha256
    with empty.ledger.read() as uow:
        (entry,) = (one for one in uow.audit.newest(5) if one.action == f"export.{form}")
    assert (entry.subject, entry.detail["rows"]) == (large.id, LINES)
    assert entry.detail["sha256"] == hashlib.sha256(whole).hexdigest()


def test_a_stream_that_breaks_off_does_not_look_whole(
    empty: World, large: SnapshotHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collector.ledger.snapshots import SnapshotRepository

    whole = SnapshotRepository.lines

    def failing(
        self: SnapshotRepository, snapshot_id: str, first: int, limit: int
    ) -> list[SnapshotLine]:
        if first:
            raise OSError("the disk is away")
        return whole(self, snapshot_id, first, limit)

    monkeypatch.setattr(SnapshotRepository, "lines", failing)
    url = f"/v1/snapshots/{large.id}/lines.csv"
    with client_of(empty.app) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(url, headers=empty.headers())


def test_a_reader_that_leaves_frees_its_connection(empty: World, large: SnapshotHead) -> None:
    url = f"/v1/snapshots/{large.id}/lines.json"
    with client_of(empty.app) as client:
        # More readers than the ledger has connections, each gone after its first piece.
        for _ in range(20):
            with client.stream("GET", url, headers=empty.headers()) as answer:
                next(answer.iter_raw())
        assert client.get("/v1/snapshots", headers=empty.headers()).status_code == 200
