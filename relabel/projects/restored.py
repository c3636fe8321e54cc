"""Enter the rows of a backup into the database, hidden until all of them are there.

A file from outside is not believed. What the database's own constraints refuse is left to them;
the checks here are of what pages rely on beyond that: the shape of a project's settings, rankings
without gaps, events that are a stack, finite numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from relabel.db.decisions import checks
from relabel.db.decisions.kinds import UNDO
from relabel.db.engine import reading, writing
from relabel.db.examples import ExampleRules, NewExample
from relabel.db.label_counts import enter_label_counts
from relabel.db.project_rules import Project, check_project, project_of
from relabel.db.projects import delete_hidden_project, list_hidden_projects
from relabel.db.registration import PAUSE
from relabel.db.runs import (
    name_group_ranking,
    name_ranking,
    read_group_counts,
    read_test_queue,
)
from relabel.db.schema import (
    RESTORING,
    SHOWN,
    AuditItemRow,
    AuditRow,
    CheckpointRow,
    DecisionRow,
    ExampleRow,
    OpinionRow,
    PredictionRow,
    ProjectRow,
    ReviewerRow,
    RunRow,
    ScoreRow,
    ScoringRow,
    SecondLookRow,
)
from relabel.db.team.reviewers import is_named, reviewer_in
from relabel.errors import InvalidDecisionError
from relabel.projects.backup import in_chunks
from relabel.projects.restored_audits import check_audit, check_audit_item
from relabel.triage.signals import list_signals
from tracin_core.errors import InputError

RestoredRow = Mapping[str, Any]

# What pages read of a run's configuration, with its type; all of it may be missing.
_CONFIG = {
    "layers": dict,
    "indexes": dict,
    "timings": dict,
    "counts": dict,
    "num_computed": dict,
    "projection": dict,
    "model": dict,
    "training": dict,
    "rates": str,
    "method": str,
    "method_configuration": dict,
    "last_numbers": int,
}
_NUMBERS = ("timings", "counts", "num_computed")
Row = dict[str, Any]
# Rows a transaction: about a tenth of a second, so that a person's decision need not wait long.
_CHUNKS = {"score": 20_000, "prediction": 20_000, "decision": 500, "opinion": 500}
# Which table a column's ids are of.
_REFERENCES: Mapping[str, str] = {
    "project_id": "project",
    "example_id": "example",
    "scoring_id": "scoring",
    "run_id": "run",
    "reviewer_id": "reviewer",
    "decision_id": "decision",
    "audit_id": "audit",
    "undoes": "decision",
}


def check_settings_shape(settings: Mapping[str, Any]) -> None:
    """Check that a project's settings have the form in which they are read.

    Raises:
        InputError: If not.
    """
    for name in ("columns", "imports"):
        entries = settings.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise _odd("project", f"the settings {name!r}, which are no list of objects")
    for column in settings.get("columns", ()):
        if not isinstance(column.get("name"), str):
            raise _odd("project", "a column whose name is no text")
    for entry in settings.get("imports", ()):
        batch = entry.get("batch")
        if not isinstance(batch, str):
            raise _odd("project", "an import without the name of its batch")
        if not isinstance(entry.get("path", ""), str):
            raise _odd("project", "an import from what is no path")
        if not all(isinstance(entry.get(name) or {}, dict) for name in ("file", "options")):
            raise _odd("project", "an import whose file or options are no object")
    wish = settings.get("second_opinions", {})
    if not isinstance(wish, dict):
        raise _odd("project", "second opinions that are no object")
    options = settings.get("options")
    if options is not None and not isinstance(options, dict):
        raise _odd("project", "options of the import that are no object")


def check_names(values: Any, table: str, what: str) -> None:
    """Check that a list of names is one.

    Raises:
        InputError: If not.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _odd(table, f"{what} that are no list of names")


