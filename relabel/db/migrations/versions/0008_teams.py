"""Names that differ in capitals alone are one person; roles, leases and second opinions.

Frozen: a change of the schema is a new revision, never an edit of this one.
"""

from __future__ import annotations

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SQLITE_UPDATE_TRIGGER = """
CREATE TRIGGER decision_is_never_updated BEFORE UPDATE ON decision
BEGIN SELECT RAISE(ABORT, 'decisions are append-only: UPDATE refused'); END
"""
SQLITE_OPINION_TRIGGERS = (
    """
CREATE TRIGGER opinion_is_never_updated BEFORE UPDATE ON opinion
BEGIN SELECT RAISE(ABORT, 'opinions are append-only: UPDATE refused'); END
""",
    """
CREATE TRIGGER opinion_is_never_deleted BEFORE DELETE ON opinion
WHEN NOT EXISTS (SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown')
BEGIN SELECT RAISE(ABORT, 'opinions are append-only: DELETE refused'); END
""",
    """
CREATE TRIGGER opinion_is_never_replaced BEFORE INSERT ON opinion
WHEN EXISTS (
  SELECT 1 FROM opinion WHERE id = NEW.id OR undoes = NEW.undoes OR token = NEW.token
)
BEGIN SELECT RAISE(ABORT, 'opinions are append-only: this event exists already'); END
""",
)
POSTGRESQL_OPINION_TRIGGERS = (
    """
CREATE FUNCTION refuse_opinion_change() RETURNS trigger AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (
    SELECT 1 FROM project WHERE id = OLD.project_id AND state <> 'shown'
  ) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'opinions are append-only: % refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    """
CREATE FUNCTION refuse_opinion_truncation() RETURNS trigger AS $$
BEGIN
  RAISE EXCEPTION 'opinions are append-only: % refused', TG_OP
    USING ERRCODE = 'restrict_violation';
END
$$ LANGUAGE plpgsql
""",
    """
CREATE TRIGGER opinion_is_never_changed BEFORE UPDATE OR DELETE ON opinion
FOR EACH ROW EXECUTE FUNCTION refuse_opinion_change()
""",
    """
CREATE TRIGGER opinion_is_never_truncated BEFORE TRUNCATE ON opinion
FOR EACH STATEMENT EXECUTE FUNCTION refuse_opinion_truncation()
""",
)


def upgrade() -> None:
    """Merge the names, and add the roles and the tables."""
    op.add_column("reviewer", sa.Column("name_key", sa.Text(), nullable=False, server_default=""))
    op.add_column(
        "reviewer", sa.Column("role", sa.Text(), nullable=False, server_default="reviewer")
    )
    merge_names()
    op.execute("CREATE UNIQUE INDEX one_reviewer_a_name ON reviewer (name_key, identity_source)")
    create_leases()
    create_second_looks()
    create_opinions()


def make_key(name: str) -> str:
    """Return what names have in common that differ in capitals, width or inner spaces alone."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def merge_names() -> None:
    """Give each name its key, and the events of a name's other spellings to the oldest one.

    Events are never changed but here: what they say stays, and whose they are is the same person.
    """
    connection = op.get_bind()
    query = "SELECT id, name, identity_source FROM reviewer ORDER BY id"
    oldest: dict[tuple[str, str], int] = {}
    merged: dict[int, int] = {}
    for number, name, source in connection.execute(sa.text(query)).all():
        key = make_key(name)
        first = oldest.setdefault((key, source), number)
        if first != number:
            merged[number] = first
            continue
        connection.execute(
            sa.text("UPDATE reviewer SET name_key = :key WHERE id = :id"),
            {"key": key, "id": number},
        )
    if merged:
        give_events(merged)


def give_events(merged: dict[int, int]) -> None:
    """Give the events of some reviewers to others; the guard is off for this alone."""
    connection = op.get_bind()
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        op.execute("DROP TRIGGER decision_is_never_updated")
    else:
        op.execute("ALTER TABLE decision DISABLE TRIGGER decision_is_never_changed")
    for number, first in merged.items():
        values = {"first": first, "id": number}
        connection.execute(
            sa.text("UPDATE decision SET reviewer_id = :first WHERE reviewer_id = :id"), values
        )
        connection.execute(sa.text("DELETE FROM reviewer WHERE id = :id"), values)
    if on_sqlite:
        op.execute(SQLITE_UPDATE_TRIGGER)
    else:
        op.execute("ALTER TABLE decision ENABLE TRIGGER decision_is_never_changed")


def create_leases() -> None:
    """Create who has which example before them, and until when."""
    op.create_table(
        "lease",
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("screen", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("example_id", name="pk_lease"),
    )


def create_second_looks() -> None:
    """Create the examples that a second person is to see."""
    op.create_table(
        "second_look",
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("example_id", name="pk_second_look"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_second_look_example_id"),
    )
    op.create_index("ix_second_look_project_id", "second_look", ["project_id"])


def create_opinions() -> None:
    """Create what second people have answered, guarded as decisions are."""
    op.create_table(
        "opinion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("reviewer_id", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("new_label", sa.Integer(), nullable=True),
        sa.Column("new_value", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds_spent", sa.Double(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_opinion"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_opinion_project_id"),
        sa.ForeignKeyConstraint(["example_id"], ["example.id"], name="fk_opinion_example_id"),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name="fk_opinion_decision_id"),
        sa.ForeignKeyConstraint(["reviewer_id"], ["reviewer.id"], name="fk_opinion_reviewer_id"),
        sa.ForeignKeyConstraint(["undoes"], ["opinion.id"], name="fk_opinion_undoes"),
        sa.CheckConstraint("(action = 'undo') = (undoes IS NOT NULL)", name="ck_opinion_undoes"),
    )
    op.create_index("ix_opinion_project_id", "opinion", ["project_id"])
    op.create_index("ix_opinion_example_id", "opinion", ["example_id"])
    op.create_index("ix_opinion_decision_id", "opinion", ["decision_id"])
    op.create_index("ix_opinion_reviewer_id", "opinion", ["reviewer_id"])
    op.execute(
        "CREATE UNIQUE INDEX one_undo_an_opinion ON opinion (undoes) WHERE undoes IS NOT NULL"
    )
    op.execute("CREATE UNIQUE INDEX one_opinion_a_token ON opinion (token) WHERE token IS NOT NULL")
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for trigger in SQLITE_OPINION_TRIGGERS if on_sqlite else POSTGRESQL_OPINION_TRIGGERS:
        op.execute(trigger)
