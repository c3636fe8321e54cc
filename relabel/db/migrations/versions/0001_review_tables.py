"""Tables of the review, the views over its events, and the triggers that keep events as they are.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# An event is undone when another one names it in `undoes`. Of the events that are left, the
# latest decides: events form a stack, and after an undo the one below is in force again.
EFFECTIVE_DECISION = """
CREATE VIEW effective_decision AS
SELECT d.*
FROM decision d
WHERE d.action <> 'undo'
  AND NOT EXISTS (SELECT 1 FROM decision u WHERE u.undoes = d.id)
  AND NOT EXISTS (
    SELECT 1 FROM decision later
    WHERE later.example_id = d.example_id
      AND later.version > d.version
      AND later.action <> 'undo'
      AND NOT EXISTS (SELECT 1 FROM decision u WHERE u.undoes = later.id)
  )
"""

CURRENT_LABEL = """
CREATE VIEW current_label AS
SELECT
  e.id AS example_id,
  e.project_id AS project_id,
  e.given_label AS given_label,
  COALESCE(d.new_label, e.given_label) AS label,
  CASE d.action
    WHEN 'keep' THEN 'kept'
    WHEN 'relabel' THEN 'relabeled'
    WHEN 'exclude' THEN 'excluded'
    WHEN 'ambiguous' THEN 'ambiguous'
    WHEN 'skip' THEN 'skipped'
    ELSE 'pending'
  END AS status,
  d.id AS decision_id
FROM example e
LEFT JOIN effective_decision d ON d.example_id = e.id
"""

# INSERT OR REPLACE deletes the row in its way without firing a delete trigger, so the insert
# itself must be refused.
SQLITE_TRIGGERS = (
    """
CREATE TRIGGER decision_is_never_updated BEFORE UPDATE ON decision
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: UPDATE refused'); END
""",
    """
CREATE TRIGGER decision_is_never_deleted BEFORE DELETE ON decision
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: DELETE refused'); END
""",
    """
CREATE TRIGGER decision_is_never_replaced BEFORE INSERT ON decision
WHEN EXISTS (
  SELECT 1 FROM decision
  WHERE id = NEW.id
     OR (example_id = NEW.example_id AND version = NEW.version)
     OR undoes = NEW.undoes
)
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: this event exists already'); END
""",
)

POSTGRESQL_TRIGGERS = (
    """
CREATE FUNCTION refuse_decision_change() RETURNS trigger AS $$
BEGIN
  RAISE EXCEPTION 'decisions are append-only: % refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    """
CREATE TRIGGER decision_is_never_changed BEFORE UPDATE OR DELETE ON decision
FOR EACH ROW EXECUTE FUNCTION refuse_decision_change()
""",
    """
CREATE TRIGGER decision_is_never_truncated BEFORE TRUNCATE ON decision
FOR EACH STATEMENT EXECUTE FUNCTION refuse_decision_change()
""",
)


def upgrade() -> None:
    """Create everything."""
    create_data_tables()
    create_run_tables()
    create_job_table()
    create_decision_tables()
    op.execute(EFFECTIVE_DECISION)
    op.execute(CURRENT_LABEL)
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger in SQLITE_TRIGGERS if on_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(trigger)


def create_data_tables() -> None:
    """Create the projects and their examples."""
    op.create_table(
        "project",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
        sa.UniqueConstraint("slug", name="uq_project_slug"),
    )
    op.create_table(
        "example",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("given_label", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("media_path", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_example"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_example_project_id"),
        sa.UniqueConstraint("project_id", "key", name="uq_example_project_id_key"),
        sa.UniqueConstraint(
            "project_id", "split", "position", name="uq_example_project_id_split_position"
        ),
        sa.CheckConstraint("split IN ('train', 'test')", name="ck_example_split"),
        sa.CheckConstraint("position >= 0", name="ck_example_position"),
    )


def create_run_tables() -> None:
    """Create the runs with their checkpoints, rankings and predictions."""
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("signals", sa.JSON(), nullable=False),
        sa.Column("num_ranked", sa.Integer(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_run_project_id"),
        sa.UniqueConstraint("project_id", "key", name="uq_run_project_id_key"),
    )
    op.create_index(
        "one_current_run_a_project",
        "run",
        ["project_id"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
    op.create_table(
        "checkpoint",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Double(), nullable=True),
        sa.Column("learning_rate", sa.Double(), nullable=True),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("test_accuracy", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_checkpoint"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_checkpoint_run_id"),
    )
    op.create_table(
        "score",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "signal", "rank", name="pk_score"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_score_run_id"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_score_example_id"),
        sa.UniqueConstraint(
            "run_id", "signal", "example_id", name="uq_score_run_id_signal_example_id"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prediction",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("predicted_label", sa.Integer(), nullable=False),
        sa.Column("predicted_probability", sa.Double(), nullable=False),
        sa.Column("given_probability", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "example_id", name="pk_prediction"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_prediction_run_id"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_prediction_example_id"),
        sqlite_with_rowid=False,
    )


def create_job_table() -> None:
    """Create the jobs; a partial index keeps a second active one out."""
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("hostname", sa.Text(), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_job_project_id"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
            name="ck_job_state",
        ),
        sa.CheckConstraint("progress >= 0 AND progress <= 1", name="ck_job_progress"),
    )
    op.create_index("ix_job_project_id", "job", ["project_id"])
    op.create_index(
        "one_active_job_a_project",
        "job",
        ["project_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )


def create_decision_tables() -> None:
    """Create the reviewers and their decisions."""
    op.create_table(
        "reviewer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("identity_source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reviewer"),
        sa.UniqueConstraint("name", "identity_source", name="uq_reviewer_name_identity_source"),
        sa.CheckConstraint(
            "identity_source IN ('account', 'typed', 'oidc')", name="ck_reviewer_identity_source"
        ),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reviewer_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("given_label", sa.Integer(), nullable=False),
        sa.Column("new_label", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds_spent", sa.Double(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_decision"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_decision_project_id"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_decision_example_id"),
        sa.ForeignKeyConstraint(["reviewer_id"], ["reviewer.id"], name="fk_decision_reviewer_id"),
        sa.ForeignKeyConstraint(["undoes"], ["decision.id"], name="fk_decision_undoes"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_decision_run_id"),
        sa.UniqueConstraint("example_id", "version", name="uq_decision_example_id_version"),
        sa.CheckConstraint(
            "action IN ('keep', 'relabel', 'exclude', 'ambiguous', 'skip', 'undo')",
            name="ck_decision_action",
        ),
        sa.CheckConstraint("version >= 1", name="ck_decision_version"),
        sa.CheckConstraint("(action = 'undo') = (undoes IS NOT NULL)", name="ck_decision_undoes"),
        sa.CheckConstraint("new_label IS NULL OR action = 'relabel'", name="ck_decision_new_label"),
    )
    op.create_index(
        "one_undo_a_decision",
        "decision",
        ["undoes"],
        unique=True,
        sqlite_where=sa.text("undoes IS NOT NULL"),
        postgresql_where=sa.text("undoes IS NOT NULL"),
    )
    op.create_index("decision_by_reviewer", "decision", ["reviewer_id", "id"])
    op.create_index("decision_by_project", "decision", ["project_id", "id"])


def downgrade() -> None:
    """Refused: taking the first revision back would delete every decision."""
    raise RuntimeError("The first revision cannot be taken back: it holds the decisions.")
