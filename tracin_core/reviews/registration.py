"""Runs: what a scored training left behind, entered unseen and shown at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sqlalchemy import Connection, Engine, delete, insert, select, update

from tracin_core.errors import InputError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.project_rows import project_in
from tracin_core.reviews.rankings import list_predictions, rank_scores
from tracin_core.reviews.run_rows import Run, run_in
from tracin_core.reviews.schema import CheckpointRow, ExampleRow, RunRow, utc_now
from tracin_core.reviews.scorings import enter_scoring, remove_abandoned, taken_over_told


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
            label), for regression to (predicted value,), each by position, shape ``(N,)``.

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
            for split in {"train", *predictions}
        }
    ranked = [rank_scores(signal, values, ids["train"]) for signal, values in scores.items()]
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
    with taken_over_told(engine, scoring_id), writing(engine) as connection:
        run_id = _enter_run(connection, project_id, key, row)
        if saved:
            connection.execute(
                insert(CheckpointRow), [{"run_id": run_id, **values} for values in saved]
            )
        run = run_in(connection, run_id)
    remove_abandoned(engine, project_id)
    return run


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
