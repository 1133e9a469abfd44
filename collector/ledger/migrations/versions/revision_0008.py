"""Bill previews of billing runs; exceptions answered for one by one; what readers found.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What a bill said is never amended: another set says it otherwise.
_IMMUTABLE = (
    "billing_accepted",
    "billing_marks",
    "bill_sets",
    "bill_previews",
    "bill_refusals",
    "bill_acts",
    "bill_accepted",
    "bill_exports",
)


def upgrade() -> None:
    """Create the tables and the triggers that keep them as they are."""
    _create_billing_accepted()
    _create_billing_marks()
    _create_bill_sets()
    _create_bill_previews()
    _create_bill_refusals()
    _create_bill_acts()
    _create_bill_accepted()
    _create_bill_exports()
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


def _create_billing_accepted() -> None:
    op.create_table(
        "billing_accepted",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("register", sa.String(32), nullable=False),
        sa.Column("cause", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_accepted")),
        sa.ForeignKeyConstraint(
            ["run"], ["billing_runs.run"], name=op.f("fk_billing_accepted_run_billing_runs")
        ),
    )
    op.create_index("ix_billing_accepted_run", "billing_accepted", ["run"])


def _create_billing_marks() -> None:
    op.create_table(
        "billing_marks",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("mark", sa.String(1), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_marks")),
        sa.ForeignKeyConstraint(
            ["run"], ["billing_runs.run"], name=op.f("fk_billing_marks_run_billing_runs")
        ),
    )
    op.create_index("ix_billing_marks_run", "billing_marks", ["run"])


def _create_bill_sets() -> None:
    op.create_table(
        "bill_sets",
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("run_sha256", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
        sa.Column("bill_count", sa.Integer(), nullable=False),
        sa.Column("refused_count", sa.Integer(), nullable=False),
        sa.Column("energy_kwh", sa.BigInteger(), nullable=False),
        sa.Column("amount_vnd", sa.BigInteger(), nullable=False),
        sa.Column("vat_vnd", sa.BigInteger(), nullable=False),
        sa.Column("adjustments_vnd", sa.BigInteger(), nullable=False),
        sa.Column("total_vnd", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("bill_set", name=op.f("pk_bill_sets")),
        sa.ForeignKeyConstraint(
            ["run", "version"],
            ["billing_versions.run", "billing_versions.version"],
            name=op.f("fk_bill_sets_run_billing_versions"),
        ),
        sa.UniqueConstraint("run", "number", name=op.f("uq_bill_sets_run")),
    )


def _create_bill_previews() -> None:
    op.create_table(
        "bill_previews",
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("bill", sa.String(64), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("from_day", sa.Date(), nullable=False),
        sa.Column("to_day", sa.Date(), nullable=False),
        sa.Column("energy_kwh", sa.BigInteger(), nullable=False),
        sa.Column("amount_vnd", sa.BigInteger(), nullable=False),
        sa.Column("vat_vnd", sa.BigInteger(), nullable=False),
        sa.Column("adjustments_vnd", sa.BigInteger(), nullable=False),
        sa.Column("total_vnd", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("preview", sa.LargeBinary(), nullable=False),
        sa.Column("determinants", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bill_set", "ordinal", name=op.f("pk_bill_previews")),
        sa.ForeignKeyConstraint(
            ["bill_set"], ["bill_sets.bill_set"], name=op.f("fk_bill_previews_bill_set_bill_sets")
        ),
    )
    op.create_index("ix_bill_previews_point", "bill_previews", ["point"])
    op.create_index("ix_bill_previews_bill", "bill_previews", ["bill"])


def _create_bill_refusals() -> None:
    op.create_table(
        "bill_refusals",
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("contract", sa.String(64)),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bill_set", "ordinal", name=op.f("pk_bill_refusals")),
        sa.ForeignKeyConstraint(
            ["bill_set"], ["bill_sets.bill_set"], name=op.f("fk_bill_refusals_bill_set_bill_sets")
        ),
    )


def _create_bill_acts() -> None:
    op.create_table(
        "bill_acts",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bill_acts")),
        sa.ForeignKeyConstraint(
            ["bill_set"], ["bill_sets.bill_set"], name=op.f("fk_bill_acts_bill_set_bill_sets")
        ),
    )
    op.create_index("ix_bill_acts_bill_set", "bill_acts", ["bill_set"])


def _create_bill_accepted() -> None:
    op.create_table(
        "bill_accepted",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("bill", sa.String(64), nullable=False),
        sa.Column("cause", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bill_accepted")),
        sa.ForeignKeyConstraint(
            ["bill_set"], ["bill_sets.bill_set"], name=op.f("fk_bill_accepted_bill_set_bill_sets")
        ),
    )
    op.create_index("ix_bill_accepted_bill_set", "bill_accepted", ["bill_set"])


def _create_bill_exports() -> None:
    op.create_table(
        "bill_exports",
        sa.Column("bill_set", sa.String(36), nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("exported_at", sa.BigInteger(), nullable=False),
        sa.Column("exported_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("bill_set", name=op.f("pk_bill_exports")),
        sa.ForeignKeyConstraint(
            ["bill_set"], ["bill_sets.bill_set"], name=op.f("fk_bill_exports_bill_set_bill_sets")
        ),
    )
    op.create_index("ix_bill_exports_run", "bill_exports", ["run"])
