"""Groups of the queue: all that pass a filter, how many are left, and pairs of labels.

A group is what a person decides at once, or goes through one after the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, and_, func, select
from sqlalchemy.orm import aliased

from relabel.db.engine import reading, reading_one_state
from relabel.db.filtering import count_passing, filter_conditions
from relabel.db.queue import (
    QueueFilter,
    open_ranking,
)
from relabel.db.runs import RankedRun
from relabel.db.schema import (
    DEFERRING,
    ExampleRow,
    PredictionRow,
    ScoreRow,
    effective,
    version_of,
)
from relabel.db.stats import label_confusion
from relabel.text import Split
from tracin_core.errors import InputError


@dataclass(frozen=True)
class Passing:
    """One example that passes a filter, with what a decision about it names.

    Attributes:
        version: Number of its events.
        rank: Its place in the ranking; score: the signal's value there.
        other_label: What is suggested for it, by models that have not seen it, else by the
            network; None where nobody says anything.
    """

    example_id: int
    version: int
    rank: int
    score: float
    other_label: int | None


@dataclass(frozen=True)
class LabelPair:
    """Examples of one given label for which one other label is suggested.

    Attributes:
        total: How many there are; left: how many of them are not decided.
    """

    given: int
    suggested: int
    total: int
    left: int


def list_passing(
    engine: Engine, run_id: int, *, signal: str | None, filter: QueueFilter, limit: int
) -> list[Passing]:
    """Return all examples that pass a filter, the most suspect first.

    Raises:
        InputError: If they are more than the limit.
        NotFoundError: If the run is unknown or not ranked by the signal.
    """
    with reading_one_state(engine) as connection:
        run, ranking = open_ranking(connection, run_id, signal, filter.split)
        total = count_passing(connection, run, ranking, filter)
        if total > limit:
            raise InputError(
                f"{total:,} examples match. Expected at most {limit:,} at once: narrow the filter."
            )
        # By another name: the conditions of the filter ask the same table.
        said = aliased(PredictionRow)
        of_example = (
            said.scoring_id == run.scoring_id,
            said.example_id == ScoreRow.example_id,
        )
        query = (
            select(
                ScoreRow.example_id,
                version_of(ScoreRow.example_id),
                ScoreRow.rank,
                ScoreRow.value,
                func.coalesce(said.suggested_label, said.predicted_label),
            )
            .join(said, and_(*of_example), isouter=True)
            .where(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == ranking,
                *filter_conditions(connection, run, filter),
            )
            .order_by(ScoreRow.rank)
        )
        return [Passing(*row) for row in connection.execute(query)]


def count_left(
    engine: Engine, run_id: int, *, signal: str | None, filter: QueueFilter
) -> tuple[int, int]:
    """Return how many examples of a filter are not decided, and how many it lets through in all.

    Raises:
        NotFoundError: If the run is unknown or not ranked by the signal.
    """
    with reading_one_state(engine) as connection:
        run, ranking = open_ranking(connection, run_id, signal, filter.split)
        left = count_passing(connection, run, ranking, replace(filter, status="pending"))
        return left, count_passing(connection, run, ranking, replace(filter, status="any"))


def list_pairs(
    engine: Engine,
    run: RankedRun,
    split: Split,
    *,
    suggested: bool,
    counts: NDArray[np.int64] | None = None,
) -> list[LabelPair]:
    """Return the pairs of two different labels, those with most examples left first.

    Args:
        engine: The database.
        run: Says the other label.
        split: Of the examples.
        suggested: Whether the other label is that of models which have not seen the example; else
            it is the network's.
        counts: As `label_confusion` has them, which reads all examples and does not change with
            decisions; None to count.
    """
    if counts is None:
        counts = label_confusion(engine, run.id, split, suggested=suggested)
    decided = _count_decided_pairs(engine, run, split, suggested=suggested)
    pairs = [
        LabelPair(given, other, total, total - decided[given, other])
        for given, other in np.argwhere(counts).tolist()
        if given != other and (total := int(counts[given, other]))
    ]
    return sorted(pairs, key=lambda one: (-one.left, -one.total, one.given, one.suggested))


def _count_decided_pairs(
    engine: Engine, run: RankedRun, split: Split, *, suggested: bool
) -> Counter[tuple[int, int]]:
    """Return how many of each pair have been decided; from the decisions, which are few."""
    said = PredictionRow.suggested_label if suggested else PredictionRow.predicted_label
    query = (
        select(ExampleRow.given_label, said, func.count())
        .select_from(effective)
        .join(ExampleRow, ExampleRow.id == effective.c.example_id)
        .join(
            PredictionRow,
            (PredictionRow.example_id == ExampleRow.id)
            & (PredictionRow.scoring_id == run.scoring_id),
        )
        .where(
            effective.c.project_id == run.project_id,
            effective.c.action.not_in(DEFERRING),
            ExampleRow.split == split,
            said.is_not(None),
        )
        .group_by(ExampleRow.given_label, said)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return Counter({(int(given), int(other or 0)): count for given, other, count in rows})
