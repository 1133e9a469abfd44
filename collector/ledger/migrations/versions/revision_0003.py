"""Validation, estimation and editing: findings, what was decided of them, indices put in by people.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What was found, decided and put in is never amended: a later row says what has changed.
_IMMUTABLE = ("findings", "manual_indices", "finding_decisions")


def upgrade() -> None:
    """Create the tables and the triggers that keep them as they are."""
    _create_findings()
    _create_manual_indices()
    _create_decisions()
    for table in _IMMUTABLE:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION songlo_refuse_change()"
            )
            continue
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: {action} refused'); END"
            )


def _create_findings() -> None:
    op.create_table(
        "findings",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("rule", sa.String(8), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("meter", sa.String(64), nullable=False),
        sa.Column("register", sa.String(32), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("variant", sa.String(16), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("to_at", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
        sa.UniqueConstraint(
            "rule", "point", "meter", "register", "key", "severity", name="uq_findings_identity"
        ),
    )
    op.create_index("ix_findings_point_to_at", "findings", ["point", "to_at"])


def _create_manual_indices() -> None:
    op.create_table(
        "manual_indices",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("meter", sa.String(64), nullable=False),
        sa.Column("register", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.BigInteger()),
        sa.Column("method", sa.String(8)),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("original_value", sa.BigInteger()),
        sa.Column("original_read_at", sa.BigInteger()),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("entered_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("photo", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manual_indices")),
    )
    op.create_index("ix_manual_indices_meter_at", "manual_indices", ["meter", "at"])


def _create_decisions() -> None:
    op.create_table(
        "finding_decisions",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("finding", _BIG_ID, nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("manual_index", _BIG_ID),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding_decisions")),
        sa.ForeignKeyConstraint(
            ["finding"], ["findings.id"], name=op.f("fk_finding_decisions_finding_findings")
        ),
        sa.ForeignKeyConstraint(
            ["manual_index"],
            ["manual_indices.id"],
            name=op.f("fk_finding_decisions_manual_index_manual_indices"),
        ),
    )
    op.create_index("ix_finding_decisions_finding", "finding_decisions", ["finding"])
