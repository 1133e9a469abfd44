"""The audit trail: whatever is done to it behind the collector's back is found and named."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.runtime.environment import EnvironmentContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from collector.errors import InvalidRequest
from collector.ledger import Ledger, schema
from collector.ledger.audit import AuditEntry, AuditRepository
from collector.ledger.audit_chain import Break, BreakKind, ChainCheck, ChainRow, row_hash
from collector.ledger.tables import metadata
from collector.operations.audit import audit_head, list_audit, verify_audit, verify_snapshots
from collector.operations.keys import check_key
from collector.operations.snapshots import create_snapshot
from tests.ledger.building import FILES, NOW, import_files, midnight, put

ROWS = 6
COLUMNS = ChainRow._fields


def entry(number: int) -> AuditEntry:
    detail = {"số": number, "lý do": "đổi công tơ", "nested": {"b": [1, None], "a": True}}
    return AuditEntry(NOW + timedelta(minutes=number), f"người {number}", "test.do", "x", detail)


@pytest.fixture
def trail(ledger: Ledger) -> Ledger:
    """A trail of ROWS rows, some of them written in one transaction."""
    for numbers in ([1], [2, 3], [4], [5, 6]):
        with ledger.begin() as uow:
            for number in numbers:
                uow.audit.add(entry(number))
    return ledger


def open_up(connection: Connection) -> None:
    """What somebody does who owns the database."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return
    for action in ("update", "delete"):
        connection.execute(text(f"DROP TRIGGER audit_no_{action}"))


@contextmanager
def tampering(ledger: Ledger) -> Iterator[Connection]:
    """A connection that may do anything to the trail; all of it is taken back."""
    with ledger._engine.connect() as connection:
        transaction = connection.begin()
        open_up(connection)
        yield connection
        transaction.rollback()


def checked(connection: Connection) -> Break | None:
    check = ChainCheck()
    for rows in AuditRepository(connection).rows():
        check.take(rows)
    return check.found


def value_of(connection: Connection, column: str, row: int) -> object:
    found: object = connection.execute(
        text(f"SELECT {column} FROM audit WHERE sequence = :row"), {"row": row}
    ).scalar_one()
    return found


def write(connection: Connection, column: str, row: int, value: object) -> None:
    connection.execute(
        text(f"UPDATE audit SET {column} = :value WHERE sequence = :row"),
        {"value": value, "row": row},
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, str, Callable[[object], object]]:
    """One character, or one number, of any column of any row."""
    row = draw(st.integers(1, ROWS))
    column = draw(st.sampled_from(COLUMNS))
    place = draw(st.integers(0, 1000))
    letter = draw(st.sampled_from("a0 9Zđ\n'"))
    step = draw(st.sampled_from([-86_400_000, -1, 1, 1000]))

    def change(old: object) -> object:
        if isinstance(old, int):
            return old + step if column == "at" else old + ROWS + abs(step)
        assert isinstance(old, str)
        at = place % len(old)
        new = letter if old[at] != letter else "b"
        return old[:at] + new + old[at + 1 :]

    return row, column, change


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changed=changes())
def test_one_changed_character_anywhere_is_found_and_named(
    trail: Ledger, changed: tuple[int, str, Callable[[object], object]]
) -> None:
    row, column, change = changed
    with tampering(trail) as connection:
        assert checked(connection) is None
        write(connection, column, row, change(value_of(connection, column, row)))
        found = checked(connection)
    if column == "sequence" and row == ROWS:
        # The last row under a later number: what is missing is what it was.
        assert found is not None
        assert (found.sequence, found.kind) == (ROWS, BreakKind.REMOVED)
        return
    assert found is not None, column
    assert found.sequence == row
    assert found.kind is (BreakKind.REMOVED if column == "sequence" else BreakKind.CHANGED)


