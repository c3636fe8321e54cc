"""The tables as typed SQLAlchemy classes, and how decision events become an example's state.

Views and triggers are in the migrations.

Events form a stack. Each decision is laid on top of the earlier ones of its example; an undo is
an event too, which takes the topmost decision off. What lies on top is the effective decision:
after the undo of a second decision the first is in force again, and after the undo of the only
one the example is pending.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    case,
    column,
    func,
    select,
    table,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from relabel.db.decisions.kinds import (
    DECISION_KINDS,
    PENDING,
    list_codes,
    list_states,
    sql_condition,
)

# The revision of the newest migration: an up-to-date database is recognised by comparing one
# row with this, without loading Alembic. A test holds the two equal.
SCHEMA_REVISION = "0011"

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


# Made from the table of decision kinds, as migrated databases have them; a test holds them equal.
_UNDOES = sql_condition("action", list_codes("undo"))
_CORRECTS = sql_condition("action", list_codes("correct"))


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite, which keeps no zone, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value in UTC, without its zone on SQLite."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored value as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy when the classes are made
        str: Text,
        float: Double,
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


# What is being done to a project. Only a shown one is seen, and has its name for itself.
SHOWN = "shown"
ENTERING = "entering"  # an import enters its examples
GROWING = "growing"  # its examples are handed over to the project that they were imported into
RESTORING = "restoring"  # a restoration enters its rows
DELETING = "deleting"
PROJECT_STATES = (SHOWN, ENTERING, GROWING, RESTORING, DELETING)


class ProjectRow(Base):
    """One data set under review.

    A project that is not shown is hidden, and the triggers let its decisions go.
    """

    __tablename__ = "project"
    __table_args__ = (
        CheckConstraint(sql_condition("state", PROJECT_STATES), name="state"),
        Index(
            "one_shown_project_a_name",
            "slug",
            unique=True,
            sqlite_where=text("state = 'shown'"),
            postgresql_where=text("state = 'shown'"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str]
    title: Mapped[str]
    kind: Mapped[str]
    classes: Mapped[list[str]]
    description: Mapped[str]
    created_at: Mapped[datetime]
    task: Mapped[str] = mapped_column(server_default="classification")
    # What the number is called, for regression; what the label is, where that is known.
    target: Mapped[str] = mapped_column(server_default="")
    settings: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    archived_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default=SHOWN)
    # The project that a growing one's examples go to; no foreign key, as that one may be deleted.
    handed_to: Mapped[int | None]


is_shown = ProjectRow.state == SHOWN


class ExampleRow(Base):
    """One example as it was imported; what people decide about it lies in ``decision``.

    For regression ``given_value`` counts, and ``given_label`` is 0 and means nothing.
    """

    __tablename__ = "example"
    __table_args__ = (
        UniqueConstraint("project_id", "key"),
        UniqueConstraint("project_id", "split", "position"),
        CheckConstraint("split IN ('train', 'test')", name="split"),
        CheckConstraint("position >= 0", name="position"),
        # Answers by itself how many there are of a class, and finds those of one.
        Index("example_by_label", "project_id", "split", "given_label"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    key: Mapped[str]
    split: Mapped[str]
    position: Mapped[int]
    given_label: Mapped[int]
    text: Mapped[str | None]
    media_path: Mapped[str | None]
    given_value: Mapped[float | None]
    # A table's row: JSON, not JSONB, which would not keep the order of the columns.
    fields: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # Where it was in the data that was imported, for people: "cat/1.jpg", "data.csv, row 7".
    source_place: Mapped[str | None]


class RunRow(Base):
    """One training and scoring of a project; at most one run of a project is the current one."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("project_id", "key"),
        Index(
            "one_current_run_a_project",
            "project_id",
            unique=True,
            sqlite_where=text("is_current"),
            postgresql_where=text("is_current"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    key: Mapped[str]
    folder: Mapped[str]
    config: Mapped[dict[str, Any]]
    signals: Mapped[list[str]]
    num_ranked: Mapped[int]
    is_current: Mapped[bool]
    created_at: Mapped[datetime]
    scoring_id: Mapped[int | None] = mapped_column(ForeignKey("scoring.id"))


class ScoringRow(Base):
    """The numbers of a run as they are entered, under an id of their own.

    Entering a million examples takes a minute, which is too long for one transaction. So they
    are entered in many, which nobody sees, and a last, short one makes a run point at them.
    A scoring that no run points at is being entered, or was given up, or is replaced. Its id is
    never given again, so that nothing can be entered under what another process has removed.
    """

    __tablename__ = "scoring"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own form
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    created_at: Mapped[datetime]


class CheckpointRow(Base):
    """Weights saved in a run, with the learning rate in force there."""

    __tablename__ = "checkpoint"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[str]
    step: Mapped[int]
    epoch: Mapped[float | None]
    learning_rate: Mapped[float | None]
    train_loss: Mapped[float | None]
    test_accuracy: Mapped[float | None]


class ScoreRow(Base):
    """How suspect an example is by one signal of a run.

    The primary key is the ranking itself, so on SQLite (without row ids) and, by its index, on
    PostgreSQL, a page of the queue is one walk along neighbouring rows. The example is no
    foreign key: for each deleted example a database would search all scores for it.
    """

    __tablename__ = "score"
    __table_args__ = (
        UniqueConstraint("scoring_id", "signal", "example_id"),
        {"sqlite_with_rowid": False},
    )
    scoring_id: Mapped[int] = mapped_column(ForeignKey("scoring.id"), primary_key=True)
    signal: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    example_id: Mapped[int]
    value: Mapped[float]


class PredictionRow(Base):
    """What a run's last checkpoint says about an example: a class, or a number.

    Beside it stands the class that models say which have not seen a train example, where they were
    asked.
    The example is no foreign key, as in ``score``.
    """

    __tablename__ = "prediction"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form
    scoring_id: Mapped[int] = mapped_column(ForeignKey("scoring.id"), primary_key=True)
    example_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    predicted_label: Mapped[int | None]
    predicted_probability: Mapped[float | None]
    given_probability: Mapped[float | None]
    predicted_value: Mapped[float | None]
    suggested_label: Mapped[int | None]


class LabelCountRow(Base):
    """How many examples of a scoring have these labels; see `relabel.db.label_counts`."""

    __tablename__ = "label_count"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form
    scoring_id: Mapped[int] = mapped_column(ForeignKey("scoring.id"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    given_label: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    predicted_label: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    suggested_label: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    num_examples: Mapped[int]


class JobRow(Base):
    """Long work in a process of its own; at most one active job a project.

    An import works on a project that does not exist yet, so its name is what counts.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
        Index(
            "one_active_job_a_project",
            "project_slug",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"), index=True)
    kind: Mapped[str]
    state: Mapped[str]
    progress: Mapped[float]
    message: Mapped[str]
    pid: Mapped[int | None]
    hostname: Mapped[str | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool]
    error: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    project_slug: Mapped[str] = mapped_column(server_default="")
    options: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    result: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    seconds_left: Mapped[float | None]
    # Path of its log, relative to the workspace.
    log: Mapped[str] = mapped_column(server_default="")


class ReviewerRow(Base):
    """Who decides, how we know the name, and what the person may do."""

    __tablename__ = "reviewer"
    __table_args__ = (
        UniqueConstraint("name", "identity_source"),
        Index("one_reviewer_a_name", "name_key", "identity_source", unique=True),
        CheckConstraint("identity_source IN ('account', 'typed', 'oidc')", name="identity_source"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    identity_source: Mapped[str]
    created_at: Mapped[datetime]
    # What spellings of one name have in common (`reviewers.make_name_key`).
    name_key: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str] = mapped_column(server_default="reviewer")


class DecisionRow(Base):
    """One event of the review; triggers refuse every change and deletion.

    For regression the values count; ``given_label`` is 0 and means nothing.
    """

    __tablename__ = "decision"
    __table_args__ = (
        # Two simultaneous decisions carry the same version: the second one fails here.
        UniqueConstraint("example_id", "version"),
        CheckConstraint(sql_condition("action", list_codes()), name="action"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint(f"({_UNDOES}) = (undoes IS NOT NULL)", name="undoes"),
        CheckConstraint(f"new_label IS NULL OR {_CORRECTS}", name="new_label"),
        CheckConstraint(
            f"new_value IS NULL OR ({_CORRECTS} AND new_label IS NULL)", name="new_value"
        ),
        # Partial, so that it holds the undone decisions only and stays small to look up.
        Index(
            "one_undo_a_decision",
            "undoes",
            unique=True,
            sqlite_where=text("undoes IS NOT NULL"),
            postgresql_where=text("undoes IS NOT NULL"),
        ),
        # A screen that heard no answer sends a press again; it is recorded once.
        Index(
            "one_decision_a_token",
            "token",
            unique=True,
            sqlite_where=text("token IS NOT NULL"),
            postgresql_where=text("token IS NOT NULL"),
        ),
        # Partial: what is decided one at a time, which is most, has no batch.
        Index(
            "decision_by_batch",
            "batch",
            sqlite_where=text("batch IS NOT NULL"),
            postgresql_where=text("batch IS NOT NULL"),
        ),
        Index("decision_by_reviewer", "reviewer_id", "id"),
        Index("decision_by_project", "project_id", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    # The example's project, repeated: a project's events are then found without its examples.
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id"))
    version: Mapped[int]
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    action: Mapped[str]
    given_label: Mapped[int]
    new_label: Mapped[int | None]
    note: Mapped[str]
    undoes: Mapped[int | None] = mapped_column(ForeignKey("decision.id"))
    created_at: Mapped[datetime]
    seconds_spent: Mapped[float | None]
    source: Mapped[str]
    rank: Mapped[int | None]
    score: Mapped[float | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    given_value: Mapped[float | None]
    new_value: Mapped[float | None]
    # Chosen at random by the screen that sent it; None where nothing is sent twice.
    token: Mapped[str | None]
    # The same for all that was decided, or taken back, at once; None for a decision by itself.
    batch: Mapped[str | None]
    # On which evidence: the ranking and the suggestion that were shown; see `decisions/audit.py`.
    signal: Mapped[str | None]
    suggested_label: Mapped[int | None]
    suggested_value: Mapped[float | None]
    suggested_probability: Mapped[float | None]
    # The answer that stood before the event, and the one that stands after it.
    label_before: Mapped[int | None]
    label_after: Mapped[int | None]
    value_before: Mapped[float | None]
    value_after: Mapped[float | None]
    # When it was decided as the file says that it was imported from; `created_at` is the import.
    stated_at: Mapped[datetime | None]


class LeaseRow(Base):
    """Who has an example before them, and until when; renewed while a screen holds it.

    The example is no foreign key: a lease is gone in two minutes, whatever becomes of it.
    """

    __tablename__ = "lease"
    example_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project_id: Mapped[int]
    # The person, as `reviewers.Identity.holder` says, and the screen that gives it back.
    holder: Mapped[str]
    screen: Mapped[str]
    expires_at: Mapped[datetime]


class SecondLookRow(Base):
    """An example that was drawn for a second person and has not been seen by one yet."""

    __tablename__ = "second_look"
    example_id: Mapped[int] = mapped_column(
        ForeignKey("example.id"), primary_key=True, autoincrement=False
    )
    project_id: Mapped[int] = mapped_column(index=True)


class OpinionRow(Base):
    """What a second person has answered without knowing the first answer; it changes no label.

    Appended and never changed, as decisions are: triggers refuse it.
    """

    __tablename__ = "opinion"
    __table_args__ = (
        CheckConstraint(f"({_UNDOES}) = (undoes IS NOT NULL)", name="undoes"),
        Index(
            "one_undo_an_opinion",
            "undoes",
            unique=True,
            sqlite_where=text("undoes IS NOT NULL"),
            postgresql_where=text("undoes IS NOT NULL"),
        ),
        Index(
            "one_opinion_a_token",
            "token",
            unique=True,
            sqlite_where=text("token IS NOT NULL"),
            postgresql_where=text("token IS NOT NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id"), index=True)
    # The first answer: the decision that was in force then.
    decision_id: Mapped[int] = mapped_column(ForeignKey("decision.id"), index=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"), index=True)
    action: Mapped[str]
    new_label: Mapped[int | None]
    new_value: Mapped[float | None]
    note: Mapped[str]
    undoes: Mapped[int | None] = mapped_column(ForeignKey("opinion.id"))
    created_at: Mapped[datetime]
    seconds_spent: Mapped[float | None]
    token: Mapped[str | None]


class AuditRow(Base):
    """A random draw of examples to be judged, with all that is needed to draw it again."""

    __tablename__ = "audit"
    __table_args__ = (CheckConstraint("design IN ('uniform', 'weighted')", name="design"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("reviewer.id"))
    created_at: Mapped[datetime]
    design: Mapped[str]
    seed: Mapped[str]
    # What could be drawn, its digests, and the shares that are set; see `relabel.db.team.audits`.
    frame: Mapped[dict[str, Any]]


class AuditItemRow(Base):
    """One draw of an audit; of a weighted one an example may be drawn several times."""

    __tablename__ = "audit_item"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form
    audit_id: Mapped[int] = mapped_column(ForeignKey("audit.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    example_id: Mapped[int] = mapped_column(ForeignKey("example.id"), index=True)
    probability: Mapped[float]
    guess: Mapped[float]
    teaches: Mapped[bool]


STATE_OF_ACTION = {kind.code: kind.state for kind in DECISION_KINDS if kind.state}
STATUSES = (PENDING, *list_states())
# A deferred example has been seen but not decided: it waits, behind those nobody has seen.
UNDECIDED = (PENDING, *list_states("defer"))
DEFERRING = list_codes("defer")

# Where a decision was made. Those from the ranked queue never feed an estimate of the noise
# rate, which needs random draws ("audit"), so the difference must be kept.
SOURCES = ("queue", "audit", "inspect", "history", "import", "team")

# Columns of the view of the same name, which the migrations create.
effective = table(
    "effective_decision",
    column("id", DecisionRow.__table__.c.id.type),
    column("project_id", DecisionRow.__table__.c.project_id.type),
    column("example_id", DecisionRow.__table__.c.example_id.type),
    column("version", DecisionRow.__table__.c.version.type),
    column("reviewer_id", DecisionRow.__table__.c.reviewer_id.type),
    column("action", String()),
    column("new_label", DecisionRow.__table__.c.new_label.type),
    column("note", String()),
    column("created_at", DecisionRow.__table__.c.created_at.type),
    column("new_value", DecisionRow.__table__.c.new_value.type),
)

# Over `example LEFT JOIN effective_decision`.
status_of_example: ColumnElement[str] = case(
    STATE_OF_ACTION, value=effective.c.action, else_=PENDING
)
label_of_example: ColumnElement[int] = func.coalesce(effective.c.new_label, ExampleRow.given_label)
value_of_example: ColumnElement[float | None] = func.coalesce(
    effective.c.new_value, ExampleRow.given_value
)


def version_of(example_id: Any) -> ColumnElement[int]:
    """Return the version of an example: the number of its events.

    Versions count from 1 without gaps, so the number is the largest version, one index probe.
    """
    return (
        select(func.coalesce(func.max(DecisionRow.version), 0))
        .where(DecisionRow.example_id == example_id)
        .correlate_except(DecisionRow)
        .scalar_subquery()
    )
