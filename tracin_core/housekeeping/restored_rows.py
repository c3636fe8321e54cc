"""Enter the rows of a backup as a project that nobody sees until all of it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import InputError, InvalidDecisionError
from tracin_core.housekeeping.backup_rows import in_chunks
from tracin_core.housekeeping.restored_rules import (
    EventRules,
    check_checkpoint,
    check_fields,
    check_finite,
    check_inside,
    check_names,
    check_prediction,
    check_rankings,
    check_run,
    check_settings_shape,
)
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.deleting import delete_hidden_project, list_hidden_projects
from tracin_core.reviews.example_rules import ExampleRules, NewExample
from tracin_core.reviews.project_rows import Project, project_of
from tracin_core.reviews.project_rules import check_project
from tracin_core.reviews.reviewers import reviewer_in
from tracin_core.reviews.schema import (
    RESTORING,
    SHOWN,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    PredictionRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    ScoreRow,
    ScoringRow,
)
from tracin_core.reviews.scorings import PAUSE

Row = dict[str, Any]
# Rows a transaction: about a tenth of a second, so that a person's decision need not wait long.
_CHUNKS = {"score": 20_000, "prediction": 20_000, "decision": 500}


class RestoredRows:
    """A project in the making, hidden as one that is being deleted.

    Rows are entered a chunk at a time, so that people can decide about other projects meanwhile.
    What is in the backup is not believed: references, labels and paths are checked.
    """

    def __init__(self, engine: Engine, slug: str) -> None:
        """Prepare; what killed attempts at the same name have left is removed.

        Args:
            engine: The database.
            slug: The name that the project will have.
        """
        remove_unfinished(engine, slug)
        self._engine = engine
        self._slug = slug
        self._project_id: int | None = None
        self._project: Project | None = None
        self._rules: ExampleRules | None = None
        self._events: EventRules | None = None
        # By table: the ids in the backup, and those in this database.
        self._ids: dict[str, dict[int, int]] = {}

    def enter(self, table: str, rows: Iterable[Row], on_chunk: Callable[[int], None]) -> None:
        """Enter all rows of a table; the tables it refers to come before.

        Args:
            table: Its name.
            rows: As ``load_rows`` yields them.
            on_chunk: Told after every chunk how many rows it had.

        Raises:
            InputError: If a row does not fit the others or cannot be this program's.
        """
        if self._project_id is None and table != "project":
            raise InputError("The backup holds no project. Expected one. Use another backup.")
        enter: Callable[[Connection, list[Row]], None] = getattr(self, f"_enter_{table}")
        for chunk in in_chunks(rows, _CHUNKS.get(table, 5000)):
            try:
                with writing(self._engine) as connection:
                    enter(connection, chunk)
            except IntegrityError as error:
                raise InputError(
                    f"The backup's table {table} contradicts itself: {error.orig}. Expected rows "
                    "as this program writes them. Use another backup; nothing was restored."
                ) from error
            except InvalidDecisionError as error:
                raise InputError(f"The backup's table {table} cannot be used. {error}") from error
            except KeyError as error:
                raise InputError(
                    f"The backup's table {table} lacks the column {error}. Expected rows as this "
                    "program writes them. Use another backup; nothing was restored."
                ) from error
            on_chunk(len(chunk))
            time.sleep(PAUSE)

    def show(self) -> None:
        """Give the project its name, and let people see it.

        Raises:
            InputError: If a project of this name was made meanwhile, or a ranking is not whole.
        """
        with reading(self._engine) as connection:
            check_rankings(connection, self._project_id or 0)
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    update(ProjectRow).where(ProjectRow.id == self._project_id).values(state=SHOWN)
                )
        except IntegrityError as error:
            raise InputError(
                f"A project named {self._slug!r} was made meanwhile. Choose another with --name."
            ) from error

    def is_shown(self) -> bool:
        """Tell whether people see the project; an interruption may come right after `show`."""
        hidden = {hidden.id for hidden in list_hidden_projects(self._engine)}
        return self._project_id is not None and self._project_id not in hidden

    def give_up(self) -> None:
        """Remove what was entered, unless it is shown already."""
        if self._project_id is not None and not self.is_shown():
            delete_hidden_project(self._engine, self._project_id)

    def _enter_project(self, connection: Connection, rows: list[Row]) -> None:
        if self._project_id is not None or len(rows) != 1:
            raise InputError("The backup holds several projects. Expected one.")
        row = rows[0]
        check_names(row["classes"], "project", "classes")
        if not isinstance(row["settings"], dict):
            raise InputError("The backup holds a project whose settings are no object.")
        check_settings_shape(row["settings"])
        self._events = EventRules(regression=row["task"] == "regression")
        check_project(self._slug, row["kind"], row["task"], row["classes"], row["settings"])
        hidden = row | {"slug": self._slug, "state": RESTORING, "handed_to": None}
        del hidden["id"]
        new = insert(ProjectRow).values(hidden).returning(ProjectRow.__table__)
        self._project = project_of(connection.execute(new).one())
        self._rules = ExampleRules(self._project)
        self._project_id = self._project.id
        self._ids["project"] = {row["id"]: self._project.id}

    def _enter_reviewer(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            known = (ReviewerRow.name == row["name"]) & (
                ReviewerRow.identity_source == row["identity_source"]
            )
            is_new = connection.scalar(select(ReviewerRow.id).where(known)) is None
            reviewer = reviewer_in(connection, row["name"], row["identity_source"])
            if is_new:
                connection.execute(
                    update(ReviewerRow)
                    .where(ReviewerRow.id == reviewer.id)
                    .values(created_at=row["created_at"])
                )
            self._note("reviewer", row, reviewer.id)

    def _enter_example(self, connection: Connection, rows: list[Row]) -> None:
        assert self._rules is not None  # noqa: S101 - for the type checker
        fields = NewExample.__dataclass_fields__
        for row in rows:
            check_fields(row)
            values: dict[str, Any] = {name: row.get(name) for name in fields}
            self._rules.check(NewExample(**values))
        olds = {row["key"]: row for row in rows}
        new = insert(ExampleRow).returning(ExampleRow.id, ExampleRow.key)
        for entered in connection.execute(new, [self._moved("example", row) for row in rows]):
            self._note("example", olds[entered.key], entered.id)

    def _enter_scoring(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            new = insert(ScoringRow).values(self._moved("scoring", row)).returning(ScoringRow.id)
            self._note("scoring", row, connection.scalars(new).one())

    def _enter_run(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            if row["folder"] != f"runs/{row['key']}":
                raise InputError(f"The backup has a run in the folder {row['folder']!r:.200}.")
            check_inside(row["folder"])
            check_run(row)
            new = insert(RunRow).values(self._moved("run", row)).returning(RunRow.id)
            self._note("run", row, connection.scalars(new).one())

    def _enter_checkpoint(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            check_inside(row["file"])
            check_checkpoint(row)
        connection.execute(insert(CheckpointRow), [self._moved("checkpoint", row) for row in rows])

    def _enter_score(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            check_finite(row, "score")
        self._insert_plain(connection, ScoreRow, rows)

    def _enter_prediction(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            check_prediction(row)
            self._check_label(row["predicted_label"], "prediction")
        self._insert_plain(connection, PredictionRow, rows)

    def _enter_decision(self, connection: Connection, rows: list[Row]) -> None:
        # One by one, in their order: events are read by their ids, and an undo names an earlier.
        assert self._events is not None  # noqa: S101 - for the type checker
        for row in rows:
            check_finite(row, "decision")
            self._check_label(row["given_label"], "decision")
            self._check_label(row["new_label"], "decision")
            new = insert(DecisionRow).values(self._moved("decision", row))
            self._note("decision", row, connection.scalars(new.returning(DecisionRow.id)).one())
            # After the database's own rules, which are about one event alone.
            self._events.check({"given_value": None, "new_value": None} | row)

    def _insert_plain(
        self, connection: Connection, target: type[ScoreRow] | type[PredictionRow], rows: list[Row]
    ) -> None:
        """Insert numbers by the driver's own statement: through SQLAlchemy it takes four times."""
        table, columns = target.__tablename__, list(rows[0])
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        statement = (
            f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names that were checked
            f"VALUES ({', '.join([mark] * len(columns))})"
        )
        values = [tuple(self._moved(table, row).values()) for row in rows]
        connection.exec_driver_sql(statement, values)

    def _moved(self, table: str, row: Row) -> Row:
        """Return a row with the ids of this database, without one of its own."""
        moved = {name: value for name, value in row.items() if name != "id"}
        for column, target in _REFERENCES.items():
            if moved.get(column) is not None:
                moved[column] = self._find(table, target, moved[column])
        return moved

    def _find(self, table: str, target: str, old: int) -> int:
        try:
            return self._ids.get(target, {})[old]
        except KeyError:
            raise InputError(
                f"The backup's table {table} names the {target} {old}, which is not in it. Use "
                "another backup; nothing was restored."
            ) from None

    def _note(self, table: str, row: Row, new: int) -> None:
        if row["id"] in self._ids.setdefault(table, {}):
            raise InputError(f"The backup's table {table} has the row {row['id']} twice.")
        self._ids[table][row["id"]] = new

    def _check_label(self, label: int | None, table: str) -> None:
        assert self._project is not None  # noqa: S101 - for the type checker
        # For regression labels are 0 and mean nothing.
        if label is not None and not 0 <= label < max(1, len(self._project.classes)):
            raise InputError(
                f"The backup's table {table} has the label {label}. Expected a class index from 0 "
                f"to {len(self._project.classes) - 1}."
            )


# Which table a column's ids are of.
_REFERENCES: Mapping[str, str] = {
    "project_id": "project",
    "example_id": "example",
    "scoring_id": "scoring",
    "run_id": "run",
    "reviewer_id": "reviewer",
    "undoes": "decision",
}


def remove_unfinished(engine: Engine, slug: str) -> None:
    """Remove what killed restorations have left of a project of this name."""
    for hidden in list_hidden_projects(engine, RESTORING, slug=slug):
        delete_hidden_project(engine, hidden.id)
