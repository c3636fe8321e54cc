"""A run as it is read from its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from tracin_core.errors import NotFoundError
from tracin_core.reviews.database import reading
from tracin_core.reviews.schema import CheckpointRow, ProjectRow, RunRow

# An id that no run and no scoring has; None would become IS NULL, which no index answers.
NO_RUN = 0


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
        scoring_id: Under which its scores and predictions lie; another one after each
            registration, so that it also tells the numbers of one registration from the next's.
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
    scoring_id: int


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
        NotFoundError: If there is none, or its project is being deleted.
    """
    row = connection.execute(
        select(RunRow.__table__)
        .join(ProjectRow, ProjectRow.id == RunRow.project_id)
        .where(RunRow.id == run_id, ~ProjectRow.deleting)
    ).one_or_none()
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
        scoring_id=row.scoring_id,
    )


def scoring_of(run_id: int | None) -> ColumnElement[int]:
    """Return the id under which a run's scores and predictions lie, as a part of a query.

    It is found once a query, before its rows; without a run it is an id that nothing has.
    """
    found = select(RunRow.scoring_id).where(RunRow.id == (run_id or NO_RUN)).scalar_subquery()
    return func.coalesce(found, NO_RUN)
