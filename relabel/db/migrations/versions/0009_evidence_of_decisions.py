"""A decision keeps what it was made on: the ranking, the suggestion, the answer before and after.

An imported decision also keeps the time that its file states.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, empty: what was shown before this revision is not known."""
    for name, kind in (
        ("signal", sa.Text()),
        ("suggested_label", sa.Integer()),
        ("suggested_value", sa.Double()),
        ("suggested_probability", sa.Double()),
        ("label_before", sa.Integer()),
        ("label_after", sa.Integer()),
        ("value_before", sa.Double()),
        ("value_after", sa.Double()),
        ("stated_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("decision", sa.Column(name, kind, nullable=True))