def test_bytes_that_are_no_text_are_found_too(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    with ledger.begin() as uow:
        uow.audit.add(entry(1))
    for column in ("actor", "action", "subject", "detail", "previous_sha256", "sha256"):
        with tampering(ledger) as connection:
            connection.execute(
                text(f"UPDATE audit SET {column} = CAST(x'fffe00' || {column} AS TEXT)")
            )
            found = checked(connection)
        assert found is not None, column
        assert (found.sequence, found.kind) == (1, BreakKind.CHANGED)
    with tampering(ledger) as connection:
        write(connection, "at", 1, b"\xff")
        found = checked(connection)
    assert found is not None
    ledger.close()


def renumber(connection: Connection, old: int, new: int) -> None:
    write(connection, "sequence", old, new)


@pytest.mark.parametrize("row", range(1, ROWS))
def test_a_removed_row_is_named(trail: Ledger, row: int) -> None:
    with tampering(trail) as connection:
        connection.execute(text("DELETE FROM audit WHERE sequence = :row"), {"row": row})
        found = checked(connection)
        assert found == Break(row, BreakKind.REMOVED, f"row {row} was removed")
        # Closing the ranks does not hide it.
        for later in range(row + 1, ROWS + 1):
            renumber(connection, later, later - 1)
        found = checked(connection)
    assert found is not None
    assert (found.sequence, found.kind) == (row, BreakKind.MOVED)
    assert f"was written as {row + 1}" in found.text


@pytest.mark.parametrize("row", range(1, ROWS))
def test_an_inserted_row_is_named_however_well_it_is_made(trail: Ledger, row: int) -> None:
    with tampering(trail) as connection:
        previous = value_of(connection, "previous_sha256", row)
        for later in range(ROWS, row - 1, -1):
            renumber(connection, later, later + 1)
        # The database itself lets no two rows follow the same one.
        write(connection, "previous_sha256", row + 1, "f" * 64)
        forged = ChainRow(row, 5, "nobody", "key.add", "x", "{}", previous, None)
        forged = forged._replace(sha256=row_hash(forged))
        connection.execute(
            text(
                "INSERT INTO audit VALUES (:sequence, :at, :actor, :action, :subject, :detail,"
                " :previous_sha256, :sha256)"
            ),
            forged._asdict(),
        )
        found = checked(connection)
        assert found is not None
        assert (found.sequence, found.kind) == (row + 1, BreakKind.CHANGED)
        write(connection, "previous_sha256", row, "e" * 64)
        write(connection, "previous_sha256", row + 1, previous)
        forged = forged._replace(previous_sha256="e" * 64)
        write(connection, "sha256", row, row_hash(forged))
        found = checked(connection)
    assert found is not None
    assert (found.sequence, found.kind) == (row, BreakKind.INSERTED)


def test_rows_in_another_order_are_named(trail: Ledger) -> None:
    with tampering(trail) as connection:
        for old, new in ((2, 99), (5, 2), (99, 5)):
            renumber(connection, old, new)
        found = checked(connection)
    assert found is not None
    assert (found.sequence, found.kind) == (2, BreakKind.MOVED)
    assert "was written as 5" in found.text


def test_the_database_lets_no_two_rows_follow_one(trail: Ledger) -> None:
    with pytest.raises(IntegrityError), trail._engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit SELECT 7, at, actor, action, subject, detail, previous_sha256,"
                " sha256 FROM audit WHERE sequence = 6"
            )
        )


def test_rows_cut_off_the_end_are_missed_by_who_wrote_the_head_down(trail: Ledger) -> None:
    old = audit_head(trail)
    assert old.sequence == ROWS
    with trail.begin() as uow:
        uow.audit.add(entry(7))
    written_down = str(audit_head(trail))
    for head in (str(old), old.sha256, written_down, written_down.upper(), None):
        found = verify_audit(trail, head)
        assert (found.broken, found.head.sequence) == (None, ROWS + 1)
    with trail._engine.begin() as connection:
        open_up(connection)
        connection.execute(text("DELETE FROM audit WHERE sequence > 5"))
    assert verify_audit(trail).broken is None
    cut = verify_audit(trail, written_down).broken
    assert cut == Break(6, BreakKind.CUT, "rows 6 to 7 were removed from the end of the trail")
    cut = verify_audit(trail, written_down.partition(":")[2]).broken
    assert cut is not None
    assert (cut.sequence, cut.kind) == (6, BreakKind.CUT)
    # Written anew, it is as long as it was and still not the same.
    for number in (6, 7):
        with trail.begin() as uow:
            uow.audit.add(entry(number + 1))
    assert verify_audit(trail).broken is None
    anew = verify_audit(trail, written_down).broken
    assert anew is not None
    assert (anew.sequence, anew.kind) == (7, BreakKind.CHANGED)


