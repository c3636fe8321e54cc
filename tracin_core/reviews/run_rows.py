"""A run as it is read from its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, select

from tracin_core.errors import NotFoundError
from tracin_core.reviews.database import reading
from tracin_core.reviews.schema import SHOWN, CheckpointRow, ProjectRow, RunRow

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


@dataclass(frozen=True, kw_only=True)
class RankedRun:
    """What a ranking needs to know of its run.

    Attributes:
        signals: Names by which the train examples are ranked.
        num_ranked: Train examples in each ranking.
        scoring_id: Under which its scores and predictions lie; another one after each
            registration, so that it also tells the numbers of one registration from the next's.
    """

    id: int
    project_id: int
    key: str
    signals: tuple[str, ...]
    num_ranked: int
    created_at: datetime
    scoring_id: int


@dataclass(frozen=True, kw_only=True)
class Run(RankedRun):
    """One training and scoring of a project.

    Attributes:
        folder: Relative to the project's folder: "runs/<key>".
        config: As in ``run.json``.
        checkpoints: In training order.
    """

    folder: str
    config: dict[str, Any]
    checkpoints: tuple[Checkpoint, ...]


def current_run(engine: Engine, project_id: int) -> Run | None:
    """Return the run that a project shows, or None before its first one."""
    is_shown = (RunRow.project_id == project_id, RunRow.is_current)
    with reading(engine) as connection:
        row = connection.execute(_select_runs().where(*is_shown)).one_or_none()
        return None if row is None else _run_of(connection, row)


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
    row = connection.execute(_select_runs().where(RunRow.id == run_id)).one_or_none()
    return _run_of(connection, _check_shown(row, run_id))


def ranked_run_in(connection: Connection, run_id: int) -> RankedRun:
    """Return what a ranking needs of a run, inside a transaction; one statement.

    Raises:
        NotFoundError: If there is none, or its project is being deleted.
    """
    row = connection.execute(_select_runs().where(RunRow.id == run_id)).one_or_none()
    return RankedRun(**_ranking_of(_check_shown(row, run_id)))


def _select_runs() -> Select[*tuple[Any, ...]]:
    return select(*RunRow.__table__.c, ProjectRow.state.label("project_state")).join(
        ProjectRow, ProjectRow.id == RunRow.project_id
    )


def _check_shown(row: Row[*tuple[Any, ...]] | None, run_id: int) -> Row[*tuple[Any, ...]]:
    if row is None or row.project_state != SHOWN:
        raise NotFoundError(f"Found no run with id {run_id}. Open the project's current run.")
    return row


def _ranking_of(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    names = ("id", "project_id", "key", "num_ranked", "created_at", "scoring_id")
    return {**{name: getattr(row, name) for name in names}, "signals": tuple(row.signals)}


def _run_of(connection: Connection, row: Row[*tuple[Any, ...]]) -> Run:
    """Return the run of a row, with its checkpoints, which are read here."""
    _check_shown(row, row.id)
    found = connection.execute(
        select(CheckpointRow.__table__)
        .where(CheckpointRow.run_id == row.id)
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
    return Run(**_ranking_of(row), folder=row.folder, config=row.config, checkpoints=checkpoints)


def scoring_of(run_id: int | None) -> ColumnElement[int]:
    """Return the id under which a run's scores and predictions lie, as a part of a query.

    It is found once a query, before its rows; without a run it is an id that nothing has.
    """
    found = select(RunRow.scoring_id).where(RunRow.id == (run_id or NO_RUN)).scalar_subquery()
    return func.coalesce(found, NO_RUN)
