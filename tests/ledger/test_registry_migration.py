"""From schema 0003 to 0004: what was there stays as it was, and can be completed."""

from fractions import Fraction
from pathlib import Path

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Connection, text

from collector.ledger import Ledger
from collector.ledger.schema import _config, _script
from collector.ledger.tables import metadata, to_ms
from collector.registry.values import IndexSide, Role
from tests.ledger.building import FILES, import_files, midnight

STORED = {
    "stations (station, name, commune, capacity_kva)": "('T1', 'Trạm 1', 'Sông Lô', 250)",
    "points (point, station, role, name)": """
        ('T1/head', 'T1', 'head', 'Công tơ tổng'),
        ('T1/a', 'T1', 'household', 'Nguyễn Văn A'),
        ('T1/b', 'T1', 'business', 'Xưởng mộc, B')
    """,
    "meters (meter, model, resolution_wh, roll_over_wh)": """
        ('M0', 'sdm630', 10, NULL), ('M1', 'sdm120', 10, 100000000),
        ('M2', 'sdm120', 10, 100000000), ('M3', 'sdm120', 10, 100000000)
    """,
    "installations (point, meter, installed_at)": """
        ('T1/head', 'M0', {at}), ('T1/a', 'M1', {at}), ('T1/b', 'M2', {at})
    """,
    "multipliers (point, from_at, numerator, denominator)": "('T1/head', {at}, 40, 1)",
}


def upgrade_to(connection: Connection, revision: str) -> None:
    script = _script()

    def steps(current: str, _context: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs(revision, current)

    with EnvironmentContext(_config(), script, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=metadata)
        environment.run_migrations()


def test_what_was_stored_under_0003_stays_and_can_be_completed(
    ledger_url: str, tmp_path: Path
) -> None:
    ledger = Ledger(ledger_url)
    at = to_ms(midnight("2026-01-01"))
    with ledger._engine.begin() as connection:
        upgrade_to(connection, "0003")
        for table, rows in STORED.items():
            connection.execute(text(f"INSERT INTO {table} VALUES {rows.format(at=at)}"))
    ledger.migrate()
    ledger.check_schema()
    with ledger.read() as uow:
        registry = uow.registry.load()
        assert uow.contracts.load().contracts == {}
    assert registry.stations["T1"].kind is None
    assert registry.points["T1/a"].role is Role.HOUSEHOLD
    assert registry.points["T1/a"].parent is None
    assert registry.multipliers[0].ratio == Fraction(40)
    assert registry.multipliers[0].index_side is IndexSide.SECONDARY
    old = {**FILES, "multipliers.csv": "point,from_at,multiplier\nT1/head,2026-01-01,40\n"}
    again = import_files(ledger, tmp_path / "old", old)
    assert (again.errors, again.unchanged, sum(again.added.values())) == ((), 12, 0)
    more = {
        "points.csv": "point,station,role,name,parent\nT1/b1,T1,sub_meter,quán,T1/b\n",
        "customers.csv": "customer\nPA25SL0000001\n",
        "contracts.csv": "contract,point,customer,from_at\nHD-1,T1/a,PA25SL0000001,2026-01-01\n",
    }
    report = import_files(ledger, tmp_path / "more", more)
    assert (report.errors, sum(report.added.values())) == ((), 3)
    ledger.close()