@pytest.mark.parametrize("head", ["", "7", "x" * 64, "1:", "0" * 63, "a:" + "0" * 64])
def test_what_is_no_head_is_refused(trail: Ledger, head: str) -> None:
    with pytest.raises(InvalidRequest, match="no head"):
        verify_audit(trail, head)


def test_an_empty_trail_holds(ledger: Ledger) -> None:
    head = audit_head(ledger)
    assert str(head) == "0:" + "0" * 64
    assert verify_audit(ledger, str(head)).broken is None


def test_what_is_rolled_back_leaves_no_hole(trail: Ledger) -> None:
    with pytest.raises(InvalidRequest), trail.begin() as uow:  # noqa: PT012
        uow.audit.add(entry(7))
        raise InvalidRequest("it goes wrong after that")
    with trail.begin() as uow:
        uow.audit.add(entry(8))
    assert verify_audit(trail).head.sequence == ROWS + 1
    (newest,) = list_audit(trail, limit=1)
    assert (newest.sequence, newest.detail) == (ROWS + 1, dict(entry(8).detail))
    assert [row.sequence for row in list_audit(trail, limit=3, before=4)] == [3, 2, 1]
    assert list_audit(trail, limit=3, action="other") == []


def test_an_auditor_needs_nothing_of_ours_to_check_it(trail: Ledger) -> None:
    with trail._engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM audit ORDER BY sequence")).mappings().all()
    previous = "0" * 64
    for row in rows:
        assert row["previous_sha256"] == previous
        document = {key: value for key, value in row.items() if key != "sha256"}
        plain = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(plain.encode()).hexdigest()
        assert row["sha256"] == previous


def test_writers_at_the_same_time_make_one_chain(postgres_url: str) -> None:
    writers, each = 6, 12
    ledgers = [Ledger(postgres_url) for _ in range(writers)]
    ledgers[0].migrate()
    start = threading.Barrier(writers)

    def write_some(number: int) -> None:
        start.wait(10)
        for turn in range(each):
            with ledgers[number].begin() as uow:
                uow.audit.add(entry(number))
                uow.audit.add(entry(turn))

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write_some, range(writers)))
    found = verify_audit(ledgers[0])
    assert (found.broken, found.head.sequence) == (None, writers * each * 2)
    for ledger in ledgers:
        ledger.close()


@pytest.mark.timeout(30)
def test_who_audits_holds_up_nobody_before_the_end(postgres_url: str) -> None:
    """A long operation that audits must not make others wait until it is at its last step."""
    ledger = Ledger(postgres_url)
    ledger.migrate()
    with ledger.begin() as slow:
        slow.audit.add(entry(1))
        slow.keys.all()
        with ledger.begin() as quick:
            quick.audit.add(entry(2))
        assert verify_audit(ledger).head.sequence == 1
    found = verify_audit(ledger)
    assert (found.broken, found.head.sequence) == (None, 2)
    ledger.close()


def migrate_to(ledger: Ledger, revision: str) -> None:
    script = schema._script()
    with (
        ledger._engine.connect() as connection,
        connection.begin(),
        EnvironmentContext(
            schema._config(), script, fn=lambda now, _: script._upgrade_revs(revision, now)
        ) as environment,
    ):
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


