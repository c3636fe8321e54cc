"""The numbers of a run enter and leave the database a chunk at a time, while nobody sees them.

SQLite has one writer at a time, and a million examples with five signals take a minute to enter.
So each chunk is a transaction of its own, with a pause after it in which a person's decision can
get in. What a killed process left behind is a scoring that no run points at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, delete, exists, func, insert, select
from sqlalchemy.exc import IntegrityError

from tracin_core.errors import JobError
from tracin_core.reviews.database import reading, writing
from tracin_core.reviews.rankings import PredictionValues, ScoreValues
from tracin_core.reviews.schema import PredictionRow, RunRow, ScoreRow, ScoringRow, utc_now

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
    with taken_over_told(engine, scoring_id):
        _insert_rows(engine, ScoreRow, scoring_id, scores)
        _insert_rows(engine, PredictionRow, scoring_id, predictions)
    return scoring_id


@contextmanager
def taken_over_told(engine: Engine, scoring_id: int) -> Iterator[None]:
    """Tell a constraint broken inside the block by a scoring that another process removed.

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
