"""A split's examples in the order of their positions, as arrays: what aggregates are told by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, and_, func, select

from relabel.db.engine import reading
from relabel.db.runs import scoring_of
from relabel.db.schema import DecisionRow, ExampleRow, PredictionRow, effective, label_of_example

# Of an example without a prediction.
NO_PREDICTION = -1


@dataclass(frozen=True, eq=False)
class PlacedExamples:
    """The N examples of a split that a run has scored, by position.

    Attributes:
        ids: Of the examples, shape ``(N,)``.
        keys: Of the examples.
        labels: As they stand after all decisions, shape ``(N,)``; 0 of a regression.
        predicted: Class that the run's last checkpoint predicts, shape ``(N,)``;
            ``NO_PREDICTION`` where there is none.
    """

    ids: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


def read_placed(
    engine: Engine, project_id: int, run_id: int, split: str, count: int
) -> PlacedExamples:
    """Return the first examples of a split by position.

    Args:
        engine: The database.
        project_id: The project.
        run_id: The run whose predictions they have.
        split: "train" or "test".
        count: How many the run has scored; what came later is left out.
    """
    query = (
        select(
            ExampleRow.id,
            ExampleRow.key,
            label_of_example,
            func.coalesce(PredictionRow.predicted_label, NO_PREDICTION),
        )
        .join(effective, effective.c.example_id == ExampleRow.id, isouter=True)
        .join(
            PredictionRow,
            and_(
                PredictionRow.example_id == ExampleRow.id,
                PredictionRow.scoring_id == scoring_of(run_id),
            ),
            isouter=True,
        )
        .where(ExampleRow.project_id == project_id, ExampleRow.split == split)
        .order_by(ExampleRow.position)
        .limit(count)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    numbers = np.array([(row[0], row[2], row[3]) for row in rows], dtype=np.int64).reshape(-1, 3)
    return PlacedExamples(
        ids=numbers[:, 0],
        keys=tuple(row[1] for row in rows),
        labels=numbers[:, 1],
        predicted=numbers[:, 2],
    )


def find_last_event(engine: Engine, project_id: int) -> int:
    """Return the number of a project's latest event, which labels are older than; 0 without any."""
    query = select(func.max(DecisionRow.id)).where(DecisionRow.project_id == project_id)
    with reading(engine) as connection:
        return connection.scalar(query) or 0
