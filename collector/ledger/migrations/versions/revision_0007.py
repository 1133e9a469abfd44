"""A decision to read again names the command that was sent for it.

It is the history of a released schema and never changes; `tables.py` describes today's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Decisions made before name no command: what became of theirs was not kept."""
    op.add_column("finding_decisions", sa.Column("command", sa.String(64), nullable=True))
