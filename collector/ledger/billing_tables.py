"""The ledger's tables of billing runs: what was billed, and what people did on the way.

Private to `collector.ledger`, as `tables.py` is. `metadata` is that of all tables: with this module
it is complete.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    String,
    Table,
    Text,
)

from collector.ledger.tables import BigId, Instant, metadata

__all__ = [
    "billing_acts",
    "billing_exports",
    "billing_lines",
    "billing_runs",
    "billing_versions",
    "maximum_demands",
    "metadata",
]

billing_runs = Table(
    "billing_runs",
    metadata,
    Column("run", String(36), primary_key=True),
    Column("station", String(64)),  # this and book null: the whole registry
    Column("book", String(64)),
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("opened_by", String(64), nullable=False),
)

billing_versions = Table(
    "billing_versions",
    metadata,
    Column("run", ForeignKey("billing_runs.run"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("made_at", Instant, nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("previous_sha256", String(64)),
    Column("basis_sha256", String(64), nullable=False),
)

billing_lines = Table(
    "billing_lines",
    metadata,
    Column("run", String(36), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("point", String(64), nullable=False, index=True),
    Column("meter", String(64), nullable=False),
    Column("register", String(32), nullable=False),
    Column("kind", String(16), nullable=False),  # consumption, return, correction
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant, nullable=False),
    Column("index_from", BigInteger),
    Column("index_to", BigInteger),
    Column("read_from_at", Instant),
    Column("read_to_at", Instant),
    Column("multiplier_numerator", Integer, nullable=False),
    Column("multiplier_denominator", Integer, nullable=False),
    Column("billed", BigInteger),
    Column("quality", String(1), nullable=False),
    Column("cites", String(36)),
    ForeignKeyConstraint(["run", "version"], ["billing_versions.run", "billing_versions.version"]),
)

# What people did with a version: accepted an exception, left a point out, approved.
billing_acts = Table(
    "billing_acts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("billing_runs.run"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("act", String(16), nullable=False),  # accept, exclude, include, approve
    Column("actor", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("subject", String(64), nullable=False),  # a cause, a point, a version's hash
    Column("reason", Text, nullable=False),
)

# Its key is the run's: what is exported twice would be billed twice.
billing_exports = Table(
    "billing_exports",
    metadata,
    Column("run", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("exported_at", Instant, nullable=False),
    Column("exported_by", String(64), nullable=False),
    ForeignKeyConstraint(["run", "version"], ["billing_versions.run", "billing_versions.version"]),
)

# Of a snapshot (version 0) or a version of a run: what stands beside its lines.
maximum_demands = Table(
    "maximum_demands",
    metadata,
    Column("owner", String(36), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("point", String(64), primary_key=True),
    Column("meter", String(64), primary_key=True),
    Column("power_w", BigInteger, nullable=False),
    Column("after", Instant),
)
