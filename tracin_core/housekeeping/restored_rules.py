"""What the rows of a backup must be like beyond their types, so that every page can rely on them.

A file from outside is not believed. What the database's own constraints refuse is left to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, func, select

from tracin_core.errors import InputError
from tracin_core.reviews import decision_rules
from tracin_core.reviews.decision_kinds import UNDO
from tracin_core.reviews.schema import RunRow, ScoreRow
from tracin_core.triage.signals import list_signals

Row = Mapping[str, Any]

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


def check_settings_shape(settings: Mapping[str, Any]) -> None:
    """See that a project's settings have the form in which they are read.

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
    options = settings.get("options")
    if options is not None and not isinstance(options, dict):
        raise _odd("project", "options of the import that are no object")


def check_names(values: Any, table: str, what: str) -> None:
    """See that a list of names is one.

    Raises:
        InputError: If not.
    """
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _odd(table, f"{what} that are no list of names")


def check_run(row: Row) -> None:
    """See that a run's signals are known and its configuration can be shown.

    Raises:
        InputError: If not.
    """
    check_names(row["signals"], "run", "signals")
    unknown = sorted(set(row["signals"]) - set(list_signals()))
    if unknown or len(set(row["signals"])) < len(row["signals"]):
        raise _odd("run", f"the signals {', '.join(row['signals'])[:200]}, some unknown or double")
    if row["num_ranked"] < (1 if row["signals"] else 0):
        raise _odd("run", f"{row['num_ranked']} ranked examples")
    config = row["config"]
    if not isinstance(config, dict):
        raise _odd("run", "a configuration that is no object")
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
    """See that each ranking of a project's runs is whole: ranks from 1, none left out.

    Raises:
        InputError: If one is not.
    """
    runs = connection.execute(
        select(RunRow.key, RunRow.scoring_id, RunRow.signals, RunRow.num_ranked).where(
            RunRow.project_id == project_id
        )
    ).all()
    for run in runs:
        found = connection.execute(
            select(ScoreRow.signal, func.count(), func.min(ScoreRow.rank), func.max(ScoreRow.rank))
            .where(ScoreRow.scoring_id == run.scoring_id)
            .group_by(ScoreRow.signal)
        ).all()
        whole = {
            signal
            for signal, count, first, last in found
            if (count, first, last) == (run.num_ranked, 1, run.num_ranked)
        }
        if whole != set(run.signals):
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

    def check(self, row: Row) -> None:
        """See that an event may follow those before it.

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
            decision_rules.check_correction(
                row["action"], row["new_label"], row["new_value"], regression=self._regression
            )
            stack.append(row["id"])
        if self._regression == (row["given_value"] is None):
            raise _odd("decision", f"{name} with the answer of another task")
        decision_rules.check_note(row["note"])
        decision_rules.check_source(row["source"])
        decision_rules.check_numbers(row["seconds_spent"], row["rank"], row["score"])
        self._stacks[row["example_id"]] = (version + 1, stack)


def check_finite(row: Row, table: str) -> None:
    """See that the numbers of a row are numbers; a database would keep NaN as nothing.

    Raises:
        InputError: If one is NaN or infinite.
    """
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _odd(table, f"{name} = {value}, which is no finite number")


def check_prediction(row: Row) -> None:
    """See that a prediction's probabilities are some.

    Raises:
        InputError: If not.
    """
    check_finite(row, "prediction")
    for name in ("predicted_probability", "given_probability"):
        value = row.get(name)
        # A little more than one is what rounding makes.
        if value is not None and not -1e-6 <= value <= 1 + 1e-6:
            raise _odd("prediction", f"{name} = {value}, which is no probability")


def check_checkpoint(row: Row) -> None:
    """See that a checkpoint's numbers are finite or, as of a diverged training, none.

    Raises:
        InputError: If not.
    """
    kept = {name: value for name, value in row.items() if value is not None and value == value}
    check_finite(kept, "checkpoint")


def check_fields(row: Row) -> None:
    """See that the cells of an example have names.

    Raises:
        InputError: If not.
    """
    if not isinstance(row.get("fields") or {}, dict):
        raise _odd("example", "a row of a table whose cells have no names")


def check_count(table: str, found: int, expected: int | None) -> None:
    """See that a table has as many rows as were backed up.

    Raises:
        InputError: If not.
    """
    if found != expected:
        raise _odd(table, f"{found:,} rows, where the list in the backup says {expected}")


def check_inside(path: str) -> None:
    """See that a path stays inside the project's folder.

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
