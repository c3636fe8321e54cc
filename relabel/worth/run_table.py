"""What a run knows of its train examples, as one table: what an audit and a learned order read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, select

from relabel.db.decisions.kinds import list_codes
from relabel.db.engine import reading
from relabel.db.project_rules import project_in
from relabel.db.runs import Run
from relabel.db.schema import DEFERRING, DecisionRow, ExampleRow, PredictionRow, ScoreRow, effective
from relabel.errors import JobError
from relabel.runs.held_out import HeldOut, open_held_out

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunTable:
    """The train examples that a run ranks, by position.

    Attributes:
        ids: Of the examples, shape ``(N,)``.
        keys: Their stable names, N of them.
        given: Given labels, class indices, shape ``(N,)``; zeros for regression.
        others: The likeliest other label of each, shape ``(N,)``; None for regression.
        held_out_loss: ``-ln p`` of the given label by models that have not seen the example, in
            nats, shape ``(N,)``; None where they were not asked.
        scores: Of each signal, high for suspects, shape ``(N,)``.
        num_classes: K; 0 for regression.
    """

    ids: Labels
    keys: tuple[str, ...]
    given: Labels
    others: Labels | None
    held_out_loss: Numbers | None
    scores: Mapping[str, Numbers]
    num_classes: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What is decided about the examples of a run, in the order of the decisions.

    Attributes:
        positions: Of the examples, shape ``(D,)``.
        is_wrong: Whether an error was found, shape ``(D,)``.
        sources: Where each was decided.
        example_ids: Of the examples, shape ``(D,)``.
    """

    positions: Labels
    is_wrong: npt.NDArray[np.bool_]
    sources: tuple[str, ...]
    example_ids: Labels

    def __len__(self) -> int:
        return len(self.positions)


def read_run_table(engine: Engine, run: Run, project_folder: Path) -> RunTable:
    """Return what a run knows of its train examples.

    Args:
        engine: The database.
        run: The run.
        project_folder: Where the run's folder is in.

    Raises:
        JobError: If the run ranks nothing, or other examples than the project has.
        RunFolderError: If its files are damaged.
    """
    with reading(engine) as connection:
        project = project_in(connection, run.project_id)
        rows = connection.execute(
            select(ExampleRow.id, ExampleRow.key, ExampleRow.given_label)
            .where(ExampleRow.project_id == run.project_id, ExampleRow.split == "train")
            .order_by(ExampleRow.position)
            .limit(run.num_ranked)
        ).all()
        ids = np.array([row.id for row in rows], dtype=np.int64)
        place = {int(one): position for position, one in enumerate(ids)}
        scores = {}
        for signal in run.signals:
            values = np.full(len(ids), np.nan)
            of_signal = (ScoreRow.scoring_id == run.scoring_id, ScoreRow.signal == signal)
            for example_id, value in connection.execute(
                select(ScoreRow.example_id, ScoreRow.value).where(*of_signal)
            ):
                values[place.get(example_id, -1)] = value
            scores[signal] = values
        said = dict(
            connection.execute(
                select(PredictionRow.example_id, PredictionRow.predicted_label).where(
                    PredictionRow.scoring_id == run.scoring_id
                )
            ).all()
        )
    if not scores or any(np.isnan(values).any() for values in scores.values()):
        raise JobError(
            f"Run {run.key!r} does not rank all of the first {len(ids):,} train examples. Expected "
            "a ranking of each. Score the project again, then try again."
        )
    given = np.array([row.given_label for row in rows], dtype=np.int64)
    num_classes = 0 if project.task == "regression" else len(project.classes)
    held_out = open_held_out(project_folder / run.folder, len(ids), num_classes)
    return RunTable(
        ids=ids,
        keys=tuple(row.key for row in rows),
        given=given,
        others=_find_others(held_out, given, ids, said) if num_classes else None,
        held_out_loss=_compute_loss(held_out, given) if num_classes else None,
        scores=scores,
        num_classes=num_classes,
    )


def _find_others(
    held_out: HeldOut | None, given: Labels, ids: Labels, said: Mapping[int, int | None]
) -> Labels:
    """Return the likeliest other labels; where nobody was asked, what the run's network says."""
    if held_out is not None:
        return held_out.likeliest_others(given)
    found = [said.get(int(one)) for one in ids]
    return np.array(
        [int(label) if one is None else one for one, label in zip(found, given, strict=True)],
        dtype=np.int64,
    )


def _compute_loss(held_out: HeldOut | None, given: Labels) -> Numbers | None:
    if held_out is None:
        return None
    chances = [
        held_out.opinion(position, int(label)).given_probability
        for position, label in enumerate(given)
    ]
    loss: Numbers = -np.log(np.maximum(chances, 1e-6))
    return loss


def read_verdicts(engine: Engine, run: Run, table: RunTable) -> Verdicts:
    """Return what is in force about a run's train examples, the oldest decision first."""
    place = {int(one): position for position, one in enumerate(table.ids)}
    with reading(engine) as connection:
        rows = connection.execute(
            select(effective.c.example_id, effective.c.action, DecisionRow.source)
            .select_from(effective)
            .join(DecisionRow, DecisionRow.id == effective.c.id)
            .where(effective.c.project_id == run.project_id, effective.c.action.not_in(DEFERRING))
            .order_by(effective.c.id)
        ).all()
    rows = [row for row in rows if row.example_id in place]
    wrong = list_codes("correct", "exclude")
    return Verdicts(
        positions=np.array([place[row.example_id] for row in rows], dtype=np.int64),
        is_wrong=np.array([row.action in wrong for row in rows], dtype=np.bool_),
        sources=tuple(row.source for row in rows),
        example_ids=np.array([row.example_id for row in rows], dtype=np.int64),
    )
