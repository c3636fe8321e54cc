"""Decisions that were made together, about many examples at once, say so.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the batch; earlier decisions were made one at a time and have none."""
    op.add_column("decision", sa.Column("batch", sa.Text(), nullable=True))
    op.execute("CREATE INDEX decision_by_batch ON decision (batch) WHERE batch IS NOT NULL")
