"""The ledger's tables of billing runs: what was billed, validated, and done by people on the way.

Private to `collector.ledger`, as `tables.py` is. `metadata` is that of all tables: with this module
it is complete.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from collector.ledger.tables import BigId, Instant, metadata

__all__ = [
    "bill_accepted",
    "bill_acts",
    "bill_exports",
    "bill_previews",
    "bill_refusals",
    "bill_sets",
    "billing_accepted",
    "billing_acts",
    "billing_exports",
    "billing_lines",
    "billing_marks",
    "billing_runs",
    "billing_versions",
    "maximum_demands",
    "metadata",
    "validations",
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

# Exceptions of a version that a person answered for one by one; acts have whole causes.
billing_accepted = Table(
    "billing_accepted",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("billing_runs.run"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("point", String(64), nullable=False),
    Column("register", String(32), nullable=False),
    Column("cause", String(32), nullable=False),
    Column("detail", String(64), nullable=False),
)

# What the reader found at a point (TTR_MOI); the newest counts, an empty mark takes it back.
billing_marks = Table(
    "billing_marks",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("billing_runs.run"), nullable=False, index=True),
    Column("point", String(64), nullable=False),
    Column("mark", String(1), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
)

# The bill previews of a version of a run, made at once.
bill_sets = Table(
    "bill_sets",
    metadata,
    Column("bill_set", String(36), primary_key=True),
    Column("run", String(36), nullable=False),
    Column("version", Integer, nullable=False),
    Column("run_sha256", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("split", String(16), nullable=False),
    Column("bill_count", Integer, nullable=False),
    Column("refused_count", Integer, nullable=False),
    Column("energy_kwh", BigInteger, nullable=False),
    Column("amount_vnd", BigInteger, nullable=False),
    Column("vat_vnd", BigInteger, nullable=False),
    Column("adjustments_vnd", BigInteger, nullable=False),
    Column("total_vnd", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    ForeignKeyConstraint(["run", "version"], ["billing_versions.run", "billing_versions.version"]),
    UniqueConstraint("run", "number"),
)

bill_previews = Table(
    "bill_previews",
    metadata,
    Column("bill_set", ForeignKey("bill_sets.bill_set"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("bill", String(64), nullable=False, index=True),
    Column("point", String(64), nullable=False, index=True),
    Column("root", String(64), nullable=False),
    Column("from_day", Date, nullable=False),
    Column("to_day", Date, nullable=False),
    Column("energy_kwh", BigInteger, nullable=False),
    Column("amount_vnd", BigInteger, nullable=False),
    Column("vat_vnd", BigInteger, nullable=False),
    Column("adjustments_vnd", BigInteger, nullable=False),
    Column("total_vnd", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("preview", LargeBinary, nullable=False),  # canonical JSON, zlib
    Column("determinants", LargeBinary, nullable=False),  # JSON, zlib: to rate it again
)

bill_refusals = Table(
    "bill_refusals",
    metadata,
    Column("bill_set", ForeignKey("bill_sets.bill_set"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("point", String(64), nullable=False),
    Column("contract", String(64)),
    Column("code", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("hint", Text, nullable=False),
)

bill_acts = Table(
    "bill_acts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("bill_set", ForeignKey("bill_sets.bill_set"), nullable=False, index=True),
    Column("act", String(16), nullable=False),  # accept, approve
    Column("actor", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("subject", String(64), nullable=False),  # how many exceptions, or the set's hash
    Column("reason", Text, nullable=False),
)

bill_accepted = Table(
    "bill_accepted",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("bill_set", ForeignKey("bill_sets.bill_set"), nullable=False, index=True),
    Column("bill", String(64), nullable=False),
    Column("cause", String(32), nullable=False),
)

bill_exports = Table(
    "bill_exports",
    metadata,
    Column("bill_set", ForeignKey("bill_sets.bill_set"), primary_key=True),
    Column("run", String(36), nullable=False, index=True),
    Column("sha256", String(64), nullable=False),
    Column("exported_at", Instant, nullable=False),
    Column("exported_by", String(64), nullable=False),
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

# Which days of a station rules were asked about, and what was there then: `seen` is JSON, zlib.
validations = Table(
    "validations",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("station", String(64), nullable=False),
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant, nullable=False, index=True),
    Column("validated_at", Instant, nullable=False),
    Column("seen", LargeBinary, nullable=False),
)
