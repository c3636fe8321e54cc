"""What is being done to a hidden project stands in a column, and no longer in its name.

Until now a hidden project's name had a suffix: ``pets#7`` was being deleted, ``pets#entering-1f``
imported, ``pets#restoring-1f`` restored, and ``pets#grown-5-1f`` handed over to project 5. Now it
has its name, and names are unique among the projects that are shown.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATES = ("shown", "entering", "growing", "restoring", "deleting")
STATE_CHECK = f"state IN ({', '.join(repr(state) for state in STATES)})"
SUFFIXES = {"entering": "entering", "restoring": "restoring", "grown": "growing"}

SQLITE_PROJECT = f"""
CREATE TABLE project (
  id INTEGER NOT NULL,
  slug TEXT NOT NULL,
  title TEXT NOT NULL,
  kind TEXT NOT NULL,
  classes JSON NOT NULL,
  description TEXT NOT NULL,
  created_at DATETIME NOT NULL,
  task TEXT DEFAULT 'classification' NOT NULL,
  target TEXT DEFAULT '' NOT NULL,
  settings JSON DEFAULT '{{}}' NOT NULL,
  archived_at DATETIME,
  state TEXT DEFAULT 'shown' NOT NULL,
  handed_to INTEGER,
  CONSTRAINT pk_project PRIMARY KEY (id),
  CONSTRAINT ck_project_state CHECK ({STATE_CHECK})
)
"""
SQLITE_COLUMNS = (
    "id, slug, title, kind, classes, description, created_at, task, target, settings, archived_at"
)
SQLITE_DELETE_TRIGGER = """
CREATE TRIGGER decision_is_never_deleted BEFORE DELETE ON decision
WHEN NOT EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown')
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: DELETE refused'); END
"""
POSTGRESQL_DELETE_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_decision_delete() RETURNS trigger AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown') THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'decisions are append-only: DELETE refused'
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
"""


def upgrade() -> None:
    """Give every project its state, hidden ones their names, and free those names."""
    hidden = op.get_bind().execute(sa.text("SELECT id, slug FROM project WHERE deleting")).all()
    if op.get_bind().dialect.name == "sqlite":
        rebuild_projects()
    else:
        change_projects()
    for project_id, name in hidden:
        slug, state, handed_to = read_hidden_name(name)
        op.get_bind().execute(
            sa.text(
                "UPDATE project SET slug = :slug, state = :state, handed_to = :handed_to "
                "WHERE id = :id"
            ),
            {"slug": slug, "state": state, "handed_to": handed_to, "id": project_id},
        )
    op.execute(
        "CREATE UNIQUE INDEX one_shown_project_a_name ON project (slug) WHERE state = 'shown'"
    )


def read_hidden_name(name: str) -> tuple[str, str, int | None]:
    """Return the name, the state and the project that it is handed over to, from the old name."""
    slug, _, suffix = name.partition("#")
    found = re.fullmatch(r"(entering|restoring|grown)-(?:(\d+)-)?[0-9a-f]*", suffix)
    if found is None:
        return slug, "deleting", None
    return slug, SUFFIXES[found[1]], None if found[2] is None else int(found[2])


def rebuild_projects() -> None:
    """Make the table anew, because SQLite drops no constraint of a column.

    The rows are laid aside and come back under the same name and ids, so that what refers to them
    does so again before the transaction ends; until then the check of references waits.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("DROP TRIGGER decision_is_never_deleted")
    op.execute(
        f"CREATE TABLE project_before AS SELECT {SQLITE_COLUMNS}, deleting FROM project"  # noqa: S608
    )
    op.execute("DROP TABLE project")
    op.execute(SQLITE_PROJECT)
    op.execute(
        f"INSERT INTO project ({SQLITE_COLUMNS}, state) SELECT {SQLITE_COLUMNS}, "  # noqa: S608
        "CASE WHEN deleting THEN 'deleting' ELSE 'shown' END FROM project_before"
    )
    op.execute("DROP TABLE project_before")
    op.execute(SQLITE_DELETE_TRIGGER)


def change_projects() -> None:
    """Change the table in place, as PostgreSQL can."""
    op.add_column("project", sa.Column("state", sa.Text(), nullable=False, server_default="shown"))
    op.add_column("project", sa.Column("handed_to", sa.Integer(), nullable=True))
    op.execute("UPDATE project SET state = 'deleting' WHERE deleting")
    op.execute(f"ALTER TABLE project ADD CONSTRAINT ck_project_state CHECK ({STATE_CHECK})")
    op.execute(POSTGRESQL_DELETE_FUNCTION)
    op.drop_column("project", "deleting")
    op.drop_constraint("uq_project_slug", "project")
