"""What a bill needs to know: customers, contracts, prices, reading books, transfers, inspections.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What a bill may have been computed from is never amended: a later date says what has changed.
_IMMUTABLE = (
    "contract_terms",
    "allocations",
    "reading_days",
    "memberships",
    "transfers",
    "inspections",
)


def upgrade() -> None:
    """Create the tables, add columns to the older ones, and have dated facts stay."""
    _add_columns()
    _create_contracts()
    _create_books()
    _create_places()
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


def _add_columns() -> None:
    op.add_column("stations", sa.Column("kind", sa.String(16)))
    op.add_column("stations", sa.Column("unit", sa.String(64)))
    op.add_column("stations", sa.Column("feeder", sa.String(64)))
    # SQLite takes a foreign key only together with its column.
    op.execute(
        "ALTER TABLE points ADD COLUMN parent VARCHAR(64) "
        "CONSTRAINT fk_points_parent_points REFERENCES points (point)"
    )
    op.add_column("meters", sa.Column("digits", sa.Integer()))
    op.add_column(
        "multipliers",
        sa.Column("index_side", sa.String(16), nullable=False, server_default="secondary"),
    )


def _create_contracts() -> None:
    op.create_table(
        "customers",
        sa.Column("customer", sa.String(64), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.PrimaryKeyConstraint("customer", name=op.f("pk_customers")),
    )
    op.create_table(
        "contracts",
        sa.Column("contract", sa.String(64), nullable=False),
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("customer", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("to_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("contract", name=op.f("pk_contracts")),
        sa.ForeignKeyConstraint(
            ["point"], ["points.point"], name=op.f("fk_contracts_point_points")
        ),
        sa.ForeignKeyConstraint(
            ["customer"], ["customers.customer"], name=op.f("fk_contracts_customer_customers")
        ),
        sa.UniqueConstraint("point", "from_at", name="uq_contracts_point_from"),
    )
    op.create_index("ix_contracts_customer", "contracts", ["customer"])
    op.create_table(
        "contract_terms",
        sa.Column("contract", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("voltage_v", sa.Integer(), nullable=False),
        sa.Column("households", sa.Integer()),
        sa.Column("renters", sa.Integer()),
        sa.Column("renters_undeclared", sa.Boolean(), nullable=False),
        sa.Column("registered_w", sa.BigInteger()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("contract", "from_at", "version", name=op.f("pk_contract_terms")),
        sa.ForeignKeyConstraint(
            ["contract"], ["contracts.contract"], name=op.f("fk_contract_terms_contract_contracts")
        ),
    )
    op.create_table(
        "allocations",
        sa.Column("contract", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("register", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("price_group", sa.String(64), nullable=False),
        sa.Column("percent_hundredths", sa.Integer()),
        sa.Column("kwh", sa.BigInteger()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "contract", "from_at", "register", "position", "version", name=op.f("pk_allocations")
        ),
        sa.ForeignKeyConstraint(
            ["contract"], ["contracts.contract"], name=op.f("fk_allocations_contract_contracts")
        ),
    )


def _create_books() -> None:
    op.create_table(
        "books",
        sa.Column("book", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("book", name=op.f("pk_books")),
    )
    op.create_table(
        "reading_days",
        sa.Column("book", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("reading_days", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("book", "from_at", "version", name=op.f("pk_reading_days")),
        sa.ForeignKeyConstraint(["book"], ["books.book"], name=op.f("fk_reading_days_book_books")),
    )
    op.create_table(
        "memberships",
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("book", sa.String(64)),
        sa.Column("position", sa.String(64)),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("point", "from_at", "version", name=op.f("pk_memberships")),
        sa.ForeignKeyConstraint(
            ["point"], ["points.point"], name=op.f("fk_memberships_point_points")
        ),
        sa.ForeignKeyConstraint(["book"], ["books.book"], name=op.f("fk_memberships_book_books")),
    )
    op.create_index("ix_memberships_book", "memberships", ["book"])


def _create_places() -> None:
    op.create_table(
        "transfers",
        sa.Column("point", sa.String(64), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("point", "from_at", "version", name=op.f("pk_transfers")),
        sa.ForeignKeyConstraint(
            ["point"], ["points.point"], name=op.f("fk_transfers_point_points")
        ),
        sa.ForeignKeyConstraint(
            ["station"], ["stations.station"], name=op.f("fk_transfers_station_stations")
        ),
    )
    op.create_index("ix_transfers_station", "transfers", ["station"])
    op.create_table(
        "inspections",
        sa.Column("meter", sa.String(64), nullable=False),
        sa.Column("inspected_at", sa.BigInteger(), nullable=False),
        sa.Column("calibration_due", sa.Date()),
        sa.Column("seals", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("meter", "inspected_at", "version", name=op.f("pk_inspections")),
        sa.ForeignKeyConstraint(
            ["meter"], ["meters.meter"], name=op.f("fk_inspections_meter_meters")
        ),
    )
