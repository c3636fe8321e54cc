"""Numbers beside labels, rows of tables, projects of one's own, and scores that enter unseen.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As in the first revision; made again because PostgreSQL wrote the columns of `d.*` down.
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
  e.given_value AS given_value,
  COALESCE(d.new_value, e.given_value) AS value,
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

SQLITE_DELETE_TRIGGER = """
CREATE TRIGGER decision_is_never_deleted BEFORE DELETE ON decision
WHEN NOT EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND deleting)
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: DELETE refused'); END
"""

# A TRUNCATE has no row to ask about, so it keeps the function that refuses whatever comes.
POSTGRESQL_DELETE_TRIGGER = (
    """
CREATE FUNCTION refuse_decision_delete() RETURNS trigger AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND deleting) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'decisions are append-only: DELETE refused'
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    "DROP TRIGGER decision_is_never_changed ON decision",
    """
CREATE TRIGGER decision_is_never_changed BEFORE UPDATE ON decision
FOR EACH ROW EXECUTE FUNCTION refuse_decision_change()
""",
    """
CREATE TRIGGER decision_is_never_deleted BEFORE DELETE ON decision
FOR EACH ROW EXECUTE FUNCTION refuse_decision_delete()
""",
)


def upgrade() -> None:
    """Add to every table but `reviewer` and `checkpoint`; what is there stays."""
    op.execute("DROP VIEW current_label")
    op.execute("DROP VIEW effective_decision")
    extend_projects_and_examples()
    extend_decisions()
    separate_scorings_from_runs()
    rebuild_scores()
    rebuild_predictions()
    name_projects_in_jobs()
    op.execute(EFFECTIVE_DECISION)
    op.execute(CURRENT_LABEL)
    let_decisions_of_a_deleted_project_go()


def extend_projects_and_examples() -> None:
    """Add the task, the target, how the data came, and the values beside the labels."""
    for column in (
        sa.Column("task", sa.Text(), nullable=False, server_default="classification"),
        sa.Column("target", sa.Text(), nullable=False, server_default=""),
        sa.Column("settings", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleting", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("project", column)
    op.add_column("example", sa.Column("given_value", sa.Double(), nullable=True))
    op.add_column("example", sa.Column("fields", sa.JSON(), nullable=True))


def extend_decisions() -> None:
    """Add the values in place: no event is copied, and no trigger is ever off."""
    op.add_column("decision", sa.Column("given_value", sa.Double(), nullable=True))
    number = sa.Double().compile(dialect=op.get_bind().dialect)
    op.execute(
        f"ALTER TABLE decision ADD COLUMN new_value {number} CONSTRAINT ck_decision_new_value "
        "CHECK (new_value IS NULL OR (action = 'relabel' AND new_label IS NULL))"
    )


def separate_scorings_from_runs() -> None:
    """Give each run's numbers an id of their own: for those that are there, the run's."""
    op.create_table(
        "scoring",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scoring"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_scoring_project_id"),
        # Never the number of a removed one: a process that still enters numbers under that would
        # mix them with another's.
        sqlite_autoincrement=True,
    )
    op.create_index("ix_scoring_project_id", "scoring", ["project_id"])
    op.execute(
        "INSERT INTO scoring (id, project_id, created_at) "
        "SELECT id, project_id, created_at FROM run"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('scoring', 'id'), max(id)) FROM scoring "
            "HAVING max(id) IS NOT NULL"
        )
    op.execute(
        "ALTER TABLE run ADD COLUMN scoring_id INTEGER "
        "CONSTRAINT fk_run_scoring_id REFERENCES scoring (id)"
    )
    op.execute("UPDATE run SET scoring_id = id")


def rebuild_scores() -> None:
    """Make the scores' table again, by scoring, without a foreign key to the examples."""
    op.execute("CREATE TABLE old_score AS SELECT * FROM score")
    op.drop_table("score")
    op.create_table(
        "score",
        sa.Column("scoring_id", sa.Integer(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scoring_id", "signal", "rank", name="pk_score"),
        sa.ForeignKeyConstraint(["scoring_id"], ["scoring.id"], name="fk_score_scoring_id"),
        sa.UniqueConstraint(
            "scoring_id", "signal", "example_id", name="uq_score_scoring_id_signal_example_id"
        ),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO score (scoring_id, signal, rank, example_id, value) "
        "SELECT run_id, signal, rank, example_id, value FROM old_score "
        "ORDER BY run_id, signal, rank"
    )
    op.drop_table("old_score")


def rebuild_predictions() -> None:
    """Make the predictions' table again, by scoring, with room for a number."""
    op.execute("CREATE TABLE old_prediction AS SELECT * FROM prediction")
    op.drop_table("prediction")
    op.create_table(
        "prediction",
        sa.Column("scoring_id", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("predicted_label", sa.Integer(), nullable=True),
        sa.Column("predicted_probability", sa.Double(), nullable=True),
        sa.Column("given_probability", sa.Double(), nullable=True),
        sa.Column("predicted_value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("scoring_id", "example_id", name="pk_prediction"),
        sa.ForeignKeyConstraint(["scoring_id"], ["scoring.id"], name="fk_prediction_scoring_id"),
        sqlite_with_rowid=False,
    )
    columns = "example_id, predicted_label, predicted_probability, given_probability"
    op.execute(
        f"INSERT INTO prediction (scoring_id, {columns}) "  # noqa: S608 - our own names
        f"SELECT run_id, {columns} FROM old_prediction ORDER BY run_id, example_id"
    )
    op.drop_table("old_prediction")


def name_projects_in_jobs() -> None:
    """Let a job name a project that is not there yet, and keep options, result and log."""
    op.drop_index("one_active_job_a_project", "job")
    with op.batch_alter_table("job") as batch:
        batch.alter_column("project_id", existing_type=sa.Integer(), nullable=True)
        batch.add_column(sa.Column("project_slug", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("options", sa.JSON(), nullable=False, server_default="{}"))
        batch.add_column(sa.Column("result", sa.JSON(), nullable=False, server_default="{}"))
        batch.add_column(sa.Column("seconds_left", sa.Double(), nullable=True))
        batch.add_column(sa.Column("log", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE job SET project_slug = (SELECT slug FROM project WHERE project.id = project_id)"
    )
    op.create_index(
        "one_active_job_a_project",
        "job",
        ["project_slug"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )


def let_decisions_of_a_deleted_project_go() -> None:
    """Let a decision be deleted if its project is being deleted, and never otherwise."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER decision_is_never_deleted")
        op.execute(SQLITE_DELETE_TRIGGER)
        return
    for statement in POSTGRESQL_DELETE_TRIGGER:
        op.execute(statement)


def downgrade() -> None:
    """Refused: the corrected numbers have no place in the first revision."""
    raise RuntimeError("The second revision cannot be taken back: it holds corrected numbers.")