def test_what_is_there_already_is_chained_and_keys_go_on_working(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    [before] = [one.down_revision for one in schema.revisions() if one.revision == "0006"]
    assert isinstance(before, str)
    migrate_to(ledger, before)
    key = "sgl_00000000_" + "0" * 40
    scopes = ["command:send", "snapshot", "later"]
    with ledger._engine.begin() as connection:
        for number in (1, 2, 5, 9):  # PostgreSQL leaves holes where it rolls back
            connection.execute(
                text("INSERT INTO audit VALUES (:id, :at, 'root', 'key.add', 'x', :detail)"),
                {"id": number, "at": number, "detail": json.dumps({"b": "ă", "a": number})},
            )
        connection.execute(
            text("INSERT INTO api_keys VALUES ('00000000', 'old', :sha, :scopes, 1, NULL, NULL)"),
            {"sha": hashlib.sha256(key.encode()).digest(), "scopes": json.dumps(scopes)},
        )
    ledger.migrate()
    assert verify_audit(ledger).head.sequence == 4
    newest = list_audit(ledger, limit=9)
    assert [row.detail["a"] for row in newest] == [9, 5, 2, 1]
    assert check_key(ledger, key, NOW).scopes == {
        "readings:read", "export:read", "command:send", "snapshot:create", "later",
    }  # fmt: skip
    ledger.close()


@pytest.fixture
def billed(ledger: Ledger, tmp_path: Path) -> Ledger:
    """Two snapshots."""
    import_files(ledger, tmp_path / "registry", FILES)
    put(ledger, midnight("2026-10-01"), {"M1": 100, "M2": 5})
    put(ledger, midnight("2026-11-01"), {"M1": 300, "M2": 6})
    for station in (None, "T1"):
        create_snapshot(
            ledger,
            station=station,
            from_at=midnight("2026-10-01"),
            to_at=midnight("2026-11-01"),
            actor="tester",
            now=NOW,
        )
    return ledger


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE snapshot_lines SET consumption = consumption + 1 WHERE snapshot = :id", "changed"),
        ("UPDATE snapshot_lines SET index_to = index_to - 1 WHERE snapshot = :id", "changed"),
        ("UPDATE snapshot_lines SET quality = 'E' WHERE snapshot = :id", "changed"),
        ("UPDATE snapshot_lines SET quality = 'x' WHERE snapshot = :id", "no line"),
        ("UPDATE snapshot_lines SET multiplier_denominator = 0 WHERE snapshot = :id", "no line"),
        ("DELETE FROM snapshot_lines WHERE snapshot = :id AND ordinal = 1", "lines, not the"),
        (
            (
                "INSERT INTO snapshot_lines SELECT snapshot, 77, point, meter, register,"
                " index_from, index_to, read_from_at, read_to_at, 1, 1, 5, 'A'"
                " FROM snapshot_lines WHERE snapshot = :id AND ordinal = 0"
            ),
            "lines, not the",
        ),
        ("UPDATE snapshots SET to_at = to_at + 1 WHERE id = :id", "changed"),
        ("UPDATE snapshots SET station = 'T9' WHERE id = :id", "changed"),
    ],
)
def test_a_snapshot_whose_line_was_changed_is_named(billed: Ledger, change: str, said: str) -> None:
    assert verify_snapshots(billed) == []
    with billed.read() as uow:
        victim = uow.snapshots.all()[1].id
    with billed._engine.begin() as connection:
        disarm(connection)
        connection.execute(text(change), {"id": victim})
    [problem] = verify_snapshots(billed)
    assert problem.startswith(f"snapshot {victim} ")
    assert said in problem


def test_a_snapshot_that_is_gone_or_made_anew_is_named_by_the_trail(billed: Ledger) -> None:
    from collector.billing.snapshot import snapshot_hash

    with billed.read() as uow:
        one, other = uow.snapshots.all()
        lines = uow.snapshots.lines(one.id, 0, 100)
    forged = snapshot_hash(one.station, one.from_at, one.to_at, lines[:-1])
    with billed._engine.begin() as connection:
        disarm(connection)
        for table, column in (("snapshot_lines", "snapshot"), ("snapshots", "id")):
            connection.execute(text(f"DELETE FROM {table} WHERE {column} = :id"), {"id": other.id})
        connection.execute(
            text("DELETE FROM snapshot_lines WHERE snapshot = :id AND ordinal = :last"),
            {"id": one.id, "last": len(lines) - 1},
        )
        connection.execute(
            text("UPDATE snapshots SET sha256 = :sha, line_count = :count WHERE id = :id"),
            {"sha": forged, "count": len(lines) - 1, "id": one.id},
        )
    anew, gone = verify_snapshots(billed)
    assert anew == f"snapshot {one.id} was written anew: the audit trail has it as {one.sha256}"
    assert gone == f"snapshot {other.id} was made and is not there any more"


def disarm(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        return
    for table in ("snapshots", "snapshot_lines"):
        for action in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER {table}_no_{action}"))
