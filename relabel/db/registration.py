"""Registration of runs: rankings and predictions are entered unseen and shown at once.

SQLite has one writer at a time, and a million examples with five signals take a minute to enter.
So each chunk is a transaction of its own, with a pause after it in which a person's decision can
get in, under a scoring that no run points at; the last one lets the run point at it. What a killed
process left is a scoring that no run points at, which the next registration removes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import Connection, Engine, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from relabel.db.engine import reading, writing
from relabel.db.label_counts import enter_label_counts
from relabel.db.project_rules import project_in
from relabel.db.runs import (
    GROUPS,
    TEST_QUEUE,
    PredictionValues,
    Run,
    ScoreValues,
    list_group_members,
    list_predictions,
    rank_scores,
    run_in,
)
from relabel.db.schema import (
    CheckpointRow,
    ExampleRow,
    LabelCountRow,
    PredictionRow,
    RunRow,
    ScoreRow,
    ScoringRow,
    utc_now,
)
from relabel.errors import JobError
from relabel.text import Split
from tracin_core.errors import InputError

# Rows a transaction: about a tenth of a second, and a decision does not wait longer.
CHUNK = 20_000
# Seconds between two transactions; more than a waiting writer sleeps between its attempts.
PAUSE = 0.01


def enter_scoring(
    engine: Engine,
    project_id: int,
    scores: Iterable[ScoreValues],
    predictions: Iterable[PredictionValues],
) -> int:
    """Enter numbers that no run points at yet.

    Args:
        engine: The database.
        project_id: The project.
        scores: Rows of all rankings.
        predictions: Rows of all splits.

    Returns:
        The scoring's id.

    Raises:
        JobError: If another process began to enter a run of the project and removed these.
    """
    with writing(engine) as connection:
        scoring_id = connection.scalars(
            insert(ScoringRow)
            .values(project_id=project_id, created_at=utc_now())
            .returning(ScoringRow.id)
        ).one()
    with explain_removed_scoring(engine, scoring_id):
        _insert_rows(engine, ScoreRow, scoring_id, scores)
        _insert_rows(engine, PredictionRow, scoring_id, predictions)
        enter_label_counts(engine, scoring_id)
    return scoring_id


@contextmanager
def explain_removed_scoring(engine: Engine, scoring_id: int) -> Iterator[None]:
    """Turn a constraint broken inside the block into the error of a scoring removed meanwhile.

    Raises:
        JobError: If the scoring is gone.
    """
    try:
        yield
    except IntegrityError as error:
        with reading(engine) as connection:
            found = connection.scalar(select(ScoringRow.id).where(ScoringRow.id == scoring_id))
        if found is not None:
            raise
        raise JobError(
            "Another process began to enter a run of this project, and removed what this one had "
            "entered. Expected one at a time. Wait for the other one, then score again."
        ) from error


def remove_abandoned(engine: Engine, project_id: int) -> int:
    """Remove the scorings of a project that no run points at; return how many.

    They are from a killed process, or replaced. Call it only where no other process may be
    entering a run of this project.
    """
    unused = select(ScoringRow.id).where(
        ScoringRow.project_id == project_id, ~exists().where(RunRow.scoring_id == ScoringRow.id)
    )
    with reading(engine) as connection:
        found = connection.scalars(unused).all()
    for scoring_id in found:
        remove_scoring(engine, scoring_id)
    return len(found)


def remove_scoring(engine: Engine, scoring_id: int) -> None:
    """Remove all numbers of a scoring, and the scoring itself, which no run may point at."""
    while True:
        with writing(engine) as connection:
            if not (
                _cut_scores(connection, scoring_id) or _cut_predictions(connection, scoring_id)
            ):
                connection.execute(
                    delete(LabelCountRow).where(LabelCountRow.scoring_id == scoring_id)
                )
                connection.execute(delete(ScoringRow).where(ScoringRow.id == scoring_id))
                return
        time.sleep(PAUSE)


def _cut_scores(connection: Connection, scoring_id: int) -> bool:
    """Delete a chunk of a scoring's scores, from the head of a ranking; return if any was left."""
    of_scoring = ScoreRow.scoring_id == scoring_id
    head = connection.execute(
        select(ScoreRow.signal, ScoreRow.rank)
        .where(of_scoring)
        .order_by(ScoreRow.signal, ScoreRow.rank)
        .limit(1)
    ).one_or_none()
    if head is None:
        return False
    connection.execute(
        delete(ScoreRow).where(
            of_scoring, ScoreRow.signal == head.signal, ScoreRow.rank < head.rank + CHUNK
        )
    )
    return True


