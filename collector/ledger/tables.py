"""The ledger's tables: everything that must never change, and what is needed to explain it.

Private to `collector.ledger`: the rooms outside see values and functions, never a table. The same
tables serve SQLite and PostgreSQL; what differs between the two stays in this package.

Instants are stored as integer milliseconds since 1970 UTC: the same in both databases, exact, and
cheap to compare. Energies are integers of the register's unit.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# SQLite counts up by itself only in a column declared INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC of an aware instant, exactly."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """The aware UTC instant at `ms` milliseconds since 1970."""
    return _EPOCH + ms * _MILLISECOND


class Instant(TypeDecorator[datetime]):
    """An aware instant with millisecond resolution, stored as an integer."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """The stored form; raises TypeError for a naive instant."""
        return None if value is None else to_ms(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The instant, in UTC."""
        return None if value is None else from_ms(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# --- registry ---------------------------------------------------------------------------------

# What codes of stations stand for; the newest version of a row is what holds.
areas = Table(
    "areas",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
)

stations = Table(
    "stations",
    metadata,
    Column("station", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("commune", Text),
    Column("capacity_kva", Integer),
    Column("kind", String(16)),
    Column("unit", String(64)),
    Column("feeder", String(64)),
)

points = Table(
    "points",
    metadata,
    Column("point", String(64), primary_key=True),
    Column("station", ForeignKey("stations.station"), nullable=False, index=True),
    Column("role", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("parent", ForeignKey("points.point")),
)

meters = Table(
    "meters",
    metadata,
    Column("meter", String(64), primary_key=True),
    Column("model", String(64), nullable=False),
    # Where the active energy registers start again at zero, in Wh; null where they never do.
    Column("roll_over_wh", BigInteger),
    Column("resolution_wh", Integer, nullable=False),
    Column("digits", Integer),
)

# A meter measures at a point from `installed_at` up to, not including, `removed_at`.
installations = Table(
    "installations",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("point", ForeignKey("points.point"), nullable=False, index=True),
    Column("meter", ForeignKey("meters.meter"), nullable=False, index=True),
    Column("installed_at", Instant, nullable=False),
    Column("removed_at", Instant),
    UniqueConstraint("point", "installed_at", name="uq_installations_point_installed"),
    UniqueConstraint("meter", "installed_at", name="uq_installations_meter_installed"),
)

# The index that was read when the meter went in ("install") and when it came out ("removal").
installation_indices = Table(
    "installation_indices",
    metadata,
    Column("installation", ForeignKey("installations.id"), primary_key=True),
    Column("moment", String(16), primary_key=True),
    Column("register", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

multipliers = Table(
    "multipliers",
    metadata,
    Column("point", ForeignKey("points.point"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("numerator", Integer, nullable=False),
    Column("denominator", Integer, nullable=False),
    Column("index_side", String(16), nullable=False, server_default="secondary"),
)

# From `from_at` on, until the station's next row; the newest version of a row is what holds.
transformers = Table(
    "transformers",
    metadata,
    Column("station", ForeignKey("stations.station"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("head_side", String(16), nullable=False),
    Column("rated_kva", Integer),
    Column("no_load_loss_w", Integer),
    Column("load_loss_w", Integer),
    Column("short_circuit_hundredths", Integer),
    Column("count", Integer, nullable=False),
)

# What corrected installations, multipliers and contracts said before, as JSON of their columns.
replaced_rows = Table(
    "replaced_rows",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("began", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("replaced_at", Instant, nullable=False, index=True),
    Column("row", Text, nullable=False),
)

# A point moved to another station; before the first it is where `points` says.
transfers = Table(
    "transfers",
    metadata,
    Column("point", ForeignKey("points.point"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    # The newest version of a row is what holds: corrections are rows too.
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("station", ForeignKey("stations.station"), nullable=False, index=True),
)

# `seals` are separated by semicolons.
inspections = Table(
    "inspections",
    metadata,
    Column("meter", ForeignKey("meters.meter"), primary_key=True),
    Column("inspected_at", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("calibration_due", Date),
    Column("seals", Text, nullable=False),
)

# --- contracts and reading books --------------------------------------------------------------

# Names and addresses of persons are here and nowhere else; they alone may be put right.
customers = Table(
    "customers",
    metadata,
    Column("customer", String(64), primary_key=True),
    Column("name", Text),
    Column("address", Text),
    Column("phone", Text),
    Column("email", Text),
)

# Dates as days; what is said later is the next version.
applications = Table(
    "applications",
    metadata,
    Column("application", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("received_on", Date, nullable=False),
    Column("customer", ForeignKey("customers.customer")),
    Column("point", ForeignKey("points.point")),
    Column("surveyed_on", Date),
    Column("contract", ForeignKey("contracts.contract")),
    Column("withdrawn_on", Date),
)

contracts = Table(
    "contracts",
    metadata,
    Column("contract", String(64), primary_key=True),
    Column("point", ForeignKey("points.point"), nullable=False),
    Column("customer", ForeignKey("customers.customer"), nullable=False, index=True),
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant),
    UniqueConstraint("point", "from_at", name="uq_contracts_point_from"),
)

contract_terms = Table(
    "contract_terms",
    metadata,
    Column("contract", ForeignKey("contracts.contract"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("voltage_v", Integer, nullable=False),
    Column("households", Integer),
    Column("renters", Integer),
    Column("renters_undeclared", Boolean, nullable=False),
    Column("registered_w", BigInteger),
)

# All rows of one contract and instant are one list of prices.
allocations = Table(
    "allocations",
    metadata,
    Column("contract", ForeignKey("contracts.contract"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("register", String(32), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("price_group", String(64), nullable=False),
    Column("percent_hundredths", Integer),
    Column("kwh", BigInteger),
)

books = Table(
    "books",
    metadata,
    Column("book", String(64), primary_key=True),
    Column("name", Text, nullable=False),
)

# `reading_days` are separated by semicolons: 10;20;last.
reading_days = Table(
    "reading_days",
    metadata,
    Column("book", ForeignKey("books.book"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("reading_days", String(16), nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("point", ForeignKey("points.point"), primary_key=True),
    Column("from_at", Instant, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("book", ForeignKey("books.book"), index=True),
    Column("position", String(64)),
)

# --- delivery ---------------------------------------------------------------------------------

gateways = Table(
    "gateways",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("station", String(64)),
    Column("generation", BigInteger, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("status", JSON),
    Column("status_at", Instant),
    # Which status was taken last: a late one, from before it, concludes nothing.
    Column("status_epoch", String(32)),
    Column("status_count", BigInteger, nullable=False),
    Column("batches", BigInteger, nullable=False),
    Column("reads", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
)

epochs = Table(
    "epochs",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("epoch", String(32), primary_key=True),
    # 1 to `upto` inclusive are complete or known gaps; a cache of what the receipts say.
    Column("upto", BigInteger, nullable=False),
    Column("oldest", BigInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    # The order in which epochs were first named as the current one by a status; null until then.
    Column("ordinal", BigInteger),
    Column("last_seen_at", Instant, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("epoch", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("state", String(16), nullable=False),  # claimed, complete, reopened
    Column("content", String(16), nullable=False),  # scan, gaps, events, tombstone, quarantined
    Column("kind", String(16)),
    Column("slot", Instant),
    Column("reads", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("completed_at", Instant),
    Index("ix_receipts_slot", "slot"),
)

# What is known not to have been read, or to be lost. `ordinal` numbers the gaps of one batch.
gaps = Table(
    "gaps",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("gateway", String(64), nullable=False),
    Column("station", String(64)),
    Column("source", String(16), nullable=False),  # scan, slots, tombstone, seq
    Column("epoch", String(32), nullable=False),
    Column("seq_from", BigInteger, nullable=False),
    Column("seq_to", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("kind", String(16)),
    Column("first_at", Instant),
    Column("last_at", Instant),
    Column("every_s", Integer),
    Column("meters", JSON),
    Column("reason", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("gateway", "epoch", "seq_from", "source", "ordinal", name="uq_gaps_identity"),
    Index("ix_gaps_first_at", "first_at"),
)

events = Table(
    "events",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("epoch", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("type", String(64), nullable=False),
    Column("line", String(64)),
    Column("meter", String(64)),
    Column("detail", Text, nullable=False),
    Index("ix_events_gateway_at", "gateway", "at"),
)

# What gateways were told to do. The result is the gateway's word, null until it has come.
commands = Table(
    "commands",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("gateway", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("issuer", String(64), nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("published_at", Instant),
    Column("ok", Boolean),
    Column("code", String(64)),
    Column("text", Text),
    Column("detail", JSON),
    Column("answered_at", Instant),
    Index("ix_commands_gateway_issued_at", "gateway", "issued_at"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("code", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("gateway", String(64)),
    Column("received_at", Instant, nullable=False),
    # A person asked for it to be tried again; intake does so at its next turn.
    Column("retry_asked_at", Instant),
    Column("resolved_at", Instant),
    UniqueConstraint("topic", "sha256", "code", name="uq_quarantine_identity"),
)

# --- what money depends on --------------------------------------------------------------------

# Clustered by instant: reads arrive in that order and a billing day asks for all meters at once.
index_reads = Table(
    "index_reads",
    metadata,
    Column("at", Instant, primary_key=True),
    Column("meter", String(64), primary_key=True),
    Column("register", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("slot", Instant, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("quality", Integer, nullable=False),
    Column("gateway", String(64), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Index("ix_index_reads_meter_at", "meter", "at"),
    sqlite_with_rowid=False,
)

# The same meter, register and instant with another value: kept aside and reported, never merged.
conflicts = Table(
    "conflicts",
    metadata,
    Column("at", Instant, primary_key=True),
    Column("meter", String(64), primary_key=True),
    Column("register", String(32), primary_key=True),
    Column("gateway", String(64), primary_key=True),
    Column("epoch", String(32), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("value_kept", BigInteger, nullable=False),
    Column("value_refused", BigInteger, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("station", String(64)),  # null: the whole registry
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
)

snapshot_lines = Table(
    "snapshot_lines",
    metadata,
    Column("snapshot", ForeignKey("snapshots.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("point", String(64), nullable=False),
    Column("meter", String(64), nullable=False),
    Column("register", String(32), nullable=False),
    Column("index_from", BigInteger),
    Column("index_to", BigInteger),
    Column("read_from_at", Instant),
    Column("read_to_at", Instant),
    Column("multiplier_numerator", Integer, nullable=False),
    Column("multiplier_denominator", Integer, nullable=False),
    Column("consumption", BigInteger),
    Column("quality", String(1), nullable=False),
)

# --- validation, estimation, editing ----------------------------------------------------------

# What rules found. The same thing found again is the same row: `key` is the rule's word for it.
findings = Table(
    "findings",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("rule", String(8), nullable=False),
    Column("point", String(64), nullable=False),
    Column("meter", String(64), nullable=False),
    Column("register", String(32), nullable=False),  # empty: about the meter
    Column("key", String(128), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("variant", String(16), nullable=False),
    Column("from_at", Instant, nullable=False),
    Column("to_at", Instant, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("found_at", Instant, nullable=False),
    UniqueConstraint(
        "rule", "point", "meter", "register", "key", "severity", name="uq_findings_identity"
    ),
    Index("ix_findings_point_to_at", "point", "to_at"),
)

# Indices that no gateway read: by hand, in place of what was read, or computed. The newest row of
# a (meter, register, instant) counts; without a value it withdraws the one before.
manual_indices = Table(
    "manual_indices",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),  # hand, edit, estimate
    Column("point", String(64), nullable=False),
    Column("meter", String(64), nullable=False),
    Column("register", String(32), nullable=False),
    Column("at", Instant, nullable=False),
    Column("value", BigInteger),
    Column("method", String(8)),
    Column("inputs", JSON, nullable=False),
    Column("original_value", BigInteger),
    Column("original_read_at", Instant),
    Column("author", String(64), nullable=False),
    Column("entered_at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("photo", Text),
    Index("ix_manual_indices_meter_at", "meter", "at"),
)

# What was decided about a finding; the newest row says how it stands.
finding_decisions = Table(
    "finding_decisions",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("finding", ForeignKey("findings.id"), nullable=False, index=True),
    Column("decision", String(16), nullable=False),
    Column("author", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("manual_index", ForeignKey("manual_indices.id")),
    # The command that was sent to a gateway, of a decision to read again.
    Column("command", String(64)),
)

# --- people -----------------------------------------------------------------------------------

api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", String(16), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
)

# Requests that were sent with an Idempotency-Key, and what they made: `subject` is its id.
idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String(64), primary_key=True),
    Column("token", String(128), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
)

# What people and programs did: a chain, each row with the hash of the one before it.
audit = Table(
    "audit",
    metadata,
    Column("sequence", BigId, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),  # canonical JSON: its bytes are hashed
    # Unique, so that no two rows follow the same one: the chain cannot fork.
    Column("previous_sha256", String(64), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
)
