"""A decision remembers the token of the press that made it, so that it can be sent twice.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the token; earlier decisions have none."""
    op.add_column("decision", sa.Column("token", sa.Text(), nullable=True))
    op.execute(
        "CREATE UNIQUE INDEX one_decision_a_token ON decision (token) WHERE token IS NOT NULL"
    )
