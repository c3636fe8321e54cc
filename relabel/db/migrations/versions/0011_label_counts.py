"""How many examples have which labels is kept with a scoring; an index finds those of a class.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COUNT = """
INSERT INTO label_count
  (scoring_id, split, given_label, predicted_label, suggested_label, num_examples)
SELECT prediction.scoring_id, example.split, example.given_label,
  coalesce(prediction.predicted_label, -1), coalesce(prediction.suggested_label, -1), count(*)
FROM prediction
JOIN example ON example.id = prediction.example_id
JOIN project ON project.id = example.project_id
WHERE project.task = 'classification'
GROUP BY prediction.scoring_id, example.split, example.given_label,
  coalesce(prediction.predicted_label, -1), coalesce(prediction.suggested_label, -1)
"""


def upgrade() -> None:
    """Make the table and count what is there, and make the index."""
    op.create_table(
        "label_count",
        sa.Column(
            "scoring_id",
            sa.Integer(),
            sa.ForeignKey("scoring.id", name="fk_label_count_scoring_id"),
            nullable=False,
        ),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("given_label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("predicted_label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("suggested_label", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("num_examples", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "scoring_id",
            "split",
            "given_label",
            "predicted_label",
            "suggested_label",
            name="pk_label_count",
        ),
        sqlite_with_rowid=False,
    )
    op.execute(COUNT)
    op.create_index("example_by_label", "example", ["project_id", "split", "given_label"])