def check_run(row: RestoredRow) -> None:
    """Check that a run's signals are known and its configuration can be shown.

    Raises:
        InputError: If not.
    """
    config = row["config"]
    if not isinstance(config, dict):
        raise _odd("run", "a configuration that is no object")
    check_names(row["signals"], "run", "signals")
    signals = [*row["signals"], *read_test_queue(row["config"])["test_signals"]]
    unknown = sorted(set(signals) - set(list_signals()))
    if unknown or len(set(row["signals"])) < len(row["signals"]):
        raise _odd("run", f"the signals {', '.join(signals)[:200]}, some unknown or double")
    if row["num_ranked"] < (1 if row["signals"] else 0):
        raise _odd("run", f"{row['num_ranked']} ranked examples")
    for name, kind in _CONFIG.items():
        value = config.get(name)
        if value is not None and type(value) is not kind:
            raise _odd("run", f"a configuration whose {name!r} is no {kind.__name__}")
    for name in _NUMBERS:
        if not all(_is_number(value) for value in (config.get(name) or {}).values()):
            raise _odd("run", f"a configuration whose {name!r} are no numbers")
    for layers in (config.get("layers") or {}).values():
        check_names(layers, "run", "layers")
    for index in (config.get("indexes") or {}).values():
        if not isinstance(index, dict) or not _is_number(index.get("recall") or 0.0):
            raise _odd("run", "a configuration whose indexes have no recall")
    for entry in (config.get("projection") or {}).values():
        if entry is not None and not isinstance(entry, dict):
            raise _odd("run", "a configuration whose projections are no objects")


def check_rankings(connection: Connection, project_id: int) -> None:
    """Check that each ranking of a project's runs is whole: ranks from 1, none left out.

    Raises:
        InputError: If one is not.
    """
    runs = connection.execute(
        select(
            RunRow.key, RunRow.scoring_id, RunRow.signals, RunRow.num_ranked, RunRow.config
        ).where(RunRow.project_id == project_id)
    ).all()
    for run in runs:
        found = connection.execute(
            select(ScoreRow.signal, func.count(), func.min(ScoreRow.rank), func.max(ScoreRow.rank))
            .where(ScoreRow.scoring_id == run.scoring_id)
            .group_by(ScoreRow.signal)
        ).all()
        of_test = read_test_queue(run.config)
        wanted = dict.fromkeys(run.signals, run.num_ranked)
        wanted |= {
            name_ranking(signal, "test"): of_test["num_test_ranked"]
            for signal in of_test["test_signals"]
        }
        wanted |= {
            name_group_ranking(kind, split): count
            for kind, counts in read_group_counts(run.config).items()
            for split, count in counts.examples.items()
            if count
        }
        whole = {
            signal: count for signal, count, first, last in found if (first, last) == (1, count)
        }
        if whole != wanted:
            raise _odd("score", f"rankings of the run {run.key!r:.80} that are not whole")


class EventRules:
    """The events of each example as a stack; an undo takes off what lies on top."""

    def __init__(self, *, regression: bool) -> None:
        """Begin without events.

        Args:
            regression: Whether the project's answer is a number.
        """
        self._regression = regression
        # By example: its version, and its decisions in force and below, the last on top.
        self._stacks: dict[int, tuple[int, list[int]]] = {}

    def check(self, row: RestoredRow) -> None:
        """Check that an event may follow those before it.

        Raises:
            InputError: If it may not.
            InvalidDecisionError: If it makes no sense by itself.
        """
        version, stack = self._stacks.get(row["example_id"], (0, []))
        name = f"the event {row['id']}"
        if row["version"] != version + 1:
            raise _odd(
                "decision", f"{name} with version {row['version']}, expected {version + 1} there"
            )
        if row["action"] == UNDO.code:
            if not stack or stack[-1] != row["undoes"]:
                raise _odd("decision", f"{name}, which undoes what is not in force")
            stack.pop()
        else:
            checks.check_correction(
                row["action"], row["new_label"], row["new_value"], regression=self._regression
            )
            stack.append(row["id"])
        if self._regression == (row["given_value"] is None):
            raise _odd("decision", f"{name} with the answer of another task")
        checks.check_note(row["note"])
        checks.check_source(row["source"])
        checks.check_numbers(row["seconds_spent"], row["rank"], row["score"])
        self._stacks[row["example_id"]] = (version + 1, stack)


def check_finite(row: RestoredRow, table: str) -> None:
    """Check that the numbers of a row are numbers; a database would keep NaN as nothing.

    Raises:
        InputError: If one is NaN or infinite.
    """
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _odd(table, f"{name} = {value}, which is no finite number")


def check_prediction(row: RestoredRow) -> None:
    """Check that a prediction's probabilities are some.

    Raises:
        InputError: If not.
    """
    check_finite(row, "prediction")
    for name in ("predicted_probability", "given_probability"):
        value = row.get(name)
        # A little more than one is what rounding makes.
        if value is not None and not -1e-6 <= value <= 1 + 1e-6:
            raise _odd("prediction", f"{name} = {value}, which is no probability")


