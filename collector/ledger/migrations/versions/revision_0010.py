"""What corrected rows of the registry said before; transformers, areas and applications.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = "replaced_rows"
_TRANSFORMERS = "transformers"
_AREAS = "areas"
_APPLICATIONS = "applications"


def upgrade() -> None:
    """Add the tables, and have the database refuse to change them."""
    op.create_table(
        _TABLE,
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("began", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("replaced_at", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "began", "version", name=op.f(f"pk_{_TABLE}")),
    )
    op.create_index(op.f("ix_replaced_rows_replaced_at"), _TABLE, ["replaced_at"])
    op.create_table(
        _TRANSFORMERS,
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head_side", sa.String(16), nullable=False),
        sa.Column("rated_kva", sa.Integer(), nullable=True),
        sa.Column("no_load_loss_w", sa.Integer(), nullable=True),
        sa.Column("load_loss_w", sa.Integer(), nullable=True),
        sa.Column("short_circuit_hundredths", sa.Integer(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["station"], ["stations.station"], name=op.f("fk_transformers_station_stations")
        ),
        sa.PrimaryKeyConstraint("station", "from_at", "version", name=op.f("pk_transformers")),
    )
    op.create_table(
        _AREAS,
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "code", "version", name=op.f("pk_areas")),
    )
    for column in ("phone", "email"):
        op.add_column("customers", sa.Column(column, sa.Text(), nullable=True))
    op.create_table(
        _APPLICATIONS,
        sa.Column("application", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("customer", sa.String(64), nullable=True),
        sa.Column("point", sa.String(64), nullable=True),
        sa.Column("surveyed_on", sa.Date(), nullable=True),
        sa.Column("contract", sa.String(64), nullable=True),
        sa.Column("withdrawn_on", sa.Date(), nullable=True),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{column}s.{column}"], name=op.f(f"fk_applications_{column}_{column}s")
            )
            for column in ("customer", "point", "contract")
        ),
        sa.PrimaryKeyConstraint("application", "version", name=op.f("pk_applications")),
    )
    for table in (_TABLE, _TRANSFORMERS, _AREAS, _APPLICATIONS):
        _keep(table)


def _keep(table: str) -> None:
    """Have the database refuse to change what is there."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION songlo_refuse_change()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} BEGIN "
            f"SELECT RAISE(ABORT, '{table} never change: {action} refused'); END"
        )