def _cut_predictions(connection: Connection, scoring_id: int) -> bool:
    """Delete a chunk of a scoring's predictions; return whether any was left."""
    of_scoring = PredictionRow.scoring_id == scoring_id
    first = connection.scalar(select(func.min(PredictionRow.example_id)).where(of_scoring))
    if first is None:
        return False
    connection.execute(
        delete(PredictionRow).where(of_scoring, PredictionRow.example_id < first + CHUNK)
    )
    return True


def _insert_rows(
    engine: Engine,
    target: type[ScoreRow] | type[PredictionRow],
    scoring_id: int,
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """Insert rows whose values are in the order of the table's columns after the scoring.

    By the driver's own statement: a million rows through SQLAlchemy's, with its dictionaries,
    took four times as long.
    """
    columns = [column.name for column in target.__table__.columns]
    mark = "?" if engine.dialect.name == "sqlite" else "%s"
    statement = (
        f"INSERT INTO {target.__tablename__} ({', '.join(columns)}) "  # noqa: S608 - our own names
        f"VALUES ({', '.join([mark] * len(columns))})"
    )
    for chunk in _chunks((scoring_id, *row) for row in rows):
        with writing(engine) as connection:
            connection.exec_driver_sql(statement, chunk)
        time.sleep(PAUSE)


def _chunks(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def register_run(
    engine: Engine,
    project_id: int,
    *,
    key: str,
    folder: str,
    config: Mapping[str, Any],
    checkpoints: Sequence[Mapping[str, Any]],
    scores: Mapping[str, ArrayLike],
    predictions: Mapping[str, tuple[ArrayLike, ...]],
    test_scores: Mapping[str, ArrayLike] = MappingProxyType({}),
    groups: Mapping[str, Mapping[Split, ArrayLike]] = MappingProxyType({}),
) -> Run:
    """Enter a run with its rankings and predictions; it becomes the project's current run.

    The numbers enter in many short transactions, under a scoring that no run points at; the last
    one lets the run point at it. So the queue shows the old run until the new one is complete,
    and people go on deciding meanwhile. A run with the same key is replaced and keeps its id, so
    decisions go on pointing at it. What a killed registration left is removed by the next one.

    Args:
        engine: The database.
        project_id: The project.
        key: The run's name within the project.
        folder: Relative to the project's folder: "runs/<key>".
        config: JSON-serialisable, as in ``run.json``.
        checkpoints: In training order: file, step, epoch, learning_rate, train_loss,
            test_accuracy; what is not known may be None or missing.
        scores: Signal name to values by train position, shape ``(N,)``; high is suspect.
        predictions: Split to (predicted class, its probability, probability of the given
            label) and, where it is known, (..., class that models suggest which have not seen
            the example); for regression to (predicted value,); each by position, shape ``(N,)``.
        test_scores: The same as `scores` for the test split, whose examples are ranked among
            themselves.
        groups: Kind and split to the group's number by position, 0 for none, shape ``(N,)``.

    Raises:
        InputError: If lengths do not fit the project's examples, a number is not finite, or
            the configuration is no JSON. Nothing was entered.
        NotFoundError: If there is no such project.
        JobError: If another process began to enter a run of the project meanwhile.
    """
    _check_folder(folder)
    _check_json(config)
    with reading(engine) as connection:
        task = project_in(connection, project_id).task
        ids = {
            split: _ids_by_position(connection, project_id, split)
            for split in {"train", *predictions, *(["test"] if test_scores or groups else [])}
        }
    ranked = [rank_scores(signal, values, ids["train"]) for signal, values in scores.items()]
    ranked += [
        rank_scores(signal, values, ids["test"], "test") for signal, values in test_scores.items()
    ]
    if test_scores:
        entry = {"signals": list(test_scores), "examples": len(ids["test"])}
        config = {**config, TEST_QUEUE: entry}
    ranked += [
        list_group_members(kind, split, numbers, ids[split])
        for kind, by_split in groups.items()
        for split, numbers in by_split.items()
    ]
    if groups:
        config = {**config, GROUPS: {kind: _count_groups(one) for kind, one in groups.items()}}
    predicted = [
        list_predictions(split, arrays, ids[split], task) for split, arrays in predictions.items()
    ]
    saved = _checkpoint_rows(checkpoints)
    remove_abandoned(engine, project_id)
    scoring_id = enter_scoring(
        engine, project_id, chain.from_iterable(ranked), chain.from_iterable(predicted)
    )
    row = {
        "folder": folder,
        "config": dict(config),
        "signals": list(scores),
        "num_ranked": len(ids["train"]),
        "is_current": True,
        "created_at": utc_now(),
        "scoring_id": scoring_id,
    }
    with explain_removed_scoring(engine, scoring_id), writing(engine) as connection:
        run_id = _enter_run(connection, project_id, key, row)
        if saved:
            connection.execute(
                insert(CheckpointRow), [{"run_id": run_id, **values} for values in saved]
            )
        run = run_in(connection, run_id)
    remove_abandoned(engine, project_id)
    return run


def _count_groups(by_split: Mapping[Split, ArrayLike]) -> dict[str, int]:
    """Return how many groups there are, and how many examples of each split are in one."""
    numbers = {str(split): np.asarray(one) for split, one in by_split.items()}
    counts = {split: int((one > 0).sum()) for split, one in numbers.items()}
    return {"groups": max(int(one.max(initial=0)) for one in numbers.values()), **counts}


def _enter_run(connection: Connection, project_id: int, key: str, row: dict[str, Any]) -> int:
    """Insert the run, or update the one of the same key; return its id."""
    connection.execute(
        update(RunRow).where(RunRow.project_id == project_id).values(is_current=False)
    )
    old = connection.scalar(
        select(RunRow.id).where(RunRow.project_id == project_id, RunRow.key == key)
    )
    if old is None:
        new = insert(RunRow).values(project_id=project_id, key=key, **row).returning(RunRow.id)
        return connection.scalars(new).one()
    connection.execute(delete(CheckpointRow).where(CheckpointRow.run_id == old))
    connection.execute(update(RunRow).where(RunRow.id == old).values(row))
    return old


def _checkpoint_rows(checkpoints: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "file": str(one["file"]),
            "step": int(one["step"]),
            **{
                name: _number_or_none(one.get(name))
                for name in ("epoch", "learning_rate", "train_loss", "test_accuracy")
            },
        }
        for number, one in enumerate(checkpoints)
    ]


def _ids_by_position(connection: Connection, project_id: int, split: str) -> list[int]:
    """Return example ids such that index is position.

    Raises:
        InputError: If a position is missing.
    """
    rows = connection.execute(
        select(ExampleRow.id, ExampleRow.position)
        .where(ExampleRow.project_id == project_id, ExampleRow.split == split)
        .order_by(ExampleRow.position)
    ).all()
    if rows and rows[-1].position != len(rows) - 1:
        raise InputError(
            f"The {split} split has {len(rows)} examples but positions up to "
            f"{rows[-1].position}. Expected positions from 0 without gaps: add the missing "
            "examples."
        )
    return [row.id for row in rows]


def _check_folder(folder: str) -> None:
    path = PurePosixPath(folder)
    if not folder or path.is_absolute() or ".." in path.parts or "\\" in folder:
        raise InputError(
            f"Found the run folder {folder!r}. Expected a path inside the project's folder, "
            "such as runs/first."
        )


def _check_json(config: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(config), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The run's configuration is no JSON: {error}. Expected texts, finite numbers, "
            "lists and dicts only."
        ) from error


def _number_or_none(value: Any) -> float | None:
    """Return a finite number, or None: a loss that overflowed is as good as unknown here."""
    if value is None:
        return None
    number = float(value)
    return number if np.isfinite(number) else None