def check_opinion(row: RestoredRow, *, regression: bool) -> None:
    """Check that a second answer is one that a person can give.

    Raises:
        InputError: If a number is none.
        InvalidDecisionError: If it is no answer.
    """
    check_finite(row, "opinion")
    checks.check_note(row["note"])
    if row["action"] != UNDO.code:
        checks.check_action(row["action"])
        checks.check_correction(
            row["action"], row["new_label"], row["new_value"], regression=regression
        )


def check_checkpoint(row: RestoredRow) -> None:
    """Check that a checkpoint's numbers are finite or, as of a diverged training, none.

    Raises:
        InputError: If not.
    """
    kept = {name: value for name, value in row.items() if value is not None and value == value}
    check_finite(kept, "checkpoint")


def check_fields(row: RestoredRow) -> None:
    """Check that the cells of an example have names.

    Raises:
        InputError: If not.
    """
    if not isinstance(row.get("fields") or {}, dict):
        raise _odd("example", "a row of a table whose cells have no names")


def check_count(table: str, found: int, expected: int | None) -> None:
    """Check that a table has as many rows as were backed up.

    Raises:
        InputError: If not.
    """
    if found != expected:
        raise _odd(table, f"{found:,} rows, where the list in the backup says {expected}")


def check_inside(path: str) -> None:
    """Check that a path stays inside the project's folder.

    Raises:
        InputError: If not.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise InputError(
            f"The backup names the path {path!r:.200}, which could lie outside the project's "
            "folder. Nothing was restored. Do not use this file."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 1e300


def _odd(table: str, found: str) -> InputError:
    return InputError(
        f"The backup's table {table} holds {found}. Expected rows as this program writes them. Use "
        "another backup; nothing was restored."
    )


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
        """Show the project, under its name.

        Raises:
            InputError: If a project of this name was made meanwhile, or a ranking is not whole.
        """
        with reading(self._engine) as connection:
            check_rankings(connection, self._project_id or 0)
        for scoring_id in self._ids.get("scoring", {}).values():
            enter_label_counts(self._engine, scoring_id)
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
        """Return whether people see the project; an interruption may come right after `show`."""
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
            known = is_named(row["name"]) & (ReviewerRow.identity_source == row["identity_source"])
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
            self._check_label(row.get("suggested_label"), "prediction")
        self._insert_plain(connection, PredictionRow, rows)

    def _enter_decision(self, connection: Connection, rows: list[Row]) -> None:
        # One by one, in their order: events are read by their ids, and an undo names an earlier.
        assert self._events is not None  # noqa: S101 - for the type checker
        for row in rows:
            check_finite(row, "decision")
            self._check_label(row["given_label"], "decision")
            self._check_label(row["new_label"], "decision")
            for name in ("suggested_label", "label_before", "label_after"):
                self._check_label(row.get(name), "decision")
            new = insert(DecisionRow).values(self._moved("decision", row) | {"token": None})
            self._note("decision", row, connection.scalars(new.returning(DecisionRow.id)).one())
            # After the database's own rules, which are about one event alone.
            self._events.check({"given_value": None, "new_value": None} | row)

    def _enter_second_look(self, connection: Connection, rows: list[Row]) -> None:
        connection.execute(insert(SecondLookRow), [self._moved("second_look", row) for row in rows])

    def _enter_opinion(self, connection: Connection, rows: list[Row]) -> None:
        # One by one, as decisions are: who takes an opinion back names an earlier one.
        for row in rows:
            check_opinion(row, regression=self._is_regression())
            self._check_label(row["new_label"], "opinion")
            undoes = row["undoes"]
            moved = self._moved("opinion", row | {"undoes": None, "token": None})
            moved["undoes"] = None if undoes is None else self._find("opinion", "opinion", undoes)
            new = insert(OpinionRow).values(moved).returning(OpinionRow.id)
            self._note("opinion", row, connection.scalars(new).one())

    def _enter_audit(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            check_audit(row, len(self._project.classes) if self._project else 0)
            new = insert(AuditRow).values(self._moved("audit", row)).returning(AuditRow.id)
            self._note("audit", row, connection.scalars(new).one())

    def _enter_audit_item(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            check_audit_item(row)
        connection.execute(insert(AuditItemRow), [self._moved("audit_item", row) for row in rows])

    def _is_regression(self) -> bool:
        return self._project is not None and self._project.task == "regression"

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


def remove_unfinished(engine: Engine, slug: str) -> None:
    """Remove what killed restorations have left of a project of this name."""
    for hidden in list_hidden_projects(engine, RESTORING, slug=slug):
        delete_hidden_project(engine, hidden.id)
