"""Runs: what a scored training left behind, entered in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import Connection, Engine, delete, insert, select, update

from tracin_core.errors import InputError, NotFoundError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.rankings import enter_predictions, enter_ranking
from tracin_core.reviews.schema import (
    CheckpointRow,
    ExampleRow,
    PredictionRow,
    ProjectRow,
    RunRow,
    ScoreRow,
    utc_now,
)


class Checkpoint(TypedDict):
    """One checkpoint of a run, as in ``run.json``."""

    file: str
    step: int
    epoch: float | None
    learning_rate: float | None
    train_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True)
class Run:
    """One training and scoring of a project.

    Attributes:
        folder: Relative to the project's folder: "runs/<key>".
        config: As in ``run.json``.
        checkpoints: In training order.
        signals: Names by which the train examples are ranked.
        num_ranked: Train examples in each ranking.
    """

    id: int
    project_id: int
    key: str
    folder: str
    config: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...]
    signals: tuple[str, ...]
    num_ranked: int
    created_at: datetime


def register_run(
    engine: Engine,
    project_id: int,
    *,
    key: str,
    folder: str,
    config: Mapping[str, Any],
    checkpoints: Sequence[Mapping[str, Any]],
    scores: Mapping[str, ArrayLike],
    predictions: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
) -> Run:
    """Enter a run with its rankings and predictions; it becomes the project's current run.

    All in one transaction: the queue shows the old run until the new one is complete. A run
    with the same key is replaced and keeps its id, so decisions go on pointing at it.

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
            label), each by position, shape ``(N,)``.

    Raises:
        InputError: If lengths do not fit the project's examples, a number is not finite, or
            the configuration is no JSON.
        NotFoundError: If there is no such project.
    """
    _check_folder(folder)
    _check_json(config)
    with writing(engine) as connection:
        if connection.scalar(select(ProjectRow.id).where(ProjectRow.id == project_id)) is None:
            raise NotFoundError(f"Found no project with id {project_id}. Create it first.")
        train_ids = _ids_by_position(connection, project_id, "train")
        row = {
            "folder": folder,
            "config": dict(config),
            "signals": list(scores),
            "num_ranked": len(train_ids),
            "is_current": True,
            "created_at": utc_now(),
        }
        run_id = _enter_run(connection, project_id, key, row)
        _enter_checkpoints(connection, run_id, checkpoints)
        for signal, values in scores.items():
            enter_ranking(connection, run_id, signal, values, train_ids)
        for split, arrays in predictions.items():
            enter_predictions(
                connection, run_id, split, arrays, _ids_by_position(connection, project_id, split)
            )
        return run_in(connection, run_id)


def current_run(engine: Engine, project_id: int) -> Run | None:
    """Return the run that a project shows, or None before its first one."""
    with reading(engine) as connection:
        run_id = connection.scalar(
            select(RunRow.id).where(RunRow.project_id == project_id, RunRow.is_current)
        )
        return None if run_id is None else run_in(connection, run_id)


def get_run(engine: Engine, run_id: int) -> Run:
    """Return a run by its id.

    Raises:
        NotFoundError: If there is none.
    """
    with reading(engine) as connection:
        return run_in(connection, run_id)


def run_in(connection: Connection, run_id: int) -> Run:
    """Return a run by its id, inside a transaction.

    Raises:
        NotFoundError: If there is none.
    """
    row = connection.execute(select(RunRow.__table__).where(RunRow.id == run_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"Found no run with id {run_id}. Open the project's current run.")
    found = connection.execute(
        select(CheckpointRow.__table__)
        .where(CheckpointRow.run_id == run_id)
        .order_by(CheckpointRow.number)
    )
    checkpoints = tuple(
        Checkpoint(
            file=one.file,
            step=one.step,
            epoch=one.epoch,
            learning_rate=one.learning_rate,
            train_loss=one.train_loss,
            test_accuracy=one.test_accuracy,
        )
        for one in found
    )
    return Run(
        id=row.id,
        project_id=row.project_id,
        key=row.key,
        folder=row.folder,
        config=row.config,
        checkpoints=checkpoints,
        signals=tuple(row.signals),
        num_ranked=row.num_ranked,
        created_at=row.created_at,
    )


def _enter_run(connection: Connection, project_id: int, key: str, row: dict[str, Any]) -> int:
    """Insert the run, or empty and update the one of the same key; return its id."""
    connection.execute(
        update(RunRow).where(RunRow.project_id == project_id).values(is_current=False)
    )
    old = connection.scalar(
        select(RunRow.id).where(RunRow.project_id == project_id, RunRow.key == key)
    )
    if old is None:
        new = insert(RunRow).values(project_id=project_id, key=key, **row).returning(RunRow.id)
        return connection.scalars(new).one()
    for part in (ScoreRow, PredictionRow, CheckpointRow):
        connection.execute(delete(part).where(part.run_id == old))
    connection.execute(update(RunRow).where(RunRow.id == old).values(row))
    return old


def _enter_checkpoints(
    connection: Connection, run_id: int, checkpoints: Sequence[Mapping[str, Any]]
) -> None:
    rows = [
        {
            "run_id": run_id,
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
    if rows:
        connection.execute(insert(CheckpointRow), rows)


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
