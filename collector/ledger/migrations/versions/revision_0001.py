"""The first schema: registry, delivery, what money depends on, people.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What was billed, and what it was billed from, is never amended: the database itself refuses.
_IMMUTABLE = ("index_reads", "snapshots", "snapshot_lines")


def upgrade() -> None:
    """Create all tables and the triggers that keep some of them as they are."""
    _create_places()
    _create_installations()
    _create_gateways()
    _create_receipts()
    _create_oddities()
    _create_index_reads()
    _create_snapshots()
    _create_people()
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_postgresql()
    else:
        _refuse_changes_sqlite()


def _refuse_changes_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION songlo_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    for table in _IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION songlo_refuse_change()"
        )


def _refuse_changes_sqlite() -> None:
    for table in _IMMUTABLE:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: {action} refused'); END"
            )


def _create_places() -> None:
    op.create_table(
        "stations",
        sa.Column("station", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("commune", sa.Text(), nullable=True),
        sa.Column("capacity_kva", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("station", name=op.f("pk_stations")),
    )
    op.create_table(
        "points",
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["station"], ["stations.station"], name=op.f("fk_points_station_stations")
        ),
        sa.PrimaryKeyConstraint("point", name=op.f("pk_points")),
    )
    op.create_index(op.f("ix_points_station"), "points", ["station"], unique=False)
    op.create_table(
        "meters",
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("roll_over_wh", sa.BigInteger(), nullable=True),
        sa.Column("resolution_wh", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("meter", name=op.f("pk_meters")),
    )


def _create_installations() -> None:
    op.create_table(
        "installations",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("installed_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["meter"], ["meters.meter"], name=op.f("fk_installations_meter_meters")
        ),
        sa.ForeignKeyConstraint(
            ["point"], ["points.point"], name=op.f("fk_installations_point_points")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installations")),
        sa.UniqueConstraint("meter", "installed_at", name="uq_installations_meter_installed"),
        sa.UniqueConstraint("point", "installed_at", name="uq_installations_point_installed"),
    )
    op.create_index(op.f("ix_installations_meter"), "installations", ["meter"], unique=False)
    op.create_index(op.f("ix_installations_point"), "installations", ["point"], unique=False)
    op.create_table(
        "installation_indices",
        sa.Column("installation", _BIG_ID, nullable=False),
        sa.Column("moment", sa.String(length=16), nullable=False),
        sa.Column("register", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["installation"],
            ["installations.id"],
            name=op.f("fk_installation_indices_installation_installations"),
        ),
        sa.PrimaryKeyConstraint(
            "installation", "moment", "register", name=op.f("pk_installation_indices")
        ),
    )
    op.create_table(
        "multipliers",
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("numerator", sa.Integer(), nullable=False),
        sa.Column("denominator", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["point"], ["points.point"], name=op.f("fk_multipliers_point_points")
        ),
        sa.PrimaryKeyConstraint("point", "from_at", name=op.f("pk_multipliers")),
    )


def _create_gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("status", sa.JSON(), nullable=True),
        sa.Column("status_at", sa.BigInteger(), nullable=True),
        sa.Column("status_epoch", sa.String(length=32), nullable=True),
        sa.Column("status_count", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("reads", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_gateways")),
    )
    op.create_table(
        "epochs",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("oldest", sa.BigInteger(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "epoch", name=op.f("pk_epochs")),
    )


def _create_receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("reads", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "epoch", "seq", name=op.f("pk_receipts")),
    )
    op.create_index("ix_receipts_slot", "receipts", ["slot"], unique=False)
    op.create_table(
        "gaps",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("seq_from", sa.BigInteger(), nullable=False),
        sa.Column("seq_to", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("first_at", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("every_s", sa.Integer(), nullable=True),
        sa.Column("meters", sa.JSON(), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gaps")),
        sa.UniqueConstraint(
            "gateway", "epoch", "seq_from", "source", "ordinal", name="uq_gaps_identity"
        ),
    )
    op.create_index("ix_gaps_first_at", "gaps", ["first_at"], unique=False)


def _create_oddities() -> None:
    op.create_table(
        "events",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("line", sa.String(length=64), nullable=True),
        sa.Column("meter", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "epoch", "seq", "ordinal", name=op.f("pk_events")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("retry_asked_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("topic", "sha256", "code", name="uq_quarantine_identity"),
    )


def _create_index_reads() -> None:
    op.create_table(
        "index_reads",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("register", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", "meter", "register", name=op.f("pk_index_reads")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_index_reads_meter_at", "index_reads", ["meter", "at"], unique=False)
    op.create_table(
        "conflicts",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("register", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("value_kept", sa.BigInteger(), nullable=False),
        sa.Column("value_refused", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "at", "meter", "register", "gateway", "epoch", "seq", name=op.f("pk_conflicts")
        ),
    )


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("station", sa.String(length=64), nullable=True),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("to_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "snapshot_lines",
        sa.Column("snapshot", sa.String(length=36), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("point", sa.String(length=64), nullable=False),
        sa.Column("meter", sa.String(length=64), nullable=False),
        sa.Column("register", sa.String(length=32), nullable=False),
        sa.Column("index_from", sa.BigInteger(), nullable=True),
        sa.Column("index_to", sa.BigInteger(), nullable=True),
        sa.Column("read_from_at", sa.BigInteger(), nullable=True),
        sa.Column("read_to_at", sa.BigInteger(), nullable=True),
        sa.Column("multiplier_numerator", sa.Integer(), nullable=False),
        sa.Column("multiplier_denominator", sa.Integer(), nullable=False),
        sa.Column("consumption", sa.BigInteger(), nullable=True),
        sa.Column("quality", sa.String(length=1), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot"], ["snapshots.id"], name=op.f("fk_snapshot_lines_snapshot_snapshots")
        ),
        sa.PrimaryKeyConstraint("snapshot", "ordinal", name=op.f("pk_snapshot_lines")),
    )


def _create_people() -> None:
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_api_keys_name")),
    )
    op.create_table(
        "audit",
        sa.Column("id", _BIG_ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
