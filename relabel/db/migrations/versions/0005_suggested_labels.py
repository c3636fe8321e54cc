"""What models that have not seen a train example say is its label.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty: runs that were scored before have it from their next scoring on."""
    op.add_column("prediction", sa.Column("suggested_label", sa.Integer()))
