"""Audits: which examples were drawn at random to be judged, and how.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A draw that could be changed afterwards would prove nothing. Of a project that is not shown,
# because it is being deleted, it may go.
SQLITE_TRIGGERS = (
    """
CREATE TRIGGER audit_is_never_updated BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audits are append-only: UPDATE refused'); END
""",
    """
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown')
BEGIN SELECT RAISE(ABORT, 'audits are append-only: DELETE refused'); END
""",
    """
CREATE TRIGGER audit_item_is_never_updated BEFORE UPDATE ON audit_item
BEGIN SELECT RAISE(ABORT, 'audits are append-only: UPDATE refused'); END
""",
    """
CREATE TRIGGER audit_item_is_never_deleted BEFORE DELETE ON audit_item
WHEN NOT EXISTS (
  SELECT 1 FROM audit JOIN project ON project.id = audit.project_id
  WHERE audit.id = OLD.audit_id AND project.state <> 'shown'
)
BEGIN SELECT RAISE(ABORT, 'audits are append-only: DELETE refused'); END
""",
)
POSTGRESQL_TRIGGERS = (
    """
CREATE FUNCTION refuse_audit_change() RETURNS trigger AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (
    SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown'
  ) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'audits are append-only: % refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    """
CREATE FUNCTION refuse_audit_item_change() RETURNS trigger AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (
    SELECT 1 FROM audit JOIN project ON project.id = audit.project_id
    WHERE audit.id = OLD.audit_id AND project.state <> 'shown'
  ) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'audits are append-only: % refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    """
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE OR DELETE ON audit
FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()
""",
    """
CREATE TRIGGER audit_item_is_never_changed BEFORE UPDATE OR DELETE ON audit_item
FOR EACH ROW EXECUTE FUNCTION refuse_audit_item_change()
""",
)


def upgrade() -> None:
    """Create the tables, and guard them as decisions are."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("reviewer_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("design", sa.Text(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("frame", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_audit_project_id"),
        sa.ForeignKeyConstraint(["reviewer_id"], ["reviewer.id"], name="fk_audit_reviewer_id"),
        sa.CheckConstraint("design IN ('uniform', 'weighted')", name="ck_audit_design"),
    )
    op.create_index("ix_audit_project_id", "audit", ["project_id"])
    op.create_table(
        "audit_item",
        sa.Column("audit_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("guess", sa.Double(), nullable=False),
        sa.Column("teaches", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", "place", name="pk_audit_item"),
        sa.ForeignKeyConstraint(["audit_id"], ["audit.id"], name="fk_audit_item_audit_id"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_audit_item_example_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_item_example_id", "audit_item", ["example_id"])
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger in SQLITE_TRIGGERS if on_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(trigger)
