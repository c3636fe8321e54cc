"""How many examples of a scoring have which given, predicted and suggested label.

Counting a million examples takes a second or two, and no decision changes the counts: given labels
and predictions stay as they were entered. So they are counted once, when a run is registered, and
lie beside its numbers: at most as many rows as there are different triples of labels.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, func, insert, select

from relabel.db.engine import reading, writing
from relabel.db.schema import (
    ExampleRow,
    LabelCountRow,
    PredictionRow,
    ProjectRow,
    ScoringRow,
)

# In the place of a label that nobody has said.
NOBODY_SAYS = -1


def enter_label_counts(engine: Engine, scoring_id: int) -> None:
    """Count the labels of a scoring, and keep the counts with it; of numbers there are none.

    They are counted before they are written, so that nobody who decides waits for it.
    """
    predicted = func.coalesce(PredictionRow.predicted_label, NOBODY_SAYS)
    suggested = func.coalesce(PredictionRow.suggested_label, NOBODY_SAYS)
    triple = (ExampleRow.split, ExampleRow.given_label, predicted, suggested)
    with reading(engine) as connection:
        task = connection.scalar(
            select(ProjectRow.task)
            .join(ScoringRow, ScoringRow.project_id == ProjectRow.id)
            .where(ScoringRow.id == scoring_id)
        )
        if task != "classification":
            return
        counted = connection.execute(
            select(*triple, func.count())
            .select_from(PredictionRow)
            .join(ExampleRow, ExampleRow.id == PredictionRow.example_id)
            .where(PredictionRow.scoring_id == scoring_id)
            .group_by(*triple)
        ).all()
    names = ("split", "given_label", "predicted_label", "suggested_label", "num_examples")
    rows = [{"scoring_id": scoring_id, **dict(zip(names, row, strict=True))} for row in counted]
    if rows:
        with writing(engine) as connection:
            connection.execute(insert(LabelCountRow), rows)


def read_label_pairs(
    connection: Connection, scoring_id: int, split: str, *, suggested: bool
) -> list[tuple[int, int, int]] | None:
    """Return given label, other label and how many examples have both; None if it is not kept.

    Args:
        connection: A connection.
        scoring_id: The scoring.
        split: Of the examples.
        suggested: Whether the other label is the suggested one; else it is the predicted one.
    """
    said = LabelCountRow.suggested_label if suggested else LabelCountRow.predicted_label
    rows = connection.execute(
        select(LabelCountRow.given_label, said, func.sum(LabelCountRow.num_examples))
        .where(LabelCountRow.scoring_id == scoring_id, LabelCountRow.split == split)
        .group_by(LabelCountRow.given_label, said)
    ).all()
    if not rows:
        return None
    return [(given, other, int(count)) for given, other, count in rows if other != NOBODY_SAYS]


def count_by_labels(
    connection: Connection,
    scoring_id: int,
    split: str,
    *,
    expected: int,
    given: tuple[int, ...],
    predicted: tuple[int, ...],
    suggested: tuple[int, ...],
    predicted_differs: bool,
    suggested_differs: bool,
) -> int | None:
    """Return how many examples of a split pass a filter of labels alone; None if it is not kept.

    Args:
        connection: A connection.
        scoring_id: The scoring.
        split: Of the examples.
        expected: How many are ranked. Where other than these have predictions, as they may in a
            run that was entered by hand, the counts say nothing of the ranked ones.
        given: Any of these given labels; empty for all.
        predicted: The same of what the network says.
        suggested: The same of what models say that have not seen the example.
        predicted_differs: Whether the network must say another label than the given one.
        suggested_differs: The same of the others.
    """
    conditions: list[ColumnElement[bool]] = []
    for column, labels in (
        (LabelCountRow.given_label, given),
        (LabelCountRow.predicted_label, predicted),
        (LabelCountRow.suggested_label, suggested),
    ):
        if labels:
            conditions.append(column.in_([int(one) for one in labels if 0 <= one < 2**31]))
    for column, must_differ in (
        (LabelCountRow.predicted_label, predicted_differs),
        (LabelCountRow.suggested_label, suggested_differs),
    ):
        if must_differ:
            conditions.append((column != NOBODY_SAYS) & (column != LabelCountRow.given_label))
    passes = case((and_(*conditions), LabelCountRow.num_examples), else_=0)
    number = LabelCountRow.num_examples if not conditions else passes
    total, passing = connection.execute(
        select(func.sum(LabelCountRow.num_examples), func.sum(number)).where(
            LabelCountRow.scoring_id == scoring_id, LabelCountRow.split == split
        )
    ).one()
    return int(passing) if total == expected else None
