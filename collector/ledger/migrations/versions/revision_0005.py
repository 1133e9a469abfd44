"""Billing runs: their versions, lines and acts, and which version was exported.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What was billed is never amended: a later run says what has changed.
_IMMUTABLE = (
    "billing_runs",
    "billing_versions",
    "billing_lines",
    "billing_acts",
    "billing_exports",
)


def upgrade() -> None:
    """Create the tables and the triggers that keep them as they are."""
    _create_runs()
    _create_lines()
    _create_acts()
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


def _create_runs() -> None:
    op.create_table(
        "billing_runs",
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("station", sa.String(64)),
        sa.Column("book", sa.String(64)),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("to_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_billing_runs")),
    )
    op.create_table(
        "billing_versions",
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("previous_sha256", sa.String(64)),
        sa.Column("basis_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("run", "version", name=op.f("pk_billing_versions")),
        sa.ForeignKeyConstraint(
            ["run"], ["billing_runs.run"], name=op.f("fk_billing_versions_run_billing_runs")
        ),
    )


def _create_lines() -> None:
    op.create_table(
        "billing_lines",
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("meter", sa.String(64), nullable=False),
        sa.Column("register", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("to_at", sa.BigInteger(), nullable=False),
        sa.Column("index_from", sa.BigInteger()),
        sa.Column("index_to", sa.BigInteger()),
        sa.Column("read_from_at", sa.BigInteger()),
        sa.Column("read_to_at", sa.BigInteger()),
        sa.Column("multiplier_numerator", sa.Integer(), nullable=False),
        sa.Column("multiplier_denominator", sa.Integer(), nullable=False),
        sa.Column("billed", sa.BigInteger()),
        sa.Column("quality", sa.String(1), nullable=False),
        sa.Column("cites", sa.String(36)),
        sa.PrimaryKeyConstraint("run", "version", "ordinal", name=op.f("pk_billing_lines")),
        sa.ForeignKeyConstraint(
            ["run", "version"],
            ["billing_versions.run", "billing_versions.version"],
            name=op.f("fk_billing_lines_run_billing_versions"),
        ),
    )
    op.create_index("ix_billing_lines_point", "billing_lines", ["point"])


def _create_acts() -> None:
    op.create_table(
        "billing_acts",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_acts")),
        sa.ForeignKeyConstraint(
            ["run"], ["billing_runs.run"], name=op.f("fk_billing_acts_run_billing_runs")
        ),
    )
    op.create_index("ix_billing_acts_run", "billing_acts", ["run"])
    op.create_table(
        "billing_exports",
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("exported_at", sa.BigInteger(), nullable=False),
        sa.Column("exported_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_billing_exports")),
        sa.ForeignKeyConstraint(
            ["run", "version"],
            ["billing_versions.run", "billing_versions.version"],
            name=op.f("fk_billing_exports_run_billing_versions"),
        ),
    )
