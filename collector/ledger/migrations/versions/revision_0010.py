"""What corrected rows of the registry said before.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = "replaced_rows"


def upgrade() -> None:
    """Add the table, and have the database refuse to change it."""
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
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {_TABLE}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION songlo_refuse_change()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {_TABLE}_no_{action.lower()} BEFORE {action} ON {_TABLE} BEGIN "
            f"SELECT RAISE(ABORT, '{_TABLE} never change: {action} refused'); END"
        )
