"""Where in the person's own data an example was found.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty: what was imported before has lost its place."""
    op.add_column("example", sa.Column("source_place", sa.Text()))
