"""Groups of the queue: all that pass a filter, pairs of labels, and examples that are alike.

A group is what a person decides at once, or goes through one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, and_, case, func, select
from sqlalchemy.orm import aliased

from relabel.db.engine import reading, reading_one_state
from relabel.db.filtering import count_passing, filter_conditions
from relabel.db.queue import (
    QueueFilter,
    open_ranking,
)
from relabel.db.runs import RankedRun, name_group_ranking
from relabel.db.schema import (
    DEFERRING,
    ExampleRow,
    PredictionRow,
    ScoreRow,
    effective,
    version_of,
)
from relabel.db.stats import label_confusion
from relabel.runs.groups import GroupName
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


@dataclass(frozen=True)
class ExampleGroup:
    """Examples that are alike, with the labels that they were given.

    Attributes:
        name: The group's.
        example_id: One of them, of the split.
        total: Its examples in one split; left: how many of them are not decided.
        others: Its examples in the other split.
        doubted: How many of the split are suspects: another label is suggested than the given one.
        labels: Given labels in both splits with their numbers, the most frequent first; empty for
            regression.
        least, greatest: Of the given numbers in both splits; None for classification.
    """

    name: GroupName
    example_id: int
    total: int
    left: int
    others: int
    doubted: int
    labels: tuple[tuple[int, int], ...] = ()
    least: float | None = None
    greatest: float | None = None

    @property
    def differs(self) -> bool:
        """Return whether not all of it were given the same."""
        return len(self.labels) > 1 or self.least != self.greatest


def list_groups(engine: Engine, run: RankedRun, split: Split, kind: str) -> list[ExampleGroup]:
    """Return the groups of a kind that have an example in a split, as if none were decided.

    All examples of groups are read for it, and decisions do not change it.
    """
    other: Split = "test" if split == "train" else "train"
    of_split = name_group_ranking(kind, split)
    suggested = func.coalesce(PredictionRow.suggested_label, PredictionRow.predicted_label)
    query = (
        select(
            ScoreRow.value,
            ScoreRow.signal == of_split,
            ExampleRow.given_label,
            func.count(),
            func.min(ScoreRow.example_id),
            func.sum(case((suggested != ExampleRow.given_label, 1), else_=0)),
            func.min(ExampleRow.given_value),
            func.max(ExampleRow.given_value),
        )
        .join(ExampleRow, ExampleRow.id == ScoreRow.example_id)
        .join(
            PredictionRow,
            (PredictionRow.example_id == ScoreRow.example_id)
            & (PredictionRow.scoring_id == run.scoring_id),
            isouter=True,
        )
        .where(
            ScoreRow.scoring_id == run.scoring_id,
            ScoreRow.signal.in_([of_split, name_group_ranking(kind, other)]),
        )
        .group_by(ScoreRow.value, ScoreRow.signal, ExampleRow.given_label)
        .order_by(ScoreRow.value)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return [
        group
        for number, members in groupby(rows, key=lambda row: int(row[0]))
        if (group := _describe_group(GroupName(kind, number), list(members))).total
    ]


def _describe_group(name: GroupName, rows: Sequence[Any]) -> ExampleGroup:
    labels: Counter[int] = Counter()
    inside: Counter[bool] = Counter()
    doubted, values, ids = 0, [], []
    for _, is_inside, label, count, first, differing, least, greatest in rows:
        inside[bool(is_inside)] += count
        if is_inside:
            ids.append(first)
            doubted += int(differing)
        if least is None:
            labels[label] += count
        else:
            values += [least, greatest]
    return ExampleGroup(
        name,
        min(ids, default=0),
        total=inside[True],
        left=inside[True],
        others=inside[False],
        doubted=doubted,
        labels=tuple(sorted(labels.items(), key=lambda one: (-one[1], one[0]))),
        least=min(values, default=None),
        greatest=max(values, default=None),
    )


def order_groups(
    engine: Engine, run: RankedRun, split: Split, kind: str, groups: Sequence[ExampleGroup]
) -> list[ExampleGroup]:
    """Return groups as they stand after what has been decided, in the order in which to look.

    First what is left to do. Of contents that are the same or nearly so, those with different
    labels come first; of clusters, those with most suspects.
    """
    decided = _count_decided_members(engine, run, split, kind)
    now = [replace(one, left=one.total - decided[one.name.number]) for one in groups]
    if kind == "cluster":
        return sorted(now, key=lambda one: (not one.left, -one.doubted, one.name.number))
    return sorted(
        now, key=lambda one: (not one.left, not one.differs, -one.doubted, one.name.number)
    )


def _count_decided_members(engine: Engine, run: RankedRun, split: Split, kind: str) -> Counter[int]:
    """Return how many of each group have been decided; from the decisions, which are few."""
    query = (
        select(ScoreRow.value, func.count())
        .select_from(effective)
        .join(
            ScoreRow,
            and_(
                ScoreRow.scoring_id == run.scoring_id,
                ScoreRow.signal == name_group_ranking(kind, split),
                ScoreRow.example_id == effective.c.example_id,
            ),
        )
        .where(effective.c.project_id == run.project_id, effective.c.action.not_in(DEFERRING))
        .group_by(ScoreRow.value)
    )
    with reading(engine) as connection:
        return Counter({int(number): count for number, count in connection.execute(query)})


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
