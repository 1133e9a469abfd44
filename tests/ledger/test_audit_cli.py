"""`songlo collector audit` and `verify` from the outside."""

from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from collector.cli import app
from collector.ledger import Ledger


@pytest.fixture
def config(tmp_path: Path) -> Path:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    ledger.close()
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"ledger: sqlite:///{tmp_path / 'ledger.db'}\n"
        f"readings: {{store: duckdb, path: {tmp_path / 'readings.duckdb'}}}\n"
        "broker: {host: 127.0.0.1, port: 1}\n",
        encoding="utf-8",
    )
    return path


def songlo(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def test_the_trail_is_listed_followed_and_its_break_named(config: Path) -> None:
    assert "no such rows" in songlo(config, "audit", "list").output
    for name in ("an", "binh", "chi"):
        assert songlo(config, "key", "add", name).exit_code == 0
    assert songlo(config, "key", "revoke", "an").exit_code == 0
    listed = songlo(config, "audit", "list", "--action", "key.add").output
    assert [line.split()[-1] for line in listed.splitlines()[::2]] == ["chi", "binh", "an"]
    assert "--before 4" in songlo(config, "audit", "list", "--limit", "1").output
    head = songlo(config, "audit", "head").output.strip()
    assert head.startswith("4:")
    good = songlo(config, "audit", "verify", "--head", head)
    assert (good.exit_code, good.output.splitlines()[-1]) == (0, head)
    assert songlo(config, "verify", "--ledger-only").exit_code == 0
    ledger = Ledger(f"sqlite:///{config.parent / 'ledger.db'}")
    with ledger._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_no_update"))
        connection.execute(text("UPDATE audit SET subject = 'anh' WHERE sequence = 3"))
    ledger.close()
    bad = songlo(config, "audit", "verify")
    assert bad.exit_code == 1
    assert "row 3 was changed after it was written" in bad.output
    whole = songlo(config, "verify", "--ledger-only")
    assert whole.exit_code == 1
    assert "audit trail: row 3 was changed" in whole.output
    assert songlo(config, "audit", "verify", "--head", "nonsense").exit_code == 1
