"""The audit trail becomes a chain; keys say what they may do; requests that are sent twice.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from collector.ledger.audit_chain import EMPTY, ChainRow, Head, canonical_json, link

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_PAGE_ROWS = 1_000

# What a key of each former scope could do, in today's: not less, and nothing new.
_SCOPES = {
    "read": ("readings:read", "export:read"),
    "snapshot": ("readings:read", "export:read", "snapshot:create"),
    "command:send": ("readings:read", "export:read", "command:send"),
    "admin": ("admin",),
}


def upgrade() -> None:
    """Chain what the trail has, and have the database refuse to change it from now on."""
    _chain_audit()
    _refuse_changes()
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    _name_scopes()
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("token", sa.String(128), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("actor", "token", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _chain_audit() -> None:
    op.rename_table("audit", "audit_unchained")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_audit", "audit_unchained")
    audit = op.create_table(
        "audit",
        sa.Column("sequence", _BIG_ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
        sa.UniqueConstraint("previous_sha256", name="uq_audit_previous_sha256"),
    )
    bind = op.get_bind()
    head, after = EMPTY, -1
    page = sa.text(
        "SELECT id, at, actor, action, subject, detail FROM audit_unchained"
        " WHERE id > :after ORDER BY id LIMIT :limit"
    )
    while found := bind.execute(page, {"after": after, "limit": _PAGE_ROWS}).all():
        rows = []
        for _, at, actor, action, subject, detail in found:
            text = canonical_json(_parsed(detail))
            row = link(head, ChainRow(None, at, actor, action, subject, text, None, None))
            head = Head(row.sequence, row.sha256)
            rows.append(row._asdict())
        bind.execute(sa.insert(audit), rows)
        after = found[-1][0]
    op.drop_table("audit_unchained")


def _refuse_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION songlo_refuse_change()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{action.lower()} BEFORE {action} ON audit BEGIN "
            f"SELECT RAISE(ABORT, 'audit is append-only: {action} refused'); END"
        )


def _name_scopes() -> None:
    bind = op.get_bind()
    for prefix, stored in bind.execute(sa.text("SELECT prefix, scopes FROM api_keys")).all():
        scopes = [new for old in _parsed(stored) for new in _SCOPES.get(old, (old,))]
        bind.execute(
            sa.text("UPDATE api_keys SET scopes = :scopes WHERE prefix = :prefix"),
            {"scopes": json.dumps(list(dict.fromkeys(scopes))), "prefix": prefix},
        )


def _parsed(stored: Any) -> Any:  # noqa: ANN401  JSON
    # PostgreSQL's driver parses JSON by itself, SQLite has it as text.
    return json.loads(stored) if isinstance(stored, str) else stored
